//! What a test may choose about its control plane.

use std::path::PathBuf;

/// How to start a [`ControlPlane`](super::ControlPlane). The default is what most tests want: no nodes, no scheduler.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Run kube-scheduler. KWOK nodes imply it.
    pub scheduler: bool,
    /// How many nodes KWOK plays. More than none adds KWOK, the scheduler and the workload controllers, so that
    /// Deployments, StatefulSets, DaemonSets and Jobs run to the end. A pod with the annotation `test/hold` never
    /// becomes ready.
    pub kwok_nodes: usize,
    /// For a [`Node`](crate::node::Node), which really runs pods: its kubelet may do what a kubelet may, the API server is where
    /// pods look for it, and the scheduler and the workload controllers run. Only in a program that is
    /// [isolated](crate::node::isolate).
    pub real_node: bool,
    /// More flags for the API server, after our own: a flag with one value counts the last time it is given, one with a
    /// list gathers them.
    pub extra_apiserver_args: Vec<String>,
    /// An AuthenticationConfiguration: whose tokens the API server takes besides its own certificates and service accounts.
    pub authentication: Option<String>,
    /// Where the run keeps its files: absent or empty. By default a new directory in `target/controlplane`.
    pub dir: Option<PathBuf>,
    /// Keep running past our exit, once [detached](super::ControlPlane::detach).
    pub detached: bool,
}

impl Options {
    /// Whether anything schedules pods, and so workloads roll out.
    pub(super) const fn has_nodes(&self) -> bool {
        self.real_node || self.kwok_nodes > 0
    }
}
