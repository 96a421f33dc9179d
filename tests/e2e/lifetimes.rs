//! A lease from its request to the proof of its death, as its holder sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use leasehold::api::{
    condition::{self, ConditionStatus},
    reasons::{Evidence, Phase},
};
use serde_json::json;

use crate::support::{AT_ONCE_MILLIS, Holder, Lab, OUTLIVES_MILLIS, run};

async fn lives_and_dies(delivery: &str, evidence: Evidence) -> Result<()> {
    let lab = Lab::shared().await?;
    let tenant = lab.tenant(&format!("life-{}", delivery.to_lowercase())).await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    tenant.lease("run", "nightly", |spec| spec["delivery"] = json!({"type": delivery})).await?;
    let lease = tenant.lease_in("run", Phase::Active).await?;
    let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;

    ensure!(holder.reads().await? == 200, "the token may not do what its grant says");
    let own = tenant.configmaps(holder.client.clone());
    ensure!(own.list(&ListParams::default()).await.is_ok(), "list is granted");
    use crate::support::code;
    ensure!(code(own.delete("ledger", &DeleteParams::default()).await)? == 403, "another verb");
    let other: Api<ConfigMap> = Api::namespaced(holder.client.clone(), "default");
    ensure!(code(other.list(&ListParams::default()).await)? == 403, "another namespace");
    let cluster: Api<Node> = Api::all(holder.client.clone());
    ensure!(code(cluster.list(&ListParams::default()).await)? == 403, "cluster scope");

    let end = lease.status.as_ref().and_then(|s| s.expiration_time).context("no expirationTime")?;
    let fate = holder.fate(jiff::Timestamp::from_millisecond(end.as_millis())?, Duration::from_secs(60)).await?;
    ensure!(
        (-1000..=AT_ONCE_MILLIS).contains(&fate.forbidden.unwrap_or(fate.unauthorized)),
        "refused at the end, and at once: {fate:?}"
    );
    ensure!(fate.unauthorized <= OUTLIVES_MILLIS, "401 comes within 13 s: {fate:?}");

    let lease = tenant.lease_in("run", Phase::Expired).await?;
    let status = lease.status.context("no status")?;
    let revoked = condition::find(&status.conditions, "Revoked").context("no condition Revoked")?;
    ensure!(revoked.status == ConditionStatus::True && revoked.reason == evidence.as_str(), "{revoked:?}");
    Ok(())
}

#[test]
fn a_minted_token_may_what_its_grant_says_and_dies_with_its_lease() {
    run(lives_and_dies("TokenRequest", Evidence::AccountGoneAndWaited));
}

#[test]
fn a_delivered_token_may_what_its_grant_says_and_dies_with_its_lease() {
    run(lives_and_dies("Secret", Evidence::TokenReviewRefused));
}
