//! The operator under test: the shipped executable, as the shipped service account, with no right beyond the shipped ones.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use leasehold_harness::{ControlPlane, Process, eventually};

/// A running operator.
pub struct Operator {
    process: Process,
    address: String,
}

impl Operator {
    /// Starts one and waits until it would issue. Its log, and the audit stream in it, is `<label>.log` in the plane's directory.
    pub async fn start(plane: &ControlPlane, label: &str, flags: &[&str]) -> Result<Self> {
        let operator = Self::spawn(plane, label, flags).await?;
        operator.wait_until_enforced().await?;
        Ok(operator)
    }

    /// Starts one and waits only until it has read everything.
    pub async fn spawn(plane: &ControlPlane, label: &str, flags: &[&str]) -> Result<Self> {
        let operator = Self::launch(plane, label, flags).await?;
        let ready = operator.wait("readyz", |text| text.trim() == "ok").await;
        ready.with_context(|| operator.process.log_tail())?;
        Ok(operator)
    }

    /// Starts one and waits for nothing.
    pub async fn launch(plane: &ControlPlane, label: &str, flags: &[&str]) -> Result<Self> {
        let kubeconfig = Self::kubeconfig(plane, label).await?;
        Self::launch_as(plane, label, &kubeconfig, flags)
    }

    /// Starts one with this kubeconfig and waits for nothing.
    pub fn launch_as(plane: &ControlPlane, label: &str, kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        // By the environment, so that a test's flag may say otherwise.
        command.env("KUBECONFIG", kubeconfig).env("LEASEHOLD_LOG", "info,leasehold=debug");
        // Tests kill operators and start the next one: without an election, the next one need not wait for the last one's Lease.
        command.env("LEASEHOLD_LEADER_ELECTION", "false");
        command.args(["--listen", &address]).args(flags);
        Ok(Self { process: plane.spawn(label, command)?, address })
    }

    /// A kubeconfig of the operator's service account, as the cluster itself would hand it a token.
    pub async fn kubeconfig(plane: &ControlPlane, label: &str) -> Result<PathBuf> {
        let args = ["create", "token", "leasehold", "-n", "leasehold-system", "--duration=12h"];
        let token = plane.kubectl(plane.admin_kubeconfig(), &args, None).await?.ok()?;
        plane.token_kubeconfig(label, token.trim())
    }

    /// Waits until the policies are seen to be in force.
    pub async fn wait_until_enforced(&self) -> Result<()> {
        self.wait("metrics", |text| text.contains("leasehold_policies_enforced 1"))
            .await
            .with_context(|| self.process.log_tail())
    }

    async fn wait(&self, path: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        eventually(&format!("the operator's /{path}"), Duration::from_secs(60), || async {
            Ok::<_, anyhow::Error>(is(&self.get(path).await?).then_some(()))
        })
        .await
    }

    /// The body of one of its endpoints.
    pub async fn get(&self, path: &str) -> Result<String> {
        Self::ask(&self.address, path).await
    }

    /// Where its endpoints are.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The body of an endpoint of the operator at this address.
    pub async fn ask(address: &str, path: &str) -> Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: operator\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// Everything it has said: logs and audit stream.
    pub fn log(&self) -> Result<String> {
        self.process.log_text()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Waits until it has ended by itself; how.
    pub async fn ended(mut self, patience: Duration) -> Result<std::process::ExitStatus> {
        let ended = tokio::time::timeout(patience, self.process.wait()).await;
        ended.with_context(|| format!("it still runs; {}", self.process.log_tail()))?
    }

    /// SIGTERM; how it ended.
    pub async fn terminate(mut self) -> Result<std::process::ExitStatus> {
        self.process.terminate(Duration::from_secs(20)).await
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
