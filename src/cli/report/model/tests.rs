use serde_json::json;

use super::{fixture::*, *};
use crate::{
    api::{
        decision::DecisionType,
        names::LeaseUid,
        reasons::{EndReason, Evidence, Happening},
    },
    cli::{report::rule::Rule, view::stream::Stream},
    domain::digest,
};

fn state_of(report: &Report, name: &str) -> State {
    report.leases.iter().find(|lease| lease.name == name).unwrap().state
}

#[test]
fn every_lease_stands_where_the_evidence_puts_it() {
    let report = report();
    let table = [
        ("nightly-1", State::Proven),
        ("live", State::Live),
        ("overdue", State::Overdue),
        ("unproven", State::Unproven),
        ("waiting", State::Waiting),
        ("ending", State::Ending),
        ("refused", State::Refused),
        ("withdrawn", State::NotIssued),
    ];
    for (name, state) in table {
        assert_eq!(state_of(&report, name), state, "{name}");
    }
    let s = &report.summary;
    assert_eq!([s.leases, s.live, s.overdue, s.unproven, s.proven, s.refused, s.waiting], [8, 1, 1, 1, 1, 1, 1]);
    assert_eq!(s.verdict(), "Of 8 leases: 1 overdue, 1 ended without proof.");
    assert!(s.alarms());
}

#[test]
fn an_end_is_overdue_after_two_minutes_and_not_before() {
    let mut made = made();
    for (now, state) in [("2026-11-24T12:59:00Z", State::Live), ("2026-11-24T12:59:01Z", State::Overdue)] {
        made.time = time(now);
        assert_eq!(state_of(&build(made.clone(), &gathered()), "overdue"), state, "{now}");
    }
    for (now, state) in [("2026-11-24T13:01:00Z", State::Ending), ("2026-11-24T13:01:01Z", State::Overdue)] {
        made.time = time(now);
        assert_eq!(state_of(&build(made.clone(), &gathered()), "ending"), state, "{now}");
    }
}

#[test]
fn what_nobody_can_take_back_is_not_overdue_before_its_tokens_expire() {
    let mut all = gathered();
    let status = all.leases.iter_mut().find(|l| l.metadata.name.as_deref() == Some("ending")).unwrap().status.as_mut();
    status.unwrap().credential.as_mut().unwrap().offline_expiration_time = Some(time("2026-11-24T14:00:00Z"));
    let mut made = made();
    made.time = time("2026-11-24T13:30:00Z");
    assert_eq!(state_of(&build(made, &all), "ending"), State::Ending);
}

#[test]
fn a_lease_that_lived_outside_the_window_is_not_in_it() {
    let mut made = made();
    made.window.since = time("2026-11-24T12:30:00Z");
    let report = build(made, &gathered());
    let names: Vec<&str> = report.leases.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["ending", "live", "overdue", "waiting"], "what ended before is over");
}

#[test]
fn an_edited_history_is_told_as_differing() {
    let mut all = gathered();
    let history = all.leases[0].status.as_mut().unwrap().history.as_mut().unwrap();
    history.records[0].actor = "nobody".into();
    let report = build(made(), &all);
    assert_eq!((report.summary.trails_verified, report.summary.trails_differing), (7, 1));
    let told = &report.attention.iter().find(|a| a.about == "lease payments/nightly-1").unwrap().what;
    assert!(told.contains("one of them was changed"), "{told}");
}

/// A stream of one deleted lease with these records.
fn stream(records: &[(&str, Happening, &str, &str)]) -> Stream {
    stream_from(0, records)
}

/// The same without so many of the first lines.
fn stream_from(skipped: usize, records: &[(&str, Happening, &str, &str)]) -> Stream {
    let (mut stream, id) = (Stream::default(), uid(77));
    let mut history = digest::begin(&LeaseUid::parse(&id).unwrap());
    for (n, (at, event, actor, detail)) in records.iter().enumerate() {
        digest::append(&mut history, time(at), *event, *actor, *detail);
        let mut line = serde_json::to_value(history.records.last().unwrap()).unwrap();
        line["target"] = json!("audit");
        line["lease"] = json!({"namespace": "payments", "name": "gone", "uid": id, "lifecycle": "nightly"});
        line["hash"] = json!(history.head);
        if n >= skipped {
            stream.take(&line.to_string());
        }
    }
    stream
}

const LIFE: [(&str, Happening, &str, &str); 6] = [
    ("2026-11-24T12:00:00Z", Happening::Requested, "ci", "nightly: Roll out: 2.3"),
    ("2026-11-24T12:00:02Z", Happening::Approved, "alice", "looked at it"),
    ("2026-11-24T12:00:03Z", Happening::Issued, "leasehold", ""),
    ("2026-11-24T12:05:00Z", Happening::Ended, "alice", "DecisionRevoked: leaked"),
    ("2026-11-24T12:05:00.020Z", Happening::Removed, "leasehold", "0.020 s after the end"),
    ("2026-11-24T12:05:11Z", Happening::Revoked, "leasehold", "TokenReviewRefused"),
];

#[test]
fn a_deleted_lease_is_told_from_the_stream() {
    let all = Gathered { stream: stream(&LIFE), ..gathered() };
    let report = build(made(), &all);
    let gone = report.leases.iter().find(|l| l.name == "gone").unwrap();
    assert_eq!((gone.state, gone.origin, &gone.trail), (State::Proven, Origin::Stream, &Trail::Verified));
    assert_eq!((gone.reason.as_str(), gone.requester.as_str()), ("Roll out: 2.3", "ci"));
    assert_eq!((gone.end_reason, gone.end_message.as_str()), (Some(EndReason::DecisionRevoked), "leaked"));
    assert_eq!((gone.removal_lag, gone.evidence), (Some(Millis(20)), Some(Evidence::TokenReviewRefused)));
    let words: Vec<_> =
        report.decisions.iter().filter(|d| d.lease == "gone").map(|d| (d.by.as_str(), d.decision)).collect();
    assert_eq!(words, [("alice", DecisionType::Revoked), ("alice", DecisionType::Approved)]);
}

#[test]
fn a_stream_that_breaks_off_proves_nothing() {
    let report = build(made(), &Gathered { stream: stream(&LIFE[..4]), ..gathered() });
    assert_eq!(state_of(&report, "gone"), State::Unproven);
    assert!(report.attention.iter().any(|a| a.about == "lease payments/gone" && a.what.contains("audit stream")));
}

#[test]
fn a_stream_that_begins_late_is_incomplete_and_no_alarm() {
    let report = build(made(), &Gathered { stream: stream_from(1, &LIFE), leases: vec![], ..gathered() });
    let gone = &report.leases[0];
    assert_eq!(gone.trail, Trail::Incomplete(vec!["record 1 is missing from the stream".into()]));
    assert_eq!((gone.state, report.summary.alarms(), report.summary.trails_incomplete), (State::Proven, false, 1));
}

#[test]
fn a_decision_is_told_once_and_counts_if_its_lease_says_so() {
    let report = report();
    assert_eq!(report.decisions.len(), 1);
    let one = &report.decisions[0];
    assert_eq!((one.by.as_str(), one.reason.as_deref(), one.counts), ("ci", Some("not needed"), true));
}

#[test]
fn refusals_are_counted_by_rule() {
    let report = report();
    assert_eq!(report.refusals.len(), 1);
    let one = &report.refusals[0];
    assert_eq!(
        (one.rule, one.count, one.leases.as_slice()),
        (Rule::Ttl, 1, ["payments/refused".to_owned()].as_slice())
    );
}

#[test]
fn lifecycles_say_what_is_to_review() {
    let findings = |change: fn(&mut serde_json::Value)| {
        let all = Gathered { lifecycles: vec![lifecycle("payments-deployer", change)], ..gathered() };
        let found = build(made(), &all).lifecycles.remove(0).findings;
        found.into_iter().map(|f| (f.urgency, f.what)).collect::<Vec<_>>()
    };
    assert_eq!(findings(|_| {}), []);
    let ended = findings(|l| l["spec"]["expirationTime"] = "2026-11-20T00:00:00Z".into());
    assert!(matches!(ended.as_slice(), [(Urgency::Review, what)] if what.starts_with("it ended at")), "{ended:?}");
    let soon = findings(|l| l["spec"]["expirationTime"] = "2026-12-20T00:00:00Z".into());
    assert!(matches!(soon.as_slice(), [(Urgency::Review, what)] if what.starts_with("it ends at")), "{soon:?}");
    let endless = findings(|l| drop(l["spec"].as_object_mut().unwrap().remove("expirationTime")));
    assert!(matches!(endless.as_slice(), [(Urgency::Know, _)]), "{endless:?}");
    let unasked = findings(|l| drop(l["spec"].as_object_mut().unwrap().remove("review")));
    assert!(matches!(unasked.as_slice(), [(Urgency::Know, what)] if what.contains("spec.review")), "{unasked:?}");
    let near = findings(|l| l["spec"]["review"]["lastReviewed"] = "2026-09-01".into());
    assert!(matches!(near.as_slice(), [(Urgency::Review, what)] if what.contains("within two weeks")), "{near:?}");
    let due = findings(|l| l["spec"]["review"]["lastReviewed"] = "2026-08-20".into());
    assert!(
        matches!(due.as_slice(), [(Urgency::Review, what)] if what.starts_with("its review is due: from")),
        "{due:?}"
    );
    let stopped = findings(|l| l["status"]["conditions"][0]["status"] = "False".into());
    assert!(
        matches!(stopped.as_slice(), [(Urgency::Act, what)] if what.starts_with("Leasable is False")),
        "{stopped:?}"
    );
    let ambient = findings(|l| l["status"]["conditions"][0]["type"] = "AmbientRights".into());
    assert!(
        matches!(ambient.as_slice(), [(Urgency::Review, what)] if what.starts_with("ambient rights")),
        "{ambient:?}"
    );
}

#[test]
fn an_identity_that_nobody_used_is_to_review() {
    let unused = lifecycle("old", |l| l["metadata"]["creationTimestamp"] = "2026-09-01T00:00:00Z".into());
    let report = build(made(), &Gathered { lifecycles: vec![unused], ..gathered() });
    assert!(report.lifecycles[0].findings[0].what.starts_with("it was never leased for more than 30 days"));
}

#[test]
fn what_may_not_be_read_is_said() {
    let report = report();
    let said = report.attention.iter().find(|a| a.about == "credentialleasepolicies").unwrap();
    assert_eq!(said.urgency, Urgency::Know);
}

#[test]
fn the_json_form_is_as_it_is_documented() {
    let json = serde_json::to_value(report()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(json["format"], "leasehold.dev/report/v1");
    assert_eq!(
        keys(&json),
        "attention decisions format lags leases lifecycles made policies refusals standing summary"
    );
    assert_eq!(keys(&json["made"]), "by filter namespace server sources time version window");
    let lease = json["leases"].as_array().unwrap().iter().find(|l| l["name"] == "nightly-1").unwrap();
    assert_eq!(
        keys(lease),
        "concerns created delivery endReason ended evidence expires grants issued lifecycle name namespace origin phase proofLagSeconds proven reason removalLagSeconds removed requester state ticket trail uid unanswered"
    );
    assert_eq!((&lease["removalLagSeconds"], &lease["trail"]), (&json!(0.015), &json!({"state": "Verified"})));
    let guide = include_str!("../../../../docs/report.md");
    let mut names: Vec<String> = keys(&json).split(' ').chain(keys(lease).split(' ')).map(str::to_owned).collect();
    names.extend(keys(&json["made"]).split(' ').chain(keys(&json["summary"]).split(' ')).map(str::to_owned));
    let missing: Vec<String> = names.into_iter().filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/report.md does not tell of {missing:?}");
}
