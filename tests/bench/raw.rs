//! Yardstick R, the raw replay: makes exactly the calls of the floor as soon as a watch tells of a lease, a decision or a
//! deadline, as many at once as Leasehold does, and decides nothing. The upper bound of what an operator can do.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use futures::{Stream, StreamExt};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use leasehold::api::{
    ConnectedSystem, CredentialLease, CredentialLeaseDecision, CredentialLeasePolicy, ServiceAccountLifecycle,
    names::{self, LeaseUid},
    reasons::Phase,
};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::{
    replay::{Live, Replay, now},
    template::{Own, Templates},
};

/// The operator's own defaults.
pub const WIDTHS: (usize, usize, usize) = (8, 16, 4);
/// How long a token may be remembered, and a little more: as long as the operator waits.
pub const PROOF: Duration = Duration::from_millis(12_000);

/// UIDs of what was made for a lease, by kind.
type Made = HashMap<String, HashMap<&'static str, String>>;

struct Raw {
    replay: Replay,
    made: Mutex<Made>,
    live: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Live>>>>,
    begun: Mutex<HashSet<String>>,
    ended: Mutex<HashSet<String>>,
    issue: Semaphore,
    end: Semaphore,
    prove: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until it is killed.
pub async fn run(templates: Templates) -> Result<()> {
    let (wire, client) = crate::wire::Wire::infer(false).await?;
    let raw = Arc::new(Raw {
        replay: Replay { wire, templates: Arc::new(templates) },
        made: Mutex::default(),
        live: Mutex::default(),
        begun: Mutex::default(),
        ended: Mutex::default(),
        issue: Semaphore::new(WIDTHS.0),
        end: Semaphore::new(WIDTHS.1),
        prove: Semaphore::new(WIDTHS.2),
    });
    idle_watches(&client);
    let issuing = names::ISSUING_NAMESPACE;
    watch_made::<ServiceAccount>(Api::namespaced(client.clone(), issuing), &raw, "account");
    watch_made::<Job>(Api::namespaced(client.clone(), issuing), &raw, "job");
    watch_made::<Role>(Api::namespaced(client.clone(), issuing), &raw, "role");
    watch_made::<RoleBinding>(Api::all(client.clone()), &raw, "binding");
    watch_made::<ConfigMap>(Api::namespaced(client.clone(), issuing), &raw, "ledger");
    let decisions = {
        let raw = raw.clone();
        watcher(Api::<CredentialLeaseDecision>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .for_each(move |decision| {
                match decision {
                    Ok(decision) => spawn(end(raw.clone(), decision.spec.lease_ref.uid)),
                    Err(error) => println!("failed: watch decisions: {error}"),
                }
                std::future::ready(())
            })
    };
    tokio::spawn(decisions);
    let leases = watcher(Api::<CredentialLease>::all(client), watcher::Config::default()).default_backoff();
    let mut leases = std::pin::pin!(leases);
    while let Some(event) = leases.next().await {
        match event {
            Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => see(&raw, lease),
            Ok(watcher::Event::InitDone) => println!("ready"),
            Err(error) => println!("failed: watch leases: {error}"),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Errors are told: a replay that meets one is no yardstick.
fn spawn(task: impl Future<Output = Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = task.await {
            println!("failed: {error:#}");
        }
    });
}

/// The watches of which nothing is used here, and which the operator has.
fn idle_watches(client: &Client) {
    drain(watcher(Api::<ServiceAccountLifecycle>::all(client.clone()), watcher::Config::default()));
    drain(watcher(Api::<CredentialLeasePolicy>::all(client.clone()), watcher::Config::default()));
    drain(watcher(Api::<ConnectedSystem>::all(client.clone()), watcher::Config::default()));
    drain(watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), watcher::Config::default()));
    drain(watcher(Api::<Role>::all(client.clone()), watcher::Config::default()));
    drain(watcher(Api::<ClusterRole>::all(client.clone()), watcher::Config::default()));
}

fn drain<T: Send + 'static>(events: impl Stream<Item = watcher::Result<T>> + Send + 'static) {
    tokio::spawn(events.for_each(|event| {
        if let Err(error) = event {
            println!("failed: watch: {error}");
        }
        std::future::ready(())
    }));
}

fn watch_made<K>(api: Api<PartialObjectMeta<K>>, raw: &Arc<Raw>, kind: &'static str)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let ours = watcher::Config::default().labels(names::LABEL_LEASE_UID);
    let events = watcher(api, ours).default_backoff().applied_objects();
    let raw = raw.clone();
    drain(events.map(move |object| {
        object.map(|object| {
            let label = |name: &str| object.labels().get(name).cloned();
            let kind = if kind == "binding" && label(names::LABEL_GRANT).is_none() { "mint" } else { kind };
            if let (Some(lease), Some(uid)) = (label(names::LABEL_LEASE_UID), object.uid()) {
                lock(&raw.made).entry(lease).or_default().insert(kind, uid);
            }
        })
    }));
}

fn see(raw: &Arc<Raw>, lease: CredentialLease) {
    let Some(uid) = lease.metadata.uid.clone() else { return };
    let phase = lease.status.as_ref().and_then(|status| status.phase);
    if !matches!(phase, None | Some(Phase::Active)) || !lock(&raw.begun).insert(uid.clone()) {
        return;
    }
    let known = match known(raw, &lease) {
        Ok(known) => Arc::new(tokio::sync::Mutex::new(known)),
        Err(error) => return println!("failed: {error:#}"),
    };
    // Before anything is made of it: who ends it waits until it is issued.
    lock(&raw.live).insert(uid.clone(), known.clone());
    let issuing = known.clone().try_lock_owned();
    let raw = raw.clone();
    spawn(async move {
        if let (None, Ok(mut known)) = (phase, issuing) {
            let _place = raw.issue.acquire().await?;
            raw.replay.issue(&mut known).await?;
        }
        let deadline = known.lock().await.own.deadline;
        let left = jiff::Timestamp::from_second(deadline)?.duration_since(jiff::Timestamp::now());
        tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        end(raw, uid).await
    });
}

fn known(raw: &Raw, lease: &CredentialLease) -> Result<Live> {
    let uid = lease.uid().unwrap_or_default();
    let status = lease.status.as_ref();
    let ttl = lease.spec.ttl.as_ref().map_or(900, |ttl| ttl.as_secs());
    let deadline = status.and_then(|s| s.expiration_time).map_or_else(|| now() + ttl, |at| at.as_millis() / 1000);
    let namespace = lease.namespace().unwrap_or_default();
    let parsed = LeaseUid::parse(&uid).ok_or_else(|| anyhow::anyhow!("a UID that is none: {uid}"))?;
    let own = Own::new(&namespace, &lease.name_any(), &parsed, deadline, &raw.replay.templates);
    Ok(Live {
        own,
        version: lease.resource_version().unwrap_or_default(),
        spec: serde_json::to_value(&lease.spec)?,
        token: None,
    })
}

/// Ends a lease, once, and proves it.
async fn end(raw: Arc<Raw>, uid: String) -> Result<()> {
    if !lock(&raw.ended).insert(uid.clone()) {
        return Ok(());
    }
    let Some(live) = lock(&raw.live).get(&uid).cloned() else { anyhow::bail!("{uid} ends and was never seen") };
    let mut live = live.lock().await;
    let place = raw.end.acquire().await?;
    let made = lock(&raw.made).get(&uid).cloned().unwrap_or_default();
    let of = |kind: &str, known: &String| made.get(kind).cloned().unwrap_or_else(|| known.clone());
    let own = &mut live.own;
    own.job = of("job", &own.job);
    own.account = of("account", &own.account);
    own.binding = of("binding", &own.binding);
    own.mint_binding = of("mint", &own.mint_binding);
    own.mint_role = of("role", &own.mint_role);
    raw.replay.end(&mut live).await?;
    drop(place);
    tokio::time::sleep(PROOF).await;
    let _place = raw.prove.acquire().await?;
    raw.replay.prove(&mut live).await?;
    lock(&raw.live).remove(&uid);
    Ok(())
}
