//! A real Prometheus on loopback, which scrapes the operator every second and evaluates the shipped rules.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use leasehold_harness::{Look, Process, assets, eventually_seeing};
use serde_json::Value;

use super::shipped;
use crate::support::{Lab, Operator};

/// A running Prometheus.
pub struct Prometheus {
    address: String,
    process: Process,
    // Last: its files go when it has ended.
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes the lab's operator.
    pub async fn scraping(lab: &Lab) -> Result<Self> {
        let executable = assets::debian_unpacked("prometheus", "prometheus").await?;
        let dir = tempfile::tempdir()?;
        let target = lab.address()?;
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yaml]\n\
             scrape_configs:\n- job_name: leasehold\n  static_configs:\n  - {{targets: ['{target}'], labels: {{pod: leasehold-0}}}}\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config)?;
        std::fs::write(dir.path().join("rules.yaml"), shipped::rules()?)?;
        let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let mut command = Command::new(executable);
        command.current_dir(dir.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let prometheus = Self { address, process: lab.plane.spawn("prometheus", command)?, _dir: dir };
        let ready = eventually_seeing("prometheus to be ready", Duration::from_secs(60), || async {
            let said = Operator::ask(&prometheus.address, "-/ready").await?;
            Ok::<_, anyhow::Error>(if said.contains("Ready") { Look::Done(()) } else { Look::NotYet(said) })
        });
        ready.await.with_context(|| prometheus.process.log_tail())?;
        Ok(prometheus)
    }

    /// Waits until a query is answered with something, and all of it is so.
    pub async fn has(&self, query: &str, is: impl Fn(f64) -> bool, patience: Duration) -> Result<()> {
        eventually_seeing(&format!("an answer to {query}"), patience, || async {
            let answer = self.get(&format!("query?query={}", encoded(query))).await?;
            let results = answer["result"].as_array().context("no result")?;
            let values: Vec<f64> = results.iter().filter_map(|r| r["value"][1].as_str()?.parse().ok()).collect();
            let fits = !values.is_empty() && values.len() == results.len() && values.iter().all(|value| is(*value));
            Ok::<_, anyhow::Error>(if fits { Look::Done(()) } else { Look::NotYet(format!("{values:?}")) })
        })
        .await
    }

    /// The rules that it evaluates, as it tells of them.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.get("rules").await?;
        let groups = answer["groups"].as_array().context("no groups")?;
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let body = Operator::ask(&self.address, &format!("api/v1/{path}")).await?;
        let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("not JSON: {body}"))?;
        ensure!(answer["status"] == "success", "{answer}");
        Ok(answer["data"].take())
    }
}

/// A text as a value in a URL's query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}
