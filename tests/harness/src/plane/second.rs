//! A second API server on the same store, as a cluster of several has them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use http::Request;
use kube::Client;

use super::endpoint::{Endpoint, by_token};
use super::flags::flags;
use super::run_dir::write_private;
use super::{Component, ControlPlane, Ports};
use crate::eventually::eventually;
use crate::process::Process;

/// Its name among the processes and logs of the run.
const NAME: &str = "kube-apiserver-second";
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running second API server. It ends when this is dropped.
pub struct SecondApiserver {
    endpoint: Endpoint,
    admin: Client,
    kubeconfigs: PathBuf,
    process: Process,
}

impl ControlPlane {
    /// Start another API server, which finds etcd at this port of the machine: the store's own, or that of a relay before it. It
    /// is ready when this returns.
    ///
    /// # Errors
    /// If it does not come up: the error quotes its log.
    pub async fn second_apiserver(&self, etcd_port: u16) -> Result<SecondApiserver> {
        let ports = Ports { etcd_client: etcd_port, ..Ports::free()? };
        let mut command = Command::new(Component::Apiserver.executable().await?);
        // A log of its own: two writers of one file would mix their lines.
        let audit = format!("--audit-log-path={}", self.dir.log("audit-second").display());
        command
            .args(flags(Component::Apiserver, &self.dir, ports, &self.options))
            .arg(audit)
            .env("HOME", self.dir.home());
        let process = self.spawn(NAME, command)?;
        let endpoint = Endpoint::new(ports.apiserver, &self.authority);
        let admin = endpoint.client(self.admin.auth.clone())?;
        let second = SecondApiserver { endpoint, admin, kubeconfigs: self.dir.path().join("kubeconfigs"), process };
        eventually("the second API server to be ready", PATIENCE, || second.ready())
            .await
            .with_context(|| second.process.log_tail())?;
        Ok(second)
    }
}

impl SecondApiserver {
    /// A client that may do anything.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A client that authenticates by bearer token.
    ///
    /// # Errors
    /// If the token has characters no HTTP header may have.
    pub fn token_client(&self, token: &str) -> Result<Client> {
        self.endpoint.client(by_token(token))
    }

    /// A kubeconfig that leads here and authenticates by bearer token.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn token_kubeconfig(&self, file_label: &str, token: &str) -> Result<PathBuf> {
        let path = self.kubeconfigs.join(format!("second-{file_label}.kubeconfig"));
        write_private(&path, &self.endpoint.kubeconfig(by_token(token))?)?;
        Ok(path)
    }

    /// Whether it says of itself that it is ready: `Some` if so.
    ///
    /// # Errors
    /// If it does not answer, or says no.
    pub async fn ready(&self) -> Result<Option<()>> {
        let answer = self.admin.request_text(Request::get("/readyz").body(Vec::new())?).await?;
        Ok((answer == "ok").then_some(()))
    }
}
