//! Pipelines that store no secret: the token of their CI system is who they are, and each deployment is under a lease.
//!
//! What is shipped in `config/samples/pipelines` runs here as it is, against an issuer of the test's own: its authentication
//! configuration in the API server, the scripts of its jobs in a shell.

mod flow;
mod ground;
mod issuer;
pub mod lines;
mod owned;
mod refused;
mod samples;
mod vendors;
