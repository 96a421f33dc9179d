//! The operator's own rules, put before a request that nobody made.

use std::{collections::BTreeMap, sync::Arc};

use super::plan::Asked;
use crate::{
    api::{
        CredentialLeasePolicy, ServiceAccountLifecycle,
        names::LeaseUid,
        policy::Selector,
        status::{CredentialLeaseStatus, PolicyRule},
    },
    cli::view::lease,
    domain::{
        guards::{Effective, PolicySeen},
        observed::{
            Enforcement, Learned, LeaseSeen, LifecycleFacts, LifecycleSeen, Memory, Observed, Presence, RoleSeen,
            Settings,
        },
        refusal::Refusal,
        steps::Works,
        task::TaskSeen,
        terms,
        validations::{self, Input},
    },
};

/// The UID of a lease that does not exist.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// What the rules say.
#[derive(Clone, Debug)]
pub struct Said {
    /// Every rule that the request breaks.
    pub refusals: Vec<Refusal>,
    /// Rules that it breaks unless what it names are the API server's own audiences, which nobody here knows.
    pub unjudged: Vec<Refusal>,
    /// The terms in force.
    pub terms: Effective,
    /// Policies that select by labels which could not be read: they may guard the request or not.
    pub unknown: Vec<String>,
}

/// Puts a request before the rules. `rules` are those of the roles that are there.
#[must_use]
pub fn judge(
    asked: &Asked,
    lifecycle: &ServiceAccountLifecycle,
    rules: &BTreeMap<String, Vec<PolicyRule>>,
) -> Option<Said> {
    let all = asked.policies.as_deref().unwrap_or_default();
    let (known, unknown): (Vec<_>, Vec<_>) = all.iter().partition(|policy| is_decidable(asked, lifecycle, policy));
    let mut seen = observed(asked, lifecycle, rules, &known)?;
    let terms = seen.terms()?;
    seen.learned.violations = Some(violations(&terms, &Input::seen(&seen, asked.now)?));
    let mut refusals = terms::refusals(&seen, asked.now);
    // What nobody could read may open the namespace.
    let opens =
        |policy: &&CredentialLeasePolicy| policy.spec.grants.as_ref().is_some_and(|g| g.cross_namespace.is_some());
    if asked.policies.is_err() || unknown.iter().any(opens) {
        refusals.retain(|refusal| !matches!(refusal, Refusal::CrossNamespace { policy: None, .. }));
    }
    // A system that you may not read may be there all the same.
    let unread = |step: &str| {
        let of = lifecycle.spec.workflow.iter().find(|s| s.name == step);
        of.is_some_and(|step| asked.systems_unread.contains(&step.system))
    };
    refusals.retain(|refusal| !matches!(refusal, Refusal::StepInvalid { step, .. } if unread(step)));
    let own = |refusal: &Refusal| {
        asked.api_audiences.is_empty()
            && matches!(refusal, Refusal::AudienceNotAllowed { .. } | Refusal::TtlTooShortOffline { .. })
    };
    let (unjudged, refusals) = refusals.into_iter().partition(own);
    Some(Said { refusals, unjudged, terms, unknown: unknown.into_iter().map(name).collect() })
}

fn name(policy: &CredentialLeasePolicy) -> String {
    policy.metadata.name.clone().unwrap_or_default()
}

/// Whether the labels that a policy selects by could be read.
fn is_decidable(asked: &Asked, lifecycle: &ServiceAccountLifecycle, policy: &CredentialLeasePolicy) -> bool {
    let home = lease::namespace(&asked.lease);
    let matched = policy.spec.r#match.clone().unwrap_or_default();
    let read = |selector: &Option<Selector>, namespace: &str| {
        selector.as_ref().is_none_or(|s| *s == Selector::default()) || asked.labels.contains_key(namespace)
    };
    let grants = asked.lease.spec.grants.iter().filter_map(|grant| lifecycle.spec.grant(grant));
    read(&matched.lifecycle_namespaces, home)
        && grants.into_iter().all(|g| read(&matched.grant_namespaces, g.namespace.as_deref().unwrap_or(home)))
}

/// The request as the rules see it, without any policy.
#[must_use]
pub fn seen(asked: &Asked, lifecycle: &ServiceAccountLifecycle) -> Option<Observed> {
    observed(asked, lifecycle, &BTreeMap::new(), &[])
}

fn observed(
    asked: &Asked,
    lifecycle: &ServiceAccountLifecycle,
    rules: &BTreeMap<String, Vec<PolicyRule>>,
    policies: &[&CredentialLeasePolicy],
) -> Option<Observed> {
    let role = |(grant, rules): (&String, &Vec<PolicyRule>)| {
        (grant.clone(), RoleSeen { uid: String::new(), rules: rules.clone() })
    };
    let seen = |policy: &&CredentialLeasePolicy| Arc::new(PolicySeen { name: name(policy), spec: policy.spec.clone() });
    let lease = LeaseSeen {
        uid: LeaseUid::parse(NOBODY)?,
        namespace: lease::namespace(&asked.lease).to_owned(),
        name: lease::name(&asked.lease).to_owned(),
        resource_version: String::new(),
        generation: 1,
        created: asked.now,
        presence: Presence::Exists,
        spec: Some(asked.lease.spec.clone()),
        status: CredentialLeaseStatus::default(),
    };
    let facts = LifecycleFacts {
        uid: String::new(),
        deleting: lifecycle.metadata.deletion_timestamp.is_some(),
        spec: lifecycle.spec.clone(),
        standing: vec![],
        confirmed: true,
    };
    Some(Observed {
        synced: true,
        lease,
        lifecycle: LifecycleSeen::Present(Box::new(facts)),
        roles: rules.iter().map(role).collect(),
        enforcement: Enforcement::Enforced,
        unproven_until: None,
        policies: policies.iter().map(seen).collect(),
        namespaces: asked.labels.clone(),
        decisions: vec![],
        held_by: None,
        claims: vec![],
        api_audiences: asked.api_audiences.clone(),
        delivered: 0,
        live: Some(asked.live.clone().unwrap_or_default()),
        children: BTreeMap::new(),
        strays: vec![],
        systems: asked.systems.clone(),
        works: Works::new(),
        task: TaskSeen::None,
        memory: Memory::default(),
        learned: Learned { access: Some(true), ..Learned::default() },
        failed_before: false,
        settings: Settings { retention_millis: 0, require_policy: false },
    })
}

fn violations(terms: &Effective, input: &Input) -> Vec<Refusal> {
    let judge = |rule: &crate::api::lifecycle::Validation| {
        let met = validations::compile(&rule.expression).and_then(|compiled| validations::evaluate(&compiled, input));
        match met {
            Ok(true) => None,
            Ok(false) => Some(Refusal::ValidationFailed { message: rule.message.clone() }),
            Err(problem) => {
                Some(Refusal::ValidationBroken { expression: rule.expression.clone(), problem: problem.to_string() })
            }
        }
    };
    terms.validations.iter().filter_map(judge).collect()
}
