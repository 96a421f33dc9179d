//! CloudEvents 1.0.2 in the HTTP protocol binding's structured mode, JSON event format.

use anyhow::{Context, Result, ensure};
use leasehold::api::Time;
use serde_json::{Value, json};

use super::{
    stage::{self, Stage, ended, issued},
    vendor::{Answer, Call, Contract, Vendor},
};
use crate::support::{Lab, run};

/// A receiver.
#[derive(Default)]
struct Receiver {
    events: Vec<Value>,
    tokens: Vec<String>,
}

/// The rules of the specification, sections "Context Attributes" and "Type System".
fn check(event: &Value) -> Result<(), String> {
    let members = event.as_object().ok_or("an event is an object")?;
    for name in members.keys() {
        if name.is_empty()
            || name.len() > 20
            || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(format!("attribute {name}"));
        }
    }
    for name in ["id", "source", "specversion", "type"] {
        if event[name].as_str().is_none_or(str::is_empty) {
            return Err(format!("no {name}"));
        }
    }
    if event["specversion"] != "1.0"
        || event["source"].as_str().is_some_and(|source| source.contains([' ', '<', '>', '"']))
    {
        return Err("another version, or a source that is no URI reference".to_owned());
    }
    if members.get("subject").is_some_and(|subject| subject.as_str().is_none_or(str::is_empty)) {
        return Err("a subject that is empty".to_owned());
    }
    match members.get("time") {
        Some(time) if time.as_str().is_none_or(|time| time.parse::<Time>().is_err()) => Err(format!("time {time}")),
        _ => Ok(()),
    }
}

impl Contract for Receiver {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        if (call.method.as_str(), call.path.as_str()) != ("POST", "/") {
            return Err("no such resource".to_owned());
        }
        if call.header("content-type") != "application/cloudevents+json; charset=UTF-8" {
            return Err("not the structured mode".to_owned());
        }
        let event: Value = serde_json::from_slice(&call.body).map_err(|error| error.to_string())?;
        check(&event)?;
        self.tokens.push(call.header("authorization").strip_prefix("Bearer ").ok_or("no token")?.to_owned());
        self.events.push(event);
        Ok(Answer::empty(202))
    }
}

/// Whom the API server knows a token as, for an audience.
async fn reviewed(lab: &Lab, token: &str, audience: &str) -> Result<Value> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [audience]}});
    let answer = lab.kubectl(&["create", "-f", "-", "-o", "json"], Some(&review.to_string())).await?;
    serde_json::from_str(&answer).context("a review")
}

#[test]
fn events_are_of_version_1_and_repeat_under_the_same_id() {
    run(async {
        let lab = Lab::shared().await?;
        let vendor = Vendor::open(Receiver::default()).await?;
        let stage = Stage::of(lab, "cloudevents.yaml", vendor.url(), &[]).await?;
        let mut repeated = issued();
        repeated.now = "2026-11-24T14:31:00Z".parse()?;
        stage.done("send-issued", &issued()).await?;
        stage.done("send-issued", &repeated).await?;
        stage.done("send-ended", &ended()).await?;
        vendor.instead(Answer::empty(503));
        ensure!(stage::is_again(&stage.call("send-ended", &ended()).await?));

        let (events, tokens) = vendor.with(|it| (it.events.clone(), it.tokens.clone()));
        let identity = |event: &Value| (event["source"].clone(), event["id"].clone());
        let [first, second, .., last] = events.as_slice() else { anyhow::bail!("{events:?}") };
        ensure!(identity(first) == identity(second) && identity(second) != identity(last), "{events:?}");
        ensure!(first["data"]["approvers"] == json!(["alice@example.com"]), "{first}");
        ensure!(last["data"]["evidence"] == "TokenReviewRefused", "{last}");

        // It proves itself by a token that is good at the receiver, and nowhere else.
        let there = reviewed(lab, &tokens[0], "https://events.example.com").await?;
        ensure!(there["status"]["user"]["username"] == "system:serviceaccount:leasehold-system:leasehold", "{there}");
        let here = reviewed(lab, &tokens[0], "https://kubernetes.default.svc").await?;
        ensure!(here["status"]["authenticated"] != true, "{here}");
        vendor.was_kept()
    });
}
