//! Finds the executables of the control plane, building them from their published Go modules if need be.
//!
//! In this order:
//!
//! 1. `KUBEBUILDER_ASSETS`, the directory users of envtest have. Whatever is not in it comes from 2 or 3.
//! 2. A build in the cache, `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/controlplane/<key>/`. The key is a hash of
//!    everything that goes into the build, so a changed source or Go version is a different entry.
//! 3. A build now, with its progress on stderr. One at a time, whoever else asks waits for it.

mod cache;
mod control_plane;
mod debian;
mod go;
mod module;
mod progress;
mod published;
mod tool;
mod wheel;

use std::path::PathBuf;

use anyhow::Result;

pub use debian::{debian_files, debian_program, debian_unpacked};
pub use module::go_module;
pub use published::files_of_module;
pub use tool::go_tool;
pub use wheel::openbao;

/// The release of KWOK that stands in for kubelets.
const KWOK: &str = "sigs.k8s.io/kwok/cmd/kwok@v0.8.0";

/// The release of Helm that the chart is tested with.
pub const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.2.4";

/// The release of helm-docs that writes the chart's README from its values.
pub const HELM_DOCS: &str = "github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2";

/// An executable of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Garbage collection, namespace deletion, service accounts and so on.
    KubeControllerManager,
    /// Places pods on nodes.
    KubeScheduler,
    /// Runs the pods of a node.
    Kubelet,
    /// The command line.
    Kubectl,
}

impl Program {
    const ALL: [Self; 6] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::Kubectl,
    ];

    /// The file name of the executable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Kubectl => "kubectl",
        }
    }
}

/// The path of `program`. Takes minutes the first time on a machine, then milliseconds.
///
/// # Errors
/// If it is not in `KUBEBUILDER_ASSETS` and cannot be built: the error carries what Go said.
pub async fn program(program: Program) -> Result<PathBuf> {
    match provided(program) {
        Some(path) => Ok(path),
        None => Ok(control_plane::built().await?.join(program.name())),
    }
}

/// The path of `kwok`, which plays the kubelets of nodes that do not exist.
///
/// # Errors
/// If it cannot be built: the error carries what Go said.
pub async fn kwok() -> Result<PathBuf> {
    go_tool(KWOK).await
}

fn provided(program: Program) -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?);
    let path = directory.join(program.name());
    path.is_file().then_some(path)
}
