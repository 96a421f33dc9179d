//! The status of each lifecycle: accepted, bindable, leasable, and how many leases live.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use tokio::{sync::mpsc, task::JoinSet};

use super::{ambient::Ambient, index::Index};
use crate::{
    api::{ServiceAccountLifecycle, Time, lifecycle::RoleRef, names},
    cluster::{
        ask,
        exchange::{Ask, Exchange},
    },
    domain::{
        call::Failure,
        lifecycle::{self, LifecycleObserved, Rights},
        validations,
    },
    runtime::{
        clock::Clock,
        evaluator::{Evaluator, Overrun},
    },
};

/// How long what was found out about rights is good for, in milliseconds: when all were there, and when one was missing.
const RIGHTS_MILLIS: (i64, i64) = (600_000, 20_000);
/// After how long validations that could not be tried are tried again, in milliseconds.
const UNTRIED_MILLIS: i64 = 5_000;
/// The pause after a look that panicked, in milliseconds.
const PANIC_MILLIS: i64 = 30_000;
/// Lifecycles that are looked at at the same time.
const WIDTH: usize = 4;
/// How long all validations of a lifecycle may take on the sample.
const SAMPLE_DEADLINE: Duration = Duration::from_secs(2);

type Key = (String, String);

/// What reconciling needs.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub index: Arc<Index>,
    pub exchange: Exchange,
    pub evaluator: Evaluator,
    pub ambient: Ambient,
}

/// What is remembered between two looks at a lifecycle, so that a look costs no call unless something may have changed.
#[derive(Clone, Default)]
struct Memory {
    generation: i64,
    uid: String,
    /// The validations could not be tried on the sample yet.
    untried: bool,
    broken_validation: Option<String>,
    rights: Option<(Rights, Time)>,
    counted: Option<Time>,
    failures: u32,
}

/// Serves `changed` for ever.
pub async fn run(context: Context, mut changed: mpsc::UnboundedReceiver<Key>) {
    let (mut due, mut later, mut running) =
        (BTreeSet::<Key>::new(), HashMap::<Key, Time>::new(), BTreeSet::<Key>::new());
    let mut memories: HashMap<Key, Memory> = HashMap::new();
    let mut visits: JoinSet<(Key, Memory, Option<Time>)> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, Key> = HashMap::new();
    loop {
        let now = context.clock.now();
        let ripe: Vec<Key> = later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in ripe {
            later.remove(&key);
            due.insert(key);
        }
        while running.len() < WIDTH {
            let Some(key) = due.iter().find(|key| !running.contains(*key)).cloned() else { break };
            due.remove(&key);
            running.insert(key.clone());
            let (context, memory) = (context.clone(), memories.remove(&key).unwrap_or_default());
            let started = key.clone();
            let handle = visits.spawn(async move {
                let (memory, again) = reconcile(&context, &key, memory).await;
                (key, memory, again)
            });
            keys.insert(handle.id(), started);
        }
        let sleep = later.values().min().map_or(1000, |at| at.since(now).clamp(1, 1000));
        tokio::select! {
            key = changed.recv() => match key {
                Some(key) => _ = due.insert(key),
                None => return,
            },
            Some(done) = visits.join_next_with_id() => match done {
                Ok((id, (key, memory, again))) => {
                    keys.remove(&id);
                    running.remove(&key);
                    if context.index.lifecycle(&key.0, &key.1).is_some() {
                        memories.insert(key.clone(), memory);
                        later.extend(again.map(|at| (key, at)));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "looking at a lifecycle panicked: this is a bug; it is looked at again later");
                    if let Some(key) = keys.remove(&error.id()) {
                        running.remove(&key);
                        later.insert(key, now.plus_millis(PANIC_MILLIS));
                    }
                }
            },
            () = tokio::time::sleep(Duration::from_millis(u64::try_from(sleep).unwrap_or(1000))) => {}
        }
    }
}

async fn reconcile(context: &Context, (namespace, name): &Key, mut memory: Memory) -> (Memory, Option<Time>) {
    let Some(object) = context.index.lifecycle(namespace, name) else { return (memory, None) };
    let now = context.clock.now();
    let generation = object.metadata.generation.unwrap_or_default();
    let uid = object.metadata.uid.clone().unwrap_or_default();
    if memory.generation != generation || memory.uid != uid {
        memory = Memory { generation, uid, counted: memory.counted, untried: true, ..Memory::default() };
    }
    if memory.untried {
        let tried = broken_validation(context, &object).await;
        memory.untried = tried.is_err();
        memory.broken_validation =
            tried.unwrap_or_else(|overrun| Some(format!("the validations were not tried yet, and will be: {overrun}")));
    }
    let rights = rights(context, namespace, &object, &mut memory, now).await;
    let (active, last_lease) = context.index.counters(namespace, name);
    let observed = LifecycleObserved {
        namespace: namespace.clone(),
        generation,
        spec: object.spec.clone(),
        status: object.status.clone().unwrap_or_default(),
        enforcement: context.index.enforcement(),
        broken_validation: memory.broken_validation.clone(),
        rights,
        ambient: context.ambient.of(namespace),
        active,
        last_lease,
        counted: memory.counted,
    };
    let status = lifecycle::status(&observed, now);
    if status != observed.status {
        match write(context, &object, &status).await {
            Ok(()) => {
                memory.failures = 0;
                if (status.active_leases, status.last_lease_time)
                    != (observed.status.active_leases, observed.status.last_lease_time)
                {
                    memory.counted = Some(now);
                }
            }
            Err(failure) => {
                memory.failures = memory.failures.saturating_add(1);
                tracing::warn!(lifecycle = %format!("{namespace}/{name}"), error = %failure.message, "a lifecycle's status could not be written and is tried again");
                return (memory.clone(), Some(now.plus_millis(500 << memory.failures.min(6))));
            }
        }
    }
    let rights_due = memory.rights.as_ref().map(|(rights, at)| at.plus_millis(good_for(rights)));
    let again = lifecycle::look_again(&LifecycleObserved { status, counted: memory.counted, ..observed }, now);
    let tried_again = memory.untried.then(|| now.plus_millis(UNTRIED_MILLIS));
    (memory, [rights_due, again, tried_again].into_iter().flatten().min())
}

fn good_for(rights: &Rights) -> i64 {
    if *rights == Rights::Lacking(vec![]) { RIGHTS_MILLIS.0 } else { RIGHTS_MILLIS.1 }
}

/// The first validation that cannot be used, tried on a sample lease, so that nobody waits for a lease to find out.
async fn broken_validation(context: &Context, object: &ServiceAccountLifecycle) -> Result<Option<String>, Overrun> {
    let rules: Vec<(String, String)> =
        object.spec.terms.validations.iter().map(|v| (v.expression.clone(), v.message.clone())).collect();
    if rules.is_empty() {
        return Ok(None);
    }
    let violations = context.evaluator.evaluate(rules.clone(), validations::sample(object), SAMPLE_DEADLINE).await?;
    Ok(violations.into_iter().find_map(|v| {
        let problem = v.problem?;
        let expression = rules.get(v.rule).map(|(expression, _)| expression.as_str()).unwrap_or_default();
        Some(format!("validation `{expression}` cannot be used: {problem}"))
    }))
}

/// Whether the operator may bind every granted role. Asked anew when what was known is too old.
async fn rights(
    context: &Context,
    namespace: &str,
    object: &ServiceAccountLifecycle,
    memory: &mut Memory,
    now: Time,
) -> Rights {
    let roles: BTreeSet<&RoleRef> = object.spec.grants.iter().map(|g| &g.role_ref).collect();
    let missing: Vec<RoleRef> = roles
        .iter()
        .filter(|role| context.index.role_exists(namespace, role) == Some(false))
        .map(|r| (*r).clone())
        .collect();
    if !missing.is_empty() {
        return Rights::NotFound(missing);
    }
    if let Some((rights, at)) = &memory.rights
        && now.since(*at) < good_for(rights)
    {
        return rights.clone();
    }
    let found = ask_rights(context, namespace, &roles)
        .await
        .unwrap_or_else(|failure| Rights::Unknown(format!("the API server could not be asked: {}", failure.message)));
    memory.rights = Some((found.clone(), now));
    found
}

async fn ask_rights(context: &Context, namespace: &str, roles: &BTreeSet<&RoleRef>) -> Result<Rights, Failure> {
    let all = || roles.iter().map(|r| (*r).clone()).collect();
    for verb in ["create", "delete"] {
        if !roles.is_empty() && !may(context, namespace, verb, "rolebindings", None).await? {
            return Ok(Rights::Lacking(all()));
        }
    }
    let mut lacking = vec![];
    for role in roles {
        let resource = if role.kind == crate::api::lifecycle::RoleKind::Role { "roles" } else { "clusterroles" };
        if !may(context, namespace, "bind", resource, Some(&role.name)).await? {
            lacking.push((*role).clone());
        }
    }
    Ok(Rights::Lacking(lacking))
}

async fn may(
    context: &Context,
    namespace: &str,
    verb: &str,
    resource: &str,
    name: Option<&str>,
) -> Result<bool, Failure> {
    let attributes = ResourceAttributes {
        group: Some("rbac.authorization.k8s.io".into()),
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.into()),
        resource: Some(resource.into()),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..Default::default()
    };
    let reply = context
        .exchange
        .send(Ask::new(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").json(&review)?)
        .await?;
    Ok(reply.decode::<SelfSubjectAccessReview>()?.status.is_some_and(|s| s.allowed))
}

async fn write(
    context: &Context,
    object: &ServiceAccountLifecycle,
    status: &crate::api::lifecycle::ServiceAccountLifecycleStatus,
) -> Result<(), Failure> {
    let metadata = &object.metadata;
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    let body = serde_json::json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle",
        "metadata": {"namespace": namespace, "name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version},
        "spec": object.spec, "status": status,
    });
    let path =
        format!("{}/status?fieldManager={}", ask::path::<ServiceAccountLifecycle>(namespace, name), names::MANAGER);
    let reply = context.exchange.send(Ask::new(Method::PUT, path).json(&body)?.metadata()).await?;
    if reply.code.is_success() { Ok(()) } else { Err(reply.failure()) }
}
