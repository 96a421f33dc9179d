//! The processes of a control plane.

use std::path::PathBuf;

use anyhow::Result;

use super::Options;
use crate::assets::{self, Program};

/// A process of the control plane. The order is that of starting; they end in the reverse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    Apiserver,
    /// Garbage collection, namespace deletion, service accounts and so on.
    ControllerManager,
    /// Places pods on nodes.
    Scheduler,
    /// Plays the kubelets.
    Kwok,
}

impl Component {
    /// Also the name of its log, without `.log`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }

    /// What `options` ask for, in the order of starting.
    pub(super) fn wanted(options: &Options) -> Vec<Self> {
        let mut wanted = vec![Self::Etcd, Self::Apiserver, Self::ControllerManager];
        if options.scheduler || options.has_nodes() {
            wanted.push(Self::Scheduler);
        }
        if options.kwok_nodes > 0 {
            wanted.push(Self::Kwok);
        }
        wanted
    }

    pub(super) async fn executable(self) -> Result<PathBuf> {
        match self {
            Self::Etcd => assets::program(Program::Etcd).await,
            Self::Apiserver => assets::program(Program::KubeApiserver).await,
            Self::ControllerManager => assets::program(Program::KubeControllerManager).await,
            Self::Scheduler => assets::program(Program::KubeScheduler).await,
            Self::Kwok => assets::kwok().await,
        }
    }
}
