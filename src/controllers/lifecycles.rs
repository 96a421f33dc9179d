//! The status of each lifecycle: accepted, bindable, leasable, and how many leases live.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    ambient::Ambient,
    held::{self, Held},
    index::Index,
    lifecycle_status::Writer,
};
use crate::{
    api::{ServiceAccountLifecycle, Time},
    cluster::{exchange::Exchange, rights as own},
    domain::{
        call::Failure,
        guards::Effective,
        lifecycle::{self, LifecycleObserved, Place, Rights},
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
/// How soon it is looked again whether enough is known to say anything, in milliseconds.
const UNKNOWN_MILLIS: i64 = 1_000;
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
    pub statuses: Writer,
    pub evaluator: Evaluator,
    pub ambient: Ambient,
    /// Whether a lifecycle that no policy guards is refused.
    pub require_policy: bool,
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
    /// Until when the API server asked to wait.
    asked: Option<Time>,
}

/// Serves `changed` for ever.
pub async fn run(context: Context, mut changed: mpsc::UnboundedReceiver<Key>) {
    let (mut due, mut later, mut running) =
        (BTreeSet::<Key>::new(), HashMap::<Key, Time>::new(), BTreeSet::<Key>::new());
    let mut memories: HashMap<Key, Memory> = HashMap::new();
    let mut held = Held::default();
    let mut visits: JoinSet<(Key, Memory, Option<Time>)> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, Key> = HashMap::new();
    loop {
        let now = context.clock.now();
        let ripe: Vec<Key> = later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in ripe {
            later.remove(&key);
            due.insert(key);
        }
        held.release(now);
        while running.len() < WIDTH {
            let free = |key: &&Key| !running.contains(*key) && held.is_free(*key);
            let Some(key) = due.iter().find(free).cloned() else { break };
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
        let sleep = later.values().copied().chain(held.next()).min().map_or(1000, |at| at.since(now).clamp(1, 1000));
        tokio::select! {
            key = changed.recv() => match key {
                Some(key) => _ = due.insert(key),
                None => return,
            },
            Some(done) = visits.join_next_with_id() => match done {
                Ok((id, (key, memory, again))) => {
                    keys.remove(&id);
                    running.remove(&key);
                    if let Some(until) = memory.asked {
                        held.hold(key.clone(), until);
                    }
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
    memory.asked = None;
    let generation = object.metadata.generation.unwrap_or_default();
    let (listed, enforcement) = (context.index.unsynced().is_empty(), context.index.enforcement());
    let led = context.index.has_led(now);
    if !lifecycle::knows_enough(object.status.as_ref(), generation, listed, &enforcement, led) {
        return (memory, Some(now.plus_millis(UNKNOWN_MILLIS)));
    }
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
    let policies = context.index.policies();
    let guarded = context.index.with_scope(namespace, name, |scope| {
        lifecycle::guarded(&policies, scope, &object.spec, context.require_policy)
    });
    let observed = LifecycleObserved {
        namespace: namespace.clone(),
        generation,
        spec: object.spec.clone(),
        status: object.status.clone().unwrap_or_default(),
        enforcement,
        broken_validation: memory.broken_validation.clone(),
        rights,
        ambient: context.ambient.of(namespace),
        guarded: guarded.unwrap_or_default(),
        workflow: context.index.workflow_problems(namespace, &object.spec),
        unlisted: !listed,
        held_by: context.index.held_by(namespace, name),
        active,
        last_lease,
        counted: memory.counted,
    };
    let status = lifecycle::status(&observed, now);
    if status != observed.status {
        match context.statuses.put(&object, &status).await {
            Ok(_) => {
                memory.failures = 0;
                if (status.active_leases, status.last_lease_time)
                    != (observed.status.active_leases, observed.status.last_lease_time)
                {
                    memory.counted = Some(now);
                }
            }
            Err(failure) => {
                memory.failures = memory.failures.saturating_add(1);
                memory.asked = held::until(&failure, context.clock.now());
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
    let rules = &object.spec.terms.validations;
    if rules.is_empty() {
        return Ok(None);
    }
    let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
    let terms = Effective::of(&object.spec.terms, &[]);
    let sample = validations::sample(namespace.unwrap_or_default(), name.unwrap_or_default(), &object.spec, &terms);
    context.evaluator.first_broken(rules, sample, SAMPLE_DEADLINE).await
}

/// Whether the operator may bind every granted role. Asked anew when what was known is too old.
async fn rights(
    context: &Context,
    namespace: &str,
    object: &ServiceAccountLifecycle,
    memory: &mut Memory,
    now: Time,
) -> Rights {
    let into = |g: &crate::api::lifecycle::Grant| g.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    let places: BTreeSet<Place> = object.spec.grants.iter().map(|g| (into(g), g.role_ref.clone())).collect();
    let missing: Vec<Place> = places
        .iter()
        .filter(|(namespace, role)| context.index.role_exists(namespace, role) == Some(false))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Rights::NotFound(missing);
    }
    if let Some((rights, at)) = &memory.rights
        && now.since(*at) < good_for(rights)
    {
        return rights.clone();
    }
    let found = ask_rights(context, &places)
        .await
        .unwrap_or_else(|failure| Rights::Unknown(format!("the API server could not be asked: {}", failure.message)));
    memory.rights = Some((found.clone(), now));
    found
}

async fn ask_rights(context: &Context, places: &BTreeSet<Place>) -> Result<Rights, Failure> {
    let mut lacking = vec![];
    let namespaces: BTreeSet<&String> = places.iter().map(|(namespace, _)| namespace).collect();
    for namespace in namespaces {
        let here = places.iter().filter(|(n, _)| n == namespace);
        if !own::may_grant_into(&context.exchange, namespace).await? {
            lacking.extend(here.cloned());
            continue;
        }
        for place in here {
            if !own::may_bind(&context.exchange, namespace, &place.1).await? {
                lacking.push(place.clone());
            }
        }
    }
    Ok(Rights::Lacking(lacking))
}
