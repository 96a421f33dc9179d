//! GitHub: Actions variables of a repository (`/actions/variables`) and `POST /actions/workflows/{workflow_id}/dispatches`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use leasehold::domain::outcome::Outcome;
use serde_json::{Value, json};

use super::{
    stage::{self, Stage, issued, requested, with},
    vendor::{Answer, Call, Contract, Vendor, decoded, only},
};
use crate::support::{Lab, run};

/// A repository with a workflow `deploy.yaml`.
struct GitHub {
    variables: BTreeMap<String, String>,
    runs: Vec<Value>,
}

fn message(status: u16, text: &str) -> Answer {
    Answer::json(status, json!({"message": text, "documentation_url": "https://docs.github.com/rest"}))
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    first
        && !name.to_ascii_uppercase().starts_with("GITHUB_")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl GitHub {
    fn create(&mut self, call: &Call) -> Result<Answer, String> {
        let variable = call.json()?;
        only(&variable, &["name", "value"], &[])?;
        let name = variable["name"].as_str().ok_or("a name is a text")?;
        if !is_name(name) {
            return Ok(message(422, "Variable names can only contain alphanumeric characters or underscores"));
        }
        if self.variables.contains_key(name) {
            return Ok(message(409, "Already exists - Variable already exists"));
        }
        self.variables.insert(name.to_owned(), variable["value"].as_str().ok_or("a value is a text")?.to_owned());
        Ok(Answer::json(201, json!({})))
    }

    fn change(&mut self, call: &Call, name: &str) -> Result<Answer, String> {
        if !self.variables.contains_key(name) {
            return Ok(message(404, "Not Found"));
        }
        if call.method == "DELETE" {
            call.nobody()?;
            self.variables.remove(name);
        } else {
            let change = call.json()?;
            only(&change, &[], &["name", "value"])?;
            self.variables.insert(name.to_owned(), change["value"].as_str().unwrap_or_default().to_owned());
        }
        Ok(Answer::empty(204))
    }

    fn dispatch(&mut self, call: &Call) -> Result<Answer, String> {
        let run = call.json()?;
        only(&run, &["ref"], &["inputs", "return_run_details"])?;
        let inputs = run["inputs"].as_object().ok_or("inputs are an object")?;
        if inputs.len() > 25 || inputs.values().any(|value| !value.is_string()) {
            return Ok(message(422, "Unexpected inputs provided"));
        }
        self.runs.push(run["inputs"].clone());
        Ok(Answer::empty(204))
    }
}

impl Contract for GitHub {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        if call.header("accept") != "application/vnd.github+json" || call.header("x-github-api-version") != "2022-11-28"
        {
            return Err("not the documented headers".to_owned());
        }
        if call.header("authorization") != "Bearer github_pat_1" {
            return Ok(message(401, "Bad credentials"));
        }
        let path = call.path.strip_prefix("/repos/example/payments/actions/").ok_or("another repository")?;
        match (call.method.as_str(), path) {
            ("GET", "variables") if call.param("per_page") == Some("1") => {
                Ok(Answer::json(200, json!({"total_count": 0, "variables": []})))
            }
            ("POST", "variables") => self.create(call),
            ("POST", "workflows/deploy.yaml/dispatches") => self.dispatch(call),
            ("PATCH" | "DELETE", path) => {
                self.change(call, &decoded(path.strip_prefix("variables/").ok_or("no such resource")?))
            }
            _ => Err("no such resource".to_owned()),
        }
    }
}

async fn stage() -> Result<(Vendor<GitHub>, Stage)> {
    let vendor = Vendor::open(GitHub { variables: BTreeMap::new(), runs: Vec::new() }).await?;
    let stage = Stage::of(Lab::shared().await?, "github.yaml", vendor.url(), &[("token", "github_pat_1")]).await?;
    Ok((vendor, stage))
}

#[test]
fn the_variable_names_the_live_lease_until_it_is_taken_back_and_each_call_may_be_repeated() {
    run(async {
        let (vendor, stage) = stage().await?;
        let (facts, gone) = (with(issued(), "name", "LEASE"), with(requested(), "name", "LEASE"));
        stage.done("probe", &requested()).await?;
        ensure!(stage::is_refused(&stage.call("set-variable", &facts).await?), "there is none to set yet");
        for operation in ["ensure-variable", "ensure-variable", "set-variable", "set-variable", "ensure-variable"] {
            stage.done(operation, &facts).await?;
        }
        let value = vendor.with(|it| it.variables["LEASEHOLD_LEASE"].clone());
        ensure!(value == "payments/rollout-2-3 until 2026-11-24T14:45:00Z", "{value}");
        for _ in 0..2 {
            stage.done("delete-variable", &gone).await?;
            ensure!(vendor.with(|it| it.variables.is_empty()));
        }
        vendor.was_kept()
    });
}

#[test]
fn a_workflow_is_started_with_the_lease_and_limits_are_waited_out() {
    run(async {
        let (vendor, stage) = stage().await?;
        stage.done("start-workflow", &issued()).await?;
        let runs = vendor.with(|it| it.runs.clone());
        ensure!(runs[0]["lease-namespace"] == "payments" && runs[0]["lease-name"] == "rollout-2-3", "{runs:?}");

        let denied = || message(403, "Resource not accessible by personal access token");
        for (answer, again) in [
            (message(403, "You have exceeded a secondary rate limit").with("Retry-After", "60"), true),
            (message(403, "API rate limit exceeded").with("x-ratelimit-remaining", "0"), true),
            (message(429, "API rate limit exceeded"), true),
            (message(502, "Server Error"), true),
            (denied().with("x-ratelimit-remaining", "4999"), false),
            (denied(), false),
        ] {
            vendor.instead(answer);
            let outcome = stage.call("start-workflow", &issued()).await?;
            ensure!(stage::is_again(&outcome) == again && outcome != Outcome::Done, "{outcome:?}");
        }
        vendor.was_kept()
    });
}
