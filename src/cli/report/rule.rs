//! Which rule a refusal comes from. A status keeps the sentences of a refusal, which name things; to count them they are put back
//! to the rules that say them.

use serde::Serialize;

use crate::api::reasons::EndReason;

/// What a request met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Rule {
    Person,
    NobodyInTime,
    Gate,
    Unproven,
    RightToLease,
    Ttl,
    Grants,
    ForbiddenRights,
    CrossNamespace,
    NoPolicy,
    Namespace,
    Lifecycle,
    Review,
    Stopped,
    Held,
    Quota,
    Delivery,
    Audience,
    NotBefore,
    Standing,
    Workflow,
    BrokenValidation,
    Validation,
}

impl Rule {
    /// As people say it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Person => "Somebody who may approve said no",
            Self::NobodyInTime => "Too few people agreed in time",
            Self::Gate => "Another system said no, or nothing in time",
            Self::Unproven => "Made while the admission policies were not in force",
            Self::RightToLease => "The requester may not lease this lifecycle",
            Self::Ttl => "The life asked for is too long, or too short",
            Self::Grants => "A grant or its role does not exist, or none was named",
            Self::ForbiddenRights => "A policy forbids the role or its rights",
            Self::CrossNamespace => "No policy opens the grant into another namespace",
            Self::NoPolicy => "No policy guards the lifecycle",
            Self::Namespace => "The namespace does not exist, or is not for leases",
            Self::Lifecycle => "The lifecycle is missing, being deleted or past its end",
            Self::Review => "Nobody has reviewed the lifecycle in time",
            Self::Stopped => "An emergency stop is in force",
            Self::Held => "An earlier lease still owes its answer",
            Self::Quota => "Too many leases are active",
            Self::Delivery => "This delivery is not allowed",
            Self::Audience => "This audience is not allowed",
            Self::NotBefore => "Asked too far ahead",
            Self::Standing => "Not a lease of the standing credential it names",
            Self::Workflow => "A step of the workflow cannot run",
            Self::BrokenValidation => "A validation cannot be evaluated",
            Self::Validation => "A validation of the lifecycle or of a policy",
        }
    }
}

/// The rules that a refused lease met, each once, by its end and its message.
#[must_use]
pub fn rules(reason: EndReason, message: &str) -> Vec<Rule> {
    let mut rules = match reason {
        EndReason::DecisionDenied => vec![Rule::Person],
        EndReason::ApprovalTimeout => vec![Rule::NobodyInTime],
        EndReason::GateRefused => vec![Rule::Gate],
        EndReason::CreatedUnproven => vec![Rule::Unproven],
        _ => message.split("; ").map(of_sentence).collect(),
    };
    rules.sort();
    rules.dedup();
    rules
}

/// The rule that says this sentence. What none of them says is a validation's own message.
fn of_sentence(sentence: &str) -> Rule {
    let begins = |words: &str| sentence.starts_with(words);
    let has = |words: &str| sentence.contains(words);
    match () {
        () if begins("the rule `") && has("cannot be evaluated") => Rule::BrokenValidation,
        () if begins("there is no ServiceAccountLifecycle") || begins("the lifecycle ended at") => Rule::Lifecycle,
        () if begins("the lifecycle ") && sentence.ends_with(" is being deleted") => Rule::Lifecycle,
        () if begins("the lifecycle's review is overdue") => Rule::Review,
        () if begins("the lifecycle is stopped") || begins("policy ") && has(" stops this lifecycle") => Rule::Stopped,
        () if begins("the lifecycle is held") || begins("somebody who may approve must ") => Rule::Held,
        () if begins("spec.grants names nothing") || begins("the lifecycle has no grant") => Rule::Grants,
        () if begins("the ") && has(" of grant ") && has("does not exist in namespace") => Rule::Grants,
        () if begins("nothing is leased in namespace") => Rule::Namespace,
        () if begins("namespace ") && has(" of grant ") => Rule::Namespace,
        () if begins("grant ") && has(": nothing is granted into") => Rule::Namespace,
        () if begins("grant ") && has(" is for another namespace") => Rule::CrossNamespace,
        () if begins("policy ") && has(" refuses grant ") => Rule::CrossNamespace,
        () if begins("policy ") && has(" forbids ") => Rule::ForbiddenRights,
        () if begins("no CredentialLeasePolicy guards") => Rule::NoPolicy,
        () if begins("notBefore is more than") => Rule::NotBefore,
        () if begins("a ttl of ") => Rule::Ttl,
        () if has(" not allow delivery ") || has(" not allow the Secret name ") => Rule::Delivery,
        () if has(" not allow audience ") => Rule::Audience,
        () if has(" may not lease ") && has("with verb lease") => Rule::RightToLease,
        () if begins("it is not a lease of standing credential") => Rule::Standing,
        () if has("(maxActive") => Rule::Quota,
        () if begins("step ") && has(" of the workflow cannot run") => Rule::Workflow,
        () => Rule::Validation,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        api::Duration,
        domain::{guards::Bound, refusal::Refusal},
    };

    /// Every refusal that the operator can write, with the rule it belongs to.
    fn every() -> Vec<(Refusal, Rule)> {
        let text = || "x".to_owned();
        let (grant, role, namespace, policy) = (text, text, text, text);
        let ttl = |by: Option<&str>| Refusal::TtlAboveMax {
            asked: Duration::from_secs(60),
            max: Bound { value: Duration::from_secs(30), by: by.map(str::to_owned) },
        };
        let with = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        vec![
            (Refusal::LifecycleNotFound { name: text() }, Rule::Lifecycle),
            (Refusal::LifecycleDeleting { name: text() }, Rule::Lifecycle),
            (Refusal::LifecycleStopped { policy: "Hold" }, Rule::Stopped),
            (Refusal::LifecycleExpired { at: crate::api::Time::from_millis(0) }, Rule::Lifecycle),
            (Refusal::ReviewOverdue { why: "it was to be reviewed".into() }, Rule::Review),
            (Refusal::LifecycleNamespaceForbidden { namespace: namespace() }, Rule::Namespace),
            (Refusal::NoGrants { choices: vec![] }, Rule::Grants),
            (Refusal::GrantUnknown { grant: grant(), choices: vec![] }, Rule::Grants),
            (Refusal::RoleNotFound { grant: grant(), role: role(), namespace: namespace() }, Rule::Grants),
            (Refusal::NamespaceNotFound { grant: grant(), namespace: namespace() }, Rule::Namespace),
            (Refusal::NamespaceForbidden { grant: grant(), namespace: namespace() }, Rule::Namespace),
            (Refusal::LifecycleHeld { lease: text() }, Rule::Held),
            (Refusal::PolicyStopped { policy: policy() }, Rule::Stopped),
            (Refusal::NoPolicy, Rule::NoPolicy),
            (Refusal::RoleForbidden { grant: grant(), role: role(), policy: policy() }, Rule::ForbiddenRights),
            (
                Refusal::RuleForbidden { grant: grant(), role: role(), policy: policy(), rules: text() },
                Rule::ForbiddenRights,
            ),
            (
                Refusal::CrossNamespace {
                    grant: grant(),
                    namespace: namespace(),
                    policy: Some(policy()),
                    why: "other label".into(),
                },
                Rule::CrossNamespace,
            ),
            (
                Refusal::CrossNamespace { grant: grant(), namespace: namespace(), policy: None, why: text() },
                Rule::CrossNamespace,
            ),
            (Refusal::NotBeforeTooFar, Rule::NotBefore),
            (ttl(None), Rule::Ttl),
            (ttl(Some("p")), Rule::Ttl),
            (Refusal::TtlTooShortOffline { asked: Duration::from_secs(30) }, Rule::Ttl),
            (Refusal::DeliveryNotAllowed { asked: "Secret", allowed: vec![], with: with(&["p"]) }, Rule::Delivery),
            (Refusal::DeliveryNotAllowed { asked: "Secret", allowed: vec![], with: vec![] }, Rule::Delivery),
            (Refusal::SecretNameNotAllowed { asked: text(), allowed: vec![], with: with(&["p", "q"]) }, Rule::Delivery),
            (Refusal::AudienceNotAllowed { asked: text(), allowed: vec![], with: vec![] }, Rule::Audience),
            (Refusal::RequesterMayNotLease { username: text(), lifecycle: text() }, Rule::RightToLease),
            (Refusal::NotStanding { name: text(), why: "no" }, Rule::Standing),
            (Refusal::TooManyActive { max: Bound { value: 1, by: None } }, Rule::Quota),
            (Refusal::TooManyForRequester { max: Bound { value: 1, by: None }, username: text() }, Rule::Quota),
            (Refusal::StepInvalid { step: text(), why: text() }, Rule::Workflow),
            (Refusal::ValidationFailed { message: "only by night".into() }, Rule::Validation),
            (Refusal::ValidationBroken { expression: text(), problem: text() }, Rule::BrokenValidation),
        ]
    }

    #[test]
    fn every_refusal_of_the_operator_is_put_back_to_its_rule() {
        for (refusal, rule) in every() {
            assert_eq!(rules(EndReason::Denied, &refusal.to_string()), [rule], "{refusal}");
        }
        let told: BTreeSet<&str> = every().iter().map(|(refusal, _)| refusal.rule()).collect();
        assert_eq!(told, BTreeSet::from(Refusal::RULES));
    }

    #[test]
    fn a_refusal_with_several_rules_counts_for_each() {
        let message = "the lifecycle has no grant admin: choose from read; a ttl of 9h is longer than the lifecycle's 1h: ask for at most 1h; only by night";
        assert_eq!(rules(EndReason::Denied, message), [Rule::Ttl, Rule::Grants, Rule::Validation]);
        assert_eq!(rules(EndReason::DecisionDenied, message), [Rule::Person]);
    }
}
