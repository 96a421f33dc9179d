//! The directory of one run: everything it writes, and which processes belong to it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

use super::Component;
use crate::identity::Identity;

/// Where runs go that name no directory: `<workspace>/target/controlplane`.
const RUNS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/controlplane");

/// How the directory of such a run begins. Only those are ever swept.
pub(super) const RUN_PREFIX: &str = "run-";

/// The file that names the process a run belongs to; a detached run has none.
const OWNER: &str = "owner";

/// The directory with one file for each process of the run.
const PROCESSES: &str = "processes";

static NEXT_RUN: AtomicUsize = AtomicUsize::new(0);

/// The parent of all runs that name no directory of their own.
pub(super) fn runs() -> Result<PathBuf> {
    fs::create_dir_all(RUNS).with_context(|| format!("create {RUNS}"))?;
    fs::canonicalize(RUNS).with_context(|| format!("resolve {RUNS}"))
}

/// Where the next run of this process goes.
fn next_run() -> Result<PathBuf> {
    let number = NEXT_RUN.fetch_add(1, Ordering::Relaxed);
    Ok(runs()?.join(format!("{RUN_PREFIX}{}-{number}", std::process::id())))
}

/// Knows where each file of a run is. Private keys are in it, so it is for its owner only.
#[derive(Debug, Clone)]
pub(super) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Make the directory, owned by this process.
    pub fn create(wanted: Option<&Path>) -> Result<Self> {
        let path = wanted.map_or_else(next_run, |path| Ok(path.to_owned()))?;
        let private = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(&path).with_context(|| format!("create {}", path.display()))?;
        let path = fs::canonicalize(&path).with_context(|| format!("resolve {}", path.display()))?;
        let is_empty = fs::read_dir(&path)?.next().is_none();
        ensure!(is_empty, "{} is not empty: a control plane needs a directory of its own", path.display());
        let dir = Self { path };
        Identity::own()?.write(&dir.path.join(OWNER))?;
        for part in [dir.processes(), dir.logs(), dir.pki(), dir.kubeconfigs(), dir.home()] {
            private(&part).with_context(|| format!("create {}", part.display()))?;
        }
        Ok(dir)
    }

    /// A directory that an earlier [`RunDir::create`] made.
    pub fn existing(path: &Path) -> Result<Self> {
        Ok(Self { path: std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who started the run and did not detach it. `None` also while it is being created.
    pub fn owner(&self) -> Option<Identity> {
        Identity::read(&self.path.join(OWNER))
    }

    /// From now on the run belongs to nobody, so no sweep ends it.
    pub fn disown(&self) -> Result<()> {
        fs::remove_file(self.path.join(OWNER)).with_context(|| format!("disown {}", self.path.display()))
    }

    /// Note down that a process belongs to the run, in place of an earlier one of that name.
    pub fn record(&self, name: &str, process: Identity) -> Result<()> {
        process.write(&self.processes().join(name))
    }

    /// Every process noted down, ended or not.
    pub fn recorded(&self) -> Result<Vec<(String, Identity)>> {
        let mut processes = Vec::new();
        for file in fs::read_dir(self.processes()).with_context(|| format!("read {}", self.processes().display()))? {
            let file = file?;
            if let Some(identity) = Identity::read(&file.path()) {
                processes.push((file.file_name().to_string_lossy().into_owned(), identity));
            }
        }
        Ok(processes)
    }

    pub fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The home of kubectl: caches go there, and nothing of the developer's is read.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    pub fn state(&self) -> PathBuf {
        self.path.join("run.json")
    }

    pub fn etcd_data(&self) -> PathBuf {
        self.path.join("etcd")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    pub fn audit_policy(&self) -> PathBuf {
        self.path.join("audit-policy.yaml")
    }

    pub fn authentication(&self) -> PathBuf {
        self.path.join("authentication.yaml")
    }

    pub fn kwok_stages(&self) -> PathBuf {
        self.path.join("kwok-stages.yaml")
    }

    pub fn authority(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }

    pub fn server_certificate(&self) -> PathBuf {
        self.pki().join("server.crt")
    }

    pub fn server_key(&self) -> PathBuf {
        self.pki().join("server.key")
    }

    pub fn kubelet_client_certificate(&self) -> PathBuf {
        self.pki().join("kubelet-client.crt")
    }

    pub fn kubelet_client_key(&self) -> PathBuf {
        self.pki().join("kubelet-client.key")
    }

    pub fn service_account_public_key(&self) -> PathBuf {
        self.pki().join("service-account.pub")
    }

    pub fn service_account_key(&self) -> PathBuf {
        self.pki().join("service-account.key")
    }

    pub fn component_kubeconfig(&self, component: Component) -> PathBuf {
        self.kubeconfig(component.name())
    }

    pub fn kubeconfig(&self, label: &str) -> PathBuf {
        self.kubeconfigs().join(format!("{label}.kubeconfig"))
    }

    pub fn processes(&self) -> PathBuf {
        self.path.join(PROCESSES)
    }

    fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    fn kubeconfigs(&self) -> PathBuf {
        self.path.join("kubeconfigs")
    }
}

/// Write a file that only we may read.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
