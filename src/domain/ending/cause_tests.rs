//! What stops issuing and what ends a live lease, condition by condition: each is needed.

use serde_json::json;

use super::*;
use crate::{
    api::{
        lifecycle::{RoleKind, RoleRef},
        reasons::Phase,
    },
    domain::{
        call::{Class, Failure},
        observed::{Memory, ObjectId},
        standing::lease_tests,
        workflow_tests,
        world::{START, World, facts},
    },
};

const LATER: i64 = 10_000;

fn object() -> Known {
    Known::Present(ObjectId { namespace: "ns".into(), name: "made".into(), uid: "made".into() })
}

/// A lease that waits for somebody who agrees: its request is written down, nothing is made.
fn waiting() -> Observed {
    let (mut world, mut memory) = (World::new("TokenRequest").asking(json!({"timeout": "5m"})), Memory::default());
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
    let world = World::new("TokenRequest").asking(json!({"type": "Retrospective", "timeout": "30s"}));
    let seen = world.observe(&Memory::default());
    assert_eq!(reason(&seen, 30_000), None, "it is late, and to be issued");
}

/// An active lease, as one that this process has issued is seen.
fn live(world: &mut World) -> Observed {
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Active));
    world.observe(&memory)
}

/// A lease that is made for a standing credential, which no longer names it.
fn left_behind() -> Observed {
    let mut seen = live(&mut lease_tests::declared());
    facts(&mut seen).standing[0].next = None;
    seen
}

#[test]
fn what_is_missing_of_a_lease_is_no_cause_while_another_one_may_be_confirmed() {
    let mut gone = live(&mut World::new("TokenRequest"));
    gone.lifecycle = LifecycleSeen::Absent { confirmed: false };
    for mut seen in [gone, left_behind()] {
        // The API server itself has said so.
        let account = seen.present(&Child::Account).unwrap().uid.clone();
        seen.children.insert(Child::Account, Known::Absent);
        seen.memory.gone.insert(account);
        assert_eq!(reason(&seen, 1_000), None, "{:?}", seen.lifecycle);
        seen.learned.failed = vec![(Call::ReadLifecycle, Failure::new(Class::Transient, "no"))];
        assert_eq!(reason(&seen, 1_000), Some(EndReason::AccountDeleted), "{:?}", seen.lifecycle);
    }
}

#[test]
fn a_lifecycle_ends_its_leases_once_it_is_being_deleted_and_once_its_time_is_up() {
    let mut seen = live(&mut World::new("TokenRequest"));
    facts(&mut seen).spec.expiration_time = Some(Time::from_millis(START + LATER));
    assert_eq!(reason(&seen, LATER - 1), None);
    assert_eq!(reason(&seen, LATER), Some(EndReason::LifecycleExpired));
    facts(&mut seen).deleting = true;
    assert_eq!(reason(&seen, LATER - 1), Some(EndReason::LifecycleDeleted));
}

#[test]
fn a_grant_that_moves_to_another_namespace_or_role_is_withdrawn() {
    type Change = fn(&mut Grant);
    let changes: [Change; 2] = [|g| g.namespace = Some("elsewhere".into()), |g| g.role_ref.name = "writer".into()];
    for change in changes {
        let mut seen = live(&mut World::new("TokenRequest"));
        change(&mut facts(&mut seen).spec.grants[0]);
        assert_eq!(reason(&seen, 1_000), Some(EndReason::GrantWithdrawn));
    }
}

#[test]
fn policies_judge_once_every_namespace_that_they_select_by_is_known() {
    let mut seen = live(&mut World::new("TokenRequest"));
    for grant in &mut seen.lease.status.request.as_mut().unwrap().grants {
        grant.namespace = "elsewhere".into();
    }
    assert!(!judged_by_policies(&seen), "that of the grants is not");
    let labels = seen.namespaces.remove("ns").unwrap();
    seen.namespaces.insert("elsewhere".into(), labels.clone());
    assert!(!judged_by_policies(&seen), "the lease's own is not");
    seen.namespaces.insert("ns".into(), labels);
    assert!(judged_by_policies(&seen));
}

#[test]
fn a_role_that_is_too_large_to_compare_is_widened_by_any_change_and_an_empty_one_by_what_it_gains() {
    let mut seen = live(&mut World::new("TokenRequest"));
    let held = |seen: &mut Observed, digest: String| {
        let grant = &mut seen.lease.status.request.as_mut().unwrap().grants[0];
        (grant.rules, grant.rules_digest) = (vec![], digest);
    };
    held(&mut seen, "of very many rules".into());
    assert!(widened(&seen).is_some_and(|(grant, why)| grant == "a" && why.contains("too many")));
    held(&mut seen, rbac::digest(&[]));
    assert!(widened(&seen).is_some_and(|(_, why)| why.contains("configmaps")), "{:?}", widened(&seen));
}
