//! What it was measured on: figures without it say nothing.

use std::{fmt::Write as _, process::Command};

use anyhow::Result;

use crate::{field::Field, figures::short, wire::text};

/// The machine, its load, and what ran.
#[derive(Debug, Clone)]
pub struct Machine {
    facts: Vec<(&'static str, String)>,
    before: f64,
    loads: Vec<f64>,
}

/// The load average of the last minute.
fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn after<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("unknown", |(_, value)| value.trim())
}

fn commit() -> String {
    if let Some(commit) = std::env::var("LEASEHOLD_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return commit;
    }
    let asked = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let told = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    told.map_or_else(|| "unknown".to_owned(), |bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

impl Machine {
    /// Before anything runs.
    pub fn seen() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let cpu = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let kilobytes: f64 = after(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
        let modules = include_str!("../controlplane/go.mod");
        let etcd = modules.lines().find_map(|line| line.trim().strip_prefix("go.etcd.io/etcd/server/v3 "));
        let facts = vec![
            ("Date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
            ("Commit", commit()),
            ("Cores", format!("{cores} ({})", after(&cpu, "model name"))),
            ("Memory", format!("{} GB", short(kilobytes * 1024.0 / 1e9))),
            ("Kernel", read("/proc/sys/kernel/osrelease")),
            ("etcd", etcd.unwrap_or("unknown").split(' ').next().unwrap_or_default().to_owned()),
        ];
        Self { facts, before: load(), loads: vec![] }
    }

    /// The API server tells its version.
    pub async fn ask(&mut self, field: &Field) -> Result<()> {
        let version = field.admin.get("/version").await?;
        self.facts.push(("kube-apiserver", text(&version["gitVersion"])));
        Ok(())
    }

    /// While it runs.
    pub fn look(&mut self) {
        self.loads.push(load());
    }

    pub fn markdown(&self) -> String {
        let mut lines = "| | |\n|---|---|\n".to_owned();
        // Writing to a `String` cannot fail.
        for (name, value) in &self.facts {
            _ = writeln!(lines, "| {name} | {value} |");
        }
        let most = self.loads.iter().copied().fold(f64::NAN, f64::max);
        _ = writeln!(lines, "| Load average before, and most during it | {}, {} |", short(self.before), short(most));
        lines
    }
}
