//! Why a request is refused: one sentence a rule, which says what to do. The rules are in [`terms`](super::terms).

use std::fmt;

use super::guards::Bound;
use crate::api::{Duration, Time};

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
            Self::ReviewOverdue { why } => write!(f, "the lifecycle's review is overdue: {why}"),
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
