//! The status of each connected system: whether its expressions can be used, and whether it can be called.
//!
//! Each system is probed in a task of its own: one that does not answer delays the status of no other.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};

use super::index::Index;
use crate::{
    api::{ConnectedSystem, Time},
    cluster::{
        exchange::Exchange,
        status::{self, Target},
    },
    domain::{
        call::{Class, Failure},
        system::{self, Health, SystemObserved},
    },
    runtime::{clock::Clock, evaluator::Evaluator},
    systems::{Systems, check_system},
};

/// How often a system that is ready is asked.
const READY: Duration = Duration::from_secs(60);
/// How often one that is not is asked.
const NOT_READY: Duration = Duration::from_secs(10);
/// What comes within this time is looked at together.
const GATHER: Duration = Duration::from_millis(200);
/// The pause before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long all expressions of a system may take to be checked.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// What reconciling needs.
pub struct Context {
    pub clock: Clock,
    pub index: Arc<Index>,
    pub exchange: Exchange,
    pub evaluator: Evaluator,
    pub systems: Systems,
}

/// An object, and in which generation.
type Version = (String, i64);

/// What was found out about a system.
struct Found {
    version: Version,
    health: Health,
    /// When it is asked next; `None` while it is being asked, or never because its expressions are no good.
    due: Option<Instant>,
}

/// Runs for ever; looks whenever `changed` says so, whenever a probe has ended, and when one is due.
pub async fn run(context: Context, changed: Arc<Notify>) {
    let mut found: HashMap<String, Found> = HashMap::new();
    let mut probes: JoinSet<(String, Version, Health)> = JoinSet::new();
    let mut wait = GATHER;
    loop {
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(wait) => {}
            Some(ended) = probes.join_next() => match ended {
                Ok((name, version, health)) => learn(&mut found, &name, &version, health),
                Err(error) => {
                    tracing::error!(%error, "a probe of a connected system ended in a panic: this is a bug");
                    ask_again(&mut found);
                }
            },
        }
        let synced = context.index.unsynced().is_empty();
        wait = if synced { look(&context, &mut found, &mut probes).await } else { AGAIN };
    }
}

/// Takes over what a probe found, unless the system has changed meanwhile.
fn learn(found: &mut HashMap<String, Found>, name: &str, version: &Version, health: Health) {
    if let Some(kept) = found.get_mut(name).filter(|kept| kept.version == *version) {
        let pause = if health == Health::Reachable { READY } else { NOT_READY };
        kept.due = Some(Instant::now() + pause);
        kept.health = health;
    }
}

/// Makes whatever seems to be asked now due again: which probe was lost is not known, and one more does no harm.
fn ask_again(found: &mut HashMap<String, Found>) {
    let asked = |kept: &&mut Found| kept.due.is_none() && !matches!(kept.health, Health::ExpressionInvalid(_));
    for kept in found.values_mut().filter(asked) {
        kept.due = Some(Instant::now() + NOT_READY);
    }
}

/// Brings every system's status up to date and starts what probes are due; how long there is nothing to do.
async fn look(
    context: &Context,
    found: &mut HashMap<String, Found>,
    probes: &mut JoinSet<(String, Version, Health)>,
) -> Duration {
    let objects = context.index.systems();
    context.systems.retain(&objects);
    found.retain(|name, _| objects.iter().any(|object| object.metadata.name.as_ref() == Some(name)));
    let mut wait = READY;
    for object in objects {
        let name = object.metadata.name.clone().unwrap_or_default();
        let Some(kept) = known(context, found, &name, &object).await else {
            wait = wait.min(AGAIN);
            continue;
        };
        if let Some(due) = kept.due {
            let rest = due.saturating_duration_since(Instant::now());
            wait = wait.min(if rest.is_zero() { READY } else { rest });
            if rest.is_zero() {
                kept.due = None;
                let (systems, version, now) = (context.systems.clone(), kept.version.clone(), context.clock.now());
                let (name, object) = (name.clone(), object.clone());
                probes.spawn(async move {
                    let health = systems.probe(&object, now).await;
                    (name, version, health)
                });
            }
        }
        let health = kept.health.clone();
        if let Err(failure) = reconcile(context, &object, &name, health, context.clock.now()).await {
            wait = wait.min(AGAIN);
            if failure.class == Class::Conflict {
                // The watch has not brought our own last write yet, or somebody else's.
                continue;
            }
            tracing::warn!(system = %name, error = %failure.message, "a connected system's status could not be brought up to date and is tried again");
        }
    }
    wait
}

/// What is known about this system, in this generation; `None` if its expressions could not be looked at now.
async fn known<'f>(
    context: &Context,
    found: &'f mut HashMap<String, Found>,
    name: &str,
    object: &Arc<ConnectedSystem>,
) -> Option<&'f mut Found> {
    let version = (object.metadata.uid.clone().unwrap_or_default(), object.metadata.generation.unwrap_or_default());
    if found.get(name).is_none_or(|kept| kept.version != version) {
        let checked = object.clone();
        let check = context.evaluator.run(CHECK_DEADLINE, move || Ok(check_system(&checked.spec)));
        let (health, due) = match check.await.ok()? {
            Ok(Ok(())) => (Health::Checking, Some(Instant::now())),
            Ok(Err(why)) => (Health::ExpressionInvalid(why), None),
            Err(problem) => (Health::ExpressionInvalid(problem.to_string()), None),
        };
        found.insert(name.to_owned(), Found { version, health, due });
    }
    found.get_mut(name)
}

async fn reconcile(
    context: &Context,
    object: &ConnectedSystem,
    name: &str,
    health: Health,
    now: Time,
) -> Result<(), Failure> {
    let generation = object.metadata.generation.unwrap_or_default();
    let old = object.status.clone().unwrap_or_default();
    let new = system::status(&SystemObserved { generation, status: old.clone(), health }, now);
    if new == old {
        return Ok(());
    }
    let target = Target {
        namespace: "",
        name,
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        resource_version: object.metadata.resource_version.as_deref().unwrap_or_default(),
        spec: Some(&object.spec),
    };
    status::put::<ConnectedSystem, _, _>(&context.exchange, &target, &new).await.map(|_| ())
}
