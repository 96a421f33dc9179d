//! The phases before Active: seen only where the API server does not take what issuing needs, and left by themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use leasehold::api::{CredentialLease, reasons::Phase};
use leasehold_harness::{Options, eventually};
use serde_json::json;

use crate::support::{Lab, condition_of, is_conform, run};

/// The quota that refuses this kind.
fn quota(kind: &str) -> String {
    format!("refuse-{kind}")
}

/// Lets the API server refuse to create this kind in the issuing namespace, whoever asks.
pub async fn refuse(lab: &Lab, kind: &str) -> Result<()> {
    let (hard, quota) = (json!({format!("count/{kind}"): "0"}), quota(kind));
    let args = ["create", "quota", &quota, "-n", "leasehold-leases", &format!("--hard=count/{kind}=0")];
    lab.kubectl(&args, None).await?;
    // What the quota controller would write, which the control plane has not.
    let status = json!({"status": {"hard": hard, "used": hard}}).to_string();
    let args =
        ["patch", "quota", &quota, "-n", "leasehold-leases", "--subresource=status", "--type=merge", "-p", &status];
    lab.kubectl(&args, None).await?;
    // Admission reads quotas from a watch.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

pub async fn allow(lab: &Lab, kind: &str) -> Result<()> {
    lab.kubectl(&["delete", "resourcequota", &quota(kind), "-n", "leasehold-leases"], None).await.map(drop)
}

/// Before an account can be made.
pub const FIRST: &str = "jobs.batch";
/// After it was.
pub const LATER: &str = "roles.rbac.authorization.k8s.io";

fn is_retrying(lease: &CredentialLease) -> Result<()> {
    is_conform(lease)?;
    let issued = condition_of(lease, "Issued")?;
    ensure!(issued.reason == "Retrying" && issued.message.contains("quota"), "{issued:?}");
    Ok(())
}

#[test]
fn a_lease_that_cannot_be_issued_yet_says_so_and_is_issued_when_it_can() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("phases").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        refuse(&lab, FIRST).await?;
        tenant.lease("run", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        is_retrying(&tenant.lease_in("run", Phase::Pending).await?)?;

        refuse(&lab, LATER).await?;
        allow(&lab, FIRST).await?;
        let lease = tenant.lease_in("run", Phase::Issuing).await?;
        is_retrying(&lease)?;

        allow(&lab, LATER).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        is_conform(&lease)?;
        ensure!(condition_of(&lease, "Issued")?.reason == "Delivered", "{:?}", lease.status);
        let history = lease.status.and_then(|s| s.history).context("no history")?;
        let told: Vec<&str> = history.records.iter().map(|record| record.event.as_str()).collect();
        ensure!(told == ["Requested", "Allowed", "Issued"], "retries are no records: {told:?}");
        tenant.delete_lease("run").await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await?;
        drop(tenant);
        lab.stop().await
    });
}

/// A webhook of the cluster's that nobody answers: the API server refuses with 500 what it should be asked about.
const DEAF: &str = r#"{
    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "deaf"},
    "webhooks": [{
        "name": "deaf.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}]
    }]
}"#;

#[test]
fn a_call_that_fails_for_long_is_told_although_it_may_pass() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("phases").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        lab.kubectl(&["apply", "-f", "-"], Some(DEAF)).await?;
        // Admission reads webhooks from a watch.
        let job = ["create", "job", "probe", "-n", "default", "--image=none", "--dry-run=server"];
        eventually("a webhook that refuses", Duration::from_secs(30), async || {
            anyhow::Ok(
                lab.kubectl(&job, None).await.is_err_and(|why| why.to_string().contains("webhook")).then_some(()),
            )
        })
        .await?;
        tenant.lease("run", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        let asked = Instant::now();
        let lease = tenant.lease_in("run", Phase::Pending).await?;
        let issued = condition_of(&lease, "Issued")?;
        ensure!(issued.reason == "Retrying" && issued.message.contains("webhook"), "{issued:?}");
        // The second failure tells it, soon after the first; what is told for its age alone is so after 30 s.
        ensure!(asked.elapsed() < Duration::from_secs(20), "told after {:?}", asked.elapsed());

        lab.kubectl(&["delete", "validatingwebhookconfiguration", "deaf"], None).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        ensure!(condition_of(&lease, "Issued")?.reason == "Delivered", "{:?}", lease.status);
        tenant.delete_lease("run").await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await?;
        drop(tenant);
        lab.stop().await
    });
}
