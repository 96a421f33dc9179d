//! An end that somebody else's finalizer holds up: the credential dies all the same, and what is left is told and tried for ever.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use leasehold::api::{
    condition::ConditionStatus,
    reasons::{EndReason, Evidence, Phase},
};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::json;

use crate::support::{Holder, Lab, OUTLIVES_MILLIS, condition_of, is_conform, run};

#[test]
fn a_binding_that_somebody_holds_keeps_no_token_alive() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("held").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("run", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        let binding = lease.status.as_ref().and_then(|s| s.bindings.first()).context("no binding")?.name.clone();
        let bindings: Api<RoleBinding> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        let finalizers = async |list: serde_json::Value| {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": list}}));
            bindings.patch(&binding, &PatchParams::default(), &patch).await
        };
        finalizers(json!(["example.com/hold"])).await?;

        tenant.change_lifecycle("nightly", json!({"spec": {"stopPolicy": "HoldAndRevoke"}})).await?;
        let end = Timestamp::now();
        let fate = holder.fate(end, Duration::from_secs(30)).await?;
        ensure!(fate.unauthorized <= OUTLIVES_MILLIS, "the account goes although a binding is held: {fate:?}");
        let proven = |l: &_| condition_of(l, "Revoked").is_ok_and(|c| c.status == ConditionStatus::True);
        let lease = tenant.lease_is("run", "proven dead", proven).await?;
        is_conform(&lease)?;
        ensure!(lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Ending), "{:?}", lease.status);
        let moving = condition_of(&lease, "Reconciling")?;
        ensure!(moving.reason == "CleaningUp" && moving.message.contains("example.com/hold"), "{moving:?}");
        eventually_seeing("a failing end in the metrics", Duration::from_secs(20), || async {
            let text = lab.metrics().await?;
            let line = text.lines().find(|l| l.starts_with("leasehold_failing_ends ")).unwrap_or_default().to_owned();
            let failing = !(line.ends_with(" 0") || line.is_empty());
            // Failing, but nobody's authority is overdue: what is held binds an account that is gone.
            let overdue =
                text.lines().find(|l| l.starts_with("leasehold_overdue_ends ")) != Some("leasehold_overdue_ends 0");
            let seen = format!("{line}, overdue: {overdue}");
            Ok::<_, anyhow::Error>(if failing && !overdue { Look::Done(()) } else { Look::NotYet(seen) })
        })
        .await?;

        finalizers(json!([])).await?;
        tenant.lease_ended("run", EndReason::LifecycleStopped, Evidence::TokenReviewRefused).await?;
        let lease = tenant.leases().get("run").await?;
        is_conform(&lease)?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}
