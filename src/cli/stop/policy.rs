//! The policy that is a stop. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::ObjectMeta;

use crate::{
    api::{
        CredentialLease, CredentialLeasePolicy, CredentialLeasePolicySpec, Time,
        lifecycle::StopPolicy,
        policy::{PolicyMatch, Selector},
        reasons::EndReason,
    },
    cli::view::lease,
};

/// Label of the policies that `stop` makes, and `resume` may take away.
pub const LABEL_STOP: &str = "leasehold.dev/stop";
/// Annotation with why.
pub const ANNOTATION_REASON: &str = "leasehold.dev/reason";

/// What a stop is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Reaching(BTreeMap<String, String>),
    Lifecycles(BTreeMap<String, String>),
    Everything,
}

impl Scope {
    /// What a policy made by [`policy`] is about.
    #[must_use]
    pub fn of(spec: &CredentialLeasePolicySpec) -> Self {
        let matched = spec.r#match.clone().unwrap_or_default();
        match (matched.grant_namespaces, matched.lifecycle_namespaces) {
            (Some(selector), _) => Self::Reaching(selector.match_labels),
            (None, Some(selector)) => Self::Lifecycles(selector.match_labels),
            (None, None) => Self::Everything,
        }
    }

    /// The labels it goes by.
    #[must_use]
    pub fn selector(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Reaching(labels) | Self::Lifecycles(labels) => Some(labels),
            Self::Everything => None,
        }
    }

    /// Whether a live lease is within it, given the namespaces whose labels match.
    #[must_use]
    pub fn covers(&self, lease: &CredentialLease, namespaces: &BTreeSet<String>) -> bool {
        match self {
            Self::Everything => true,
            Self::Lifecycles(_) => namespaces.contains(lease::namespace(lease)),
            Self::Reaching(_) => namespaces.iter().any(|namespace| lease::reaches(lease, namespace)),
        }
    }

    /// What it stops, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Reaching(labels) => format!("whatever is granted into namespaces with {}", pairs(labels)),
            Self::Lifecycles(labels) => format!("whatever is leased in namespaces with {}", pairs(labels)),
            Self::Everything => "everything".into(),
        }
    }
}

/// Labels as a selector writes them.
#[must_use]
pub fn pairs(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Labels from `key=value,key=value`.
///
/// # Errors
/// What is no label.
pub fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no label: write key=value"))?;
        if key.is_empty() {
            Err(format!("`{part}` has no key: write key=value"))
        } else {
            Ok((key.to_owned(), value.to_owned()))
        }
    };
    text.split(',').map(pair).collect()
}

/// The policy that stops.
#[must_use]
pub fn policy(name: &str, scope: &Scope, hold: bool, reason: Option<&str>) -> CredentialLeasePolicy {
    let selector = scope.selector().map(|labels| Selector { match_labels: labels.clone(), ..Selector::default() });
    let matched = match scope {
        Scope::Reaching(_) => Some(PolicyMatch { grant_namespaces: selector, ..PolicyMatch::default() }),
        Scope::Lifecycles(_) => Some(PolicyMatch { lifecycle_namespaces: selector, ..PolicyMatch::default() }),
        Scope::Everything => None,
    };
    CredentialLeasePolicy {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(LABEL_STOP.into(), "true".into())])),
            annotations: reason.map(|reason| BTreeMap::from([(ANNOTATION_REASON.into(), reason.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: CredentialLeasePolicySpec {
            r#match: matched,
            stop_policy: Some(if hold { StopPolicy::Hold } else { StopPolicy::HoldAndRevoke }),
            ..CredentialLeasePolicySpec::default()
        },
        status: None,
    }
}

/// Whether a stop ends a lease that has been issued, or has ended it since it was made. Both clocks are the cluster's own.
#[must_use]
pub fn was_live(lease: &CredentialLease, since: Option<Time>) -> bool {
    let ended =
        lease.status.as_ref().filter(|s| s.end_reason == Some(EndReason::PolicyStopped)).and_then(|s| s.end_time);
    let issued = lease.status.as_ref().is_some_and(|s| s.issue_time.is_some());
    (issued && !lease::is_over(lease)) || since.zip(ended).is_some_and(|(since, ended)| ended >= since)
}

/// `stop-<yyyymmdd>-<hhmmss>` in UTC: two stops are seldom made in one second.
#[must_use]
pub fn default_name(now: Time) -> String {
    // `2026-11-24T12:34:…Z`, of which the digits up to the second are taken.
    let text = now.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    format!("stop-{date}-{time}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::view::lease::tests::waiting;

    #[test]
    fn a_stop_is_a_policy_that_says_what_and_why() {
        let scope = Scope::Reaching(labels("env=prod,tier=1").unwrap());
        let object = serde_json::to_value(policy("stop-1", &scope, false, Some("leak"))).unwrap();
        assert_eq!(
            object["metadata"],
            json!({"name": "stop-1", "labels": {LABEL_STOP: "true"}, "annotations": {ANNOTATION_REASON: "leak"}})
        );
        let matched = json!({"grantNamespaces": {"matchLabels": {"env": "prod", "tier": "1"}}});
        assert_eq!(object["spec"], json!({"match": matched, "stopPolicy": "HoldAndRevoke"}));
        let object = serde_json::to_value(policy("x", &Scope::Everything, true, None)).unwrap();
        assert_eq!(object["spec"], json!({"stopPolicy": "Hold"}));
        assert!(labels("env").is_err() && labels("=x").is_err() && labels("").is_err());
    }

    #[test]
    fn what_a_stop_is_about_is_read_back_from_its_policy() {
        let prod = || labels("env=prod").unwrap();
        for scope in [Scope::Reaching(prod()), Scope::Lifecycles(prod()), Scope::Everything] {
            assert_eq!(Scope::of(&policy("stop-1", &scope, false, None).spec), scope);
        }
    }

    #[test]
    fn a_stop_is_named_for_the_second_it_was_made_in() {
        assert_eq!(default_name("2026-11-24T12:34:56.789Z".parse().unwrap()), "stop-20261124-123456");
    }

    #[test]
    fn it_is_known_what_ends() {
        let (lease, set) =
            (waiting(|_| {}), |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>());
        let (reaching, lifecycles) = (Scope::Reaching(BTreeMap::new()), Scope::Lifecycles(BTreeMap::new()));
        assert!(reaching.covers(&lease, &set(&["payments-prod"])) && !reaching.covers(&lease, &set(&["payments"])));
        assert!(lifecycles.covers(&lease, &set(&["payments"])) && !lifecycles.covers(&lease, &set(&["payments-prod"])));
        assert!(Scope::Everything.covers(&lease, &set(&[])));
    }

    #[test]
    fn what_a_stop_has_ended_already_counts_when_it_is_counted_afterwards() {
        let ended = |reason: &str, at: &str| {
            waiting(|l| {
                l["status"]["phase"] = json!("Ending");
                l["status"]["endReason"] = json!(reason);
                l["status"]["endTime"] = json!(at);
            })
        };
        let (since, before) = ("2026-11-24T12:00:00Z", "2026-11-24T11:59:59Z");
        let counts =
            |lease: &CredentialLease, since: Option<&str>| was_live(lease, since.map(|at| at.parse().unwrap()));
        let live = waiting(|l| l["status"]["issueTime"] = json!(before));
        assert!(counts(&live, None) && counts(&live, Some(since)));
        assert!(!counts(&waiting(|_| {}), None), "what waits is refused, not ended");
        assert!(counts(&ended("PolicyStopped", since), Some(since)));
        assert!(!counts(&ended("PolicyStopped", since), None), "one that is not made yet has ended nothing");
        assert!(!counts(&ended("PolicyStopped", before), Some(since)), "another stop did");
        assert!(!counts(&ended("Expired", since), Some(since)));
    }
}
