//! A control plane that outlives the program that started it: the demo.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::faults::PATIENCE;
use super::run_dir::{RunDir, write_private};
use crate::eventually::{Look, eventually_seeing};
use crate::identity::Identity;

/// How long the kernel may take to end a process that was sent SIGKILL.
const SURE: Duration = Duration::from_secs(30);

/// A running control plane that belongs to no process; `<dir>/run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DetachedRun {
    #[serde(skip)]
    dir: PathBuf,
    url: String,
    kubeconfig: PathBuf,
    /// In the order of starting.
    processes: Vec<Child>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Child {
    name: String,
    #[serde(flatten)]
    identity: Identity,
}

impl DetachedRun {
    pub(super) fn save(
        dir: &RunDir,
        url: &str,
        kubeconfig: &Path,
        processes: impl IntoIterator<Item = (String, Identity)>,
    ) -> Result<Self> {
        let run = Self {
            dir: dir.path().to_owned(),
            url: url.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            processes: processes.into_iter().map(|(name, identity)| Child { name, identity }).collect(),
        };
        write_private(&dir.state(), &serde_json::to_string_pretty(&run)?)?;
        Ok(run)
    }

    /// The run that was detached in `dir`.
    ///
    /// # Errors
    /// If there is none.
    pub fn load(dir: &Path) -> Result<Self> {
        let dir = RunDir::existing(dir)?;
        let path = dir.state();
        let text =
            fs::read_to_string(&path).with_context(|| format!("no detached control plane: read {}", path.display()))?;
        let run: Self = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        Ok(Self { dir: dir.path().to_owned(), ..run })
    }

    /// The run's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The administrator's.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The processes of the run.
    #[must_use]
    pub fn processes(&self) -> Vec<Identity> {
        self.processes.iter().map(|child| child.identity).collect()
    }

    /// End its processes, the store last, and delete its directory. A process is signalled only if PID and start time
    /// are those noted down.
    ///
    /// # Errors
    /// If the operating system refuses a signal, or a process does not end.
    pub async fn stop(self) -> Result<()> {
        for child in self.processes.iter().rev() {
            end(child.identity).await.with_context(|| format!("end {}", child.name))?;
        }
        RunDir::existing(&self.dir)?.remove()
    }
}

/// End a process that may not be a child of ours: SIGTERM, then SIGKILL; its end is seen in `/proc`. It is signalled only
/// if PID and start time are those of `process`.
///
/// # Errors
/// If the operating system refuses a signal, or the process does not end.
pub async fn end(process: Identity) -> Result<()> {
    for (signal, patience) in [(Signal::TERM, PATIENCE), (Signal::KILL, SURE)] {
        if !process.signal(signal)? {
            return Ok(());
        }
        let ended = eventually_seeing("its end", patience, || async {
            let seen = if process.is_alive() { Look::NotYet("alive".to_owned()) } else { Look::Done(()) };
            Ok::<_, std::convert::Infallible>(seen)
        });
        if ended.await.is_ok() {
            return Ok(());
        }
    }
    bail!("process {process} survived SIGKILL");
}
