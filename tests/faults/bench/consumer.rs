//! A standing credential, and the Deployment that mounts it: before, while and after the next lease takes over.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Secret,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use leasehold::api::{
    CredentialLease,
    standing::{StandingPhase, StandingStatus},
};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, slot::absent};
use crate::support::{Holder, Tenant};

/// For how long the token in the Secret may be refused: somebody who reads it just before it is written has the one before.
const GAP: Duration = Duration::from_secs(3);

/// A standing credential of this lifecycle, as its spec has it.
pub fn declares(lifecycle: &str, ttl: &str) -> Value {
    json!([{"name": "agent", "grants": ["read"], "secret": secret_of(lifecycle), "ttl": ttl}])
}

fn secret_of(lifecycle: &str) -> String {
    format!("held-{lifecycle}")
}

fn status_of(lifecycle: &leasehold::api::ServiceAccountLifecycle) -> Option<StandingStatus> {
    lifecycle.status.as_ref()?.standing.first().cloned()
}

/// Waits until a lease is held that is not this one; it.
pub async fn settled(home: &Tenant<'_>, lifecycle: &str, but: Option<&str>) -> Result<CredentialLease> {
    let api = home.lifecycles();
    let name = eventually_seeing(&format!("{}/{lifecycle} to hold a lease", home.namespace), PATIENCE, || async {
        let object = api.get(lifecycle).await?;
        let seen = serde_json::to_string(&object.status)?;
        let held = status_of(&object).filter(|s| s.phase == StandingPhase::Settled).and_then(|s| s.current);
        let other = held.map(|lease| lease.name).filter(|name| but != Some(name.as_str()));
        Ok::<_, anyhow::Error>(other.map_or(Look::NotYet(seen), Look::Done))
    })
    .await?;
    Ok(home.leases().get(&name).await?)
}

pub async fn token(home: &Tenant<'_>, lifecycle: &str) -> Result<String> {
    let api: Api<Secret> = Api::namespaced(home.admin.clone(), &home.namespace);
    let data = api.get(&secret_of(lifecycle)).await?.data.unwrap_or_default();
    Ok(String::from_utf8(data.get("token").context("the Secret has no token")?.0.clone())?)
}

/// Makes a Deployment that mounts the Secret and is restarted with it.
pub async fn deploy(home: &Tenant<'_>, lifecycle: &str) -> Result<()> {
    let template = json!({
        "metadata": {"labels": {"app": lifecycle}},
        "spec": {"containers": [{"name": "c", "image": "example.org/none:1"}],
            "volumes": [{"name": "v", "secret": {"secretName": secret_of(lifecycle)}}]},
    });
    let object = json!({
        "metadata": {"name": lifecycle, "annotations": {"leasehold.dev/restart": "Allow"}},
        "spec": {"replicas": 1, "progressDeadlineSeconds": 60, "selector": {"matchLabels": {"app": lifecycle}}, "template": template},
    });
    let api: Api<Deployment> = Api::namespaced(home.admin.clone(), &home.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    eventually_seeing(&format!("{}/{lifecycle} to be rolled out", home.namespace), PATIENCE, || async {
        let status = api.get(lifecycle).await?.status.unwrap_or_default();
        let seen = format!("{status:?}");
        Ok::<_, anyhow::Error>(if status.available_replicas == Some(1) { Look::Done(()) } else { Look::NotYet(seen) })
    })
    .await
}

/// Asks for another ttl, and so for another lease at once.
pub async fn rotate(home: &Tenant<'_>, lifecycle: &str) -> Result<()> {
    home.change_lifecycle(lifecycle, json!({"spec": {"standing": declares(lifecycle, "20m")}})).await
}

/// Reads with whatever token is in the Secret; returns only if that is refused for longer than it may be.
pub async fn never_refused(home: &Tenant<'_>, lifecycle: &str) -> Result<()> {
    let mut refused: Option<Instant> = None;
    loop {
        let code = Holder::new(home, &token(home, lifecycle).await?)?.reads().await?;
        let since = if code == 200 { None } else { Some(refused.unwrap_or_else(Instant::now)) };
        if since.is_some_and(|since| since.elapsed() > GAP) {
            bail!("the token in the Secret is answered {code}");
        }
        refused = since;
        sleep(Duration::from_millis(500)).await;
    }
}

/// The consumer was restarted once, and what is in the Secret is good.
pub async fn has_moved(home: &Tenant<'_>, lifecycle: &str) -> Result<()> {
    let api: Api<ReplicaSet> = Api::namespaced(home.admin.clone(), &home.namespace);
    let sets = api.list(&ListParams::default().labels(&format!("app={lifecycle}"))).await?.items.len();
    ensure!(sets == 2, "the consumer had {sets} templates, not two");
    let code = Holder::new(home, &token(home, lifecycle).await?)?.reads().await?;
    ensure!(code == 200, "the next token is answered {code}");
    Ok(())
}

pub async fn clean_up(home: &Tenant<'_>, lifecycle: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(home.admin.clone(), &home.namespace);
    api.delete(lifecycle, &DeleteParams::background()).await.map(drop).or_else(absent)?;
    let api: Api<Secret> = Api::namespaced(home.admin.clone(), &home.namespace);
    api.delete(&secret_of(lifecycle), &DeleteParams::default()).await.map(drop).or_else(absent)
}
