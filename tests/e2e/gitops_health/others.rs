//! Policies and connected systems.

use anyhow::{Context, Result};
use leasehold_harness::Other;
use serde_json::{Value, json};

use super::readers::{DONE, FRESH, MOVING, Reading, Sheet, WRONG};
use crate::support::Lab;

/// Creates an object, and notes it as it is then, and once its condition Ready has this reason.
async fn note(lab: &Lab, sheet: &mut Sheet, object: &Value, reason: &str, reading: Reading) -> Result<()> {
    let (kind, name) =
        (object["kind"].as_str().context("no kind")?, object["metadata"]["name"].as_str().context("no name")?);
    let created = lab.kubectl(&["create", "-f", "-", "-o", "json"], Some(&object.to_string())).await?;
    sheet.note(format!("{kind} {name}, new"), &serde_json::from_str::<Value>(&created)?, FRESH)?;
    let until = format!("--for=jsonpath={{.status.conditions[?(@.type==\"Ready\")].reason}}={reason}");
    lab.kubectl(&["wait", kind, name, &until, "--timeout=60s"], None).await?;
    let object = lab.kubectl(&["get", kind, name, "-o", "json"], None).await?;
    sheet.note(format!("{kind} {name}, {reason}"), &serde_json::from_str::<Value>(&object)?, reading)
}

pub async fn fill(lab: &Lab, sheet: &mut Sheet) -> Result<()> {
    let policy = |name: &str, mut spec: Value| {
        spec["match"] = json!({"grantNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}}});
        json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy", "metadata": {"name": name}, "spec": spec})
    };
    let rule = json!([{"expression": "lease.ttll < duration('1h')", "message": "short ones only"}]);
    for (name, spec, reason, reading) in [
        ("in-force", json!({"terms": {"ttl": {"max": "1h"}}}), "Accepted", DONE),
        ("broken", json!({"terms": {"validations": rule}}), "ValidationInvalid", WRONG),
        ("stop", json!({"stopPolicy": "HoldAndRevoke"}), "Accepted", DONE),
    ] {
        note(lab, sheet, &policy(name, spec), reason, reading).await?;
    }

    let other = Other::start().await?;
    note(lab, sheet, &other.system("answers"), "Reachable", DONE).await?;
    let mut silent = other.system("silent");
    silent["spec"]["http"]["url"] = json!("https://localhost:1");
    note(lab, sheet, &silent, "Unreachable", MOVING).await?;
    let mut forbidden = other.system("forbidden");
    forbidden["spec"]["http"]["url"] = json!("https://169.254.169.254");
    note(lab, sheet, &forbidden, "Forbidden", WRONG).await?;
    let mut invalid = other.system("invalid");
    invalid["spec"]["operations"][0]["path"] = json!("'/gate/' + lease.name");
    note(lab, sheet, &invalid, "ExpressionInvalid", WRONG).await?;
    let mut closed = other.system("closed");
    closed["spec"]["http"]["auth"] = json!({"type": "Basic", "basic": {"secretRef": {"name": "nobodys"}}});
    note(lab, sheet, &closed, "SecretUnreadable", MOVING).await
}
