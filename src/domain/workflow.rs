//! The steps of a workflow as they will run: resolved against the connected systems, or why they cannot run.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    digest,
    guards::{self, Labels},
};
use crate::api::{
    ConnectedSystemSpec,
    lifecycle::DeliveryType,
    status::ObjectIdentity,
    system::{NamespacesFrom, Operation},
    workflow::{ResolvedStep, Step, StepTime},
};

/// A connected system as it was last seen, its expressions looked at once.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemSeen {
    pub name: String,
    pub uid: String,
    pub spec: ConnectedSystemSpec,
    /// By the names of its operations: what each uses, or why it cannot be used.
    pub operations: BTreeMap<String, Result<Uses, String>>,
}

/// What the expressions of an operation use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// `credential.token`.
    pub token: bool,
    /// Anything of `credential`.
    pub credential: bool,
}

/// Every system that the workflow of a lifecycle may name, by its name.
pub type Systems = BTreeMap<String, Arc<SystemSeen>>;

/// Why a step cannot run, as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub step: String,
    pub why: String,
}

/// What a step does, as a digest is made of it.
#[derive(Serialize)]
struct Definition<'a> {
    kind: &'static str,
    place: Vec<&'a str>,
    operation: &'a Operation,
    undo: Option<&'a Operation>,
}

/// The steps whose system and operation are there, as they would run now.
#[must_use]
pub fn resolve(steps: &[Step], systems: &Systems) -> Vec<ResolvedStep> {
    let resolve = |step: &Step| {
        let system = systems.get(&step.system)?;
        Some(ResolvedStep {
            name: step.name.clone(),
            at: step.at,
            system: ObjectIdentity { name: system.name.clone(), uid: system.uid.clone() },
            operation: step.operation.clone(),
            definition_digest: definition_digest(&system.spec, &step.operation, step.undo.as_deref())?,
            with: step.with.clone(),
            undo: step.undo.clone(),
            timeout: step.timeout(),
            on_failure: step.on_failure(),
        })
    };
    steps.iter().filter_map(resolve).collect()
}

/// Where what is done in a system is: its url, and of a Vault the engine and the namespace.
#[must_use]
pub fn place(system: &ConnectedSystemSpec) -> Vec<&str> {
    let http = system.http.iter().map(|http| http.url.as_str());
    let vault =
        system.vault.iter().flat_map(|v| [v.url.as_str(), &v.mount, v.namespace.as_deref().unwrap_or_default()]);
    http.chain(vault).collect()
}

/// The digest of what a step does; `None` if the system has no such operation.
#[must_use]
pub fn definition_digest(system: &ConnectedSystemSpec, operation: &str, undo: Option<&str>) -> Option<String> {
    let undo = match undo {
        Some(name) => Some(system.operation(name)?),
        None => None,
    };
    let definition =
        Definition { kind: system.kind.as_str(), place: place(system), operation: system.operation(operation)?, undo };
    digest::canonical(&definition).ok().map(|text| digest::sha256(&text))
}

/// Whether lifecycles of a namespace with these labels may use a system.
#[must_use]
pub fn may_use(system: &ConnectedSystemSpec, labels: &Labels) -> bool {
    match system.namespaces.from {
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => {
            system.namespaces.selector.as_ref().is_some_and(|selector| guards::selects(selector, labels))
        }
    }
}

/// Why steps cannot run. `labels`: those of the lifecycle's namespace; `delivery`: how the token reaches its holder, if that is
/// known.
#[must_use]
pub fn problems(steps: &[Step], systems: &Systems, labels: &Labels, delivery: Option<DeliveryType>) -> Vec<Problem> {
    let of = |step: &Step| {
        let all = problems_of(step, systems, labels, delivery);
        all.into_iter().map(|why| Problem { step: step.name.clone(), why }).collect::<Vec<_>>()
    };
    steps.iter().flat_map(of).collect()
}

fn problems_of(step: &Step, systems: &Systems, labels: &Labels, delivery: Option<DeliveryType>) -> Vec<String> {
    let Some(system) = systems.get(&step.system) else {
        return vec![format!("there is no ConnectedSystem {}: ask the platform team for it", step.system)];
    };
    if !may_use(&system.spec, labels) {
        return vec![format!("system {} is not for this namespace: ask the platform team", step.system)];
    }
    let mut out = vec![];
    match usable(system, &step.operation) {
        Err(why) => out.push(why),
        Ok((operation, uses)) => {
            let undo = step.undo.as_deref().and_then(|undo| system.spec.operation(undo));
            out.extend(params(step, operation, undo));
            out.extend(timing(step, operation, uses, delivery));
        }
    }
    match step.undo.as_deref().map(|undo| usable(system, undo)) {
        Some(Err(why)) => out.push(why),
        Some(Ok((undo, uses))) => {
            let missing: Vec<&str> =
                undo.params.iter().filter(|p| !step.with.contains_key(*p)).map(String::as_str).collect();
            if !missing.is_empty() {
                out.push(format!("undo {} wants params that with does not have: {}", undo.name, missing.join(", ")));
            }
            if uses.token {
                out.push(format!(
                    "undo {} uses credential.token, which is dead by then: undo by a name that the operation chose",
                    undo.name
                ));
            }
        }
        None => {}
    }
    out
}

fn usable<'a>(system: &'a SystemSeen, name: &str) -> Result<(&'a Operation, Uses), String> {
    let Some(operation) = system.spec.operation(name) else {
        let names: Vec<&str> = system.spec.operations.iter().map(|o| o.name.as_str()).collect();
        return Err(format!("system {} has no operation {name}: choose from {}", system.name, names.join(", ")));
    };
    match system.operations.get(name) {
        Some(Ok(uses)) => Ok((operation, *uses)),
        Some(Err(why)) => Err(format!("operation {name} of system {} cannot be used: {why}", system.name)),
        None => Err(format!("operation {name} of system {} was not looked at yet", system.name)),
    }
}

fn params(step: &Step, operation: &Operation, undo: Option<&Operation>) -> Option<String> {
    let wanted = |name: &String| operation.params.contains(name);
    let for_undo = |name: &String| undo.is_some_and(|undo| undo.params.contains(name));
    let missing: Vec<&str> =
        operation.params.iter().filter(|p| !step.with.contains_key(*p)).map(String::as_str).collect();
    let unknown: Vec<&str> = step.with.keys().filter(|p| !wanted(p) && !for_undo(p)).map(String::as_str).collect();
    match (missing.as_slice(), unknown.as_slice()) {
        ([], []) => None,
        ([], unknown) => {
            Some(format!("operation {} has no params {}: leave them out of with", operation.name, unknown.join(", ")))
        }
        (missing, _) => {
            Some(format!("operation {} wants params {}: say them in with", operation.name, missing.join(", ")))
        }
    }
}

fn timing(step: &Step, operation: &Operation, uses: Uses, delivery: Option<DeliveryType>) -> Option<String> {
    let name = &operation.name;
    match step.at {
        StepTime::Request if !operation.is_read_only() => Some(format!(
            "operation {name} may change something, and a step at Request runs before anybody has agreed: use one with access ReadOnly"
        )),
        StepTime::Request if uses.credential => {
            Some(format!("operation {name} uses the credential, and at Request there is none yet: call it at Issue"))
        }
        StepTime::Issue if uses.token && delivery == Some(DeliveryType::TokenRequest) => Some(format!(
            "operation {name} uses credential.token, which the operator never has with delivery TokenRequest: ask for delivery Secret"
        )),
        StepTime::Revoke if uses.token => {
            Some(format!("operation {name} uses credential.token, which is dead at Revoke: call it at Issue"))
        }
        _ => None,
    }
}
