use serde_json::{Value, json};

use super::*;
use crate::cli::check::finding::{Outcome, outcome};

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// 10 minutes of `deploy` in `payments-prod`, which a policy opens; nobody has to agree; everything is known.
fn asked(terms: &Value, spec: &Value) -> Asked {
    let mut lease = json!({
        "lifecycleRef": {"name": "deployer"}, "grants": ["deploy"], "ttl": "10m", "reason": "r", "delivery": {"type": "TokenRequest"},
        "requestedBy": {"username": "ci"},
    });
    let mut all = json!({"ttl": {"max": "1h"}, "delivery": ["TokenRequest"], "approval": {"type": "NotRequired"}});
    for (into, from) in [(&mut lease, spec), (&mut all, terms)] {
        for (key, value) in from.as_object().unwrap() {
            into[key] = value.clone();
        }
    }
    let lifecycle = json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": "deployer", "namespace": "payments"},
        "spec": {
            "owner": {"team": "payments", "contact": "oncall"}, "purpose": "Deploys", "class": "Pipeline", "terms": all,
            "grants": [{"name": "deploy", "namespace": "payments-prod", "roleRef": {"kind": "ClusterRole", "name": "deployer"}}],
        },
        "status": {"conditions": [{"type": "Leasable", "status": "True", "reason": "Leasable", "message": "", "lastTransitionTime": "2026-11-24T12:00:00Z"}]},
    });
    let rules: Vec<PolicyRule> = of(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets", "pods"]}]));
    let labels = |label: &str| BTreeMap::from([("env".to_owned(), label.to_owned())]);
    Asked {
        systems: BTreeMap::new(),
        systems_unread: vec![],
        lease: of(
            json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": "check", "namespace": "payments"}, "spec": lease}),
        ),
        lifecycle: Some(of(lifecycle)),
        policies: Ok(vec![policy("open", json!({"grants": {"crossNamespace": {"type": "Allow"}}}))]),
        labels: BTreeMap::from([("payments".into(), labels("ci")), ("payments-prod".into(), labels("prod"))]),
        roles: BTreeMap::from([("deploy".into(), Ok(Some(rules)))]),
        live: Ok((2, 1)),
        api_audiences: vec!["https://api".into()],
        may_lease: true,
        admission: Ok(()),
        now: "2026-11-24T12:00:00Z".parse().unwrap(),
    }
}

fn policy(name: &str, spec: Value) -> CredentialLeasePolicy {
    of(json!({"metadata": {"name": name}, "spec": spec}))
}

fn plain() -> Asked {
    asked(&json!({}), &json!({}))
}

fn said(asked: &Asked, says: Says) -> Vec<String> {
    plan(asked).into_iter().filter(|f| f.says == says).map(|f| format!("{}: {}", f.rule, f.text)).collect()
}

#[test]
fn what_is_within_every_rule_would_be_granted_and_every_rule_speaks() {
    let findings = plan(&plain());
    assert_eq!(outcome(&findings), Outcome::Granted, "{findings:#?}");
    let rules: Vec<_> = findings.iter().map(|f| f.rule).collect();
    let expected = [
        "lifecycle",
        "right",
        "conditions",
        "state",
        "policies",
        "grants",
        "ttl",
        "delivery",
        "audiences",
        "quotas",
        "approval",
        "admission",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn every_broken_rule_is_named_at_once() {
    let terms =
        json!({"maxActive": 2, "validations": [{"expression": "lease.ticket != ''", "message": "name a ticket"}]});
    let spec = json!({"ttl": "2h", "delivery": {"type": "Secret"}, "audiences": ["https://x"], "grants": ["deploy", "nothing"]});
    let mut asked = asked(&terms, &spec);
    asked.may_lease = false;
    asked.admission = Err("denied by policy".into());
    let no = said(&asked, Says::No).join("\n");
    for topic in [
        "right: ci may not lease",
        "grants: the lifecycle has no grant nothing",
        "ttl: a ttl of 2h",
        "delivery:",
        "audiences:",
        "quotas: 2 leases",
        "validations: name a ticket",
        "admission: denied",
    ] {
        assert!(no.contains(topic), "{topic} in {no}");
    }
    assert_eq!(outcome(&plan(&asked)), Outcome::Refused);
}

#[test]
fn policies_narrow_forbid_and_open() {
    let with = |spec: Value| {
        let mut asked = plain();
        asked.policies.as_mut().unwrap().push(policy("production", spec));
        asked
    };
    let no = |spec: Value| said(&with(spec), Says::No);
    let narrow = json!({"match": {"grantNamespaces": {"matchLabels": {"env": "prod"}}}, "terms": {"ttl": {"max": "5m"}, "approval": {"type": "Required", "count": 2, "contact": "#board"}}});
    assert_eq!(
        no(narrow.clone()),
        ["ttl: a ttl of 10m is longer than the 5m of policy production: ask for at most 5m"]
    );
    assert_eq!(
        said(&with(narrow.clone()), Says::Note),
        ["policies: policy production: a ttl of at most 5m", "policies: policy production: approval Required"]
    );
    assert_eq!(
        said(&with(narrow.clone()), Says::Wait),
        ["approval: to be agreed to within 1h by 2 people with the verb approve on deployer, not you (ask #board)"]
    );
    let mut other = narrow;
    other["match"]["grantNamespaces"]["matchLabels"]["env"] = json!("test");
    assert!(no(other).is_empty(), "it does not guard what is granted into other namespaces");

    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]);
    assert!(no(json!({"grants": {"forbidRules": secrets}}))[0].starts_with("policies: policy production forbids what"));
    assert!(
        no(json!({"grants": {"forbidRoles": [{"kind": "ClusterRole", "name": "deployer"}]}}))[0]
            .contains("forbids granting ClusterRole deployer")
    );
    assert!(
        no(json!({"grants": {"crossNamespace": {"type": "Forbid"}}}))[0]
            .contains("policy production refuses grant deploy")
    );
    assert!(no(json!({"stopPolicy": "Hold"}))[0].contains("policy production stops"));
}

#[test]
fn another_namespace_is_closed_unless_a_policy_opens_it() {
    let mut asked = plain();
    asked.policies = Ok(vec![]);
    assert!(said(&asked, Says::No)[0].contains("no CredentialLeasePolicy opens it"));
    asked.policies = Err(Unread("you may not read it".into()));
    assert!(said(&asked, Says::No).is_empty(), "what is not known is no refusal");
    assert!(said(&asked, Says::Note)[0].contains("not looked at: you may not read it"));
}

#[test]
fn policies_that_select_by_unreadable_labels_are_named_and_refuse_nothing() {
    let mut asked = plain();
    let prod = json!({"grantNamespaces": {"matchLabels": {"env": "prod"}}});
    asked.policies = Ok(vec![policy(
        "open",
        json!({"match": prod, "grants": {"crossNamespace": {"type": "Allow"}}, "stopPolicy": "Hold"}),
    )]);
    asked.labels.clear();
    assert!(said(&asked, Says::No).is_empty());
    assert!(said(&asked, Says::Note)[0].starts_with("policies: open may guard it or not"));
}

#[test]
fn the_api_servers_own_audience_is_taken_by_name_and_not_judged_where_nobody_knows_it() {
    let mut asked = asked(&json!({}), &json!({"ttl": "5m", "audiences": ["https://api"]}));
    assert!(said(&asked, Says::No).is_empty(), "{:?}", said(&asked, Says::No));
    assert!(said(&asked, Says::Yes).contains(&"audiences: https://api".into()));
    asked.api_audiences.clear();
    assert!(said(&asked, Says::No).is_empty());
    let notes = said(&asked, Says::Note).join("\n");
    assert!(notes.contains("audiences: cannot be judged from here") && notes.contains("ttl: cannot be"), "{notes}");
    let yes = said(&asked, Says::Yes).join("\n");
    assert!(!yes.contains("audiences:") && !yes.contains("ttl:"), "what is not judged is not met: {yes}");
    asked.api_audiences = vec!["https://other".into()];
    assert!(said(&asked, Says::No).join("\n").contains("audience https://api"));
}

#[test]
fn people_and_emergencies() {
    let required = asked(&json!({"approval": {"count": 1}}), &json!({}));
    assert_eq!(outcome(&plan(&required)), Outcome::Waits);
    assert_eq!(
        said(&required, Says::Wait),
        ["approval: to be agreed to within 1h by 1 person with the verb approve on deployer, not you (ask oncall)"]
    );
    let emergency = asked(&json!({"approval": {"type": "Retrospective", "timeout": "15m"}}), &json!({}));
    assert_eq!(outcome(&plan(&emergency)), Outcome::Granted);
}

#[test]
fn what_the_operator_says_of_the_lifecycle_counts() {
    let mut asked = plain();
    let status = json!({"conditions": [{"type": "GrantsAllowed", "status": "False", "reason": "MissingRight", "message": "apply this", "lastTransitionTime": "2026-11-24T12:00:00Z"}]});
    asked.lifecycle.as_mut().unwrap().status = Some(of(status));
    assert_eq!(said(&asked, Says::No), ["conditions: GrantsAllowed is False (MissingRight): apply this"]);
    asked.lifecycle = None;
    assert_eq!(plan(&asked).len(), 1, "without a lifecycle nothing else can be said");
}

#[test]
fn a_role_that_is_not_there_or_cannot_be_read() {
    let mut asked = plain();
    asked.roles.insert("deploy".into(), Ok(None));
    assert!(said(&asked, Says::No)[0].starts_with("grants: the ClusterRole deployer of grant deploy does not exist"));
    asked.roles.insert("deploy".into(), Err(Unread("no".into())));
    assert!(said(&asked, Says::No).is_empty());
    assert!(said(&asked, Says::Note)[0].contains("cannot be read by you"));
}
