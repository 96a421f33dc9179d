//! Whose word counts, and as what.

use serde_json::json;

use super::{approved_message, asking, decide, once_agreed, waits, word};
use crate::api::{
    Time,
    lifecycle::Independence,
    reasons::{EndReason, Phase},
};
use crate::domain::{
    agreement,
    call::{Call, Class},
    issue,
    observed::{DeciderSeen, DecisionSeen, Memory},
    request,
    world::{START, World, active, at_rest},
};

#[test]
fn two_must_be_two_people() {
    let (mut world, mut memory) = (asking(json!({"count": 2})), Memory::default());
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    decide(&mut world, "alice", "Approved", 11);
    world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
    assert!(waits(&world) && world.objects.is_empty());
    // In the same millisecond as the first: both count.
    decide(&mut world, "bob", "Approved", 10);
    world.run(&mut memory, active);
    assert_eq!(world.status.expiration_time, Some(Time::from_millis(START + 70_000)));
}

#[test]
fn what_does_not_count_says_why_and_issues_nothing() {
    type Spoil = fn(&mut World, &mut DecisionSeen);
    let table: [(&str, Spoil); 10] = [
        ("another lifecycle", |_, d| d.spec.lifecycle_ref.name = "other".into()),
        ("another requester", |_, d| d.spec.requester = "somebody".into()),
        ("what it agreed to is not", |_, d| d.spec.request_digest = Some("sha256:00".into())),
        ("his own request", |_, d| d.spec.decided_by.username = "ci".into()),
        ("may not approve this lifecycle", |w, _| {
            w.deciders.insert("alice".into(), DeciderSeen { may: false, acts_as_requester: false });
        }),
        ("could act as the requester", |w, _| {
            w.deciders.insert("alice".into(), DeciderSeen { may: true, acts_as_requester: true });
        }),
        ("could act as the requester", |_, d| {
            d.spec.independence = Some(Independence::Recorded);
        }),
        ("could act as the requester", |_, d| d.spec.decided_by.username = "system:serviceaccount:ns:bot".into()),
        ("after the time for an answer", |_, d| d.created = Time::from_millis(START + 301_000)),
        ("policies were not in force", |w, d| {
            w.unproven_until = Some(-1);
            d.created = Time::from_millis(START - 2_000);
        }),
    ];
    for (why, spoil) in table {
        let (mut world, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
        world.run(&mut memory, waits);
        let mut word = word(&world, "alice", "Approved", 10);
        spoil(&mut world, &mut word);
        world.decisions.push(word);
        world.run(&mut memory, |w| approved_message(w).contains("not counted") || at_rest(w));
        assert!(approved_message(&world).contains(why), "{why}: {}", approved_message(&world));
        assert!(world.objects.is_empty(), "{why}");
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::ApprovalTimeout), "{why}");
        assert_eq!(world.status.phase, Some(Phase::Denied));
    }
}

#[test]
fn the_requester_is_known_by_his_uid_under_another_name() {
    let (mut world, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
    world.run(&mut memory, waits);
    for (uid, own) in [("1", true), ("2", false)] {
        let mut seen = world.observe(&memory);
        seen.lease.spec.as_mut().unwrap().requested_by.uid = Some("1".into());
        let mut decision = word(&world, "renamed", "Approved", 10);
        decision.spec.decided_by.uid = Some(uid.into());
        decision.spec.request_digest = request::current(&seen).map(|asked| asked.digest.clone());
        seen.decisions.push(decision);
        let standing = agreement::standing(&seen).unwrap();
        let ignored = standing.ignored.iter().any(|(_, why)| matches!(why, agreement::Why::OwnRequest));
        assert_eq!(ignored, own, "{uid}");
    }
}

#[test]
fn whoever_could_act_as_the_requester_counts_where_that_is_only_recorded() {
    type Spoil = fn(&mut World, &mut DecisionSeen);
    let table: [Spoil; 3] = [
        |w, _| _ = w.deciders.insert("alice".into(), DeciderSeen { may: true, acts_as_requester: true }),
        |_, d| d.spec.independence = Some(Independence::Recorded),
        |_, d| d.spec.decided_by.username = "system:serviceaccount:ns:bot".into(),
    ];
    for spoil in table {
        let (mut world, mut memory) = (asking(json!({"independence": "Recorded"})), Memory::default());
        world.run(&mut memory, waits);
        let mut word = word(&world, "alice", "Approved", 10);
        spoil(&mut world, &mut word);
        world.decisions.push(word);
        world.run(&mut memory, |w| active(w) || at_rest(w));
        assert!(active(&world), "{}", approved_message(&world));
    }
}

#[test]
fn a_decision_for_another_lease_is_not_even_looked_at() {
    let (mut world, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
    world.run(&mut memory, waits);
    let mut word = word(&world, "alice", "Approved", 10);
    word.spec.lease_ref.uid = "6f2c8a8e-0000-4000-8000-000000000000".into();
    world.decisions.push(word);
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::ApprovalTimeout));
}

#[test]
fn an_equal_request_is_covered_for_a_while_if_the_terms_say_so() {
    for (repeat, max, age, covered) in [
        (Some("2h"), Some("1h"), 3000, true),
        (Some("2h"), Some("1h"), 3700, false),
        (Some("30m"), Some("1h"), 3000, false),
        (Some("2h"), Some("1h"), -10, false),
        (Some("2h"), None, 10, false),
        (None, Some("1h"), 10, false),
    ] {
        let approval = max.map_or(json!({}), |max| json!({"maxRepeat": max}));
        let (mut first, mut memory) = (asking(approval.clone()), Memory::default());
        first.run(&mut memory, waits);
        let mut word = word(&first, "alice", "Approved", -age);
        word.spec.repeat_for = repeat.map(|r| r.parse().unwrap());
        word.spec.lease_ref.uid = "6f2c8a8e-0000-4000-8000-000000000000".into();
        word.spec.lease_ref.name = "earlier".into();
        let (mut world, mut memory) = (asking(approval), Memory::default());
        world.decisions.push(word.clone());
        world.run(&mut memory, |w| active(w) || waits(w));
        assert_eq!(active(&world), covered, "repeatFor {repeat:?}, maxRepeat {max:?}, {age} s before");
        if covered {
            assert_eq!(world.status.decisions[0].repeats.as_deref(), Some("earlier"));
            assert_eq!(
                world.status.expiration_time,
                Some(Time::from_millis(START + 60_000)),
                "it runs from the request"
            );
        }
        // Another request than the one that was agreed to is not covered.
        let (mut other, mut memory) = (asking(json!({"maxRepeat": "1h"})), Memory::default());
        other.ttl = Some("61s");
        other.decisions.push(word);
        other.run(&mut memory, |w| active(w) || waits(w));
        assert!(waits(&other));
        assert!(
            !approved_message(&other).contains("not counted"),
            "nobody is told of it: it was about another request"
        );
    }
}

#[test]
fn an_authorizer_that_fails_is_asked_again_after_a_pause() {
    let (mut world, mut memory) = (asking(json!({"type": "Retrospective", "timeout": "30s"})), Memory::default());
    world.ttl = Some("1h");
    world.run(&mut memory, active);
    decide(&mut world, "alice", "Approved", 10);
    world.broken = vec![(|call| matches!(call, Call::CheckDecider { .. }), Class::Transient)];
    world.now = START + 60_000;
    let before = world.calls.len();
    world.run(&mut memory, |w| w.now > START + 90_000);
    assert!(world.calls.len() - before < 40, "{} calls in half a minute", world.calls.len() - before);
    assert!(active(&world), "what could not be asked is no missing answer");
    world.broken.clear();
    world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
    assert!(active(&world));
}

#[test]
fn a_status_never_holds_more_decisions_than_its_schema() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    for n in 0..40 {
        let word = word(&world, &format!("lead-{n}"), "Approved", 10);
        world.decisions.push(word);
    }
    world.now = START + 10_000;
    world.run(&mut memory, active);
    assert!(world.status.decisions.len() <= 32, "{}", world.status.decisions.len());
    decide(&mut world, "bob", "Revoked", 20);
    world.run(&mut memory, at_rest);
    assert!(world.status.decisions.len() <= 32);
    assert_eq!(world.status.decisions.last().map(|d| d.by.as_str()), Some("bob"));
}

#[test]
fn however_often_somebody_decides_he_is_asked_about_once() {
    let (mut world, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
    world.run(&mut memory, waits);
    world.deciders.insert("mallory".into(), DeciderSeen { may: true, acts_as_requester: true });
    for n in 0..60 {
        let mut word = word(&world, "mallory", "Approved", 10);
        word.uid = format!("mallory-{n}");
        world.decisions.push(word);
        let mut recorded = world.decisions[0].clone();
        recorded.uid = format!("recorded-{n}");
        recorded.spec.independence = Some(Independence::Recorded);
        world.decisions.push(recorded);
    }
    world.calls.clear();
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::ApprovalTimeout));
    let asked = world.calls.iter().filter(|call| matches!(call, Call::CheckDecider { .. })).count();
    assert!(asked <= 4, "{asked} questions about one person");
}

#[test]
fn whoever_has_agreed_is_counted_when_the_time_is_up_although_he_is_not_asked_about_again() {
    for (kind, phase) in [("Required", Phase::AwaitingApproval), ("Retrospective", Phase::Active)] {
        let approval = json!({"type": kind, "count": 2, "timeout": "50s"});
        let (mut world, mut memory) = (asking(approval), Memory::default());
        world.run(&mut memory, |w| w.status.phase == Some(phase));
        decide(&mut world, "alice", "Approved", 10);
        world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
        world.run(&mut memory, at_rest);
        let ended = world.status.history.iter().flat_map(|h| &h.records).find(|r| r.detail.contains("approvals came"));
        assert!(ended.is_some_and(|r| r.detail.contains("1 of 2 approvals came in time")), "{kind}: {ended:?}");
    }
}

#[test]
fn what_counted_while_the_policies_were_in_force_counts_after_they_were_not() {
    let (mut world, memory) = once_agreed(json!({"count": 2, "timeout": "5m"}));
    decide(&mut world, "bob", "Approved", 20);
    world.unproven_until = Some(30);
    let seen = world.observe(&memory);
    let standing = agreement::standing(&seen).unwrap();
    let ignored: Vec<_> = standing.ignored.iter().map(|(d, why)| (d.spec.decided_by.username.as_str(), why)).collect();
    assert_eq!(ignored, [("bob", &agreement::Why::Unproven)]);
}

#[test]
fn whoever_has_agreed_is_not_asked_about_again_while_too_few_have() {
    let (mut world, memory) = once_agreed(json!({"count": 3, "timeout": "5m"}));
    assert_eq!(issue::deciders(&world.observe(&memory)), []);
    decide(&mut world, "bob", "Approved", 20);
    let bob = world.decisions[1].uid.clone();
    assert_eq!(issue::deciders(&world.observe(&memory)), [Call::CheckDecider { decision: bob }]);
}
