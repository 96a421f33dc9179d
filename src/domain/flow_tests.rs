//! The whole way of a lease against the model: every call made to fail in every way, alone and in pairs.

use super::{
    agenda::Lane,
    call::{Call, Class, Next},
    decide::{decide, end_to_come},
    ending,
    observed::{Child, Memory, Presence},
    world::{Fault, START, World, active, at_rest, rule},
};
use crate::api::{
    Time,
    condition::{self, ConditionStatus},
    reasons::{EndReason, Evidence, Phase},
    status::PolicyRule,
};

/// Issued, then ended by its deadline or its deletion, to the proof.
fn whole_life(delivery: &'static str, delete: bool, faults: Vec<(usize, Fault)>) -> World {
    let (mut world, mut memory) = (World::new(delivery), Memory::default());
    world.faults = faults;
    world.run(&mut memory, |w| active(w) || at_rest(w));
    if delete {
        world.exists = false;
    }
    world.run(&mut memory, at_rest);
    world
}

fn kinds(world: &World) -> Vec<String> {
    let word = |call: &Call| format!("{call:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
    world.calls.iter().map(word).collect()
}

#[test]
fn the_straight_way_makes_exactly_the_calls_of_the_floor() {
    let world = whole_life("Secret", false, vec![]);
    let issue =
        "CheckAccess Reserve Create Create Create Create ReadRole ReadRole MintToken Create WriteStatus ReviewToken";
    let end = "Delete Delete Delete Delete Delete WriteStatus ReviewToken WriteStatus";
    assert_eq!(kinds(&world).join(" "), format!("{issue} {end}"));
    assert_eq!(world.status.credential.unwrap().evidence, Some(Evidence::TokenReviewRefused));

    let world = whole_life("TokenRequest", false, vec![]);
    let issue = "CheckAccess Reserve Create Create Create Create ReadRole ReadRole Create Create WriteStatus";
    let end = "Delete Delete Delete Delete Delete Delete WriteStatus WriteStatus";
    assert_eq!(kinds(&world).join(" "), format!("{issue} {end}"));
    assert_eq!(world.status.credential.unwrap().evidence, Some(Evidence::AccountGoneAndWaited));
}

/// Whatever a visit leaves to another lane may have to wait for a place there.
#[test]
fn an_end_that_is_certain_to_come_stays_a_wish_until_it_has_come() {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    world.run(&mut memory, active);
    let (seen, deadline) = (world.observe(&memory), world.status.expiration_time.unwrap());
    assert_eq!(end_to_come(&seen, world.now()), [(Lane::End, deadline)]);
    assert_eq!(end_to_come(&seen, deadline), [], "it would be wished for again and again");
}

#[test]
fn a_fault_at_any_call_ends_the_same() {
    for delivery in ["Secret", "TokenRequest"] {
        for delete in [false, true] {
            let calls = whole_life(delivery, delete, vec![]).calls.len();
            for at in 1..=calls {
                for fault in Fault::ALL {
                    let world = whole_life(delivery, delete, vec![(at, fault)]);
                    let what = format!("{delivery} delete {delete}: {fault:?} at call {at}");
                    assert!(world.ours().is_empty(), "{what} leaves {:?}", world.ours());
                    assert_eq!(world.live_tokens(), 0, "{what}");
                    assert!(at_rest(&world), "{what}: {:?}", world.status.phase);
                    assert!(world.calls.len() <= calls + 8, "{what}: {} calls instead of {calls}", world.calls.len());
                }
            }
        }
    }
}

#[test]
fn a_deletion_that_failed_is_repeated_once() {
    let deletes = |call: &Call| matches!(call, Call::Delete { child: Child::Secret, .. });
    let at = 1 + whole_life("Secret", false, vec![]).calls.iter().position(deletes).unwrap();
    for fault in Fault::ALL {
        let world = whole_life("Secret", false, vec![(at, fault)]);
        assert!(world.calls.iter().filter(|call| deletes(call)).count() <= 2, "{fault:?}: {:?}", kinds(&world));
    }
}

#[test]
fn two_faults_end_the_same() {
    for delivery in ["Secret", "TokenRequest"] {
        let calls = whole_life(delivery, false, vec![]).calls.len() + 4;
        for first in 1..=calls {
            for second in first + 1..=calls {
                for (f, g) in Fault::ALL.into_iter().flat_map(|f| Fault::ALL.map(|g| (f, g))) {
                    let world = whole_life(delivery, false, vec![(first, f), (second, g)]);
                    let what = format!("{delivery}: {f:?} at {first}, {g:?} at {second}");
                    assert!(world.ours().is_empty() && world.live_tokens() == 0 && at_rest(&world), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_strangers_object_is_left_alone_and_the_lease_fails() {
    for child in [Child::Binding("b".into()), Child::Secret, Child::Account, Child::Job] {
        let mut world = World::new("Secret");
        let stranger = super::observed::ObjectId { namespace: "ns".into(), name: "s".into(), uid: "stranger".into() };
        world.objects.insert(child.clone(), (stranger.clone(), false));
        world.run(&mut Memory::default(), at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::NameCollision), "{child:?}");
        assert_eq!(world.objects.into_iter().collect::<Vec<_>>(), [(child, (stranger, false))]);
    }
}

#[test]
fn an_end_wins_over_issuing_at_every_call() {
    for delivery in ["Secret", "TokenRequest"] {
        for after in 1..=11 {
            let (mut world, mut memory) = (World::new(delivery), Memory::default());
            world.run(&mut memory, |w| w.calls.len() >= after || active(w));
            let minted = world.tokens.len();
            world.exists = false;
            world.run(&mut memory, at_rest);
            assert!(world.ours().is_empty() && world.tokens.len() == minted, "{delivery}: ended after call {after}");
            assert_eq!(world.status.end_reason, Some(EndReason::LeaseDeleted));
        }
    }
}

#[test]
fn a_deletion_that_keeps_failing_stops_no_other_and_is_never_given_up() {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    world.run(&mut memory, active);
    world.broken = vec![(
        |call| matches!(call, Call::Delete { child: Child::Binding(grant), .. } if grant == "a"),
        Class::Forbidden,
    )];
    world.now = START + 60_000;
    world.run(&mut memory, |w| w.now > START + 200_000);
    assert_eq!(world.ours(), [&Child::Binding("a".into())]);
    let status = &world.status;
    assert_eq!(status.phase, Some(Phase::Ending));
    let revoked = condition::find(&status.conditions, "Revoked").unwrap();
    assert_eq!(revoked.status, ConditionStatus::True, "the account is gone and its token was refused");
    world.broken.clear();
    world.run(&mut memory, at_rest);
    assert!(world.ours().is_empty());
}

#[test]
fn nothing_is_claimed_while_the_account_cannot_be_deleted() {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.run(&mut memory, active);
    world.broken = vec![(|call| matches!(call, Call::Delete { child: Child::Account, .. }), Class::Transient)];
    world.now = START + 60_000;
    let before = world.calls.len();
    world.run(&mut memory, |w| w.now > START + 120_000);
    let revoked = condition::find(&world.status.conditions, "Revoked").unwrap();
    assert_eq!((revoked.status, revoked.reason.as_str()), (ConditionStatus::Unknown, "DeletionFailing"));
    assert_eq!(world.ours(), [&Child::Account]);
    assert!(world.calls.len() - before < 90, "one try a visit: {} calls", world.calls.len() - before);
    world.broken.clear();
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.phase, Some(Phase::Expired));
}

#[test]
fn a_refused_request_leaves_no_object() {
    let mut world = World::new("Secret");
    world.may_lease = false;
    world.run(&mut Memory::default(), at_rest);
    assert_eq!((world.status.phase, world.objects.len(), world.tokens.len()), (Some(Phase::Denied), 0, 0));
    assert!(condition::find(&world.status.conditions, "Revoked").is_none(), "nothing was issued, so nothing is proven");
}

#[test]
fn a_role_that_gains_rights_between_decision_and_binding_is_never_delivered() {
    for delivery in ["Secret", "TokenRequest"] {
        let mut world = World::new(delivery);
        world.rules_now = Some(vec![rule(&["get", "delete"])]);
        world.run(&mut Memory::default(), at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::ApprovalStale));
        assert!(world.ours().is_empty());
        assert!(
            !world.calls.iter().any(|c| *c == Call::Create(Child::Secret) || *c == Call::Create(Child::MintBinding))
        );
    }
}

#[test]
fn what_is_recorded_are_the_rules_in_force_after_the_binding() {
    let mut world = World::new("TokenRequest");
    world.rules = vec![rule(&["get", "list"])];
    world.rules_now = Some(vec![rule(&["get"])]);
    world.run(&mut Memory::default(), active);
    assert_eq!(world.status.request.unwrap().grants[0].rules, [rule(&["get"])]);
}

#[test]
fn every_cause_ends_an_active_lease() {
    type Cause = (EndReason, fn(&mut World));
    let causes: [Cause; 8] = [
        (EndReason::LifecycleStopped, |w| w.lifecycle.as_mut().unwrap()["stopPolicy"] = "HoldAndRevoke".into()),
        (EndReason::LifecycleExpired, |w| {
            w.lifecycle.as_mut().unwrap()["expirationTime"] = w.now().plus_millis(5).to_string().into();
        }),
        (EndReason::LifecycleDeleted, |w| w.lifecycle = None),
        (EndReason::LifecycleDeleted, |w| w.lifecycle_uid = "another".into()),
        (EndReason::GrantWithdrawn, |w| w.lifecycle.as_mut().unwrap()["grants"][0]["roleRef"]["name"] = "other".into()),
        (EndReason::RoleWidened, |w| w.rules = vec![rule(&["get", "delete"])]),
        (EndReason::AccountDeleted, |w| _ = w.objects.remove(&Child::Account)),
        (EndReason::BindingDeleted, |w| _ = w.objects.remove(&Child::Binding("a".into()))),
    ];
    for (reason, cause) in causes {
        let (mut world, mut memory) = (World::new("Secret"), Memory::default());
        world.run(&mut memory, active);
        cause(&mut world);
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(reason));
        assert!(world.ours().is_empty() && world.live_tokens() == 0, "{reason}");
        assert_eq!(world.status.phase, Some(Phase::Revoked), "{reason}");
    }
}

#[test]
fn a_hold_and_a_narrowed_role_end_nothing() {
    let changes: [fn(&mut World); 2] =
        [|w| w.lifecycle.as_mut().unwrap()["stopPolicy"] = "Hold".into(), |w| w.rules = vec![]];
    for change in changes {
        let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
        world.run(&mut memory, active);
        change(&mut world);
        world.run(&mut memory, at_rest);
        assert_eq!(world.status.end_reason, Some(EndReason::Expired));
    }
}

#[test]
fn the_history_verifies_after_every_life() {
    for delivery in ["Secret", "TokenRequest"] {
        let history = whole_life(delivery, false, vec![]).status.history.unwrap();
        assert!(super::digest::verify(&history));
        let events: Vec<&str> = history.records.iter().map(|r| r.event.as_str()).collect();
        assert_eq!(events, ["Requested", "Allowed", "Issued", "Ended", "Removed", "Revoked"]);
    }
}

#[test]
fn a_lease_ends_with_a_token_that_the_api_server_made_shorter() {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    world.token_millis = 20_000;
    world.run(&mut memory, at_rest);
    assert_eq!(world.status.end_time, Some(Time::from_millis(START + 20_000)));
    assert_eq!(world.status.end_reason, Some(EndReason::Expired));
}

#[test]
fn a_default_that_became_shorter_before_anything_was_made_counts() {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    (world.ttl, world.may_lease) = (None, true);
    world.lifecycle.as_mut().unwrap()["terms"]["ttl"] = serde_json::json!({"max": "8h", "default": "8h"});
    world.broken = vec![(|call| matches!(call, Call::Create(Child::Job)), Class::Transient)];
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Pending));
    world.broken.clear();
    world.lifecycle.as_mut().unwrap()["terms"]["ttl"] = serde_json::json!({"max": "1h", "default": "15m"});
    world.run(&mut memory, |w| active(w) || at_rest(w));
    assert!(active(&world));
    assert_eq!(
        world.status.expiration_time,
        Some(Time::from_millis(START + 900_000)),
        "15 minutes, the default by now"
    );
}

#[test]
fn a_role_that_could_not_be_read_is_not_said_to_be_missing() {
    let mut world = World::new("TokenRequest");
    world.roles_watched = false;
    world.broken = vec![(|call| *call == Call::ReadRole { grant: "b".into() }, Class::Transient)];
    world.run(&mut Memory::default(), |w| w.status.phase.is_some());
    assert_eq!(world.status.phase, Some(Phase::Pending), "{:?}", world.status.conditions);
}

#[test]
fn a_token_that_a_crash_forgot_is_not_said_to_be_dead_before_its_deadline() {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    (world.ttl, world.audiences, world.token_millis) = (Some("1h"), vec!["sts"], 3_600_000);
    world.lifecycle.as_mut().unwrap()["terms"]["audiences"] = serde_json::json!(["sts"]);
    world.run(&mut memory, |w| w.objects.contains_key(&Child::Secret));
    assert!(!active(&world));
    world.exists = false;
    world.run(&mut Memory::default(), at_rest);
    let credential = world.status.credential.unwrap();
    assert_eq!(credential.evidence, Some(Evidence::AccountGoneAndExpired));
    assert!(credential.verified_time >= Some(Time::from_millis(START + 3_600_000)), "{:?}", credential.verified_time);
}

#[test]
fn rules_that_no_status_may_hold_are_left_to_their_digest() {
    let names = |count: usize, length: usize| PolicyRule {
        resource_names: (0..count).map(|n| format!("{n:0length$}")).collect(),
        ..rule(&["get"])
    };
    let cases = [(names(64, 8), 1), (names(65, 8), 0), (names(1, 254), 0), (names(64, 250), 1), (names(64, 257), 0)];
    for (role, kept) in cases {
        let mut world = World::new("TokenRequest");
        world.rules = vec![role.clone()];
        world.run(&mut Memory::default(), active);
        assert_eq!(world.status.request.unwrap().grants[0].rules.len(), kept, "{} names", role.resource_names.len());
    }
    let mut world = World::new("TokenRequest");
    world.rules = vec![names(64, 200); 32];
    world.run(&mut Memory::default(), active);
    assert_eq!(world.status.request.unwrap().grants[0].rules, []);
}

#[test]
fn a_lifecycle_that_the_watch_lacks_costs_one_look_a_visit() {
    for lane in Lane::ALL {
        let (mut world, mut memory) = (World::new("Secret"), Memory::default());
        (world.ttl, world.token_millis) = (Some("1h"), 3_600_000);
        world.run(&mut memory, active);
        world.lifecycle_watched = false;
        world.now += 120_000;
        world.calls.clear();
        assert!(world.visits(&mut memory, lane) <= 2);
        assert!(world.calls.len() <= 3, "{:?}", kinds(&world));
        assert!(active(&world));
    }
}

#[test]
fn an_ended_lease_that_became_unreadable_is_not_visited_without_pause() {
    let mut seen = World::new("Secret").observe(&Memory::default());
    seen.lease.presence = Presence::Unreadable;
    seen.lease.spec = None;
    seen.memory.end =
        ending::cause(&World::new("Secret").observe(&Memory::default()), Time::from_millis(START + 60_000));
    let next = decide(&seen, Time::from_millis(START + 2_000_000_000));
    assert_eq!(next, Next::idle());
}
