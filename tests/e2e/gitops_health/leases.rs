//! A lease in every phase.

use anyhow::{Context, Result};
use leasehold::api::{CredentialLease, reasons::Phase};
use serde_json::json;

use super::readers::{DONE, FRESH, MOVING, Reading, Sheet, WAITING, WRONG};
use crate::{
    phases::{FIRST, LATER, allow, refuse},
    support::{Lab, Person, Tenant},
};

/// What is meant: a lease that ended well is done, and only one that was refused or failed is wrong.
fn meant(phase: Phase) -> Reading {
    match phase {
        Phase::Pending | Phase::Issuing | Phase::Ending => MOVING,
        Phase::AwaitingApproval | Phase::Scheduled => WAITING,
        Phase::Active | Phase::Completed | Phase::Expired | Phase::Revoked => DONE,
        Phase::Denied | Phase::Failed => WRONG,
    }
}

async fn note(sheet: &mut Sheet, tenant: &Tenant<'_>, name: &str, phase: Phase) -> Result<CredentialLease> {
    let lease = tenant.lease_in(name, phase).await?;
    sheet.note(format!("a lease that is {phase}"), &lease, meant(phase))?;
    Ok(lease)
}

pub async fn fill(lab: &Lab, sheet: &mut Sheet) -> Result<()> {
    let tenant = lab.tenant("read").await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    tenant.lifecycle("asked", |spec| spec["terms"]["approval"] = json!({"type": "Required"})).await?;

    refuse(lab, FIRST).await?;
    let fresh = tenant.lease("run", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
    sheet.note("a lease that nobody has looked at", &fresh, FRESH)?;
    note(sheet, &tenant, "run", Phase::Pending).await?;
    refuse(lab, LATER).await?;
    allow(lab, FIRST).await?;
    note(sheet, &tenant, "run", Phase::Issuing).await?;
    allow(lab, LATER).await?;
    let active = note(sheet, &tenant, "run", Phase::Active).await?;

    // Those that take their time come first, and end beside the others.
    tenant.lease("short", "nightly", |_| {}).await?;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "task"});
    tenant.lease("task", "nightly", |spec| spec["completionRef"] = job).await?;
    tenant.lease_in("task", Phase::Active).await?;
    let namespace = tenant.namespace.as_str();
    lab.kubectl(&["create", "job", "task", "-n", namespace, "--image=example.org/none:1"], None).await?;
    let pinned = |lease: &CredentialLease| lease.status.as_ref().is_some_and(|s| s.completion.is_some());
    tenant.lease_is("task", "bound to its job", pinned).await?;
    lab.kubectl(&["delete", "job", "task", "-n", namespace], None).await?;

    tenant.lease("waits", "asked", |_| {}).await?;
    note(sheet, &tenant, "waits", Phase::AwaitingApproval).await?;
    let later = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 3600)?.to_string();
    tenant.lease("later", "nightly", |spec| spec["notBefore"] = json!(later)).await?;
    note(sheet, &tenant, "later", Phase::Scheduled).await?;
    tenant.lease("denied", "nightly", |spec| spec["ttl"] = json!("2h")).await?;
    note(sheet, &tenant, "denied", Phase::Denied).await?;
    lab.kubectl(&["create", "secret", "generic", "lease-failed", "-n", namespace], None).await?;
    tenant.lease("failed", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
    note(sheet, &tenant, "failed", Phase::Failed).await?;

    let person = Person::approver(&tenant, "lead").await?;
    let decision = person.decides(&active, "Revoked").await.context("revoke")?;
    sheet.note("a decision", &decision, DONE)?;
    note(sheet, &tenant, "run", Phase::Ending).await?;
    note(sheet, &tenant, "run", Phase::Revoked).await?;
    note(sheet, &tenant, "task", Phase::Completed).await?;
    note(sheet, &tenant, "short", Phase::Expired).await?;
    Ok(())
}
