//! The rules of the terms, as the operator applies them: the one place that a request which nobody made is put before them.

use std::collections::BTreeMap;

use super::plan::Asked;
use crate::{
    api::{
        Duration, ServiceAccountLifecycle,
        names::LeaseUid,
        status::{CredentialLeaseStatus, PolicyRule},
    },
    cli::view::lease,
    domain::{
        observed::{
            Enforcement, Learned, LeaseSeen, LifecycleFacts, LifecycleSeen, Memory, Observed, Presence, RoleSeen,
            Settings,
        },
        terms::{self, Refusal},
        validations::{self, Input},
    },
};

/// The UID of a lease that does not exist.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Every rule of the terms in force that the request breaks.
#[must_use]
pub fn refusals(
    asked: &Asked,
    in_force: &ServiceAccountLifecycle,
    rules: &BTreeMap<String, Vec<PolicyRule>>,
) -> Vec<Refusal> {
    let Some(uid) = LeaseUid::parse(NOBODY) else { return vec![] };
    let role = |(grant, rules): (&String, &Vec<PolicyRule>)| {
        (grant.clone(), RoleSeen { uid: String::new(), rules: rules.clone() })
    };
    let mut seen = Observed {
        lease: LeaseSeen {
            uid,
            namespace: lease::namespace(&asked.lease).to_owned(),
            name: lease::name(&asked.lease).to_owned(),
            resource_version: String::new(),
            generation: 1,
            created: asked.now,
            presence: Presence::Exists,
            spec: Some(asked.lease.spec.clone()),
            status: CredentialLeaseStatus::default(),
        },
        lifecycle: LifecycleSeen::Present(Box::new(LifecycleFacts {
            uid: String::new(),
            deleting: in_force.metadata.deletion_timestamp.is_some(),
            spec: in_force.spec.clone(),
            confirmed: true,
        })),
        roles: rules.iter().map(role).collect(),
        enforcement: Enforcement::Enforced,
        api_audiences: asked.api_audiences.clone(),
        live: asked.live.clone().unwrap_or_default(),
        children: BTreeMap::new(),
        strays: vec![],
        memory: Memory::default(),
        learned: Learned { access: Some(true), ..Learned::default() },
        settings: Settings { retention_millis: Duration::from_secs(0).as_secs() },
    };
    seen.learned.violations = Some(violations(asked, in_force));
    terms::refusals(&seen, asked.now)
}

fn violations(asked: &Asked, in_force: &ServiceAccountLifecycle) -> Vec<Refusal> {
    let input = Input::of(&asked.lease, in_force, asked.now);
    let judge = |rule: &crate::api::lifecycle::Validation| {
        let outcome =
            validations::compile(&rule.expression).and_then(|compiled| validations::evaluate(&compiled, &input));
        match outcome {
            Ok(true) => None,
            Ok(false) => Some(Refusal::ValidationFailed { message: rule.message.clone() }),
            Err(problem) => {
                Some(Refusal::ValidationBroken { expression: rule.expression.clone(), problem: problem.to_string() })
            }
        }
    };
    in_force.spec.terms.validations.iter().filter_map(judge).collect()
}
