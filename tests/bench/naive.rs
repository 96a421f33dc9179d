//! Yardstick N, the naive operator: what one would write in an afternoon on kube-rs. A `Controller` with its defaults, whole
//! objects in its caches, one queue for everything, one call after the other. It is here to be compared with, and not an example.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use leasehold::api::{
    CredentialLease, CredentialLeaseDecision,
    condition::{self, ConditionStatus},
    names::{self, LeaseUid},
    reasons::Phase,
};
use serde::de::DeserializeOwned;

use crate::{
    raw::PROOF,
    replay::{Live, Replay, now},
    template::{Own, Templates},
};

/// How long after a failure it tries again: what the examples have.
const AGAIN: Duration = Duration::from_secs(5);
/// How often it is asked whether it has read everything.
const LOOK: Duration = Duration::from_millis(20);

struct Context {
    replay: Replay,
    /// Leases somebody has ended.
    decided: Arc<Mutex<HashSet<String>>>,
    accounts: Store<ServiceAccount>,
    bindings: Store<RoleBinding>,
    roles: Store<Role>,
    jobs: Store<Job>,
    /// What it has to remember: the token, and since when the account is gone.
    tokens: Mutex<HashMap<String, String>>,
    gone: Mutex<HashMap<String, tokio::time::Instant>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Failed(anyhow::Error);

fn cache<K>(api: Api<K>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default());
    tokio::spawn(reflector::reflector(writer, events).default_backoff().for_each(|_| std::future::ready(())));
    store
}

/// Runs until it is killed.
pub async fn run(templates: Templates) -> Result<()> {
    let (wire, client) = crate::wire::Wire::infer(true).await?;
    let context = Arc::new(Context {
        replay: Replay { wire, templates: Arc::new(templates) },
        decided: Arc::default(),
        accounts: cache(Api::namespaced(client.clone(), names::ISSUING_NAMESPACE)),
        bindings: cache(Api::all(client.clone())),
        roles: cache(Api::all(client.clone())),
        jobs: cache(Api::namespaced(client.clone(), names::ISSUING_NAMESPACE)),
        tokens: Mutex::default(),
        gone: Mutex::default(),
    });
    context.accounts.wait_until_ready().await?;
    context.bindings.wait_until_ready().await?;
    context.roles.wait_until_ready().await?;
    context.jobs.wait_until_ready().await?;
    let decided = context.decided.clone();
    let of_decision = move |decision: CredentialLeaseDecision| {
        let namespace = decision.namespace().unwrap_or_default();
        lock(&decided).insert(decision.spec.lease_ref.uid.clone());
        [ObjectRef::new(&decision.spec.lease_ref.name).within(&namespace)]
    };
    let controller = Controller::new(Api::<CredentialLease>::all(client.clone()), watcher::Config::default());
    let leases = controller.store();
    tokio::spawn(async move {
        // Asked again and again: who only waits is not woken while the first list is empty.
        while !matches!(tokio::time::timeout(LOOK, leases.wait_until_ready()).await, Ok(Ok(()))) {}
        println!("ready");
    });
    controller
        .watches(Api::<CredentialLeaseDecision>::all(client), watcher::Config::default(), of_decision)
        .run(reconcile, |_, _: &Failed, _| Action::requeue(AGAIN), context)
        .for_each(|done| {
            if let Err(error) = done {
                println!("failed: {error}");
            }
            std::future::ready(())
        })
        .await;
    Ok(())
}

async fn reconcile(lease: Arc<CredentialLease>, context: Arc<Context>) -> Result<Action, Failed> {
    let uid = lease.uid().unwrap_or_default();
    let status = lease.status.as_ref();
    match status.and_then(|s| s.phase) {
        None => issue(&lease, &uid, &context).await,
        Some(Phase::Active) => {
            let left = status.and_then(|s| s.expiration_time).map_or(0, |at| at.as_millis() - now() * 1000);
            let decided = lock(&context.decided).contains(&uid);
            if left > 0 && !decided {
                return Ok(Action::requeue(Duration::from_millis(u64::try_from(left).unwrap_or_default())));
            }
            end(&lease, &uid, &context).await
        }
        Some(_) => {
            let proven = status.and_then(|s| condition::find(&s.conditions, "Revoked"));
            if proven.is_none_or(|c| c.status == ConditionStatus::True) {
                return Ok(Action::await_change());
            }
            prove(&lease, &uid, &context).await
        }
    }
    .map_err(Failed)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The UID of the object in a cache that was made for this lease.
fn found<K>(store: &Store<K>, lease: &str, grant: bool) -> String
where
    K: Resource<DynamicType = ()> + Clone,
{
    let ours = |object: &Arc<K>| {
        let labels = object.labels();
        labels.get(names::LABEL_LEASE_UID).is_some_and(|uid| uid == lease)
            && labels.contains_key(names::LABEL_GRANT) == grant
    };
    store.state().into_iter().find(ours).and_then(|object| object.uid()).unwrap_or_default()
}

fn live(lease: &CredentialLease, uid: &str, context: &Context) -> Result<Live> {
    let ttl = lease.spec.ttl.as_ref().map_or(900, |ttl| ttl.as_secs());
    let expires = lease.status.as_ref().and_then(|s| s.expiration_time);
    let deadline = expires.map_or_else(|| now() + ttl, |at| at.as_millis() / 1000);
    let parsed = LeaseUid::parse(uid).ok_or_else(|| anyhow::anyhow!("a UID that is none: {uid}"))?;
    let namespace = lease.namespace().unwrap_or_default();
    let own = Own::new(&namespace, &lease.name_any(), &parsed, deadline, &context.replay.templates);
    let version = lease.resource_version().unwrap_or_default();
    let token = lock(&context.tokens).get(uid).cloned();
    Ok(Live { own, version, spec: serde_json::to_value(&lease.spec)?, token })
}

async fn issue(lease: &CredentialLease, uid: &str, context: &Context) -> Result<Action> {
    let (mut live, replay) = (live(lease, uid, context)?, &context.replay);
    replay.check_access(&live).await?;
    replay.job(&mut live, 5).await?;
    live.own.account = replay.account(&live).await?;
    live.own.binding = replay.binding(&live).await?;
    replay.read_role().await?;
    let token = replay.mint(&live).await?;
    live.own.secret = replay.secret(&live, &token).await?;
    live.token = Some(token.clone());
    lock(&context.tokens).insert(uid.to_owned(), token);
    replay.status(&mut live, "active").await?;
    replay.review(&live).await?;
    let left = u64::try_from(live.own.deadline - now()).unwrap_or_default();
    Ok(Action::requeue(Duration::from_secs(left)))
}

async fn end(lease: &CredentialLease, uid: &str, context: &Context) -> Result<Action> {
    let mut live = live(lease, uid, context)?;
    let own = &mut live.own;
    let credential = lease.status.as_ref().and_then(|s| s.credential.as_ref());
    let bound = lease.status.as_ref().and_then(|s| s.bindings.first());
    // What the caches do not have yet, the status has.
    let or = |cached: String, told: Option<&String>| {
        if cached.is_empty() { told.cloned().unwrap_or_default() } else { cached }
    };
    own.job = found(&context.jobs, uid, false);
    let account = credential.and_then(|c| c.service_account.as_ref()).map(|a| &a.uid);
    own.account = or(found(&context.accounts, uid, false), account);
    own.binding = or(found(&context.bindings, uid, true), bound.map(|b| &b.uid));
    own.mint_binding = found(&context.bindings, uid, false);
    own.mint_role = found(&context.roles, uid, false);
    own.secret = or(String::new(), credential.and_then(|c| c.secret.as_ref()).map(|s| &s.uid));
    context.replay.end(&mut live).await?;
    lock(&context.gone).insert(uid.to_owned(), tokio::time::Instant::now());
    Ok(Action::requeue(PROOF))
}

async fn prove(lease: &CredentialLease, uid: &str, context: &Context) -> Result<Action> {
    let gone = lock(&context.gone).get(uid).copied();
    let left = gone.map_or(PROOF, |at| PROOF.saturating_sub(at.elapsed()));
    if !left.is_zero() {
        lock(&context.gone).entry(uid.to_owned()).or_insert_with(tokio::time::Instant::now);
        return Ok(Action::requeue(left));
    }
    context.replay.prove(&mut live(lease, uid, context)?).await?;
    lock(&context.gone).remove(uid);
    lock(&context.tokens).remove(uid);
    Ok(Action::await_change())
}
