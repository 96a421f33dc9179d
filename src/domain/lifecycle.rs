//! What a lifecycle's own status says.

use super::{consent, observed::Enforcement, terms};
use crate::api::{
    Condition, ConditionStatus, ServiceAccountLifecycleSpec, Time,
    condition::{set, unset},
    lifecycle::{RoleRef, ServiceAccountLifecycleStatus},
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
    pub active: usize,
    pub last_lease: Option<Time>,
    /// When the counters were last written.
    pub counted: Option<Time>,
}

/// Whether the operator may bind the granted roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// The API server could not be asked.
    Unknown(String),
    /// These are missing; empty: none is.
    Lacking(Vec<RoleRef>),
    /// These roles do not exist.
    NotFound(Vec<RoleRef>),
}

/// The status as it should be.
#[must_use]
pub fn status(seen: &LifecycleObserved, now: Time) -> ServiceAccountLifecycleStatus {
    let mut status = seen.status.clone();
    status.observed_generation = Some(seen.generation);
    let conditions = [ready(seen), grants_allowed(seen), leasable(seen, now)].into_iter().chain(ambient(seen));
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
        status.last_lease_time = seen.last_lease.or(status.last_lease_time);
    }
    status
}

fn counters_due(seen: &LifecycleObserved, now: Time) -> bool {
    seen.status.active_leases.is_none() || seen.counted.is_none_or(|at| now.since(at) >= COUNTERS_MILLIS)
}

/// When the status has to be looked at again although nothing changes: the lifecycle's end, counters that may be written then.
#[must_use]
pub fn look_again(seen: &LifecycleObserved, now: Time) -> Option<Time> {
    let end = seen.spec.expiration_time.filter(|at| *at > now);
    let stale = i32::try_from(seen.active).ok() != seen.status.active_leases
        || seen.last_lease.is_some_and(|at| Some(at) != seen.status.last_lease_time);
    let counters = stale.then(|| seen.counted.map_or(now, |at| at.plus_millis(COUNTERS_MILLIS)));
    [end, counters].into_iter().flatten().min()
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
            let names: Vec<String> = roles.iter().map(|r| format!("{} {}", r.kind.as_str(), r.name)).collect();
            (
                kind,
                ConditionStatus::False,
                LifecycleReason::RoleNotFound,
                format!("{} not found in namespace {}: create it first", names.join(", "), seen.namespace),
            )
        }
        Rights::Lacking(roles) if roles.is_empty() => {
            (kind, ConditionStatus::True, LifecycleReason::Allowed, "the operator may bind every granted role".into())
        }
        Rights::Lacking(roles) => {
            let message = format!(
                "the operator may not bind every granted role; let the owner of namespace {} apply:\n{}",
                seen.namespace,
                consent::to_bind(&seen.namespace, roles)
            );
            (kind, ConditionStatus::False, LifecycleReason::MissingRight, message)
        }
    }
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
    if seen.broken_validation.is_some() {
        return (
            kind,
            ConditionStatus::False,
            LifecycleReason::NotReady,
            "a validation cannot be used, so no lease passes it: mend what condition Ready names".into(),
        );
    }
    (kind, ConditionStatus::True, LifecycleReason::Leasable, "leases may be issued".into())
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
