//! Which rules a request breaks. One rule, one function; all are evaluated, so the requester sees every reason at once.
//!
//! Order does not matter: rules read the same [`Observed`] and never see each other.

use std::fmt;

use super::{
    guards::{self, Bound, Effective, Guard, Scope},
    observed::{LifecycleFacts, LifecycleSeen, Observed},
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

/// One reason why a request is refused, as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    LifecycleNotFound { name: String },
    LifecycleDeleting { name: String },
    LifecycleStopped { policy: &'static str },
    LifecycleExpired { at: Time },
    ReviewOverdue { why: String },
    LifecycleNamespaceForbidden { namespace: String },
    NoGrants { choices: Vec<String> },
    GrantUnknown { grant: String, choices: Vec<String> },
    RoleNotFound { grant: String, role: String, namespace: String },
    NamespaceNotFound { grant: String, namespace: String },
    NamespaceForbidden { grant: String, namespace: String },
    LifecycleHeld { lease: String },
    PolicyStopped { policy: String },
    NoPolicy,
    RoleForbidden { grant: String, role: String, policy: String },
    RuleForbidden { grant: String, role: String, policy: String, rules: String },
    CrossNamespace { grant: String, namespace: String, policy: Option<String>, why: String },
    NotBeforeTooFar,
    TtlAboveMax { asked: Duration, max: Bound<Duration> },
    TtlTooShortOffline { asked: Duration },
    DeliveryNotAllowed { asked: &'static str, allowed: Vec<&'static str>, with: Vec<String> },
    SecretNameNotAllowed { asked: String, allowed: Vec<String>, with: Vec<String> },
    AudienceNotAllowed { asked: String, allowed: Vec<String>, with: Vec<String> },
    RequesterMayNotLease { username: String, lifecycle: String },
    NotStanding { name: String, why: &'static str },
    TooManyActive { max: Bound<i32> },
    TooManyForRequester { max: Bound<i32>, username: String },
    StepInvalid { step: String, why: String },
    ValidationFailed { message: String },
    ValidationBroken { expression: String, problem: String },
}

impl Refusal {
    /// Every [`Self::rule`].
    pub const RULES: [&'static str; 30] = [
        "LifecycleNotFound",
        "LifecycleDeleting",
        "LifecycleStopped",
        "LifecycleExpired",
        "ReviewOverdue",
        "LifecycleNamespaceForbidden",
        "NoGrants",
        "GrantUnknown",
        "RoleNotFound",
        "NamespaceNotFound",
        "NamespaceForbidden",
        "LifecycleHeld",
        "PolicyStopped",
        "NoPolicy",
        "RoleForbidden",
        "RuleForbidden",
        "CrossNamespace",
        "NotBeforeTooFar",
        "TtlAboveMax",
        "TtlTooShortOffline",
        "DeliveryNotAllowed",
        "SecretNameNotAllowed",
        "AudienceNotAllowed",
        "RequesterMayNotLease",
        "NotStanding",
        "TooManyActive",
        "TooManyForRequester",
        "StepInvalid",
        "ValidationFailed",
        "ValidationBroken",
    ];

    /// Which rule it was, as a label of a metric.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::LifecycleNotFound { .. } => "LifecycleNotFound",
            Self::LifecycleDeleting { .. } => "LifecycleDeleting",
            Self::LifecycleStopped { .. } => "LifecycleStopped",
            Self::LifecycleExpired { .. } => "LifecycleExpired",
            Self::ReviewOverdue { .. } => "ReviewOverdue",
            Self::LifecycleNamespaceForbidden { .. } => "LifecycleNamespaceForbidden",
            Self::NoGrants { .. } => "NoGrants",
            Self::GrantUnknown { .. } => "GrantUnknown",
            Self::RoleNotFound { .. } => "RoleNotFound",
            Self::NamespaceNotFound { .. } => "NamespaceNotFound",
            Self::NamespaceForbidden { .. } => "NamespaceForbidden",
            Self::LifecycleHeld { .. } => "LifecycleHeld",
            Self::PolicyStopped { .. } => "PolicyStopped",
            Self::NoPolicy => "NoPolicy",
            Self::RoleForbidden { .. } => "RoleForbidden",
            Self::RuleForbidden { .. } => "RuleForbidden",
            Self::CrossNamespace { .. } => "CrossNamespace",
            Self::NotBeforeTooFar => "NotBeforeTooFar",
            Self::TtlAboveMax { .. } => "TtlAboveMax",
            Self::TtlTooShortOffline { .. } => "TtlTooShortOffline",
            Self::DeliveryNotAllowed { .. } => "DeliveryNotAllowed",
            Self::SecretNameNotAllowed { .. } => "SecretNameNotAllowed",
            Self::AudienceNotAllowed { .. } => "AudienceNotAllowed",
            Self::RequesterMayNotLease { .. } => "RequesterMayNotLease",
            Self::NotStanding { .. } => "NotStanding",
            Self::TooManyActive { .. } => "TooManyActive",
            Self::TooManyForRequester { .. } => "TooManyForRequester",
            Self::StepInvalid { .. } => "StepInvalid",
            Self::ValidationFailed { .. } => "ValidationFailed",
            Self::ValidationBroken { .. } => "ValidationBroken",
        }
    }

    /// Whether this says that the policy of this name forbids a grant.
    #[must_use]
    pub fn forbids_grant_of(&self, name: &str) -> bool {
        match self {
            Self::RoleForbidden { policy, .. } | Self::RuleForbidden { policy, .. } => policy == name,
            Self::CrossNamespace { policy, .. } => policy.as_deref() == Some(name),
            _ => false,
        }
    }

    /// Whether the lifecycle should be read again before this is said: a watch may lag behind what the requester sees.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        !matches!(self, Self::RequesterMayNotLease { .. } | Self::LifecycleNamespaceForbidden { .. })
    }
}

fn list<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() { "none".into() } else { words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}

/// Who allows no more: the lifecycle, or together with it the policies that narrow it.
fn bounded_by(with: &[String]) -> String {
    match with {
        [] => "the lifecycle does not allow".into(),
        [one] => format!("the lifecycle and policy {one} do not allow"),
        many => format!("the lifecycle and policies {} do not allow", many.join(", ")),
    }
}

fn of_policy(by: Option<&String>) -> String {
    by.map_or_else(String::new, |policy| format!(" of policy {policy}"))
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
            Self::ReviewOverdue { why } => write!(f, "the lifecycle's review is overdue; {why}"),
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
            Self::NamespaceNotFound { grant, namespace } => {
                write!(f, "namespace {namespace} of grant {grant} does not exist: create it first")
            }
            Self::NamespaceForbidden { grant, namespace } => write!(
                f,
                "grant {grant} is for namespace {namespace}: nothing is granted into namespaces that begin with kube- or leasehold-"
            ),
            Self::LifecycleHeld { lease } => write!(
                f,
                "the lifecycle is held: lease {lease} was issued without an answer in time; somebody who may approve must approve or deny it now"
            ),
            Self::PolicyStopped { policy } => {
                write!(f, "policy {policy} stops this lifecycle: ask the platform team, who resume it by deleting that policy")
            }
            Self::NoPolicy => f.write_str(
                "no CredentialLeasePolicy guards this lifecycle, and the operator runs with --require-policy: let the platform team add one that matches it",
            ),
            Self::RoleForbidden { grant, role, policy } => {
                write!(f, "policy {policy} forbids granting {role} (grant {grant}): grant another role")
            }
            Self::RuleForbidden { grant, role, policy, rules } => write!(
                f,
                "policy {policy} forbids what {role} of grant {grant} allows ({rules}): grant a role without that"
            ),
            Self::CrossNamespace { grant, namespace, policy: Some(policy), why } => {
                write!(f, "policy {policy} refuses grant {grant} into namespace {namespace}: {why}")
            }
            Self::CrossNamespace { grant, namespace, policy: None, .. } => write!(
                f,
                "grant {grant} is for another namespace, {namespace}, and no CredentialLeasePolicy opens it (grants.crossNamespace): ask the platform team"
            ),
            Self::NotBeforeTooFar => f.write_str("notBefore is more than 30 days ahead: ask closer to the time"),
            Self::TtlAboveMax { asked, max: Bound { value: max, by: None } } => {
                write!(f, "a ttl of {asked} is longer than the lifecycle's {max}: ask for at most {max}")
            }
            Self::TtlAboveMax { asked, max: Bound { value: max, by: Some(policy) } } => {
                write!(f, "a ttl of {asked} is longer than the {max} of policy {policy}: ask for at most {max}")
            }
            Self::TtlTooShortOffline { asked } => write!(
                f,
                "a ttl of {asked} is too short for audiences that verify without asking the API server: ask for at least 10m"
            ),
            Self::DeliveryNotAllowed { asked, allowed, with } => {
                write!(f, "{} delivery {asked}: choose from {}", bounded_by(with), list(allowed))
            }
            Self::SecretNameNotAllowed { asked, allowed, with } => write!(
                f,
                "{} the Secret name {asked}: leave delivery.secret out, or choose from {}",
                bounded_by(with),
                list(allowed)
            ),
            Self::AudienceNotAllowed { asked, allowed, with } => write!(
                f,
                "{} audience {asked}: choose from {}, or leave audiences out",
                bounded_by(with),
                list(allowed)
            ),
            Self::RequesterMayNotLease { username, lifecycle } => write!(
                f,
                "{username} may not lease {lifecycle}: ask for a Role with verb lease on serviceaccountlifecycles {lifecycle}, bound to you or to a group that does not begin with system:"
            ),
            Self::NotStanding { name, why } => write!(f, "it is not a lease of standing credential {name}: {why}"),
            Self::TooManyActive { max } => write!(
                f,
                "{} leases of this lifecycle are active, the most it allows (maxActive{}): wait for one to end",
                max.value,
                of_policy(max.by.as_ref())
            ),
            Self::TooManyForRequester { max, username } => write!(
                f,
                "{username} has {} active leases of this lifecycle, the most it allows (maxActivePerRequester{}): end one first",
                max.value,
                of_policy(max.by.as_ref())
            ),
            Self::StepInvalid { step, why } => write!(f, "step {step} of the workflow cannot run: {why}"),
            Self::ValidationFailed { message } => f.write_str(message),
            Self::ValidationBroken { expression, problem } => write!(
                f,
                "the rule `{expression}` cannot be evaluated ({problem}), so nothing passes it: ask the owner of the lifecycle or of the policy it stands in to mend it"
            ),
        }
    }
}

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
    if r.seen.lease.status.request.is_some() {
        // It waits for people or its time: whether there is a place is asked when it is taken.
        return vec![];
    }
    quota(r.seen.live, r.terms, &r.spec.requested_by.username).into_iter().collect()
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
    if r.seen.issued() || r.lifecycle.spec.workflow.is_empty() {
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
