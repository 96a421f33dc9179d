//! Faults that were found by looking for them: each of these ended late, ended wrongly, or was retried for ever.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kube::api::{Patch, PatchParams};
use leasehold::api::reasons::{EndReason, Phase};
use serde_json::json;

use crate::support::{Lab, Operator, run};

/// A RoleBinding with the name and label of a lease's, in a namespace of somebody else's.
fn forged(namespace: &str, uid: &str, grant: &str, annotation: &str) -> String {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": format!("leasehold-{}-{grant}", uid.replace('-', "")), "namespace": namespace,
            "labels": {"leasehold.dev/lease-uid": uid}, "annotations": {"leasehold.dev/lease": annotation}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "none"}})
    .to_string()
}

#[test]
fn a_deletion_that_a_finalizer_holds_ends_the_lease_at_once() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("held").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("run", "nightly", |spec| spec["ttl"] = "10m".into()).await?;
        tenant.lease_in("run", Phase::Active).await?;
        let hold = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        tenant.leases().patch("run", &PatchParams::default(), &hold(json!(["example.com/hold"]))).await?;
        let start = Instant::now();
        tenant.delete_lease("run").await?;
        let lease = tenant.lease_in("run", Phase::Revoked).await?;
        tenant.leases().patch("run", &PatchParams::default(), &hold(json!(null))).await?;
        ensure!(lease.status.context("no status")?.end_reason == Some(EndReason::LeaseDeleted));
        ensure!(start.elapsed() < Duration::from_secs(20), "proven 12 s after the deletion: {:?}", start.elapsed());
        Ok(())
    });
}

#[test]
fn a_role_with_more_names_than_a_status_holds_is_leased_and_recorded() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("names").await?;
        let names: Vec<String> = (0..100).map(|n| format!("ledger-{n}")).collect();
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader", "namespace": tenant.namespace},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": names}]});
        lab.kubectl(&["apply", "-f", "-"], Some(&role.to_string())).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("run", "nightly", |_| ()).await?;
        tenant.lease_in("run", Phase::Active).await.map(drop)
    });
}

#[test]
fn a_forged_rolebinding_ends_no_lease_and_holds_no_place() {
    run(async {
        let lab = Lab::start(leasehold_harness::Options::default(), &[]).await?;
        let tenant = lab.tenant("victim").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("run", "nightly", |spec| spec["ttl"] = "10m".into()).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        let uid = lease.metadata.uid.context("no uid")?;
        let grant = &lease.status.context("no status")?.bindings[0].grant;
        // Before the victim's namespace in every list.
        lab.kubectl(&["create", "namespace", "aaa"], None).await?;
        lab.kubectl(&["create", "-f", "-"], Some(&forged("aaa", &uid, grant, "aaa/run"))).await?;
        let operator = lab.operator.lock().expect("no test panics while it holds this").take();
        operator.context("no operator")?.kill()?;
        // More than the lane of ends has places; each would hang for ten seconds.
        for n in 0..40 {
            let uid = format!("5f2c8a8e-0000-4000-8000-0000000000{n:02}");
            lab.kubectl(&["create", "-f", "-"], Some(&forged("aaa", &uid, "x", "aaa/?watch=true"))).await?;
        }
        let operator = Operator::start(&lab.plane, "second", &[]).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = tenant.leases().get("run").await?.status.context("no status")?;
        ensure!(seen.phase == Some(Phase::Active), "ended: {:?}", seen.end_reason);
        let start = Instant::now();
        tenant.delete_lease("run").await?;
        let account = seen.credential.and_then(|c| c.service_account).context("no account")?.name;
        leasehold_harness::eventually("the account to be gone", Duration::from_secs(30), || async {
            let args = ["get", "serviceaccount", &account, "-n", "leasehold-leases", "--ignore-not-found"];
            let found = lab.kubectl(&args, None);
            Ok::<_, anyhow::Error>(found.await?.is_empty().then_some(()))
        })
        .await?;
        // One that waited behind a call that hangs would take ten seconds.
        ensure!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        ensure!(!operator.log()?.contains("no answer within"), "a call hung");
        drop(operator);
        lab.stop().await
    });
}
