//! Which rules a request breaks. One rule, one function; all are evaluated, so the requester sees every reason at once.
//!
//! Order does not matter: rules read the same [`Observed`] and never see each other.

use super::{
    guards::{self, Bound, Effective, Guard, Scope},
    observed::{LifecycleFacts, LifecycleSeen, Observed},
    refusal::Refusal,
    review, standing, workflow,
};
use crate::api::{
    CredentialLeaseSpec, Duration, ServiceAccountLifecycleSpec, Time,
    lifecycle::{DeliveryType, StopPolicy},
    policy::OnViolation,
    reasons::LifecycleReason,
    status::ResolvedRequest,
};

/// The shortest life of a lease whose tokens somebody verifies offline: the API server mints none that live shorter
/// (`MinTokenAgeSec`, pkg/apis/authentication/validation), so a shorter lease would promise what nobody keeps.
pub const MIN_OFFLINE_SECONDS: i64 = 600;
/// How far ahead a lease may be agreed, in milliseconds: 30 days.
pub const MAX_AHEAD_MILLIS: i64 = 30 * 24 * 3_600_000;

/// What the rules read.
struct Request<'a> {
    seen: &'a Observed,
    spec: &'a CredentialLeaseSpec,
    lifecycle: &'a LifecycleFacts,
    terms: &'a Effective,
    scope: &'a Scope<'a>,
    guards: &'a [Guard<'a>],
    now: Time,
}

type Rule = fn(&Request) -> Vec<Refusal>;

const RULES: &[Rule] = &[
    lifecycle_state,
    namespace,
    grants,
    guardrails,
    ttl,
    not_before,
    delivery,
    audiences,
    access,
    standing,
    quotas,
    steps,
    validations,
];

/// Every rule that the request breaks, as far as it is known now.
#[must_use]
pub fn refusals(seen: &Observed, now: Time) -> Vec<Refusal> {
    let Some(spec) = seen.lease.spec.as_ref() else { return vec![] };
    match &seen.lifecycle {
        LifecycleSeen::Unknown => vec![],
        LifecycleSeen::Absent { .. } => vec![Refusal::LifecycleNotFound { name: spec.lifecycle_ref.name.clone() }],
        LifecycleSeen::Present(lifecycle) => {
            let scope = seen.scope();
            let guards = guards::guarding(&seen.policies, &scope);
            let terms = Effective::of(&lifecycle.spec.terms, &guards);
            let request = Request { seen, spec, lifecycle, terms: &terms, scope: &scope, guards: &guards, now };
            RULES.iter().flat_map(|rule| rule(&request)).collect()
        }
    }
}

fn lifecycle_state(r: &Request) -> Vec<Refusal> {
    let mut out = vec![];
    if r.lifecycle.deleting {
        out.push(Refusal::LifecycleDeleting { name: r.spec.lifecycle_ref.name.clone() });
    }
    match r.lifecycle.spec.stop() {
        StopPolicy::None => {}
        StopPolicy::Hold => out.push(Refusal::LifecycleStopped { policy: "Hold" }),
        StopPolicy::HoldAndRevoke => out.push(Refusal::LifecycleStopped { policy: "HoldAndRevoke" }),
    }
    if let Some(at) = r.lifecycle.spec.expiration_time.filter(|at| *at <= r.now) {
        out.push(Refusal::LifecycleExpired { at });
    }
    out.extend(review::missing(r.lifecycle.spec.review.as_ref(), r.now).map(|why| Refusal::ReviewOverdue { why }));
    if let Some(held) = r.seen.held_by.as_ref().filter(|held| held.since <= r.now) {
        out.push(Refusal::LifecycleHeld { lease: held.lease.clone() });
    }
    out
}

/// What the platform's policies say.
fn guardrails(r: &Request) -> Vec<Refusal> {
    let stopped = guards::stop(r.guards).map(|(_, policy)| Refusal::PolicyStopped { policy });
    let unguarded = (r.seen.settings.require_policy && r.guards.is_empty()).then_some(Refusal::NoPolicy);
    let forbidden = guards::violations(r.scope, r.guards).into_iter().map(|(_, refusal)| refusal);
    stopped.into_iter().chain(unguarded).chain(forbidden).collect()
}

fn not_before(r: &Request) -> Vec<Refusal> {
    let too_far = r.spec.not_before.is_some_and(|at| at.since(r.seen.lease.created) > MAX_AHEAD_MILLIS);
    if too_far { vec![Refusal::NotBeforeTooFar] } else { vec![] }
}

/// Namespaces of the cluster and of Leasehold itself are never leased in.
#[must_use]
pub fn is_forbidden_namespace(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace.starts_with("leasehold-")
}

fn namespace(r: &Request) -> Vec<Refusal> {
    let namespace = &r.seen.lease.namespace;
    if is_forbidden_namespace(namespace) {
        vec![Refusal::LifecycleNamespaceForbidden { namespace: namespace.clone() }]
    } else {
        vec![]
    }
}

fn grants(r: &Request) -> Vec<Refusal> {
    let choices = || r.lifecycle.spec.grants.iter().map(|g| g.name.clone()).collect();
    if r.spec.grants.is_empty() {
        return vec![Refusal::NoGrants { choices: choices() }];
    }
    let unknown_or_roleless = |name: &String| match r.lifecycle.spec.grant(name) {
        None => Some(Refusal::GrantUnknown { grant: name.clone(), choices: choices() }),
        Some(grant) => {
            let namespace = grant.namespace.as_deref().unwrap_or(r.scope.home);
            if is_forbidden_namespace(namespace) {
                return Some(Refusal::NamespaceForbidden { grant: name.clone(), namespace: namespace.to_owned() });
            }
            if r.seen.learned.namespaces_absent.contains(namespace) {
                return Some(Refusal::NamespaceNotFound { grant: name.clone(), namespace: namespace.to_owned() });
            }
            (!r.seen.roles.contains_key(name)).then(|| Refusal::RoleNotFound {
                grant: name.clone(),
                role: format!("{} {}", grant.role_ref.kind.as_str(), grant.role_ref.name),
                namespace: namespace.to_owned(),
            })
        }
    };
    r.spec.grants.iter().filter_map(unknown_or_roleless).collect()
}

fn ttl(r: &Request) -> Vec<Refusal> {
    let asked = r.seen.ttl_under(r.terms);
    let mut out = vec![];
    if asked > r.terms.ttl_max.value {
        out.push(Refusal::TtlAboveMax { asked, max: r.terms.ttl_max.clone() });
    }
    if r.seen.verified_offline() && asked.as_secs() < MIN_OFFLINE_SECONDS {
        out.push(Refusal::TtlTooShortOffline { asked });
    }
    out
}

fn delivery(r: &Request) -> Vec<Refusal> {
    let (terms, asked) = (r.terms, &r.spec.delivery);
    let mut out = vec![];
    if !terms.delivery.contains(&asked.kind) {
        out.push(Refusal::DeliveryNotAllowed {
            asked: asked.kind.as_str(),
            allowed: terms.delivery.iter().map(|d| d.as_str()).collect(),
            with: terms.narrowed_by.clone(),
        });
    }
    let chosen = asked.secret.as_ref().filter(|_| r.spec.standing_ref.is_none());
    if let Some(secret) = chosen.filter(|s| asked.kind == DeliveryType::Secret && !terms.secret_names.contains(&s.name))
    {
        out.push(Refusal::SecretNameNotAllowed {
            asked: secret.name.clone(),
            allowed: terms.secret_names.clone(),
            with: terms.narrowed_by.clone(),
        });
    }
    out
}

fn audiences(r: &Request) -> Vec<Refusal> {
    let allowed = &r.terms.audiences;
    let refused = r.spec.audiences.iter().filter(|a| !allowed.contains(a) && !r.seen.api_audiences.contains(a));
    let refusal = |asked: &String| Refusal::AudienceNotAllowed {
        asked: asked.clone(),
        allowed: allowed.clone(),
        with: r.terms.narrowed_by.clone(),
    };
    refused.map(refusal).collect()
}

fn access(r: &Request) -> Vec<Refusal> {
    match r.seen.learned.access {
        Some(false) => vec![Refusal::RequesterMayNotLease {
            username: r.spec.requested_by.username.clone(),
            lifecycle: r.spec.lifecycle_ref.name.clone(),
        }],
        _ => vec![],
    }
}

/// A lease of a standing credential is what its lifecycle declares, and one of the two that its status names.
fn standing(r: &Request) -> Vec<Refusal> {
    let Some(of) = r.spec.standing_ref.as_ref() else { return vec![] };
    let why = standing::unfounded(r.seen, r.spec, r.lifecycle);
    why.map(|why| Refusal::NotStanding { name: of.name.clone(), why }).into_iter().collect()
}

/// Checked here so that a refusal names every reason at once; the place itself is taken by `Call::Reserve`, which is exact.
fn quotas(r: &Request) -> Vec<Refusal> {
    if r.seen.memory.reserved {
        return vec![];
    }
    if let Some(full) = &r.seen.learned.full {
        return vec![full.clone()];
    }
    // Of one that waits for people or its time it is asked when the place is taken.
    let live = r.seen.live.filter(|_| r.seen.lease.is_new());
    live.and_then(|live| quota(live, r.terms, &r.spec.requested_by.username)).into_iter().collect()
}

/// Whether one more lease of this requester exceeds the quotas, given how many live: all, and the requester's.
#[must_use]
pub fn quota(live: (usize, usize), terms: &Effective, username: &str) -> Option<Refusal> {
    let reached = |count: usize, max: i32| i32::try_from(count).is_ok_and(|n| n >= max);
    if let Some(max) = terms.max_active.as_ref().filter(|max| reached(live.0, max.value)) {
        return Some(Refusal::TooManyActive { max: max.clone() });
    }
    let max = terms.max_active_per_requester.as_ref().filter(|max| reached(live.1, max.value))?;
    Some(Refusal::TooManyForRequester { max: max.clone(), username: username.to_owned() })
}

/// What a policy's terms forbid of what was issued, with the `life` that was agreed to: not what was asked at the time, such as
/// approvals and quotas. Audiences are not judged while the API server's own are unknown.
#[must_use]
pub fn violated(
    guard: &Guard,
    held: &ResolvedRequest,
    life: Duration,
    api_audiences: &[String],
) -> Vec<(OnViolation, Refusal)> {
    let Some(terms) = guard.policy.spec.terms.as_ref() else { return vec![] };
    let with = || vec![guard.policy.name.clone()];
    let mut out = vec![];
    if let Some(max) = terms.ttl.as_ref().map(|ttl| ttl.max).filter(|max| life > *max) {
        let max = Bound { value: max, by: Some(guard.policy.name.clone()) };
        out.push(Refusal::TtlAboveMax { asked: life, max });
    }
    if let Some(allowed) = terms.delivery.as_ref().filter(|allowed| !allowed.contains(&held.delivery.kind)) {
        out.push(Refusal::DeliveryNotAllowed {
            asked: held.delivery.kind.as_str(),
            allowed: allowed.iter().map(|d| d.as_str()).collect(),
            with: with(),
        });
    }
    let foreign = held.audiences.iter().filter(|a| !api_audiences.is_empty() && !api_audiences.contains(a));
    let refused = foreign.filter(|a| terms.audiences.as_ref().is_some_and(|allowed| !allowed.contains(a)));
    out.extend(refused.map(|asked| Refusal::AudienceNotAllowed {
        asked: asked.clone(),
        allowed: terms.audiences.clone().unwrap_or_default(),
        with: with(),
    }));
    out.into_iter().map(|refusal| (guard.policy.spec.on_violation(), refusal)).collect()
}

/// A workflow that cannot run to its end is not begun.
fn steps(r: &Request) -> Vec<Refusal> {
    if r.seen.issued() {
        return vec![];
    }
    let none = guards::Labels::new();
    let labels = r.seen.namespaces.get(&r.seen.lease.namespace).unwrap_or(&none);
    let found = workflow::problems(&r.lifecycle.spec.workflow, &r.seen.systems, labels, Some(r.spec.delivery.kind));
    found.into_iter().map(|problem| Refusal::StepInvalid { step: problem.step, why: problem.why }).collect()
}

fn validations(r: &Request) -> Vec<Refusal> {
    r.seen.learned.violations.clone().unwrap_or_default()
}

/// Why a lifecycle cannot be leased now, if so: the same rules that refuse a lease, as its own condition says them.
#[must_use]
pub fn not_leasable(spec: &ServiceAccountLifecycleSpec, now: Time) -> Option<(LifecycleReason, String)> {
    if spec.stop() != StopPolicy::None {
        return Some((
            LifecycleReason::Stopped,
            format!("stopPolicy is {:?}: nothing is leased until it is taken back", spec.stop()),
        ));
    }
    if let Some(at) = spec.expiration_time.filter(|at| *at <= now) {
        return Some((LifecycleReason::Expired, format!("expirationTime {at} has passed")));
    }
    review::missing(spec.review.as_ref(), now).map(|why| (LifecycleReason::ReviewOverdue, why))
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
