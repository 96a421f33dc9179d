//! Which rules a request breaks. One rule, one function; all are evaluated, so the requester sees every reason at once.
//!
//! Order does not matter: rules read the same [`Observed`] and never see each other.

use std::fmt;

use super::observed::{LifecycleFacts, LifecycleSeen, Observed};
use crate::api::{
    CredentialLeaseSpec, Duration, Time,
    lifecycle::{DeliveryType, StopPolicy},
    reasons::LifecycleReason,
};

/// The shortest life of a lease whose tokens somebody verifies offline: the API server mints none that live shorter
/// (`MinTokenAgeSec`, pkg/apis/authentication/validation), so a shorter lease would promise what nobody keeps.
pub const MIN_OFFLINE_SECONDS: i64 = 600;

/// One reason why a request is refused, as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    LifecycleNotFound { name: String },
    LifecycleDeleting { name: String },
    LifecycleStopped { policy: &'static str },
    LifecycleExpired { at: Time },
    LifecycleNamespaceForbidden { namespace: String },
    NoGrants { choices: Vec<String> },
    GrantUnknown { grant: String, choices: Vec<String> },
    RoleNotFound { grant: String, role: String, namespace: String },
    TtlAboveMax { asked: Duration, max: Duration },
    TtlTooShortOffline { asked: Duration },
    DeliveryNotAllowed { asked: &'static str, allowed: Vec<&'static str> },
    SecretNameNotAllowed { asked: String, allowed: Vec<String> },
    AudienceNotAllowed { asked: String, allowed: Vec<String> },
    RequesterMayNotLease { username: String, lifecycle: String },
    TooManyActive { max: i32 },
    TooManyForRequester { max: i32, username: String },
    ValidationFailed { message: String },
    ValidationBroken { expression: String, problem: String },
}

impl Refusal {
    /// Whether the lifecycle should be read again before this is said: a watch may lag behind what the requester sees.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        !matches!(self, Self::RequesterMayNotLease { .. } | Self::LifecycleNamespaceForbidden { .. })
    }
}

fn list<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() { "none".into() } else { words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LifecycleNotFound { name } => write!(
                f,
                "there is no ServiceAccountLifecycle {name} in this namespace: create it, or name another one"
            ),
            Self::LifecycleDeleting { name } => write!(f, "the lifecycle {name} is being deleted"),
            Self::LifecycleStopped { policy } => {
                write!(f, "the lifecycle is stopped (stopPolicy {policy}): ask its owner")
            }
            Self::LifecycleExpired { at } => {
                write!(f, "the lifecycle ended at {at}: its owner must move expirationTime")
            }
            Self::LifecycleNamespaceForbidden { namespace } => write!(
                f,
                "nothing is leased in namespace {namespace}: use a namespace that does not begin with kube- or leasehold-"
            ),
            Self::NoGrants { choices } => write!(f, "spec.grants names nothing: choose from {}", list(choices)),
            Self::GrantUnknown { grant, choices } => {
                write!(f, "the lifecycle has no grant {grant}: choose from {}", list(choices))
            }
            Self::RoleNotFound { grant, role, namespace } => {
                write!(f, "the {role} of grant {grant} does not exist in namespace {namespace}: create it first")
            }
            Self::TtlAboveMax { asked, max } => {
                write!(f, "a ttl of {asked} is longer than the lifecycle's {max}: ask for at most {max}")
            }
            Self::TtlTooShortOffline { asked } => write!(
                f,
                "a ttl of {asked} is too short for audiences that verify without asking the API server: ask for at least 10m"
            ),
            Self::DeliveryNotAllowed { asked, allowed } => {
                write!(f, "the lifecycle does not allow delivery {asked}: choose from {}", list(allowed))
            }
            Self::SecretNameNotAllowed { asked, allowed } => write!(
                f,
                "the lifecycle does not allow the Secret name {asked}: leave delivery.secret out, or choose from {}",
                list(allowed)
            ),
            Self::AudienceNotAllowed { asked, allowed } => write!(
                f,
                "the lifecycle does not allow audience {asked}: choose from {}, or leave audiences out",
                list(allowed)
            ),
            Self::RequesterMayNotLease { username, lifecycle } => write!(
                f,
                "{username} may not lease {lifecycle}: ask for a Role with verb lease on serviceaccountlifecycles {lifecycle}, bound to you or to a group that does not begin with system:"
            ),
            Self::TooManyActive { max } => write!(
                f,
                "{max} leases of this lifecycle are active, the most it allows (maxActive): wait for one to end"
            ),
            Self::TooManyForRequester { max, username } => write!(
                f,
                "{username} has {max} active leases of this lifecycle, the most it allows (maxActivePerRequester): end one first"
            ),
            Self::ValidationFailed { message } => f.write_str(message),
            Self::ValidationBroken { expression, problem } => write!(
                f,
                "the rule `{expression}` cannot be evaluated ({problem}), so nothing passes it: ask the lifecycle's owner to mend it"
            ),
        }
    }
}

/// What the rules read.
struct Request<'a> {
    seen: &'a Observed,
    spec: &'a CredentialLeaseSpec,
    lifecycle: &'a LifecycleFacts,
    now: Time,
}

type Rule = fn(&Request) -> Vec<Refusal>;

const RULES: &[Rule] = &[lifecycle_state, namespace, grants, ttl, delivery, audiences, access, quotas, validations];

/// Every rule that the request breaks, as far as it is known now.
#[must_use]
pub fn refusals(seen: &Observed, now: Time) -> Vec<Refusal> {
    let Some(spec) = seen.lease.spec.as_ref() else { return vec![] };
    match &seen.lifecycle {
        LifecycleSeen::Unknown => vec![],
        LifecycleSeen::Absent { .. } => vec![Refusal::LifecycleNotFound { name: spec.lifecycle_ref.name.clone() }],
        LifecycleSeen::Present(lifecycle) => {
            let request = Request { seen, spec, lifecycle, now };
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
    out
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
        Some(_) if r.seen.roles.contains_key(name) => None,
        Some(grant) => Some(Refusal::RoleNotFound {
            grant: name.clone(),
            role: format!("{} {}", grant.role_ref.kind.as_str(), grant.role_ref.name),
            namespace: r.seen.lease.namespace.clone(),
        }),
    };
    r.spec.grants.iter().filter_map(unknown_or_roleless).collect()
}

fn ttl(r: &Request) -> Vec<Refusal> {
    let terms = &r.lifecycle.spec.terms;
    let (asked, max) = (r.seen.ttl().unwrap_or_else(|| terms.default_ttl()), terms.ttl.max);
    let mut out = vec![];
    if asked > max {
        out.push(Refusal::TtlAboveMax { asked, max });
    }
    if r.seen.verified_offline() && asked.as_secs() < MIN_OFFLINE_SECONDS {
        out.push(Refusal::TtlTooShortOffline { asked });
    }
    out
}

fn delivery(r: &Request) -> Vec<Refusal> {
    let (terms, asked) = (&r.lifecycle.spec.terms, &r.spec.delivery);
    let mut out = vec![];
    if !terms.delivery.contains(&asked.kind) {
        out.push(Refusal::DeliveryNotAllowed {
            asked: asked.kind.as_str(),
            allowed: terms.delivery.iter().map(|d| d.as_str()).collect(),
        });
    }
    if let Some(secret) =
        asked.secret.as_ref().filter(|s| asked.kind == DeliveryType::Secret && !terms.secret_names.contains(&s.name))
    {
        out.push(Refusal::SecretNameNotAllowed { asked: secret.name.clone(), allowed: terms.secret_names.clone() });
    }
    out
}

fn audiences(r: &Request) -> Vec<Refusal> {
    let allowed = &r.lifecycle.spec.terms.audiences;
    let refused = r.spec.audiences.iter().filter(|a| !allowed.contains(a) && !r.seen.api_audiences.contains(a));
    refused.map(|a| Refusal::AudienceNotAllowed { asked: a.clone(), allowed: allowed.clone() }).collect()
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

/// Checked here so that a refusal names every reason at once; the place itself is taken by `Call::Reserve`, which is exact.
fn quotas(r: &Request) -> Vec<Refusal> {
    if r.seen.memory.reserved {
        return vec![];
    }
    if let Some(full) = &r.seen.learned.full {
        return vec![full.clone()];
    }
    quota(r.seen.live, &r.lifecycle.spec, &r.spec.requested_by.username).into_iter().collect()
}

/// Whether one more lease of this requester exceeds the lifecycle's quotas, given how many live: all, and the requester's.
#[must_use]
pub fn quota(
    live: (usize, usize),
    lifecycle: &crate::api::ServiceAccountLifecycleSpec,
    username: &str,
) -> Option<Refusal> {
    let reached = |count: usize, max: i32| i32::try_from(count).is_ok_and(|n| n >= max);
    if let Some(max) = lifecycle.terms.max_active.filter(|max| reached(live.0, *max)) {
        return Some(Refusal::TooManyActive { max });
    }
    let max = lifecycle.terms.max_active_per_requester.filter(|max| reached(live.1, *max))?;
    Some(Refusal::TooManyForRequester { max, username: username.to_owned() })
}

fn validations(r: &Request) -> Vec<Refusal> {
    r.seen.learned.violations.clone().unwrap_or_default()
}

/// Why a lifecycle cannot be leased now, if so: the same rules that refuse a lease, as its own condition says them.
#[must_use]
pub fn not_leasable(spec: &crate::api::ServiceAccountLifecycleSpec, now: Time) -> Option<(LifecycleReason, String)> {
    if spec.stop() != StopPolicy::None {
        return Some((
            LifecycleReason::Stopped,
            format!("stopPolicy is {:?}: nothing is leased until it is taken back", spec.stop()),
        ));
    }
    let at = spec.expiration_time.filter(|at| *at <= now)?;
    Some((LifecycleReason::Expired, format!("expirationTime {at} has passed")))
}
