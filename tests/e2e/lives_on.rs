//! What changes around a lease and does not end it.

use anyhow::ensure;
use kube::api::DeleteParams;
use leasehold::api::{CredentialLease, condition::ConditionStatus, reasons::Phase};
use serde_json::json;

use crate::support::{Holder, Lab, code, condition_of, run};

#[test]
fn a_held_lifecycle_leases_nothing_more_and_leaves_what_is_leased() {
    run(async {
        let tenant = Lab::shared().await?.tenant("hold").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("before", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = tenant.lease_in("before", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        tenant.change_lifecycle("nightly", json!({"spec": {"stopPolicy": "Hold"}})).await?;
        tenant.lifecycle_says("nightly", "Leasable", ConditionStatus::False, "Stopped").await?;

        tenant.lease("during", "nightly", |_| {}).await?;
        let denied = tenant.lease_in("during", Phase::Denied).await?;
        let allowed = condition_of(&denied, "Allowed")?;
        ensure!(allowed.message.contains("the lifecycle is stopped (stopPolicy Hold)"), "{allowed:?}");
        ensure!(holder.reads().await? == 200, "a hold must not end what is leased");
        tenant.lease_in("before", Phase::Active).await?;

        tenant.change_lifecycle("nightly", json!({"spec": {"stopPolicy": null}})).await?;
        tenant.lease("after", "nightly", |_| {}).await?;
        tenant.lease_in("after", Phase::Active).await.map(drop)
    });
}

#[test]
fn a_widened_role_is_only_reported_where_the_terms_say_so() {
    run(async {
        let tenant = Lab::shared().await?.tenant("report").await?;
        tenant.lifecycle("nightly", |spec| spec["terms"]["onRoleChange"] = json!("Report")).await?;
        tenant.lease("run", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        tenant.widen_role().await?;
        let widened = |lease: &CredentialLease| {
            condition_of(lease, "RoleWidened")
                .is_ok_and(|c| c.status == ConditionStatus::True && c.reason == "Reported")
        };
        let lease = tenant.lease_is("run", "reported as widened", widened).await?;
        let said = condition_of(&lease, "RoleWidened")?;
        ensure!(said.message.contains("delete on configmaps of core"), "{said:?}");
        ensure!(lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active), "it must live on");
        ensure!(holder.reads().await? == 200, "a report must not end the lease");
        let own = tenant.configmaps(holder.client.clone());
        ensure!(code(own.delete("ledger", &DeleteParams::default()).await)? == 200, "the role may what it says");
        Ok(())
    });
}

#[test]
fn a_role_that_lost_rights_ends_no_lease() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("narrowed").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("run", "nightly", |_| {}).await?;
        tenant.lease_in("run", Phase::Active).await?;
        let verbs = r#"[{"op": "replace", "path": "/rules/0/verbs", "value": ["get"]}]"#;
        lab.kubectl(&["patch", "role", "reader", "-n", &tenant.namespace, "--type=json", "-p", verbs], None).await?;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        tenant.lease_in("run", Phase::Active).await?;
        let lease = tenant.lease_in("run", Phase::Expired).await?;
        ensure!(condition_of(&lease, "RoleWidened").is_err(), "nothing was gained: {:?}", lease.status);
        Ok(())
    });
}
