//! What the store holds: copied while it goes on, and put back as it was then.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Component, ControlPlane, ready};
use crate::eventually::eventually;

/// How long etcd may take to answer after its start.
const PATIENCE: Duration = Duration::from_mins(1);

/// A copy of everything that the store held at one moment.
#[derive(Debug)]
pub struct Backup {
    path: PathBuf,
}

impl ControlPlane {
    /// Copy what the store holds. It is frozen meanwhile, which takes a moment: the copy is what a crash at that moment would
    /// have left, and etcd starts from that.
    ///
    /// # Errors
    /// If etcd is not running, or its files cannot be copied.
    pub fn back_up_store(&mut self, name: &str) -> Result<Backup> {
        let path = self.dir.path().join(format!("backup-{name}"));
        self.pause_component(Component::Etcd)?;
        let copied = copy(&self.dir.etcd_data(), &path);
        self.resume_component(Component::Etcd)?;
        copied.map(|()| Backup { path })
    }

    /// End everything at once, put a copy in the place of the store, and start everything again, as whoever restores a cluster
    /// does. Ready when this returns.
    ///
    /// # Errors
    /// If the files cannot be replaced, or a component does not come back.
    pub async fn restore_store(&mut self, backup: &Backup) -> Result<()> {
        self.restore(backup, None).await
    }

    /// The same, and the store's version is raised above what it was: no version is given twice, and no watch goes on.
    ///
    /// # Errors
    /// As [`ControlPlane::restore_store`].
    pub async fn restore_store_raised(&mut self, backup: &Backup) -> Result<()> {
        let before = self.store().revision().await?;
        self.restore(backup, Some(before + 100)).await
    }

    async fn restore(&mut self, backup: &Backup, raise: Option<u64>) -> Result<()> {
        let running: Vec<Component> = self.running.keys().copied().collect();
        for component in running.iter().rev() {
            self.kill_component(*component)?;
        }
        let data = self.dir.etcd_data();
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        copy(&backup.path, &data)?;
        for component in running {
            self.launch(component).await?;
            if let (Component::Etcd, Some(raise)) = (component, raise) {
                let store = self.store();
                eventually("etcd to answer", PATIENCE, || async { store.revision().await.map(Some) }).await?;
                store.raise(raise).await?;
            }
            if component == Component::Apiserver {
                ready::apiserver(self).await?;
            }
        }
        Ok(())
    }

    /// etcd, past the API server: whoever asks it can store what no API server would let pass.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { address: format!("127.0.0.1:{}", self.ports.etcd_client) }
    }
}

/// etcd, asked by its JSON gateway.
#[derive(Debug, Clone)]
pub struct Store {
    /// Where it listens.
    pub address: String,
}

impl Store {
    /// Send a request to a path of the gateway, such as `/v3/kv/range`.
    ///
    /// # Errors
    /// If there is no answer, or it is not a success.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).await.context("connect to etcd")?;
        let (kind, length) = ("application/json", body.len());
        let head = format!("POST {path} HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer of etcd")?;
        ensure!(head.contains(" 200 "), "etcd says {head}: {body}");
        Ok(serde_json::from_str(body)?)
    }

    /// How often it was written to: what a resourceVersion is.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn revision(&self) -> Result<u64> {
        let key = STANDARD.encode("leasehold-harness");
        let answer = self.ask("/v3/kv/range", &json!({"key": key})).await?;
        let revision = answer["header"]["revision"].as_str().context("etcd tells no revision")?;
        Ok(revision.parse()?)
    }

    /// Write until it was written to so often, and forget what was before, as `etcdutl snapshot restore --bump-revision
    /// --mark-compacted` does.
    async fn raise(&self, to: u64) -> Result<()> {
        let key = STANDARD.encode("leasehold-harness");
        let mut now = self.revision().await?;
        while now < to {
            self.ask("/v3/kv/put", &json!({"key": key, "value": key})).await?;
            now += 1;
        }
        self.ask("/v3/kv/compaction", &json!({"revision": now.to_string()})).await.map(drop)
    }
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
