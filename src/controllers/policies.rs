//! The status of each policy: whether it can be used, and how many lifecycles it guards.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    held::{self, Held},
    index::Index,
};
use crate::{
    api::{CredentialLeasePolicy, Time, policy::CredentialLeasePolicyStatus},
    cluster::{
        exchange::Exchange,
        status::{self, Target},
    },
    domain::{
        call::{Class, Failure},
        guards,
        policy::{self, PolicyObserved},
        validations,
    },
    runtime::{clock::Clock, evaluator::Evaluator},
};

/// How long all validations of a policy may take on the sample.
const SAMPLE_DEADLINE: Duration = Duration::from_secs(2);
/// How often the counts are looked at although no policy has changed.
const EVERY: Duration = Duration::from_secs(60);
/// What comes within this time is looked at together.
const GATHER: Duration = Duration::from_millis(200);
/// The pause before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What reconciling needs.
pub struct Context {
    pub clock: Clock,
    pub index: Arc<Index>,
    pub exchange: Exchange,
    pub evaluator: Evaluator,
}

/// What was found out about a policy's validations, by its name: in which object and generation.
type Tried = HashMap<String, ((String, i64), Option<String>)>;

/// What is remembered between two looks.
#[derive(Default)]
struct Memory {
    tried: Tried,
    /// Policies that the API server asked to wait with.
    held: Held<String>,
}

impl Memory {
    /// A policy could not be brought up to date: it is looked at again no sooner than the API server lets us.
    fn failed(&mut self, name: &str, failure: &Failure, now: Time) {
        if let Some(until) = held::until(failure, now) {
            self.held.hold(name.to_owned(), until);
        }
    }

    /// Whether a policy may be looked at now.
    fn may_look(&mut self, name: &String, now: Time) -> bool {
        self.held.release(now);
        self.held.is_free(name)
    }
}

/// Runs for ever; looks whenever `changed` says so, and once a minute.
pub async fn run(context: Context, changed: Arc<Notify>) {
    let mut memory = Memory::default();
    let mut wait = GATHER;
    loop {
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(wait) => {}
        }
        let synced = context.index.unsynced().is_empty();
        wait = if synced && look(&context, &mut memory).await { EVERY } else { AGAIN };
    }
}

/// Brings every policy's status up to date; false if something has to be tried again.
async fn look(context: &Context, memory: &mut Memory) -> bool {
    let objects = context.index.policy_objects();
    memory.tried.retain(|name, _| objects.iter().any(|o| o.metadata.name.as_ref() == Some(name)));
    let mut complete = true;
    for object in objects {
        let name = object.metadata.name.clone().unwrap_or_default();
        if !memory.may_look(&name, context.clock.now()) {
            complete = false;
            continue;
        }
        if let Err(failure) = reconcile(context, &object, &name, &mut memory.tried).await {
            memory.failed(&name, &failure, context.clock.now());
            tracing::warn!(policy = %name, error = %failure.message, "a policy's status could not be brought up to date and is tried again");
            complete = false;
        }
    }
    complete
}

async fn reconcile(
    context: &Context,
    object: &CredentialLeasePolicy,
    name: &str,
    tried: &mut Tried,
) -> Result<(), Failure> {
    let generation = object.metadata.generation.unwrap_or_default();
    let version = (object.metadata.uid.clone().unwrap_or_default(), generation);
    let broken = match tried.get(name) {
        Some((tried, known)) if *tried == version => known.clone(),
        _ => {
            let rules = object.spec.terms.as_ref().map(|terms| terms.validations.as_slice()).unwrap_or_default();
            let sample = validations::sample_of_any();
            let found = context.evaluator.first_broken(rules, sample, SAMPLE_DEADLINE).await;
            let found = found.map_err(|overrun| Failure::new(Class::Transient, overrun.to_string()))?;
            tried.insert(name.to_owned(), (version, found.clone()));
            found
        }
    };
    let (lifecycles, violating) = count(context, name);
    let old = object.status.clone().unwrap_or_default();
    let seen = PolicyObserved { generation, status: old.clone(), broken, lifecycles, violating };
    let new = policy::status(&seen, context.clock.now());
    if new == old {
        return Ok(());
    }
    write(context, object, name, &new).await
}

/// How many lifecycles a policy guards, and how many of these grant what it forbids.
fn count(context: &Context, name: &str) -> (usize, usize) {
    let policies: Vec<_> = context.index.policies().iter().filter(|p| p.name == name).cloned().collect();
    let (mut guarded, mut violating) = (0, 0);
    context.index.each_lifecycle(|_, scope| {
        let guards = guards::guarding(&policies, scope);
        guarded += usize::from(!guards.is_empty());
        violating +=
            usize::from(guards::violations(scope, &guards).iter().any(|(_, refusal)| refusal.forbids_grant_of(name)));
    });
    (guarded, violating)
}

async fn write(
    context: &Context,
    object: &CredentialLeasePolicy,
    name: &str,
    status: &CredentialLeasePolicyStatus,
) -> Result<(), Failure> {
    let target = Target {
        namespace: "",
        name,
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        resource_version: object.metadata.resource_version.as_deref().unwrap_or_default(),
        spec: Some(&object.spec),
    };
    status::put::<CredentialLeasePolicy, _, _>(&context.exchange, &target, status).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_not_written_before_the_api_server_lets_us_and_the_others_are() {
        let (mut memory, start) = (Memory::default(), Time::from_millis(0));
        let throttled = Failure {
            retry_after: Some(Duration::from_secs(7)),
            ..Failure::new(Class::Throttled, "too many requests")
        };
        let (asked, other) = ("asked".to_owned(), "other".to_owned());
        memory.failed(&asked, &throttled, start);
        memory.failed(&other, &Failure::new(Class::Transient, "no"), start);
        let mut may = |millis: i64| [&asked, &other].map(|name| memory.may_look(name, start.plus_millis(millis)));
        assert_eq!([may(0), may(6_999), may(7_000)], [[false, true], [false, true], [true, true]]);
    }
}
