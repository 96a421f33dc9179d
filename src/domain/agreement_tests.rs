//! Who agrees, when it counts and when not, against the model.

use std::sync::Arc;

use serde_json::json;

use super::{
    agenda::Lane,
    agreement,
    call::{Call, Class, Next},
    ending,
    guards::PolicySeen,
    issue,
    observed::{Child, DeciderSeen, DecisionSeen, Enforcement, Memory, Observed},
    request::{self, Roles},
    workflow_tests,
    world::{Fault, START, World, rule, uid},
};
use crate::api::{
    Time,
    condition::{self, ConditionStatus},
    decision::DecisionType,
    lifecycle::{ApprovalType, Independence},
    reasons::{EndReason, Phase},
};

fn asking(approval: serde_json::Value) -> World {
    let mut world = World::new("TokenRequest");
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = approval;
    world
}

fn waits(world: &World) -> bool {
    world.status.phase == Some(Phase::AwaitingApproval)
}

fn active(world: &World) -> bool {
    world.status.phase == Some(Phase::Active)
}

fn at_rest(world: &World) -> bool {
    world.status.phase.is_some_and(Phase::is_final)
}

/// A decision as admission lets it pass, `after` seconds after the request.
fn word(world: &World, by: &str, decision: &str, after: i64) -> DecisionSeen {
    let mut spec = json!({
        "leaseRef": {"name": "lease", "uid": uid().to_string()}, "lifecycleRef": {"name": "lc"}, "requester": "ci",
        "decision": decision, "reason": "because", "decidedBy": {"username": by},
    });
    if decision == "Approved" {
        spec["requestDigest"] = json!(world.status.request_digest);
    }
    DecisionSeen {
        uid: format!("{by}-{decision}-{after}"),
        name: format!("by-{by}"),
        created: Time::from_millis(START + after * 1000),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

fn decide(world: &mut World, by: &str, decision: &str, after: i64) {
    let word = word(world, by, decision, after);
    world.now = world.now.max(word.created.as_millis());
    world.decisions.push(word);
}

/// Alice has agreed, and that is written down.
fn once_agreed(approval: serde_json::Value) -> (World, Memory) {
    let (mut world, mut memory) = (asking(approval), Memory::default());
    world.run(&mut memory, |w| waits(w) || active(w));
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
    (world, memory)
}

fn approved_message(world: &World) -> String {
    condition::find(&world.status.conditions, "Approved").map(|c| c.message.clone()).unwrap_or_default()
}

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
fn what_changes_after_the_approval_voids_it_and_says_what() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 4] = [
        ("gained rights: delete on configmaps", |w| w.rules = vec![rule(&["get", "delete"])]),
        ("was for Role reader in ns and is for Role other in ns", |w| {
            w.lifecycle.as_mut().unwrap()["grants"][0]["roleRef"]["name"] = "other".into();
        }),
        ("deleted and created again", |w| w.lifecycle_uid = "another".into()),
        ("the ttl was 1h and is 30m", |w| {
            w.lifecycle.as_mut().unwrap()["terms"]["ttl"] = json!({"max": "30m"});
        }),
    ];
    for (what, change) in changes {
        let (mut world, mut memory) = (asking(json!({"count": 2})), Memory::default());
        world.ttl = if what.contains("ttl") { None } else { Some("60s") };
        world.run(&mut memory, waits);
        decide(&mut world, "alice", "Approved", 10);
        world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
        change(&mut world);
        decide(&mut world, "bob", "Approved", 11);
        let before = world.status.request_digest.clone();
        world.run(&mut memory, |w| w.status.request_digest != before);
        assert!(waits(&world) && world.objects.is_empty(), "{what}");
        assert_eq!(world.status.approvals.as_ref().unwrap().have, 0);
        let history = world.status.history.as_ref().unwrap();
        let void = history.records.iter().find(|r| r.event.as_str() == "ApprovalVoid").unwrap();
        assert!(void.detail.contains(what), "{what}: {}", void.detail);
        // Agreed to again, it is issued.
        decide(&mut world, "carol", "Approved", 20);
        decide(&mut world, "dora", "Approved", 21);
        world.run(&mut memory, |w| active(w) || at_rest(w));
        assert!(active(&world), "{what}: {:?}", world.status.conditions);
    }
}

#[test]
fn a_role_that_lost_rights_voids_nothing() {
    let (mut world, mut memory) = (asking(json!({})), Memory::default());
    world.rules = vec![rule(&["get", "list"])];
    world.run(&mut memory, waits);
    world.rules = vec![rule(&["get"])];
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, |w| active(w) || at_rest(w));
    assert!(active(&world));
}

#[test]
fn agreed_by_day_and_issued_at_night_with_the_rights_of_the_night() {
    let scheduled = |w: &World| w.status.phase == Some(Phase::Scheduled);
    let night = |change: fn(&mut World)| {
        let (mut world, mut memory) = (asking(json!({})), Memory::default());
        world.not_before = Some(3600);
        world.run(&mut memory, waits);
        decide(&mut world, "alice", "Approved", 10);
        world.run(&mut memory, scheduled);
        assert!(world.objects.is_empty());
        assert_eq!(world.status.expiration_time, Some(Time::from_millis(START + 3_660_000)));
        change(&mut world);
        world.run(&mut memory, |w| active(w) || waits(w) || at_rest(w));
        world
    };
    let world = night(|_| {});
    assert!(active(&world) && world.now >= START + 3_600_000);
    assert_eq!(night(|w| w.may_lease = false).status.phase, Some(Phase::Denied));
    let lost = |w: &mut World| {
        w.deciders.insert("alice".into(), DeciderSeen { may: false, acts_as_requester: false });
    };
    assert_ne!(night(lost).status.phase, Some(Phase::Active), "the approver lost the right meanwhile");
    assert_ne!(night(|w| w.rules = vec![rule(&["*"])]).status.phase, Some(Phase::Active), "the role gained rights");
}

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

#[test]
fn what_was_asked_while_the_policies_were_weak_is_refused() {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.unproven_until = Some(1);
    world.run(&mut memory, at_rest);
    assert_eq!((world.status.phase, world.status.end_reason), (Some(Phase::Denied), Some(EndReason::CreatedUnproven)));
    assert!(world.objects.is_empty());
}

#[test]
fn policies_stop_and_revoke_what_is_live() {
    type Case = (EndReason, serde_json::Value);
    let secrets = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let cases: [Case; 4] = [
        (EndReason::PolicyStopped, json!({"stopPolicy": "HoldAndRevoke"})),
        (EndReason::PolicyViolated, json!({"onViolation": "Revoke", "grants": {"forbidRules": secrets}})),
        (EndReason::PolicyViolated, json!({"onViolation": "Revoke", "terms": {"ttl": {"max": "30s"}}})),
        (EndReason::Expired, json!({"grants": {"forbidRules": secrets}})),
    ];
    for (reason, spec) in cases {
        let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
        world.run(&mut memory, active);
        world.policies.push(Arc::new(PolicySeen { name: "p".into(), spec: serde_json::from_value(spec).unwrap() }));
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(reason));
        let reported = condition::find(&world.status.conditions, "PolicyViolated").is_some();
        assert_eq!(reported, reason == EndReason::Expired);
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

/// A world in which something is not known yet, as after a restart.
fn half_seen(world: &World, spoil: fn(&mut Observed)) -> Observed {
    let mut seen = world.observe(&Memory::default());
    spoil(&mut seen);
    seen
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
fn nothing_is_judged_by_policies_before_it_is_known_which_guard_it() {
    let policies = [
        json!({"stopPolicy": "HoldAndRevoke", "match": {"grantNamespaces": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}}),
        json!({"onViolation": "Revoke", "terms": {"audiences": []}}),
        json!({"onViolation": "Revoke", "grants": {"crossNamespace": {"type": "SameLabel", "label": "x"}}}),
    ];
    for spec in policies {
        let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
        world.run(&mut memory, active);
        world
            .policies
            .push(Arc::new(PolicySeen { name: "p".into(), spec: serde_json::from_value(spec.clone()).unwrap() }));
        let spoils: [fn(&mut Observed); 3] = [
            |seen| seen.synced = false,
            |seen| seen.namespaces.clear(),
            |seen| (seen.namespaces, seen.api_audiences) = (std::collections::BTreeMap::new(), vec![]),
        ];
        for spoil in spoils {
            assert_eq!(ending::cause(&half_seen(&world, spoil), world.now()), None, "{spec}");
        }
        let asks = super::decide::decide(&half_seen(&world, |seen| seen.namespaces.clear()), world.now());
        assert_eq!(asks, Next::Do(Lane::Issue, vec![Call::ReadNamespace { name: "ns".into() }]));
    }
    // The API server's own audiences are never foreign, also while nobody knows them.
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.run(&mut memory, active);
    let spec = serde_json::from_value(json!({"onViolation": "Revoke", "terms": {"audiences": []}})).unwrap();
    world.policies.push(Arc::new(PolicySeen { name: "p".into(), spec }));
    assert_eq!(ending::cause(&half_seen(&world, |seen| seen.api_audiences.clear()), world.now()), None);
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
fn groups_are_a_set() {
    let world = World::new("TokenRequest");
    let digest = |groups: &[&str]| {
        let mut seen = world.observe(&Memory::default());
        let spec = seen.lease.spec.as_mut().unwrap();
        spec.requested_by.groups = groups.iter().map(|g| (*g).to_owned()).collect();
        request::digest_of(&request::resolve(&seen, Roles::Watched).unwrap())
    };
    assert_eq!(digest(&["ci", "builders"]), digest(&["builders", "ci"]), "no authenticator keeps an order");
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

#[test]
fn whoever_has_agreed_is_not_asked_about_again_while_too_few_have() {
    let (mut world, memory) = once_agreed(json!({"count": 3, "timeout": "5m"}));
    assert_eq!(issue::deciders(&world.observe(&memory)), []);
    decide(&mut world, "bob", "Approved", 20);
    let bob = world.decisions[1].uid.clone();
    assert_eq!(issue::deciders(&world.observe(&memory)), [Call::CheckDecider { decision: bob }]);
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
