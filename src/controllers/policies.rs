//! The status of each policy: whether it can be used, and how many lifecycles it guards.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::index::Index;
use crate::{
    api::{CredentialLeasePolicy, policy::CredentialLeasePolicyStatus},
    cluster::{
        exchange::Exchange,
        status::{self, Target},
    },
    domain::{
        call::Failure,
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

/// Runs for ever; looks whenever `changed` says so, and once a minute.
pub async fn run(context: Context, changed: Arc<Notify>) {
    let mut tried = Tried::new();
    let mut wait = GATHER;
    loop {
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(wait) => {}
        }
        let synced = context.index.unsynced().is_empty();
        wait = if synced && look(&context, &mut tried).await { EVERY } else { AGAIN };
    }
}

/// Brings every policy's status up to date; false if something has to be tried again.
async fn look(context: &Context, tried: &mut Tried) -> bool {
    let objects = context.index.policy_objects();
    tried.retain(|name, _| objects.iter().any(|o| o.metadata.name.as_ref() == Some(name)));
    let mut complete = true;
    for object in objects {
        let name = object.metadata.name.clone().unwrap_or_default();
        if let Err(problem) = reconcile(context, &object, &name, tried).await {
            tracing::warn!(policy = %name, error = %problem, "a policy's status could not be brought up to date and is tried again");
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
) -> Result<(), String> {
    let generation = object.metadata.generation.unwrap_or_default();
    let version = (object.metadata.uid.clone().unwrap_or_default(), generation);
    let broken = match tried.get(name) {
        Some((tried, known)) if *tried == version => known.clone(),
        _ => {
            let rules = object.spec.terms.as_ref().map(|terms| terms.validations.as_slice()).unwrap_or_default();
            let sample = validations::sample_of_any();
            let found =
                context.evaluator.first_broken(rules, sample, SAMPLE_DEADLINE).await.map_err(|e| e.to_string())?;
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
    write(context, object, name, &new).await.map_err(|failure| failure.message)
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
