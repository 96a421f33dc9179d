//! What a told story leaves, and how it is cleared away.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use leasehold_harness::{DetachedRun, Identity, end};
use serde::{Deserialize, Serialize};

use crate::{
    cluster::Cluster,
    story::{NAMESPACE, STOP},
};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/demo");

/// Marks what the story makes outside its namespace.
const DEMO: &str = "app.kubernetes.io/part-of=leasehold-demo";

/// What runs, so that another process can end it.
#[derive(Default, Serialize, Deserialize)]
pub struct Left {
    pub operator: Option<Identity>,
    /// The context of a cluster that is not ours.
    pub context: Option<String>,
    /// Whether Leasehold was installed there by the demo.
    pub installed: bool,
}

/// The directory of logs, kubeconfigs and state.
pub fn dir() -> Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(DIR).with_context(|| format!("create {DIR}"))?;
    fs::canonicalize(DIR).with_context(|| format!("resolve {DIR}"))
}

/// Where the control plane of the demo keeps its files.
pub fn plane(dir: &Path) -> PathBuf {
    dir.join("plane")
}

/// The administrator's kubeconfig, where people look for it.
pub fn admin(dir: &Path) -> PathBuf {
    dir.join("admin.kubeconfig")
}

fn state(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

impl Left {
    /// What an earlier demo left.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(state(dir)) {
            Ok(text) => {
                Ok(Some(serde_json::from_str(&text).with_context(|| format!("parse {}", state(dir).display()))?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", state(dir).display())),
        }
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        write_private(&state(dir), &serde_json::to_string_pretty(self)?)
    }

    /// Whether anything of it still runs.
    pub fn is_running(&self, dir: &Path) -> bool {
        let ours = DetachedRun::load(&plane(dir)).is_ok_and(|run| run.processes().iter().any(|p| p.is_alive()));
        ours || self.operator.is_some_and(Identity::is_alive)
    }
}

/// Ends what runs and deletes what was written.
pub async fn clear() -> Result<()> {
    let dir = dir()?;
    let left = Left::load(&dir)?;
    if let Some(left) = &left {
        if let Some(operator) = left.operator {
            end(operator).await.context("end the operator")?;
        }
        if let Some(context) = &left.context {
            forget(&Cluster::again(&dir).await?, left.installed).await.with_context(|| {
                format!("clear away in context {context}; if that cluster is gone, delete {} instead", dir.display())
            })?;
        }
    }
    if let Ok(run) = DetachedRun::load(&plane(&dir)) {
        run.stop().await.context("end the control plane")?;
    }
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    println!("{}", if left.is_some() { "The demo is gone." } else { "No demo runs." });
    Ok(())
}

/// Takes the demo out of a cluster that is not ours; Leasehold too, if the demo brought it.
async fn forget(cluster: &Cluster, installed: bool) -> Result<()> {
    println!("Deleting namespace {NAMESPACE} ...");
    cluster.admin(&["delete", "namespace", NAMESPACE, "--ignore-not-found"], None).await?;
    // The platform team's bindings, and a stop if the story ended between stop and resume.
    let bindings = ["delete", "clusterrolebindings", "-l", DEMO, "--ignore-not-found"];
    cluster.admin(&bindings, None).await?;
    let stop = ["delete", "credentialleasepolicy", STOP, "--ignore-not-found"];
    let stopped = cluster.kubectl(cluster.admin_kubeconfig(), &stop, None).await?;
    anyhow::ensure!(stopped.succeeded || stopped.stderr.contains("resource type"), "{}", stopped.stderr.trim());
    if installed {
        println!("Uninstalling Leasehold, which the demo installed ...");
        for part in crate::cluster::PARTS.iter().rev() {
            cluster.admin(&["delete", "--ignore-not-found", "-k", &crate::cluster::config(part)], None).await?;
        }
    }
    Ok(())
}

/// Writes a file that only we may read.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
