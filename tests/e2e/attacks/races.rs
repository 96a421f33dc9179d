//! A role that is edited between agreement and binding.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    CredentialLease,
    condition::ConditionStatus,
    reasons::{EndReason, Phase},
    status::CredentialLeaseStatus,
};
use serde_json::json;

use super::{call::Call, shapes::rbac};
use crate::support::{Lab, Tenant, run};

const LEASES: usize = 20;
/// So many at most, if the edits never hit the moment between agreement and binding.
const MOST: usize = 200;

/// What Role `reader` is flipped between.
fn verbs_of(wide: bool) -> Vec<String> {
    let verbs = if wide { &["get", "list", "delete"][..] } else { &["get", "list"] };
    verbs.iter().map(|verb| (*verb).to_owned()).collect()
}

/// Edits the role as fast as the API server takes it, until told to stop: how often.
async fn flip(lab: &Lab, namespace: &str, stop: &AtomicBool) -> Result<usize> {
    let (admin, path) = (lab.plane.admin(), rbac(namespace, "roles/reader"));
    let edit = async |wide| {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs_of(wide)}]);
        Call::patch(&path, json!({"rules": rules})).send(&admin).await?.ok()
    };
    let mut edits = 0;
    while !stop.load(Ordering::Relaxed) {
        edit(edits % 2 == 0).await?;
        edits += 1;
    }
    Ok(edits)
}

/// The verbs that a lease says it holds.
fn verbs(status: &CredentialLeaseStatus) -> Option<Vec<String>> {
    let grant = status.request.as_ref()?.grants.first()?;
    Some(grant.rules.iter().flat_map(|rule| rule.verbs.clone()).collect())
}

/// Whether a lease is issued, or has ended for whatever reason.
fn decided(lease: &CredentialLease) -> bool {
    lease.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Active) || s.end_reason.is_some())
}

/// Asks while the role is edited: for [`LEASES`] leases, and on until both fates were seen.
async fn ask(tenant: &Tenant<'_>, stop: &AtomicBool) -> Result<Vec<CredentialLease>> {
    let (mut leases, mut active) = (vec![], 0);
    while leases.len() < LEASES || active == 0 || active == leases.len() {
        ensure!(leases.len() < MOST, "{active} of {MOST} leases were issued: no race");
        let name = format!("race-{:02}", leases.len());
        tenant.lease(&name, "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = tenant.lease_is(&name, "issued or ended", decided).await?;
        active += usize::from(lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active));
        leases.push(lease);
    }
    stop.store(true, Ordering::Relaxed);
    Ok(leases)
}

#[test]
fn a_role_edited_while_it_is_leased_is_never_held_wider_than_was_decided() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("flip").await?;
        // Report: whatever is Active stays so, and can be looked at.
        tenant.lifecycle("nightly", |spec| spec["terms"]["onRoleChange"] = json!("Report")).await?;
        tenant.lifecycle_says("nightly", "Leasable", ConditionStatus::True, "Leasable").await?;
        let stop = AtomicBool::new(false);
        let (edits, leases) = tokio::try_join!(flip(lab, &tenant.namespace, &stop), ask(&tenant, &stop))?;
        ensure!(edits > leases.len(), "the role was edited {edits} times only: no race");
        for lease in leases {
            let name = lease.metadata.name.as_deref().context("no name")?;
            let status = lease.status.as_ref().context("no status")?;
            let uid = lease.metadata.uid.as_deref().context("no uid")?;
            if status.phase == Some(Phase::Active) {
                let held = verbs(status).context("an Active lease without a request")?;
                ensure!([true, false].map(verbs_of).contains(&held), "{held:?} was never in force");
                continue;
            }
            ensure!(status.end_reason == Some(EndReason::ApprovalStale), "{status:?}");
            let failed = tenant.lease_in(name, Phase::Failed).await?;
            let credential = failed.status.and_then(|s| s.credential).unwrap_or_default();
            ensure!(credential.secret.is_none(), "a token was delivered: {credential:?}");
            lab.nothing_left_of(uid).await?;
        }
        Ok(())
    });
}
