//! The operator's process: the executable that ships, as the service account that ships, with no other right.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use leasehold_harness::{Identity, Lifetime, Process, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::Cluster;

/// A running operator. Dropping it kills it.
pub struct Operator {
    process: Process,
    address: String,
}

impl Operator {
    /// Starts it and waits until it would issue.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let args = ["create", "token", "leasehold", "-n", "leasehold-system", "--duration=24h"];
        let (kubeconfig, _) = cluster.by_token("operator", cluster.admin(&args, None).await?.trim()).await?;
        let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let mut command = Command::new(executable()?);
        command.env("KUBECONFIG", kubeconfig).args(["--listen", &address]);
        // The only one: it need not wait for the Lease of the one before, which the story kills.
        command.env("LEASEHOLD_LEADER_ELECTION", "false");
        let process = Process::spawn("operator", command, &log(cluster), Lifetime::Detached)?;
        let operator = Self { process, address };
        eventually("the operator to find its policies in force", Duration::from_secs(60), || async {
            let text = operator.metrics().await?;
            Ok::<_, anyhow::Error>(text.contains("leasehold_policies_enforced 1").then_some(()))
        })
        .await
        .with_context(|| operator.process.log_tail())?;
        Ok(operator)
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Lets it run on without us.
    pub fn release(self) -> (Identity, String) {
        (self.process.release(), self.address)
    }

    async fn metrics(&self) -> Result<String> {
        let mut stream = tokio::net::TcpStream::connect(&self.address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: operator\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// Its log and audit stream.
pub fn log(cluster: &Cluster) -> PathBuf {
    cluster.dir().join("operator.log")
}

/// Built by make into the directory that we run from.
fn executable() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("leasehold");
    anyhow::ensure!(path.is_file(), "{} is not there: start the demo by `make demo`", path.display());
    Ok(path)
}
