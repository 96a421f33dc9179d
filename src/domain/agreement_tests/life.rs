//! What a lease that somebody agreed to comes to.

use std::sync::Arc;

use serde_json::json;

use super::{asking, decide, waits, word};
use crate::api::{
    Time,
    condition::{self, ConditionStatus},
    reasons::{EndReason, Phase},
};
use crate::domain::{
    agenda::Lane,
    call::{Call, Class},
    guards::PolicySeen,
    observed::{Child, DecisionSeen, Memory},
    request, workflow_tests,
    world::{Fault, START, World, active, at_rest},
};

/// Waits, is agreed to after 10 s, and runs to its end.
fn agreed_life(faults: Vec<(usize, Fault)>) -> World {
    let (mut world, mut memory) = (asking(json!({"timeout": "5m"})), Memory::default());
    world.faults = faults;
    world.run(&mut memory, |w| waits(w) || at_rest(w));
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, at_rest);
    world
}

#[test]
fn nothing_is_made_before_somebody_agrees_and_the_lease_runs_from_then_on() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    assert!(world.objects.is_empty() && world.status.expiration_time.is_none());
    let resolved = world.status.request.clone().unwrap();
    assert_eq!(request::digest_of(&resolved), world.status.request_digest);
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, active);
    assert_eq!(world.status.expiration_time, Some(Time::from_millis(START + 70_000)), "a minute from the agreement");
    assert_eq!(world.status.request, Some(resolved), "what was agreed to is what is issued");
    let counted: Vec<&str> = world.status.decisions.iter().map(|d| d.by.as_str()).collect();
    assert_eq!((counted, world.status.approvals.as_ref().unwrap().summary.as_str()), (vec!["alice"], "1 of 1"));
    world.run(&mut memory, at_rest);
    let events: Vec<&str> = world.status.history.as_ref().unwrap().records.iter().map(|r| r.event.as_str()).collect();
    assert_eq!(
        events,
        ["Requested", "AwaitingApproval", "Approved", "Allowed", "Issued", "Ended", "Removed", "Revoked"]
    );
}

#[test]
fn an_approval_becomes_a_credential_in_the_calls_of_an_unasked_issue() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    world.calls.clear();
    world.run(&mut memory, active);
    let kinds: Vec<String> =
        world.calls.iter().map(|c| format!("{c:?}").split(['(', ' ']).next().unwrap().to_owned()).collect();
    assert_eq!(
        kinds.join(" "),
        "CheckAccess CheckDecider Reserve Create Create Create Create ReadRole ReadRole Create Create WriteStatus"
    );
}

#[test]
fn a_fault_at_any_call_of_an_agreed_life_ends_the_same() {
    let calls = agreed_life(vec![]).calls.len();
    for at in 1..=calls {
        for fault in Fault::ALL {
            let world = agreed_life(vec![(at, fault)]);
            let what = format!("{fault:?} at call {at}");
            assert!(world.ours().is_empty() && world.live_tokens() == 0 && at_rest(&world), "{what}");
            assert_eq!(
                world.status.end_time,
                Some(Time::from_millis(START + 70_000)),
                "{what}: the deadline is the same"
            );
        }
    }
}

#[test]
fn the_shortest_life_that_was_agreed_to_counts() {
    let (mut world, mut memory) = (asking(json!({"count": 2})), Memory::default());
    world.run(&mut memory, waits);
    for (by, max) in [("alice", Some("40s")), ("bob", None)] {
        let mut word = word(&world, by, "Approved", 10);
        word.spec.max_ttl = max.map(|m| m.parse().unwrap());
        world.decisions.push(word);
    }
    world.now = START + 10_000;
    world.run(&mut memory, active);
    assert_eq!(world.status.expiration_time, Some(Time::from_millis(START + 50_000)));
}

#[test]
fn one_denial_denies_whatever_else_was_decided() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    decide(&mut world, "bob", "Denied", 11);
    world.run(&mut memory, at_rest);
    assert_eq!((world.status.phase, world.status.end_reason), (Some(Phase::Denied), Some(EndReason::DecisionDenied)));
    assert!(world.objects.is_empty() && world.tokens.is_empty());
    assert_eq!(world.status.decisions.iter().map(|d| d.by.as_str()).collect::<Vec<_>>(), ["bob"]);
    let condition = condition::find(&world.status.conditions, "Approved").unwrap();
    assert_eq!((condition.status, condition.message.as_str()), (ConditionStatus::False, "bob denied it: because"));
}

#[test]
fn a_denial_or_a_revocation_ends_an_active_lease_without_a_question() {
    for (decision, by) in [("Denied", "bob"), ("Revoked", "bob"), ("Revoked", "ci")] {
        let (mut world, mut memory) = (asking(json!({"type": "NotRequired"})), Memory::default());
        world.run(&mut memory, active);
        world.calls.clear();
        decide(&mut world, by, decision, 5);
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::DecisionRevoked), "{decision}");
        assert_eq!(world.status.phase, Some(Phase::Revoked));
        let first = world.calls.first();
        let unbinds = matches!(first, Some(Call::Delete { child, .. }) if child.gives_authority());
        assert!(unbinds, "the first call takes authority away: {first:?}");
        let record = world.status.history.unwrap().records.into_iter().find(|r| r.event.as_str() == "Ended").unwrap();
        assert_eq!((record.actor.as_str(), record.detail.contains("as who asked for it")), (by, by == "ci"));
    }
}

#[test]
fn a_revocation_that_names_another_lifecycle_or_requester_ends_nothing() {
    let spoils: [fn(&mut DecisionSeen); 3] = [
        |d| d.spec.lifecycle_ref.name = "other".into(),
        |d| d.spec.requester = "bob".into(),
        |d| d.spec.lease_ref.uid = "6f2c8a8e-0000-4000-8000-000000000000".into(),
    ];
    for spoil in spoils {
        let (mut world, mut memory) = (asking(json!({"type": "NotRequired"})), Memory::default());
        world.run(&mut memory, active);
        let mut word = word(&world, "bob", "Revoked", 5);
        spoil(&mut word);
        world.decisions.push(word);
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::Expired));
    }
}

#[test]
fn whoever_waits_costs_nothing_when_something_else_changes() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    world.calls.clear();
    assert_eq!(world.visits(&mut memory, Lane::Issue), 1);
    assert_eq!(world.calls, []);
}

#[test]
fn a_lease_that_its_approver_shortened_is_judged_by_the_life_that_was_agreed_to() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    let mut word = word(&world, "alice", "Approved", 10);
    word.spec.max_ttl = Some("30s".parse().unwrap());
    world.decisions.push(word);
    world.now = START + 10_000;
    world.run(&mut memory, active);
    let spec = serde_json::from_value(json!({"onViolation": "Revoke", "terms": {"ttl": {"max": "45s"}}})).unwrap();
    world.policies.push(Arc::new(PolicySeen { name: "p".into(), spec }));
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
}

#[test]
fn an_approval_that_is_taken_back_while_issuing_takes_everything_back() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    world.broken.push((|call| matches!(call, Call::WriteStatus(_)), Class::Transient));
    world.run(&mut memory, |w| w.objects.contains_key(&Child::MintBinding));
    world.decisions.clear();
    world.broken.clear();
    let before = world.now;
    world.run(&mut memory, |w| active(w) || at_rest(w));
    let ended = world.status.end_time.map(Time::as_millis);
    assert!(world.ours().is_empty());
    assert!(ended.is_some_and(|at| at <= before + 2000), "nobody agreed any more, and it was good until its deadline");
}

#[test]
fn a_shorter_life_that_covers_a_request_without_a_ttl_is_what_is_issued() {
    let terms = json!({"ttl": {"max": "1h"}, "delivery": ["TokenRequest"], "approval": {"maxRepeat": "1h"}});
    let fresh = || {
        let mut world = World::new("TokenRequest");
        (world.ttl, world.lifecycle.as_mut().unwrap()["terms"]) = (None, terms.clone());
        world
    };
    let (mut first, mut memory) = (fresh(), Memory::default());
    first.run(&mut memory, waits);
    let mut word = word(&first, "alice", "Approved", -60);
    (word.spec.repeat_for, word.spec.max_ttl) = (Some("30m".parse().unwrap()), Some("10m".parse().unwrap()));
    word.spec.lease_ref.uid = "6f2c8a8e-0000-4000-8000-000000000000".into();
    let (mut world, mut memory) = (fresh(), Memory::default());
    world.decisions.push(word);
    world.run(&mut memory, |w| active(w) || at_rest(w));
    assert!(active(&world), "{:?}", world.status.conditions);
    assert_eq!(world.status.expiration_time, Some(Time::from_millis(START + 600_000)));
    assert_eq!(world.status.request_digest, first.status.request_digest);
}

#[test]
fn what_a_gate_has_let_pass_and_somebody_agreed_to_is_issued() {
    let (mut world, mut memory) = (workflow_tests::world("TokenRequest", false), Memory::default());
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = json!({"timeout": "5m"});
    world.run(&mut memory, waits);
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, |w| active(w) || at_rest(w));
    assert!(active(&world), "{:?}", world.status.phase);
    assert_eq!(world.status.decisions.len(), 1);
    let first = |is: fn(&Call) -> bool| world.calls.iter().position(is);
    let told = first(|call| matches!(call, Call::WriteStatus(status) if !status.decisions.is_empty()));
    assert!(told < first(|call| matches!(call, Call::Create(_))), "it is written down before anything is made");
}
