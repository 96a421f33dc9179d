//! Who acts: Leasehold as it is shipped, or one of the yardsticks. Each is a process of its own with the operator's rights.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use leasehold_harness::Process;
use serde::Serialize;

use crate::{field::Field, support::Operator};

/// Clock ticks of `/proc/<pid>/stat` a second: what Linux tells every process, whatever the kernel's own is.
const TICKS: f64 = 100.0;

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    #[serde(rename = "R")]
    Raw,
    Leasehold,
    #[serde(rename = "N")]
    Naive,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Raw => "R",
            Self::Leasehold => "Leasehold",
            Self::Naive => "N",
        }
    }
}

/// A running one.
pub struct Arm {
    pub kind: Kind,
    process: Process,
    pub address: String,
}

/// The executable as `cargo build --release` makes it; `make bench` says where it is.
pub fn executable() -> PathBuf {
    std::env::var_os("LEASEHOLD_EXECUTABLE").map_or_else(|| env!("CARGO_BIN_EXE_leasehold").into(), PathBuf::from)
}

impl Arm {
    /// Starts one and waits for nothing. Leasehold's flags are the shipped ones, and `flags` after them.
    pub fn launch(field: &Field, kind: Kind, kubeconfig: &std::path::Path, flags: &[&str]) -> Result<Self> {
        let label = field.next_label(kind.label());
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = if kind == Kind::Leasehold {
            let mut command = Command::new(executable());
            command.args(["--listen", &address, "--retention=24h", "--log=info", "--pod-name", &label]).args(flags);
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.env("LEASEHOLD_BENCH_ARM", kind.label()).env("LEASEHOLD_BENCH_TEMPLATES", &field.templates_file);
            command
        };
        command.env("KUBECONFIG", kubeconfig);
        Ok(Self { kind, process: field.lab.plane.spawn(&label, command)?, address })
    }

    /// Starts one and waits until it acts.
    pub async fn start(field: &Field, kind: Kind) -> Result<Self> {
        Self::start_with(field, kind, &field.kubeconfig, &[]).await
    }

    pub async fn start_with(field: &Field, kind: Kind, kubeconfig: &std::path::Path, flags: &[&str]) -> Result<Self> {
        let arm = Self::launch(field, kind, kubeconfig, flags)?;
        arm.until_it_acts().await?;
        Ok(arm)
    }

    /// Waits until it issues and ends: it has read everything, it leads, and it sees the policies in force.
    pub async fn until_it_acts(&self) -> Result<()> {
        self.until_metrics(&["leasehold_leading 1", "leasehold_policies_enforced 1"]).await
    }

    /// Waits until it ends: it has read everything, and it leads.
    pub async fn until_it_ends(&self) -> Result<()> {
        self.until_metrics(&["leasehold_leading 1"]).await
    }

    async fn until_metrics(&self, wanted: &[&str]) -> Result<()> {
        let begun = Instant::now();
        while !self.tells(wanted).await {
            if begun.elapsed() > Duration::from_secs(120) {
                bail!("{} does not act: {}", self.kind.label(), self.process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn tells(&self, wanted: &[&str]) -> bool {
        if self.kind != Kind::Leasehold {
            return self.process.log_text().is_ok_and(|text| text.lines().any(|line| line == "ready"));
        }
        // The cheap question first: to count 10,000 leases for the metrics again and again would delay what is waited for.
        if !self.is_ready().await {
            return false;
        }
        let answer = Operator::ask(&self.address, "metrics").await.unwrap_or_default();
        wanted.iter().all(|line| answer.contains(line))
    }

    /// Whether it has read everything: it may not lead.
    pub async fn is_ready(&self) -> bool {
        Operator::ask(&self.address, "readyz").await.is_ok_and(|answer| answer.trim() == "ok")
    }

    /// A yardstick that met an error measures nothing.
    pub fn is_sound(&self) -> Result<()> {
        let said = self.process.log_text()?;
        match said.lines().find(|line| line.starts_with("failed: ")) {
            Some(line) if self.kind == Kind::Raw => bail!("R {line}"),
            _ => Ok(()),
        }
    }

    /// Ends it well.
    pub async fn stop(mut self) -> Result<()> {
        self.is_sound()?;
        self.process.terminate(Duration::from_secs(20)).await.map(drop)
    }

    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Resident memory in MB (10^6 bytes), and the most there was.
    pub fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.identity().pid))?;
        let kilobytes = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in /proc")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok((kilobytes("VmRSS:")? * 1024.0 / 1e6, kilobytes("VmHWM:")? * 1024.0 / 1e6))
    }

    /// Forgets the most there was.
    pub fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.process.identity().pid), "5")?)
    }

    /// Seconds of CPU it has used.
    pub fn cpu(&self) -> Result<f64> {
        cpu(self.process.identity().pid)
    }
}

/// Seconds of CPU that a process has used.
pub fn cpu(pid: i32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").context("no command in /proc/<pid>/stat")?.1;
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |n: usize| -> Result<f64> { Ok(fields.get(n).context("a short /proc/<pid>/stat")?.parse()?) };
    // Fields 14 and 15 of proc_pid_stat(5); the first two are before the closing parenthesis.
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
