//! What stops issuing, condition by condition: each is needed.

use serde_json::json;

use super::*;
use crate::{
    api::lifecycle::{RoleKind, RoleRef},
    domain::{
        observed::{Memory, ObjectId},
        workflow_tests,
        world::{START, World},
    },
};

const LATER: i64 = 10_000;

fn object() -> Known {
    Known::Present(ObjectId { namespace: "ns".into(), name: "made".into(), uid: "made".into() })
}

/// A lease that waits for somebody who agrees: its request is written down, nothing is made.
fn waiting() -> Observed {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = json!({"timeout": "5m"});
    world.run(&mut memory, |w| w.status.request.is_some());
    world.observe(&memory)
}

fn reason(seen: &Observed, after: i64) -> Option<EndReason> {
    cause(seen, Time::from_millis(START + after)).map(|end| end.reason)
}

#[test]
fn who_asked_is_unproven_once_the_policies_are_in_force_and_only_of_what_was_not_judged() {
    let mut seen = World::new("TokenRequest").observe(&Memory::default());
    seen.unproven_until = Some(Time::from_millis(START + LATER));
    assert_eq!(reason(&seen, LATER), Some(EndReason::CreatedUnproven));
    seen.enforcement = Enforcement::Unknown;
    assert_eq!(reason(&seen, LATER), None, "that is said once it is known");
    let mut judged = waiting();
    judged.unproven_until = Some(Time::from_millis(START + LATER));
    assert_eq!(reason(&judged, LATER), None, "it was judged while they were");
}

#[test]
fn a_grant_that_was_bound_is_the_lifecycles_still() {
    let held = |namespace: &str, role: &str| {
        let mut seen = World::new("TokenRequest").observe(&Memory::default());
        let role = RoleRef { kind: RoleKind::Role, name: role.into() };
        seen.memory.bound.insert("a".into(), (namespace.into(), role));
        changed_while_issuing(&seen).is_none()
    };
    assert!(held("ns", "reader"));
    assert!(!held("ns", "writer"));
    assert!(!held("elsewhere", "reader"));
}

#[test]
fn a_ledger_of_another_workflow_stops_once_it_is_seen_and_everything_is_known() {
    let mut seen = workflow_tests::world("TokenRequest", false).observe(&Memory::default());
    seen.memory.ledger = Some("another".into());
    assert_eq!(changed_while_issuing(&seen), None, "there is none");
    seen.children.insert(Child::Ledger, object());
    assert!(changed_while_issuing(&seen).is_some_and(|why| why.contains("workflow")));
    seen.synced = false;
    assert_eq!(changed_while_issuing(&seen), None, "the workflow may not be known yet");
    seen.synced = true;
    seen.memory.ledger = steps::workflow_digest(&seen);
    assert_eq!(changed_while_issuing(&seen), None, "it is the same");
}

#[test]
fn an_agreement_that_is_taken_back_stops_whatever_is_made_of_it_once_everything_is_known() {
    assert_eq!(changed_while_issuing(&waiting()), None, "nothing is made");
    for child in [Child::Account, Child::MintBinding, Child::Binding("a".into())] {
        let mut seen = waiting();
        seen.children.insert(child.clone(), object());
        assert!(changed_while_issuing(&seen).is_some_and(|why| why.contains("taken back")), "{child:?}");
        seen.enforcement = Enforcement::Unknown;
        assert_eq!(changed_while_issuing(&seen), None, "{child:?}: the policies' terms may not be known");
        seen.enforcement = Enforcement::Enforced;
        seen.synced = false;
        assert_eq!(changed_while_issuing(&seen), None, "{child:?}: decisions may not be known");
    }
}

#[test]
fn nobody_has_answered_in_time_once_the_time_is_up_and_everything_is_known() {
    let mut seen = waiting();
    assert_eq!(reason(&seen, 299_999), None);
    assert_eq!(reason(&seen, 300_000), Some(EndReason::ApprovalTimeout));
    seen.synced = false;
    assert_eq!(reason(&seen, 300_000), None, "an approval may be on its way");
}

#[test]
fn nobody_has_to_answer_in_time_for_what_is_issued_before_that() {
    let mut world = World::new("TokenRequest");
    world.lifecycle.as_mut().unwrap()["terms"]["approval"] = json!({"type": "Retrospective", "timeout": "30s"});
    let seen = world.observe(&Memory::default());
    assert_eq!(reason(&seen, 30_000), None, "it is late, and to be issued");
}
