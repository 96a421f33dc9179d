//! One lease follows another, whatever goes wrong.

use super::{
    decide::decide,
    learn::learn,
    report,
    seen::{Answer, Call, Learned, LeaseFacts, Next, SecretSeen, State},
    world::{START, World},
};
use crate::{
    api::{
        ConditionStatus, Time, condition,
        reasons::LifecycleReason,
        standing::{StandingLease, StandingPhase},
    },
    domain::world::Fault,
};

fn kinds(world: &World) -> Vec<String> {
    let word = |call: &Call| format!("{call:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
    world.calls.iter().map(word).collect()
}

/// Whoever holds a token can use it, and there are never more than two.
fn unbroken(world: &World) {
    assert!(world.alive().len() <= 2, "{} leases are alive", world.alive().len());
    if let Some(number) = world.held_by_pods() {
        let lease = &world.leases[number];
        assert!(
            lease.ended.is_none(),
            "pods hold lease {number}, which ended: {:?} at {} s; {:?}",
            lease.ended,
            (world.now - START) / 1000,
            world.status
        );
    }
}

fn started() -> World {
    let mut world = World::new();
    world.run(START + 20_000, unbroken);
    assert_eq!(world.phase(), Some(StandingPhase::Settled));
    world
}

fn said(world: &World) -> (ConditionStatus, String, String) {
    let now = Time::from_millis(world.now);
    let mut conditions = vec![];
    let all: Vec<_> = report::said(&world.seen(), "ns", now).into_iter().collect();
    report::condition(&mut conditions, &all, 1, now);
    let said = condition::find(&conditions, "StandingReady").expect("it is declared");
    (said.status, said.reason.clone(), said.message.clone())
}

#[test]
fn the_first_is_delivered_at_once_and_the_next_follows_after_two_thirds() {
    let mut world = started();
    let first = "Write CreateLease Write Deliver Write ListConsumers Restart Write";
    assert_eq!(kinds(&world).join(" "), first);
    assert_eq!(said(&world).1, "Delivered");
    world.calls.clear();
    world.run(START + 599_000, unbroken);
    assert!(world.calls.iter().all(|call| matches!(call, Call::LookAtSecret { .. })), "{:?}", kinds(&world));
    world.calls.clear();
    world.run(START + 640_000, unbroken);
    let mut calls = kinds(&world);
    calls.retain(|call| call != "LookAtSecret");
    calls.dedup();
    assert_eq!(calls.join(" "), "Write CreateLease Write Deliver Write ListConsumers Restart ListConsumers Write");
    assert_eq!((world.leases.len(), world.alive().len(), world.workload.restarts), (2, 1, 2));
    assert_eq!(world.held_by_pods(), Some(1));
    assert_eq!(world.leases[0].ended.map(|(_, why)| why), Some("Superseded"));
}

#[test]
fn a_consumer_that_never_becomes_healthy_is_moved_back_and_the_former_lease_lives_on() {
    let mut world = started();
    world.sick_of = vec![1];
    world.run(START + 610_000, unbroken);
    assert_eq!((world.phase(), world.alive().len()), (Some(StandingPhase::RollingOut), 2));
    world.run(START + 740_000, unbroken);
    assert_eq!(world.leases[1].ended.map(|(_, why)| why), Some("RolledBack"));
    assert_eq!(world.held_by_pods(), Some(0), "the pods of the former template never left it");
    assert_eq!(world.secret.as_ref().map(|(_, lease, _)| lease), Some(&world.leases[0].name));
    let (status, reason, message) = said(&world);
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "RolledBack"), "{message}");
    assert!(message.contains("Deployment web did not become healthy in time: pods are not ready"), "{message}");
    // The next try succeeds, a minute later and not before.
    assert_eq!(world.leases.len(), 2);
    world.run(START + 800_000, unbroken);
    assert_eq!((world.leases.len(), world.held_by_pods(), said(&world).1.as_str()), (3, Some(2), "Delivered"));
    assert_eq!(world.workload.restarts, 4, "the first, the second and back, the third");
}

#[test]
fn a_consumer_that_stays_sick_is_tried_ever_more_rarely() {
    let mut world = World::new();
    world.entry.as_mut().unwrap().ttl = crate::api::Duration::from_secs(12 * 3600);
    world.run(START + 20_000, unbroken);
    world.sick_of = (1..100).collect();
    // From the time the next one is due until the first one ends: 4 hours.
    world.run(START + 12 * 3_600_000 - 60_000, unbroken);
    assert_eq!(world.leases.len(), 10, "the first, and nine tries in four hours");
    assert_eq!(world.workload.restarts, 1 + 2 * (world.leases.len() - 1));
}

#[test]
fn with_nothing_to_go_back_to_the_next_lease_is_held_whatever_consumers_do() {
    let mut world = started();
    world.sick_of = vec![1];
    world.run(START + 610_000, unbroken);
    // The former ends while consumers are being moved.
    world.leases[0].ended = Some((world.now, "DecisionRevoked"));
    world.run_for(20);
    assert_eq!(world.phase(), Some(StandingPhase::Settled));
    assert_eq!(world.alive().len(), 1);
    assert_eq!(world.leases[1].ended, None);
}

#[test]
fn a_fault_at_any_call_breaks_no_holder_and_ends_the_same() {
    let whole = |faults: Vec<(usize, Fault)>| {
        let mut world = World::new();
        world.faults = faults;
        world.run(START + 700_000, unbroken);
        world
    };
    let calls = whole(vec![]).calls.len();
    for at in 1..=calls {
        for fault in Fault::ALL {
            let world = whole(vec![(at, fault)]);
            let what = format!("{fault:?} at call {at}");
            assert_eq!((world.phase(), world.alive().len()), (Some(StandingPhase::Settled), 1), "{what}");
            assert_eq!(world.leases.len(), 2, "{what}: a lost answer makes no second lease");
            assert_eq!((world.held_by_pods(), world.workload.restarts), (Some(1), 2), "{what}");
            assert!(world.most <= 2, "{what}");
            assert_eq!(world.secret.as_ref().map(|(_, l, _)| l), Some(&world.leases[1].name), "{what}");
        }
    }
}

#[test]
fn a_fault_at_any_call_of_a_rollback_breaks_no_holder_and_ends_the_same() {
    let whole = |faults: Vec<(usize, Fault)>| {
        let mut world = World::new();
        world.sick_of = vec![1];
        world.faults = faults;
        world.run(START + 780_000, unbroken);
        world
    };
    let calls = whole(vec![]).calls.len();
    for at in 1..=calls {
        for fault in Fault::ALL {
            let world = whole(vec![(at, fault)]);
            let what = format!("{fault:?} at call {at}");
            assert_eq!(world.leases[1].ended.map(|(_, why)| why), Some("RolledBack"), "{what}");
            assert!(matches!(world.held_by_pods(), Some(0 | 2)), "{what}: {:?}", world.held_by_pods());
            assert!(world.most <= 2 && world.workload.restarts <= 4, "{what}: {}", world.workload.restarts);
        }
    }
}

#[test]
fn a_refused_lease_costs_the_former_nothing_and_is_asked_for_again_after_a_pause() {
    let mut world = started();
    world.refused = vec![1, 2];
    world.run(START + 655_000, unbroken);
    assert_eq!((world.leases.len(), said(&world).1.as_str()), (2, "LeaseFailed"));
    world.run(START + 700_000, unbroken);
    assert_eq!(world.leases.len(), 3);
    world.run(START + 800_000, unbroken);
    assert_eq!((world.leases.len(), world.held_by_pods(), world.workload.restarts), (4, Some(3), 2));
}

#[test]
fn a_changed_entry_is_followed_at_once() {
    let mut world = started();
    world.lengthen();
    world.run(START + 40_000, unbroken);
    assert_eq!((world.leases.len(), world.held_by_pods()), (2, Some(1)));
}

#[test]
fn a_deleted_secret_is_written_again_for_the_same_lease_and_restarts_nobody() {
    let mut world = started();
    world.secret = None;
    world.run(START + 100_000, unbroken);
    assert_eq!(world.secret.as_ref().map(|(_, lease, _)| lease), Some(&world.leases[0].name));
    assert_eq!((world.leases.len(), world.workload.restarts), (1, 1));
}

#[test]
fn a_strangers_secret_is_left_alone_and_said() {
    let mut world = World::new();
    let theirs = Some(("theirs".to_owned(), String::new(), false));
    world.secret.clone_from(&theirs);
    world.run_for(120);
    assert_eq!(world.secret, theirs);
    let mut seen = world.seen();
    seen.learned.secret = Some(SecretSeen::Stranger);
    assert_eq!(report::said(&seen, "ns", Time::from_millis(world.now)).unwrap().reason, LifecycleReason::NameCollision);
    world.secret = None;
    world.run_for(20);
    assert_eq!(world.phase(), Some(StandingPhase::Settled));
}

#[test]
fn what_is_no_longer_declared_ends_and_its_secret_goes() {
    for at_rest in [true, false] {
        let mut world = started();
        if !at_rest {
            world.lengthen();
            world.run_for(1);
            assert_eq!(world.phase(), Some(StandingPhase::RollingOut));
        }
        world.entry = None;
        world.run_for(5);
        assert_eq!((world.alive().len(), &world.secret, &world.status), (0, &None, &None), "at rest: {at_rest}");
        assert_eq!(report::said(&world.seen(), "ns", Time::from_millis(world.now)), None);
    }
}

#[test]
fn a_stopped_lifecycle_is_not_asked_and_goes_on_when_it_may() {
    let mut world = World::new();
    world.stopped = true;
    world.run_for(600);
    assert!(world.calls.is_empty());
    assert_eq!(said(&world), (ConditionStatus::False, "NotHeld".into(), "agent: it is stopped".into()));
    world.stopped = false;
    world.run_for(10);
    assert_eq!(world.phase(), Some(StandingPhase::Settled));
}

#[test]
fn readers_that_nobody_restarts_get_two_minutes() {
    let mut world = World::new();
    world.workload.restartable = false;
    world.run(START + 20_000, unbroken);
    world.run(START + 700_000, unbroken);
    assert_eq!((world.alive().len(), world.workload.restarts), (2, 0));
    world.run(START + 730_000, |_| {});
    assert_eq!(world.alive().len(), 1);
}

#[test]
fn a_lease_that_ends_early_is_followed_at_most_once_a_minute() {
    let mut world = World::new();
    world.run_for(5);
    for _ in 0..10 {
        for lease in &mut world.leases {
            lease.ended = lease.ended.or(Some((world.now, "PolicyViolated")));
        }
        world.run_for(20);
    }
    assert!((3..=5).contains(&world.leases.len()), "{} leases in 205 s", world.leases.len());
}

#[test]
fn only_what_is_late_counts_as_overdue() {
    let mut world = started();
    let late = |world: &World| super::decide::overdue(&world.seen(), Time::from_millis(world.now));
    assert!(!late(&world));
    world.stopped = true;
    world.run(START + 655_000, |_| {});
    assert!(!late(&world));
    world.run(START + 665_000, |_| {});
    assert!(late(&world));
}

#[test]
fn a_consumer_that_cannot_be_restarted_keeps_the_former_lease_and_no_first_one() {
    let mut world = World::new();
    world.unwilling = true;
    // Long enough that the next one is not due by then.
    world.lengthen();
    world.run(START + 590_000, |_| {});
    assert_eq!(world.phase(), Some(StandingPhase::RollingOut));
    world.run(START + 700_000, |_| {});
    assert_eq!((world.phase(), world.leases.len()), (Some(StandingPhase::Settled), 1), "after ten minutes it is held");
    let mut world = started();
    world.unwilling = true;
    world.lengthen();
    world.run(START + 600_000, unbroken);
    assert_eq!((world.phase(), said(&world).1.as_str()), (Some(StandingPhase::RollingOut), "Renewing"));
    world.run(START + 640_000, unbroken);
    assert_eq!(world.leases[1].ended.map(|(_, why)| why), Some("RolledBack"));
    assert_eq!((world.held_by_pods(), world.workload.restarts), (Some(0), 1));
}

#[test]
fn a_workload_that_came_later_goes_back_to_a_template_that_was_never_marked() {
    let mut world = started();
    world.workload.forget_marks();
    world.sick_of = vec![1];
    world.run(START + 760_000, unbroken);
    assert_eq!(world.leases[1].ended.map(|(_, why)| why), Some("RolledBack"));
    assert_eq!(world.held_by_pods(), Some(0));
    assert!(!world.workload.is_marked(), "its template is what it was: no pod was replaced");
}

#[test]
fn a_lease_that_the_watch_lacks_is_looked_up_before_another_takes_its_place() {
    let mut world = started();
    world.lengthen();
    world.run_for(1);
    assert_eq!(world.phase(), Some(StandingPhase::RollingOut));
    let mut seen = world.seen();
    let current = world.leases[0].name.clone();
    seen.leases.retain(|facts| facts.name != current);
    let next = super::decide::decide(&seen, Time::from_millis(world.now));
    assert_eq!(next, super::seen::Next::Do(Call::ReadLease { name: current }));
}

#[test]
fn a_lease_that_was_just_asked_for_is_not_asked_for_again_while_the_watch_lags() {
    let world = started();
    let (mut seen, now) = (world.seen(), Time::from_millis(world.now));
    let name = "standing-agent-next".to_owned();
    let status = seen.status.as_mut().expect("it is held");
    (status.phase, status.next) = (StandingPhase::Issuing, Some(StandingLease { name: name.clone(), uid: None }));
    let create = Call::CreateLease { name: name.clone() };
    assert_eq!(decide(&seen, now), Next::Do(create.clone()));
    let asked = LeaseFacts { name, state: State::Waiting, ..seen.leases[0].clone() };
    learn(&mut seen, create.clone(), Answer::Lease(Some(asked)), now);
    // The next visit.
    seen.learned = Learned::default();
    let again = now.plus_millis(10_000);
    assert_eq!(decide(&seen, now), Next::Rest { at: Some(again), failed: false });
    assert_eq!(decide(&seen, again), Next::Do(create), "if it was deleted before any watch has shown it");
}
