//! A real Kubernetes control plane for Leasehold's tests and demo.
//!
//! No registry ships a kube-apiserver executable, and a fake API server proves nothing about token caches, admission
//! policies or garbage collection. So the real components are built from their published Go modules
//! (`tests/controlplane`), cached, and run as child processes:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use leasehold_harness::{ControlPlane, Options};
//!
//! let plane = ControlPlane::start(Options::default()).await?;
//! let alice = plane.user("alice", &["developers"])?;
//! let output = plane.kubectl(&alice.kubeconfig, &["auth", "whoami"], None).await?;
//! plane.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`assets`] | finds, or builds and caches, the executables |
//! | [`ControlPlane`] | one running control plane: users, kubectl, faults |
//! | [`AuditLog`] | what the API server was asked, typed |
//! | [`node`] | a node that really runs pods, and the images for it |
//! | [`OpenBao`] | a secrets store that lets the operator in |
//! | [`Process`] | a child process; tests start the operator with it |
//! | [`Other`] | another system, which does what it is told |
//! | [`eventually`] | waiting with an error worth reading |
//!
//! Everything here is for Linux: processes are told apart by `/proc` and signalled by pidfd.

pub mod assets;
mod audit;
mod eventually;
mod identity;
pub mod node;
mod openbao;
mod other;
mod pki;
mod plane;
mod process;

pub use audit::{AuditLog, Cursor, Record};
pub use eventually::{Look, eventually, eventually_seeing};
pub use identity::Identity;
pub use openbao::OpenBao;
pub use other::{Act, Call, CarryOut, Closed, Front, Other, Sent};
pub use plane::{
    Backup, Component, ControlPlane, DetachedRun, Options, Output, SecondApiserver, Spawner, Store, User, end,
};
pub use process::{Lifetime, Process};
