use serde_json::{Value, json};

use super::*;
use crate::cli::doctor::finding::Unread;

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn deployment(available: &str, replicas: i32, image: &str) -> Deployment {
    of(json!({
        "metadata": {"name": "leasehold"},
        "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [{"name": "leasehold", "image": image}]}}},
        "status": {"conditions": [{"type": "Available", "status": available, "message": "minimum availability"}]},
    }))
}

/// A cluster in which everything is as it should be.
fn healthy() -> Seeing {
    let now = Time::from_millis(1_000_000);
    Seeing {
        now,
        server: Ok(("1".into(), "36+".into())),
        clocks: Ok((now, now, now)),
        kinds: Ok(Some(
            [
                "ConnectedSystem",
                "CredentialLease",
                "CredentialLeaseDecision",
                "CredentialLeasePolicy",
                "ServiceAccountLifecycle",
            ]
            .map(str::to_owned)
            .to_vec(),
        )),
        namespaces: Ok(vec!["leasehold-leases".into(), "leasehold-system".into()]),
        policies: Err(Unread("you may not read it".into())),
        operator: Ok(Some(deployment(
            "True",
            1,
            concat!("registry:5000/leasehold:", env!("CARGO_PKG_VERSION"), "@sha256:1"),
        ))),
        flow: Ok(true),
        cluster_bindings: Ok(vec![binding("system:basic-user", "system:authenticated")]),
        bindings: Ok(vec![]),
        lifecycles: Ok(vec![]),
        guards: Ok(vec![]),
        systems: Ok(vec![]),
    }
}

fn binding(role: &str, group: &str) -> ClusterRoleBinding {
    of(
        json!({"metadata": {"name": role}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}]}),
    )
}

fn worst(change: impl FnOnce(&mut Seeing)) -> (Level, String) {
    let mut seen = healthy();
    change(&mut seen);
    let worst = examine(&seen).into_iter().max_by_key(|f| f.level).unwrap();
    (worst.level, format!("{}: {}", worst.about, worst.text))
}

#[test]
fn a_system_that_does_not_answer_is_named() {
    let system: ConnectedSystem = of(json!({
        "metadata": {"name": "tickets"},
        "spec": {"type": "HTTP", "http": {"url": "https://t.example.com"}, "namespaces": {"from": "All"}, "operations": []},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Unreachable", "message": "no answer", "lastTransitionTime": "2026-11-24T12:00:00Z"}]},
    }));
    let (level, said) = worst(|seen| seen.systems = Ok(vec![system]));
    assert_eq!((level, said.as_str()), (Level::Warn, "systems: tickets: Unreachable: no answer"));
}

#[test]
fn what_may_not_be_read_is_skipped_and_said() {
    let all = examine(&healthy());
    assert!(all.iter().all(|f| f.level == Level::Ok || f.about == "policies"), "{all:?}");
    assert_eq!(worst(|_| {}), (Level::Skip, "policies: not looked at: you may not read it".into()));
}

#[test]
fn every_fault_is_found_and_says_what_to_do() {
    type Fault = fn(&mut Seeing);
    let table: [(Level, &str, Fault); 13] = [
        (Level::Fail, "server: Kubernetes 1.33 is older", |s| s.server = Ok(("1".into(), "33".into()))),
        (Level::Warn, "clock: the clock here is 9 s behind", |s| {
            s.clocks = Ok((s.now, s.now.plus_millis(9_500), s.now.plus_millis(100)));
        }),
        (Level::Warn, "clock: the clock here is 19 s ahead of", |s| {
            s.clocks = Ok((s.now, s.now.plus_millis(-20_000), s.now))
        }),
        (Level::Fail, "kinds: leasehold.dev does not serve ConnectedSystem, CredentialLease,", |s| s.kinds = Ok(None)),
        (Level::Fail, "namespaces: leasehold-leases is missing", |s| {
            s.namespaces = Ok(vec!["leasehold-system".into()])
        }),
        (Level::Fail, "policies: the admission policies are not as they were shipped", |s| {
            s.policies = Ok((vec![], vec![]))
        }),
        (Level::Fail, "operator: there is no Deployment", |s| s.operator = Ok(None)),
        (Level::Fail, "operator: its Deployment is not available (minimum", |s| {
            s.operator = Ok(Some(deployment("False", 1, "leasehold:0")));
        }),
        (Level::Fail, "operator: its Deployment is scaled to 0", |s| {
            s.operator = Ok(Some(deployment("True", 0, "leasehold:0")))
        }),
        (Level::Warn, "versions: kubectl lease is", |s| {
            s.operator = Ok(Some(deployment("True", 1, "leasehold:0.0.9")))
        }),
        (Level::Warn, "flow schema:", |s| s.flow = Ok(false)),
        (
            Level::Warn,
            "ambient rights: every lease also holds what is bound to all service accounts: ClusterRoleBinding edit",
            |s| {
                s.cluster_bindings = Ok(vec![binding("edit", "system:serviceaccounts")]);
            },
        ),
        (Level::Warn, "stops: policies stop what they match: stop-1 (HoldAndRevoke)", |s| {
            s.guards = Ok(vec![of(json!({"metadata": {"name": "stop-1"}, "spec": {"stopPolicy": "HoldAndRevoke"}}))]);
        }),
    ];
    for (level, begins, fault) in table {
        let (found, text) = worst(fault);
        assert!(found == level && text.starts_with(begins), "{begins}: {found} {text}");
    }
}

#[test]
fn a_lifecycle_that_nobody_looked_at_or_that_cannot_be_leased_is_named() {
    let lifecycle = |status: Value| -> ServiceAccountLifecycle {
        of(json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle",
            "metadata": {"name": "ci", "namespace": "payments", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"owner": {"team": "a", "contact": "b"}, "purpose": "c", "class": "Pipeline", "terms": {"ttl": {"max": "1h"}, "delivery": ["Secret"]}},
            "status": status,
        }))
    };
    let (level, text) = worst(|s| s.lifecycles = Ok(vec![lifecycle(json!({}))]));
    assert!(level == Level::Fail && text.contains("no operator has looked at payments/ci"), "{text}");
    let condition = json!({"type": "GrantsAllowed", "status": "False", "reason": "MissingRight", "message": "apply this", "lastTransitionTime": "2026-11-24T12:00:00Z"});
    let (level, text) =
        worst(|s| s.lifecycles = Ok(vec![lifecycle(json!({"observedGeneration": 1, "conditions": [condition]}))]));
    assert!(
        level == Level::Warn && text.contains("payments/ci: GrantsAllowed is False (MissingRight): apply this"),
        "{text}"
    );
}
