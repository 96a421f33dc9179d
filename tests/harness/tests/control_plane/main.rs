//! The harness, run for real.

mod cluster;
mod lifecycle;
mod support;
mod workloads;
