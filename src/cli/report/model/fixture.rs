//! A report with every state in it, for the tests of the model and of what writes it.

use serde_json::{Value, json};

use super::{
    super::{gather::Gathered, window::Window},
    Made, Report, Source, build,
};
use crate::{
    api::{
        CredentialLease, CredentialLeaseDecision, ServiceAccountLifecycle, Time, names::LeaseUid, reasons::Happening,
    },
    cli::view::{lease::tests::waiting, stream::Stream},
    domain::digest,
};

/// When the reports are made.
pub const NOW: &str = "2026-11-24T13:00:00Z";

pub fn time(text: &str) -> Time {
    text.parse().unwrap()
}

pub fn uid(number: usize) -> String {
    format!("5f2c8a8e-0000-4000-8000-{number:012}")
}

/// A lease that was asked for at noon. `status` is merged into its status.
pub fn lease(number: usize, name: &str, status: Value) -> CredentialLease {
    let mut lease = waiting(|lease| {
        lease["metadata"]["name"] = name.into();
        lease["metadata"]["uid"] = uid(number).into();
        if status.get("issueTime").is_some() {
            lease["status"].as_object_mut().unwrap().remove("approvals");
        }
        lease["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    });
    let mut history = digest::begin(&LeaseUid::parse(&uid(number)).unwrap());
    digest::append(
        &mut history,
        time("2026-11-24T12:00:00Z"),
        Happening::Requested,
        "ci",
        "payments-deployer: Roll out 2.3",
    );
    lease.status.as_mut().unwrap().history = Some(history);
    lease
}

pub fn proven() -> Value {
    json!({"phase": "Expired", "issueTime": "2026-11-24T12:00:01Z", "expirationTime": "2026-11-24T12:10:00Z", "endTime": "2026-11-24T12:10:00Z",
        "endReason": "Expired", "credential": {"serviceAccount": {"namespace": "leasehold-leases", "name": "x", "uid": "1"},
        "revocationTime": "2026-11-24T12:10:00.015Z", "verifiedTime": "2026-11-24T12:10:12Z", "evidence": "AccountGoneAndWaited"}})
}

pub fn lifecycle(name: &str, change: impl FnOnce(&mut Value)) -> ServiceAccountLifecycle {
    let mut object = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle",
        "metadata": {"name": name, "namespace": "payments", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"owner": {"team": "payments", "contact": "oncall@example.com"}, "purpose": "Deploys", "class": "Pipeline",
            "grants": [{"name": "deploy", "namespace": "payments-prod", "roleRef": {"kind": "ClusterRole", "name": "payments-deploy"}}],
            "terms": {"ttl": {"max": "1h"}, "delivery": ["TokenRequest"]}, "expirationTime": "2027-11-24T00:00:00Z", "review": {"everyDays": 90, "lastReviewed": "2026-11-01"}},
        "status": {"conditions": [{"type": "Leasable", "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z", "reason": "Leasable", "message": ""}]}});
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

pub fn made() -> Made {
    let now = time(NOW);
    Made {
        time: now,
        by: "auditor".into(),
        server: "cluster.example.com:6443".into(),
        namespace: Some("payments".into()),
        window: Window { since: time("2026-11-24T11:00:00Z"), until: now },
        filter: vec![],
        version: "1.2.3",
        sources: vec![
            Source { what: "credentialleases".into(), read: Some(8), not_permitted: None },
            Source { what: "credentialleasepolicies".into(), read: None, not_permitted: Some("no".into()) },
        ],
    }
}

pub fn gathered() -> Gathered {
    let issued = |status: Value| {
        let mut all = proven();
        all.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        all
    };
    let leases = vec![
        lease(1, "nightly-1", proven()),
        lease(
            2,
            "live",
            json!({"phase": "Active", "issueTime": "2026-11-24T12:50:00Z", "expirationTime": "2026-11-24T13:50:00Z"}),
        ),
        lease(
            3,
            "overdue",
            json!({"phase": "Active", "issueTime": "2026-11-24T12:00:00Z", "expirationTime": "2026-11-24T12:57:00Z"}),
        ),
        lease(
            4,
            "unproven",
            issued(
                json!({"credential": {"serviceAccount": {"namespace": "leasehold-leases", "name": "x", "uid": "1"}}}),
            ),
        ),
        lease(5, "waiting", json!({})),
        lease(6, "ending", issued(json!({"phase": "Ending", "endTime": "2026-11-24T12:59:00Z", "credential": {}}))),
        lease(
            7,
            "refused",
            json!({"phase": "Denied", "endReason": "Denied", "endTime": "2026-11-24T12:00:00Z", "conditions": [{"type": "Stalled",
            "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z", "reason": "Denied", "message": "a ttl of 9h is longer than the lifecycle's 1h: ask for at most 1h"}]}),
        ),
        lease(
            8,
            "withdrawn",
            json!({"phase": "Revoked", "endReason": "DecisionRevoked", "endTime": "2026-11-24T12:05:00Z",
            "decisions": [{"uid": "d1", "decision": "Revoked", "by": "ci", "time": "2026-11-24T12:05:00Z"}]}),
        ),
    ];
    let decision: CredentialLeaseDecision = serde_json::from_value(json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision",
        "metadata": {"name": "d1", "namespace": "payments", "uid": "d1", "creationTimestamp": "2026-11-24T12:05:00Z"},
        "spec": {"leaseRef": {"name": "withdrawn", "uid": uid(8)}, "lifecycleRef": {"name": "payments-deployer"}, "requester": "ci", "decision": "Revoked",
            "reason": "not needed", "decidedBy": {"username": "ci"}}})).unwrap();
    Gathered {
        leases,
        decisions: vec![decision],
        lifecycles: vec![lifecycle("payments-deployer", |_| {})],
        policies: vec![],
        stream: Stream::default(),
    }
}

pub fn report() -> Report {
    build(made(), &gathered())
}

/// So many leases of ten minutes, spread over the window and over so many lifecycles.
pub fn many(leases: usize, lifecycles: usize) -> Report {
    let mut report = report();
    let model = report.leases.iter().find(|lease| lease.name == "nightly-1").unwrap().clone();
    let (since, until) = (report.made.window.since, report.made.window.until);
    let step = until.since(since) / i64::try_from(leases).unwrap();
    report.leases = (0..leases)
        .rev()
        .map(|n| {
            let begin = since.plus_millis(step * i64::try_from(n).unwrap());
            let mut lease = model.clone();
            (lease.name, lease.uid, lease.lifecycle) =
                (format!("lease-{n}"), uid(n), format!("lifecycle-{}", n % lifecycles));
            (lease.created, lease.issued) = (begin, Some(begin));
            lease.ended = Some(begin.plus_millis(600_000));
            (lease.removed, lease.proven) = (lease.ended, lease.ended.map(|at| at.plus_millis(12_000)));
            lease
        })
        .collect();
    report
}
