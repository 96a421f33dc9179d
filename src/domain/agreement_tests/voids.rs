//! What makes an agreement void, and what ends what it had allowed.

use std::sync::Arc;

use serde_json::json;

use super::{asking, decide, half_seen, waits};
use crate::api::{
    Time, condition,
    reasons::{EndReason, Phase},
};
use crate::domain::{
    agenda::Lane,
    call::{Call, Next},
    ending,
    guards::PolicySeen,
    observed::{DeciderSeen, Memory, Observed},
    request::{self, Roles},
    world::{START, World, active, at_rest, rule},
};

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
        let asks = crate::domain::decide::decide(&half_seen(&world, |seen| seen.namespaces.clear()), world.now());
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
