//! The harness, run for real.

mod cluster;
mod lifecycle;
mod openbao;
mod support;
mod workloads;
