//! Three readers of health, and the sheet of what each should say.

use std::{collections::BTreeSet, process::Stdio};

use anyhow::{Context, Result, ensure};
use leasehold_harness::assets;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::Lab;

/// What is expected: kstatus, Flux, Argo CD.
#[derive(Clone, Copy)]
pub struct Reading(&'static str, &'static str, &'static str);

/// As it should be, or over as it should be.
pub const DONE: Reading = Reading("Current", "Current", "Healthy");
/// On its way.
pub const MOVING: Reading = Reading("InProgress", "InProgress", "Progressing");
/// It waits for people, or for a time that was agreed.
pub const WAITING: Reading = Reading("InProgress", "InProgress", "Suspended");
/// Nothing more happens unless somebody changes it.
pub const WRONG: Reading = Reading("Failed", "Failed", "Degraded");
/// Accepted, which is all that kstatus reads; and it needs what others have to bring.
pub const LACKING: Reading = Reading("Current", "InProgress", "Progressing");
/// Nobody has looked at it yet: kstatus takes that for done, and Flux's expressions find no status to read, so it waits.
pub const FRESH: Reading = Reading("Current", "Unknown", "Progressing");

/// The names of the objects that were seen, and what is expected of each.
#[derive(Default)]
pub struct Sheet {
    rows: Vec<(String, Value, Reading)>,
}

#[derive(Serialize)]
struct Question<'a> {
    objects: Vec<&'a Value>,
    lua: Value,
    flux: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    kstatus: Verdict,
    flux: Verdict,
    argo: Verdict,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    status: String,
    #[serde(default)]
    message: String,
}

impl Sheet {
    /// Notes what was seen.
    pub fn note(&mut self, what: impl Into<String>, object: &impl Serialize, reading: Reading) -> Result<()> {
        self.rows.push((what.into(), serde_json::to_value(object)?, reading));
        Ok(())
    }

    /// Phases of the leases that were seen.
    pub fn phases(&self) -> BTreeSet<&str> {
        self.rows.iter().filter_map(|(_, object, _)| object["status"]["phase"].as_str()).collect()
    }

    /// Asks the three, and compares.
    pub async fn check(&self, lab: &Lab) -> Result<()> {
        let question = Question {
            objects: self.rows.iter().map(|row| &row.1).collect(),
            lua: scripts(lab).await?,
            flux: expressions(lab)?,
        };
        let kinds: BTreeSet<&str> = self.rows.iter().filter_map(|(_, object, _)| object["kind"].as_str()).collect();
        ensure!(kinds.len() == 5, "not every kind was seen: {kinds:?}");
        let answers = ask(&question).await?;
        ensure!(answers.len() == self.rows.len(), "{} answers to {} questions", answers.len(), self.rows.len());
        let mut wrong = Vec::new();
        for ((what, object, Reading(kstatus, flux, argo)), said) in self.rows.iter().zip(&answers) {
            if [kstatus, flux, argo] != [&said.kstatus.status, &said.flux.status, &said.argo.status] {
                wrong.push(format!("{what}: not {kstatus}, {flux}, {argo}, but {said:?}: {}", object["status"]));
            }
            ensure!(!said.argo.message.is_empty(), "{what}: Argo CD would show no message");
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// Scripts by kind, out of the ConfigMap that the kustomization makes.
async fn scripts(lab: &Lab) -> Result<Value> {
    let config = lab.kubectl(&["kustomize", &lab.config("argocd"), "-o", "/dev/stdout"], None).await?;
    let config: Value = serde_saphyr::from_str(&config)?;
    let name = config["metadata"]["name"].as_str();
    ensure!(name == Some("argocd-cm") && config["metadata"]["namespace"] == "argocd", "{config}");
    let mut found = json!({});
    for (key, script) in config["data"].as_object().context("a ConfigMap without data")? {
        let kind = key.strip_prefix("resource.customizations.health.leasehold.dev_").context("another key")?;
        found[kind] = script.clone();
    }
    Ok(found)
}

/// What `spec.healthCheckExprs` of all Kustomizations of the sample say.
fn expressions(lab: &Lab) -> Result<Vec<Value>> {
    let sample = std::fs::read_to_string(lab.config("samples/gitops/flux.yaml"))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&sample)?;
    let of = |document: &Value| document["spec"]["healthCheckExprs"].as_array().cloned().unwrap_or_default();
    Ok(documents.iter().flat_map(of).collect())
}

async fn ask(question: &Question<'_>) -> Result<Vec<Answer>> {
    let mut command = Command::new(assets::go_module("gitops-health").await?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut pipe = child.stdin.take().context("no stdin")?;
    pipe.write_all(&serde_json::to_vec(question)?).await?;
    drop(pipe);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
