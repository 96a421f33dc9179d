//! One running control plane.

mod component;
mod detached;
mod endpoint;
mod faults;
mod flags;
mod helm;
mod kubectl;
mod nodes;
mod options;
mod ports;
mod ready;
mod run_dir;
mod second;
mod start;
mod store;
mod sweep;
mod users;
mod watchdog;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

pub use component::Component;
pub use detached::{DetachedRun, end};
pub use kubectl::Output;
pub(crate) use kubectl::run;
pub use options::Options;
pub use users::User;

use crate::audit::AuditLog;
use crate::identity::Identity;
use crate::pki::{Authority, PemPair};
use crate::process::{Lifetime, Process};
use endpoint::Endpoint;
use ports::Ports;
use run_dir::RunDir;
pub(crate) use run_dir::write_private;
pub use second::SecondApiserver;
pub use store::{Backup, Store};
use users::{Credentials, Users};
use watchdog::Watchdog;

/// A running control plane. Dropping it kills its processes and leaves the run directory, with the logs, to the next
/// test run to sweep; [`ControlPlane::stop`] ends them in order and deletes the directory.
///
/// It belongs to no async runtime: tests may share one in a `static`. Then it is never dropped, and its processes end
/// because we do. Clients do belong to a runtime; that is why [`ControlPlane::admin`] and [`ControlPlane::user`] make
/// new ones.
pub struct ControlPlane {
    // Fields are dropped in this order: the watchdog outlives the processes it guards.
    running: BTreeMap<Component, Process>,
    watchdog: Option<Watchdog>,
    dir: RunDir,
    options: Options,
    ports: Ports,
    authority: Authority,
    endpoint: Endpoint,
    admin: Credentials,
    users: Users,
    kubectl: PathBuf,
}

/// Starts processes of a run: [`ControlPlane::spawner`].
#[derive(Debug, Clone)]
pub struct Spawner {
    dir: RunDir,
}

impl Spawner {
    /// As [`ControlPlane::spawn`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        let process = Process::spawn(name, command, &self.dir.log(name), Lifetime::Ours)?;
        self.dir.record(name, process.identity())?;
        Ok(process)
    }

    /// Where the log of a process is, whether it runs or not.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.log(name)
    }
}

impl ControlPlane {
    /// The API server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// The certificate of the authority that signed the API server's.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.endpoint.authority_pem
    }

    /// Where this run keeps its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The kubectl that goes with this control plane, for whoever starts it himself.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// The process of a component; `None` if it does not run.
    #[must_use]
    pub fn process(&self, component: Component) -> Option<Identity> {
        self.running.get(&component).map(Process::identity)
    }

    /// The key that signs ServiceAccount tokens (PEM), for a test that makes one of its own.
    #[must_use]
    pub fn service_account_key(&self) -> PathBuf {
        self.dir.service_account_key()
    }

    /// The authority's certificate, in a file.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.dir.authority()
    }

    /// What the API server was asked.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.dir.audit_log())
    }

    /// Start a process of the test's own, such as the operator, with its log in the run directory. It ends when the
    /// [`Process`] is dropped or we end, and a sweep knows it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        self.spawner().spawn(name, command)
    }

    /// What starts processes of this run, for whoever must not borrow the control plane.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner { dir: self.dir.clone() }
    }

    /// A certificate, signed as the API server's is, for another server of the run at 127.0.0.1.
    pub(crate) fn server_certificate(&self) -> Result<PemPair> {
        self.authority.server(&["127.0.0.1", "localhost"])
    }

    /// End all components in good order, the store last, and delete the run directory.
    ///
    /// # Errors
    /// If the operating system refuses. What is left is killed all the same.
    pub async fn stop(mut self) -> Result<()> {
        while let Some((_, mut process)) = self.running.pop_last() {
            process.terminate(faults::PATIENCE).await?;
        }
        self.dir.remove()
    }

    /// Leave it running past our exit. [`DetachedRun::stop`] ends it, from whatever process.
    ///
    /// # Errors
    /// If it was not started with [`Options::detached`], or its state cannot be written: then it is killed.
    pub fn detach(mut self) -> Result<DetachedRun> {
        ensure!(self.options.detached, "only a control plane started with Options::detached can be detached");
        let processes = self.running.values().map(|process| (process.name().to_owned(), process.identity()));
        let run = DetachedRun::save(&self.dir, self.url(), self.admin_kubeconfig(), processes)?;
        self.dir.disown()?;
        self.watchdog = None;
        for (_, process) in std::mem::take(&mut self.running) {
            let _in_the_run_file = process.release();
        }
        Ok(run)
    }
}
