//! Emergencies: issued at once, and answered for afterwards.

use serde_json::json;

use super::{asking, decide, half_seen, once_agreed, waits, word};
use crate::api::{
    Time,
    condition::{self, ConditionStatus},
    decision::DecisionType,
    lifecycle::ApprovalType,
    reasons::{EndReason, Phase},
};
use crate::domain::{
    agreement,
    call::{Call, Class},
    ending,
    observed::{DeciderSeen, DecisionSeen, Enforcement, Memory, Observed},
    world::{START, World, active, at_rest, rule},
};

#[test]
fn an_emergency_is_issued_at_once_and_revoked_if_nobody_answers() {
    let approval = || json!({"type": "Retrospective", "timeout": "30s"});
    let (mut world, mut memory) = (asking(approval()), Memory::default());
    world.run(&mut memory, active);
    assert_eq!(world.now, START);
    let condition = condition::find(&world.status.conditions, "Approved").unwrap();
    assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::Unknown, "Retrospective"));
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::ApprovalMissing));
    assert_eq!(world.status.end_time, Some(Time::from_millis(START + 30_000)));
    // It is kept, since it holds the lifecycle, until somebody has looked; then its retention runs.
    world.run(&mut memory, |w| w.now > START + 10_000_000_000);
    assert!(world.exists);
    decide(&mut world, "bob", "Denied", 100);
    world.run(&mut memory, |w| !w.exists);
    assert_eq!(world.status.decisions.last().map(|d| d.by.as_str()), Some("bob"));

    let (mut world, mut memory) = (asking(approval()), Memory::default());
    world.run(&mut memory, active);
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
    assert_eq!(world.status.approvals.as_ref().unwrap().have, 1);
}

const HALF_SEEN: [fn(&mut Observed); 3] = [
    |seen| (seen.synced, seen.decisions) = (false, vec![]),
    |seen| (seen.synced, seen.roles) = (false, std::collections::BTreeMap::new()),
    |seen| (seen.enforcement, seen.api_audiences) = (Enforcement::Unknown, vec![]),
];

#[test]
fn what_is_not_known_yet_is_no_missing_answer() {
    let late = Time::from_millis(START + 400_000);
    let (mut scheduled, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
    scheduled.not_before = Some(3600);
    scheduled.run(&mut memory, waits);
    decide(&mut scheduled, "alice", "Approved", 10);
    scheduled.run(&mut memory, |w| w.status.phase == Some(Phase::Scheduled));
    let (mut emergency, mut memory) = (asking(json!({"type": "Retrospective", "timeout": "5m"})), Memory::default());
    emergency.ttl = Some("1h");
    emergency.run(&mut memory, active);
    let word = word(&emergency, "alice", "Approved", 10);
    emergency.decisions.push(word);
    for world in [&scheduled, &emergency] {
        for spoil in HALF_SEEN {
            assert_eq!(ending::cause(&half_seen(world, spoil), late), None);
        }
    }
}

#[test]
fn a_role_that_grew_does_not_keep_an_emergency_from_being_answered_where_growth_is_only_reported() {
    let (mut world, mut memory) = (asking(json!({"type": "Retrospective", "timeout": "50s"})), Memory::default());
    world.lifecycle.as_mut().unwrap()["terms"]["onRoleChange"] = json!("Report");
    world.run(&mut memory, active);
    world.rules = vec![rule(&["get", "list"])];
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired), "alice approved status.requestDigest in time");
}

#[test]
fn whoever_waited_when_nobody_is_asked_any_more_owes_no_answer() {
    let (mut world, mut memory) = (asking(json!({"timeout": "40s"})), Memory::default());
    world.run(&mut memory, waits);
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = json!({"type": "NotRequired"});
    world.run(&mut memory, active);
    assert_eq!(world.status.approvals, None);
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
}

#[test]
fn an_answer_after_the_end_is_one_if_it_would_have_been_one_before() {
    type Spoil = fn(&mut World, &mut DecisionSeen);
    let table: [(bool, Spoil); 4] = [
        (true, |_, _| {}),
        (false, |_, d| d.spec.request_digest = Some("sha256:00".into())),
        (false, |w, _| _ = w.deciders.insert("alice".into(), DeciderSeen { may: false, acts_as_requester: false })),
        (false, |_, d| d.spec.decided_by.username = "ci".into()),
    ];
    for (counts, spoil) in table {
        let (mut world, mut memory) = (asking(json!({"type": "Retrospective", "timeout": "30s"})), Memory::default());
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::ApprovalMissing));
        let mut word = word(&world, "alice", "Approved", 100);
        spoil(&mut world, &mut word);
        world.decisions.push(word);
        world.run(&mut memory, |w| !w.exists || w.now > START + 10_000_000_000);
        assert_eq!(!world.exists, counts, "it holds its lifecycle until somebody has answered");
    }
}

#[test]
fn an_answer_is_judged_by_what_was_asked_for_when_the_lease_was_issued() {
    let (mut world, mut memory) = (asking(json!({"type": "Retrospective", "timeout": "50s"})), Memory::default());
    world.run(&mut memory, active);
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = json!({"type": "NotRequired"});
    decide(&mut world, "alice", "Approved", 10);
    let kind = |world: &World| agreement::standing(&world.observe(&Memory::default())).map(|standing| standing.kind);
    assert_eq!(kind(&world), Some(ApprovalType::Retrospective), "the answer is owed");
    world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
    assert_eq!(world.status.approvals.as_ref().map(|a| a.have), Some(1));
    assert_eq!(kind(&world), Some(ApprovalType::NotRequired), "nothing is owed any more");
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
}

#[test]
fn a_question_that_fails_after_the_time_for_an_answer_is_asked_again_after_a_pause() {
    let (mut world, mut memory) = (asking(json!({"timeout": "30s"})), Memory::default());
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    world.broken = vec![(|call| matches!(call, Call::CheckDecider { .. }), Class::Transient)];
    world.now = START + 60_000;
    let before = world.calls.len();
    world.run(&mut memory, |w| w.now > START + 90_000);
    assert!(world.calls.len() - before < 100, "{} calls in half a minute", world.calls.len() - before);
}

#[test]
fn an_answer_is_owed_for_what_was_issued_and_not_answered_for_enough() {
    let approval = json!({"type": "Retrospective", "timeout": "50s"});
    let (mut world, mut memory) = (asking(approval), Memory::default());
    world.run(&mut memory, active);
    assert!(agreement::owed(&world.status, "ci").is_some());
    let mut never_issued = world.status.clone();
    never_issued.issue_time = None;
    assert_eq!(agreement::owed(&never_issued, "ci"), None);
    let mut answered = world.status.clone();
    answered.approvals.as_mut().unwrap().have = 1;
    assert_eq!(agreement::owed(&answered, "ci"), None);
}

#[test]
fn the_word_of_somebody_else_is_an_answer_and_one_of_two_approvals_is_none() {
    let (world, _) = once_agreed(json!({"type": "Retrospective", "count": 2, "timeout": "50s"}));
    assert!(agreement::owed(&world.status, "ci").is_some());
    for (by, owed) in [("ci", true), ("bob", false)] {
        let mut status = world.status.clone();
        let mut word = status.decisions[0].clone();
        (word.by, word.decision) = (by.to_owned(), DecisionType::Revoked);
        status.decisions.push(word);
        assert_eq!(agreement::owed(&status, "ci").is_some(), owed, "{by}");
    }
}

#[test]
fn an_answer_is_late_once_the_lease_has_ended_and_only_if_it_is_new_and_about_this_lease() {
    let (mut world, mut memory) = once_agreed(json!({"type": "Retrospective", "count": 2, "timeout": "30s"}));
    let answer = |world: &World, memory: &Memory| match agreement::late_answer(&world.observe(memory)) {
        agreement::Late::Ask(decision) | agreement::Late::Given(decision) => decision.spec.decided_by.username.clone(),
        none => format!("{none:?}"),
    };
    assert_eq!(answer(&world, &memory), "NotDue", "it lives");
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::ApprovalMissing));
    assert_eq!(answer(&world, &memory), "Missing", "alice's word was known before");
    let mut elsewhere = word(&world, "carol", "Approved", 100);
    elsewhere.spec.lifecycle_ref.name = "other".into();
    world.decisions.push(elsewhere);
    assert_eq!(answer(&world, &memory), "Missing", "carol agreed to something else");
    decide(&mut world, "bob", "Approved", 100);
    assert_eq!(answer(&world, &memory), "bob");
}
