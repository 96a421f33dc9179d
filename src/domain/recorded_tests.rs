//! A watch that lacks what is there, as after a list from the past: it ends nothing, and hides nothing from an end.

use serde_json::json;

use super::{
    agenda::Lane,
    call::{Answer, Call, Class, Next},
    decide::decide,
    ending,
    learn::learn,
    observed::{Child, Memory, Observed},
    world::World,
};
use crate::api::reasons::{EndReason, Evidence, Phase};

fn binding() -> Child {
    Child::Binding("a".into())
}

fn active() -> (World, Memory) {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    // The positive control is the last call of an issue.
    world.run(&mut memory, |w| w.calls.contains(&Call::ReviewToken));
    assert_eq!(world.status.phase, Some(Phase::Active));
    world.calls.clear();
    (world, memory)
}

fn confirms(world: &World) -> usize {
    world.calls.iter().filter(|call| matches!(call, Call::Confirm { .. })).count()
}

fn is_over(world: &World) -> bool {
    world.status.phase.is_some_and(Phase::is_final)
}

#[test]
fn what_only_a_watch_lacks_ends_nothing_and_is_asked_for_once() {
    for process in [Some(()), None] {
        let (mut world, mut memory) = active();
        memory = process.map_or_else(Memory::default, |()| memory);
        world.overlooked = [Child::Account, binding()].into();
        for lane in Lane::ALL {
            _ = world.visits(&mut memory, lane);
            assert_eq!((confirms(&world), world.calls.len()), (2, 2), "{:?}", world.calls);
        }
        assert_eq!(world.status.end_time, None);
    }
}

#[test]
fn while_the_api_server_does_not_answer_nothing_is_concluded_and_it_is_asked_once_a_visit() {
    let (mut world, mut memory) = active();
    world.objects.remove(&Child::Account);
    world.broken = vec![(|call| matches!(call, Call::Confirm { .. }), Class::Transient)];
    _ = world.visits(&mut memory, Lane::End);
    assert_eq!((confirms(&world), world.status.end_time), (1, None));
    let mut seen = world.observe(&memory);
    seen.learned.failed = failed(&seen);
    assert!(matches!(decide(&seen, world.now()), Next::Rest { backoff: Some(_), .. }));
    world.broken.clear();
    world.run(&mut memory, is_over);
    assert_eq!(world.status.end_reason, Some(EndReason::AccountDeleted));
}

fn failed(seen: &Observed) -> Vec<(Call, super::call::Failure)> {
    let failure = super::call::Failure::new(Class::Transient, "no");
    super::recorded::questions(seen).into_iter().map(|call| (call, failure.clone())).collect()
}

#[test]
fn an_account_that_is_missing_and_that_nothing_tells_of_is_lost() {
    let (mut world, _) = active();
    world.objects.remove(&Child::Account);
    world.status.credential.as_mut().unwrap().service_account = None;
    world.run(&mut Memory::default(), is_over);
    assert_eq!(world.status.end_reason, Some(EndReason::AccountDeleted));
}

#[test]
fn an_end_finds_what_the_watches_lack() {
    let (mut world, mut memory) = active();
    world.overlooked = [Child::Account, binding()].into();
    world.exists = false;
    world.run(&mut memory, is_over);
    assert!(world.ours().is_empty(), "{:?}", world.ours());
    assert_eq!(world.live_tokens(), 0);
}

#[test]
fn an_end_waits_for_no_question_and_nothing_is_claimed_before_its_answer() {
    let (mut world, mut memory) = active();
    world.overlooked = [Child::Account, binding()].into();
    world.exists = false;
    world.broken = vec![(|call| matches!(call, Call::Confirm { .. }), Class::Transient)];
    _ = world.visits(&mut memory, Lane::End);
    assert_eq!(world.ours(), [&Child::Account, &binding()], "the rest is gone at once");
    let credential = world.status.credential.clone().unwrap();
    assert_eq!((credential.revocation_time, credential.evidence), (None, None), "an account that may be there");
}

#[test]
fn what_is_being_deleted_is_lost_and_taken_down() {
    let (mut world, memory) = active();
    let account = world.objects[&Child::Account].0.clone();
    world.overlooked = [Child::Account].into();
    let mut seen = world.observe(&memory);
    let call = Call::Confirm { child: Child::Account, id: account.clone() };
    assert_eq!(decide(&seen, world.now()), Next::Do(Lane::End, vec![call.clone()]));
    learn(&mut seen, call, Answer::Deleting(account.clone()), world.now());
    ending::settle(&mut seen, world.now());
    assert_eq!(seen.memory.end.as_ref().map(|end| end.reason), Some(EndReason::AccountDeleted));
    let gives = |world: &mut World, seen: &Observed| match decide(seen, world.now()) {
        Next::Do(_, calls) => calls,
        next => panic!("{next:?}"),
    };
    let first = gives(&mut world, &seen);
    for call in first {
        let answer = world.apply(&call);
        learn(&mut seen, call, answer, world.now());
    }
    assert!(gives(&mut world, &seen).contains(&Call::Delete { child: Child::Account, id: account }));
}

/// An earlier self has taken the lease down because its lifecycle was deleted, and died before it could write that.
#[test]
fn what_is_missing_together_with_the_lifecycle_went_with_the_lifecycle() {
    let (mut world, _) = active();
    world.lifecycle = None;
    world.objects.remove(&Child::Account);
    let mut memory = Memory::default();
    memory.gone.extend([world.status.credential.as_ref().unwrap().service_account.as_ref().unwrap().uid.clone()]);
    world.run(&mut memory, is_over);
    assert_eq!(world.status.end_reason, Some(EndReason::LifecycleDeleted));
}

/// An account that a finalizer holds authenticates: that no watch has it is no proof that it is gone.
#[test]
fn what_is_being_deleted_and_unseen_again_is_asked_for_again() {
    let (world, memory) = active();
    let account = world.objects[&Child::Account].0.clone();
    let mut seen = world.observe(&memory);
    let call = Call::Confirm { child: Child::Account, id: account.clone() };
    learn(&mut seen, call.clone(), Answer::Deleting(account), world.now());
    seen.children.insert(Child::Account, super::observed::Known::Absent);
    assert!(super::recorded::questions(&seen).contains(&call));
    assert!(!super::decide::account_gone(&seen));
}

#[test]
fn an_object_that_nobody_can_be_asked_about_stops_nothing_else() {
    let (mut world, mut memory) = active();
    world.overlooked = [binding()].into();
    world.broken = vec![(|call| matches!(call, Call::Confirm { .. }), Class::Transient)];
    memory.control = super::observed::Control::NotAsked;
    _ = (world.visits(&mut memory, Lane::Issue), world.visits(&mut memory, Lane::End));
    assert!(confirms(&world) > 0 && world.calls.contains(&Call::ReviewToken), "{:?}", world.calls);
}

/// A lease whose operator died between making the Secret and its one status write, and whose account the backstop has taken since.
fn with_a_secret_that_nothing_tells_of(audiences: &[&'static str]) -> World {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    world.audiences = audiences.to_vec();
    (world.ttl, world.token_millis) = (Some("1h"), 3_600_000);
    world.lifecycle.as_mut().unwrap()["terms"]["audiences"] = json!(audiences);
    world.run(&mut memory, |w| w.objects.contains_key(&Child::Secret));
    assert_eq!((world.status.issue_time, world.status.end_time), (None, None));
    world.objects.retain(|child, _| !matches!(child, Child::Account | Child::Job));
    world.now += 3_600_000;
    world.calls.clear();
    world
}

fn looks(world: &World) -> usize {
    world.calls.iter().filter(|call| **call == Call::Find(Child::Secret)).count()
}

#[test]
fn a_secret_that_nothing_tells_of_is_looked_for_once_at_the_end() {
    for (audiences, evidence) in
        [(&[][..], Evidence::AccountGoneAndWaited), (&["elsewhere"], Evidence::AccountGoneAndExpired)]
    {
        let mut world = with_a_secret_that_nothing_tells_of(audiences);
        world.run(&mut Memory::default(), is_over);
        assert!(world.ours().is_empty(), "{:?}", world.objects);
        assert_eq!(looks(&world), 1, "{:?}", world.calls);
        let credential = world.status.credential.clone().unwrap();
        assert_eq!(credential.evidence, Some(evidence), "a token was in it");
        assert!(credential.revocation_time.unwrap() < credential.verified_time.unwrap());
    }
}

#[test]
fn what_was_found_of_a_secret_is_proven_by_whoever_comes_next() {
    let mut world = with_a_secret_that_nothing_tells_of(&[]);
    world.run(&mut Memory::default(), |w| w.status.credential.is_some());
    assert!(!is_over(&world) && world.ours().is_empty());
    world.run(&mut Memory::default(), is_over);
    assert_eq!(world.status.credential.unwrap().evidence, Some(Evidence::AccountGoneAndWaited));
}

#[test]
fn a_lease_is_not_over_before_it_is_known_whether_it_left_a_secret() {
    let mut world = with_a_secret_that_nothing_tells_of(&[]);
    world.broken.push((|call| *call == Call::Find(Child::Secret), Class::Forbidden));
    let mut memory = Memory::default();
    for _ in 0..5 {
        _ = world.visits(&mut memory, Lane::Retry);
        world.now += 60_000;
    }
    assert!(!is_over(&world) && looks(&world) >= 5, "{:?}", world.status.phase);
    let reconciling = world.status.conditions.iter().find(|c| c.kind == "Reconciling").unwrap();
    assert!(reconciling.message.contains("no credential is known of") && reconciling.message.contains("Secret"));
    world.broken.clear();
    world.run(&mut memory, is_over);
    assert!(world.ours().is_empty(), "{:?}", world.objects);
}

#[test]
fn a_request_that_was_refused_is_looked_after_once() {
    let (mut world, mut memory) = (World::new("Secret"), Memory::default());
    world.may_lease = false;
    world.run(&mut memory, is_over);
    assert_eq!((world.status.end_reason, looks(&world)), (Some(EndReason::Denied), 1));
    world.calls.clear();
    _ = world.visits(&mut Memory::default(), Lane::End);
    assert_eq!(looks(&world), 0, "its status tells");
}
