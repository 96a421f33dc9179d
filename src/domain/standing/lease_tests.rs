//! A lease that was made for a standing credential, from its creation to its end.

use crate::{
    api::{
        names,
        reasons::{EndReason, Phase},
        standing::{StandingLease, StandingStatus},
    },
    domain::{
        call::Call,
        observed::{Child, Memory},
        world::{Fault, World, active, at_rest, uid},
    },
};

fn named(lease: Option<&str>) -> Vec<StandingStatus> {
    let next = lease.map(|name| StandingLease { name: name.into(), uid: None });
    vec![StandingStatus { name: "agent".into(), next, ..StandingStatus::default() }]
}

/// The lifecycle declares what the lease asks for, and its status names the lease.
pub fn declared() -> World {
    let mut world = World::new("Secret");
    world.standing_ref = Some("agent");
    world.lifecycle.as_mut().unwrap()["standing"] =
        serde_json::json!([{"name": "agent", "grants": ["b", "a"], "secret": "held", "ttl": "60s"}]);
    world.standing = named(Some("lease"));
    world
}

#[test]
fn it_is_issued_without_a_question_a_token_or_a_secret() {
    let mut world = declared();
    world.may_lease = false;
    world.run(&mut Memory::default(), |w| active(w) || at_rest(w));
    assert!(active(&world), "{:?}", world.status.conditions);
    let made: Vec<&Child> = world.ours();
    assert_eq!(made, [&Child::Job, &Child::Account, &Child::Binding("a".into()), &Child::Binding("b".into())]);
    assert!(world.tokens.is_empty() && !world.calls.contains(&Call::CheckAccess));
}

#[test]
fn what_is_not_declared_or_not_named_is_refused() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 6] = [
        ("no such entry", |w| w.lifecycle.as_mut().unwrap()["standing"] = serde_json::json!([])),
        ("fewer grants", |w| w.lifecycle.as_mut().unwrap()["standing"][0]["grants"] = serde_json::json!(["a"])),
        ("another ttl", |w| w.lifecycle.as_mut().unwrap()["standing"][0]["ttl"] = "90s".into()),
        ("another Secret", |w| w.lifecycle.as_mut().unwrap()["standing"][0]["secret"] = "other".into()),
        ("no lease is named", |w| w.standing = named(None)),
        ("another lease is named", |w| w.standing = named(Some("another"))),
    ];
    for (what, change) in changes {
        let mut world = declared();
        change(&mut world);
        world.run(&mut Memory::default(), |w| active(w) || at_rest(w));
        assert_eq!(world.status.end_reason, Some(EndReason::Denied), "{what}");
        assert!(world.objects.is_empty(), "{what}");
    }
}

#[test]
fn nobody_but_the_operator_makes_one() {
    let mut seen = declared().observe(&Memory::default());
    let spec = seen.lease.spec.as_mut().unwrap();
    assert_eq!(spec.requested_by.username, names::OPERATOR_USERNAME);
    spec.requested_by.username = "somebody".into();
    let spec = spec.clone();
    let why = super::unfounded(&seen, &spec, seen.lifecycle().unwrap());
    assert_eq!(why, Some("only the operator makes such leases"));
}

#[test]
fn a_watch_that_does_not_know_its_name_yet_costs_it_nothing() {
    let mut world = declared();
    (world.standing, world.standing_now) = (vec![], Some(named(Some("lease"))));
    let mut memory = Memory::default();
    world.run(&mut memory, |w| active(w) || at_rest(w));
    assert!(active(&world), "{:?}", world.status.conditions);
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
}

#[test]
fn its_successor_ends_it_with_proof() {
    for (status, reason, phase) in [
        (named(Some("another")), EndReason::Superseded, Phase::Revoked),
        (vec![], EndReason::Superseded, Phase::Revoked),
        (
            vec![StandingStatus {
                rolled_back: Some(StandingLease { name: "lease".into(), uid: Some(uid().to_string()) }),
                message: "pods are not ready".into(),
                ..named(Some("another")).remove(0)
            }],
            EndReason::RolledBack,
            Phase::Failed,
        ),
    ] {
        let (mut world, mut memory) = (declared(), Memory::default());
        world.run(&mut memory, active);
        world.standing = status;
        world.run(&mut memory, at_rest);
        assert_eq!((world.status.end_reason, world.status.phase), (Some(reason), Some(phase)));
        assert!(world.ours().is_empty() && world.status.credential.unwrap().evidence.is_some(), "{reason}");
        let says = |kind: &str| crate::api::condition::find(&world.status.conditions, kind).is_some();
        assert_eq!(says("RolledBack"), reason == EndReason::RolledBack);
    }
}

#[test]
fn a_fault_at_any_call_ends_the_same() {
    let whole = |faults: Vec<(usize, Fault)>| {
        let (mut world, mut memory) = (declared(), Memory::default());
        world.faults = faults;
        world.run(&mut memory, |w| active(w) || at_rest(w));
        world.standing = named(Some("another"));
        world.run(&mut memory, at_rest);
        world
    };
    let calls = whole(vec![]).calls.len();
    for at in 1..=calls {
        for fault in Fault::ALL {
            let world = whole(vec![(at, fault)]);
            assert!(world.ours().is_empty() && at_rest(&world), "{fault:?} at {at}: {:?}", world.ours());
            assert_eq!(world.status.end_reason, Some(EndReason::Superseded), "{fault:?} at {at}");
        }
    }
}
