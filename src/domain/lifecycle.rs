//! What a lifecycle's own status says.

use std::sync::Arc;

use super::{
    consent,
    guards::{self, Effective, PolicySeen, Scope},
    observed::{Enforcement, Held},
    review::{self, Standing},
    terms, workflow,
};
use crate::api::{
    Condition, ConditionStatus, ServiceAccountLifecycleSpec, Time,
    condition::{set, unset},
    lifecycle::{ApprovalType, RoleRef, ServiceAccountLifecycleStatus},
    reasons::{ConditionType, LifecycleReason},
};

/// The least time between two writes of a lifecycle's counters, in milliseconds.
pub const COUNTERS_MILLIS: i64 = 60_000;

/// What is known about a lifecycle.
#[derive(Clone, Debug)]
pub struct LifecycleObserved {
    pub namespace: String,
    pub generation: i64,
    pub spec: ServiceAccountLifecycleSpec,
    pub status: ServiceAccountLifecycleStatus,
    pub enforcement: Enforcement,
    /// What is wrong with a validation, if something is.
    pub broken_validation: Option<String>,
    /// Whether the operator may bind the granted roles.
    pub rights: Rights,
    /// Bindings that give rights to every service account; `None`: not looked at yet.
    pub ambient: Option<Vec<String>>,
    pub guarded: Guarded,
    /// Why steps of its workflow cannot run, as sentences.
    pub workflow: Vec<workflow::Problem>,
    /// Some first list is not there yet: what is missing may only not be known.
    pub unlisted: bool,
    /// The lease that holds it, if one does.
    pub held_by: Option<Held>,
    pub active: usize,
    pub last_lease: Option<Time>,
    /// When the counters were last written.
    pub counted: Option<Time>,
}

/// A role in the namespace where it is to be bound.
pub type Place = (String, RoleRef);

/// Whether the operator may bind the granted roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// The API server could not be asked.
    Unknown(String),
    /// These are missing; empty: none is.
    Lacking(Vec<Place>),
    /// These roles do not exist.
    NotFound(Vec<Place>),
}

/// What the policies say about a lifecycle, before anybody leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    pub policies: Vec<String>,
    /// What they forbid of it, as sentences.
    pub violations: Vec<String>,
    /// The policy that stops it.
    pub stopped_by: Option<String>,
    /// The terms in force, in short.
    pub terms: String,
    /// No policy guards it, and one is demanded.
    pub unguarded: bool,
}

/// Judges a lifecycle by the policies that guard it.
#[must_use]
pub fn guarded(
    policies: &[Arc<PolicySeen>],
    scope: &Scope,
    spec: &ServiceAccountLifecycleSpec,
    require_policy: bool,
) -> Guarded {
    let guards = guards::guarding(policies, scope);
    let effective = Effective::of(&spec.terms, &guards);
    let mut violations: Vec<String> =
        guards::violations(scope, &guards).into_iter().map(|(_, refusal)| refusal.to_string()).collect();
    if effective.delivery.is_empty() {
        violations.push(format!(
            "policies {} leave no delivery that the lifecycle allows: add one of theirs to terms.delivery",
            effective.narrowed_by.join(", ")
        ));
    }
    violations.dedup();
    let approval = match effective.approval.kind.value {
        ApprovalType::NotRequired => "no approval".to_owned(),
        kind => format!("approval {} by {}", kind.as_str(), effective.approval.count),
    };
    Guarded {
        stopped_by: guards::stop(&guards).map(|(_, policy)| policy),
        unguarded: require_policy && guards.is_empty(),
        terms: format!("ttl at most {}, {approval}", effective.ttl_max.value),
        policies: effective.policies,
        violations,
    }
}

/// How long a leader may take to know what the one before it knew, in milliseconds.
const BEGINNING_MILLIS: i64 = 60_000;

/// Whether enough is known to say anything of a lifecycle. What was said of this very spec stays until as much is known again: a
/// process that has just started knows less than the one before it, and nothing of the lifecycle has changed by that. What is not
/// known after a minute is said not to be known. `led`: how long this process has led, in milliseconds.
#[must_use]
pub fn knows_enough(
    status: Option<&ServiceAccountLifecycleStatus>,
    generation: i64,
    listed: bool,
    enforcement: &Enforcement,
    led: i64,
) -> bool {
    let said = status.is_some_and(|status| status.observed_generation == Some(generation));
    !said || led >= BEGINNING_MILLIS || (listed && *enforcement != Enforcement::Unknown)
}

/// The status as it should be.
#[must_use]
pub fn status(seen: &LifecycleObserved, now: Time) -> ServiceAccountLifecycleStatus {
    let mut status = seen.status.clone();
    status.observed_generation = Some(seen.generation);
    status.next_review_time = seen.spec.review.as_ref().map(review::next);
    let said = [ready(seen), grants_allowed(seen), policies_satisfied(seen), leasable(seen, now)];
    let conditions = said.into_iter().chain(ambient(seen)).chain(workflow_allowed(seen));
    for (kind, holds, reason, message) in conditions {
        let condition = Condition {
            kind: kind.as_str().into(),
            status: holds,
            observed_generation: Some(seen.generation),
            last_transition_time: now,
            reason: reason.as_str().into(),
            message,
        };
        set(&mut status.conditions, condition);
    }
    if seen.spec.workflow.is_empty() {
        unset(&mut status.conditions, ConditionType::WorkflowAllowed.as_str());
    }
    if let Some(problem) = &seen.broken_validation {
        // Ready False alone would read as in progress for ever.
        let condition = Condition {
            kind: ConditionType::Stalled.as_str().into(),
            status: ConditionStatus::True,
            observed_generation: Some(seen.generation),
            last_transition_time: now,
            reason: LifecycleReason::ValidationInvalid.as_str().into(),
            message: problem.clone(),
        };
        set(&mut status.conditions, condition);
    } else {
        unset(&mut status.conditions, ConditionType::Stalled.as_str());
    }
    if counters_due(seen, now) {
        status.active_leases = i32::try_from(seen.active).ok();
        // The last one may have been deleted since it was counted: what is known of leases that are there may be less.
        status.last_lease_time = seen.last_lease.max(status.last_lease_time);
    }
    status
}

fn counters_due(seen: &LifecycleObserved, now: Time) -> bool {
    seen.status.active_leases.is_none() || seen.counted.is_none_or(|at| now.since(at) >= COUNTERS_MILLIS)
}

/// When the status has to be looked at again although nothing changes: the lifecycle's end, its reviews, counters that may be written then.
#[must_use]
pub fn look_again(seen: &LifecycleObserved, now: Time) -> Option<Time> {
    let end = seen.spec.expiration_time.filter(|at| *at > now);
    let review = seen.spec.review.as_ref().and_then(|review| review::changes(review, now));
    let held = seen.held_by.as_ref().map(|held| held.since).filter(|at| *at > now);
    let stale =
        i32::try_from(seen.active).ok() != seen.status.active_leases || seen.last_lease > seen.status.last_lease_time;
    let counters = stale.then(|| seen.counted.map_or(now, |at| at.plus_millis(COUNTERS_MILLIS)));
    [end, review, held, counters].into_iter().flatten().min()
}

type Said = (ConditionType, ConditionStatus, LifecycleReason, String);

fn ready(seen: &LifecycleObserved) -> Said {
    match &seen.broken_validation {
        None => (ConditionType::Ready, ConditionStatus::True, LifecycleReason::Accepted, "the spec is accepted".into()),
        Some(problem) => {
            (ConditionType::Ready, ConditionStatus::False, LifecycleReason::ValidationInvalid, problem.clone())
        }
    }
}

fn grants_allowed(seen: &LifecycleObserved) -> Said {
    let kind = ConditionType::GrantsAllowed;
    match &seen.rights {
        Rights::Unknown(why) => (kind, ConditionStatus::Unknown, LifecycleReason::Unknown, why.clone()),
        Rights::NotFound(roles) => {
            let names =
                roles.iter().map(|(ns, r)| format!("{} {} not found in namespace {ns}", r.kind.as_str(), r.name));
            let message = format!("{}: create it first", names.collect::<Vec<_>>().join(", "));
            (kind, ConditionStatus::False, LifecycleReason::RoleNotFound, message)
        }
        Rights::Lacking(roles) if roles.is_empty() => {
            (kind, ConditionStatus::True, LifecycleReason::Allowed, "the operator may bind every granted role".into())
        }
        Rights::Lacking(roles) => {
            let mut namespaces: Vec<&String> = roles.iter().map(|(namespace, _)| namespace).collect();
            namespaces.sort();
            namespaces.dedup();
            let manifests = namespaces.into_iter().map(|namespace| {
                let here: Vec<RoleRef> = roles.iter().filter(|(n, _)| n == namespace).map(|(_, r)| r.clone()).collect();
                format!("let the owner of namespace {namespace} apply:\n{}", consent::to_bind(namespace, &here))
            });
            let message =
                format!("the operator may not bind every granted role; {}", manifests.collect::<Vec<_>>().join("and "));
            (kind, ConditionStatus::False, LifecycleReason::MissingRight, message)
        }
    }
}

fn policies_satisfied(seen: &LifecycleObserved) -> Said {
    let (kind, guarded) = (ConditionType::PoliciesSatisfied, &seen.guarded);
    if guarded.unguarded {
        let message = "no CredentialLeasePolicy guards it, and the operator runs with --require-policy: let the platform team add one that matches it";
        return (kind, ConditionStatus::False, LifecycleReason::NoPolicy, message.into());
    }
    if !guarded.violations.is_empty() {
        return (kind, ConditionStatus::False, LifecycleReason::Violated, guarded.violations.join("; "));
    }
    let message = match guarded.policies.as_slice() {
        [] => format!("no policy guards it; in force: {}", guarded.terms),
        policies => format!("guarded by {}; in force: {}", policies.join(", "), guarded.terms),
    };
    (kind, ConditionStatus::True, LifecycleReason::Satisfied, message)
}

fn leasable(seen: &LifecycleObserved, now: Time) -> Said {
    let kind = ConditionType::Leasable;
    match &seen.enforcement {
        Enforcement::Unknown => {
            return (
                kind,
                ConditionStatus::Unknown,
                LifecycleReason::PolicyNotEnforced,
                "the admission policies have not been looked at yet".into(),
            );
        }
        Enforcement::Missing(why) => {
            return (kind, ConditionStatus::False, LifecycleReason::PolicyNotEnforced, why.clone());
        }
        Enforcement::Enforced => {}
    }
    if let Some((reason, message)) = terms::not_leasable(&seen.spec, now) {
        return (kind, ConditionStatus::False, reason, message);
    }
    if let Some(policy) = &seen.guarded.stopped_by {
        let message = format!("policy {policy} stops it: nothing is leased until that policy is deleted");
        return (kind, ConditionStatus::False, LifecycleReason::PolicyStopped, message);
    }
    if let Some(Held { lease, .. }) = seen.held_by.as_ref().filter(|held| held.since <= now) {
        let message = format!("lease {lease} was issued without an answer in time: approve or deny it to lift this");
        return (kind, ConditionStatus::False, LifecycleReason::Held, message);
    }
    if seen.broken_validation.is_some() {
        return (
            kind,
            ConditionStatus::False,
            LifecycleReason::NotReady,
            "a validation cannot be used, so no lease passes it: mend what condition Ready names".into(),
        );
    }
    let message = match review::standing(seen.spec.review.as_ref(), now) {
        Standing::Due { until } => format!("leases may be issued until {until}: a review is due"),
        _ => "leases may be issued".into(),
    };
    (kind, ConditionStatus::True, LifecycleReason::Leasable, message)
}

fn workflow_allowed(seen: &LifecycleObserved) -> Option<Said> {
    if seen.spec.workflow.is_empty() || seen.unlisted {
        return None;
    }
    let kind = ConditionType::WorkflowAllowed;
    Some(if seen.workflow.is_empty() {
        (kind, ConditionStatus::True, LifecycleReason::Allowed, "every step of the workflow can run".into())
    } else {
        let each = seen.workflow.iter().map(|problem| format!("step {}: {}", problem.step, problem.why));
        (kind, ConditionStatus::False, LifecycleReason::StepInvalid, each.collect::<Vec<_>>().join("; "))
    })
}

fn ambient(seen: &LifecycleObserved) -> Option<Said> {
    let found = seen.ambient.as_ref()?;
    let kind = ConditionType::AmbientRights;
    Some(if found.is_empty() {
        (
            kind,
            ConditionStatus::False,
            LifecycleReason::NoneFound,
            "a lease holds its grants, and only what every cluster gives to everybody".into(),
        )
    } else {
        let message = format!("every lease also holds what these give to all service accounts: {}", found.join(", "));
        (kind, ConditionStatus::True, LifecycleReason::Found, message)
    })
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
