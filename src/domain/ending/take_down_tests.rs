//! What is claimed of a credential's death, and when an ended lease goes.

use super::*;
use crate::{
    api::{
        reasons::{EndReason, Phase},
        status::{AccountIdentity, CredentialStatus},
    },
    domain::{
        call::Failure,
        observed::{Memory, TokenFacts},
        outcome::Outcome,
        steps::{Part, Task, WorkState},
        workflow_tests,
        world::{START, World},
    },
};

fn at(millis: i64) -> Time {
    Time::from_millis(START + millis)
}

#[test]
fn nothing_is_claimed_while_the_api_server_still_knows_the_token() {
    let mut seen = World::new("Secret").observe(&Memory::default());
    let told = |seen: &Observed, millis: i64| proof(seen, at(millis), at(0));
    assert!(matches!(told(&seen, PROOF_WAIT_MILLIS - 1), Proof::Wait(due) if due == at(PROOF_WAIT_MILLIS)));
    assert!(matches!(told(&seen, PROOF_WAIT_MILLIS), Proof::Given(Evidence::AccountGoneAndWaited)));
    seen.memory.control = Control::Accepted;
    assert!(
        matches!(told(&seen, PROOF_WAIT_MILLIS), Proof::Given(Evidence::AccountGoneAndWaited)),
        "there is no token to ask about"
    );
    seen.memory.token = Some(TokenFacts { credential_id: None, expires: at(600_000) });
    seen.memory.control = Control::default();
    assert!(
        matches!(told(&seen, PROOF_WAIT_MILLIS), Proof::Given(Evidence::AccountGoneAndWaited)),
        "no answer about it would say anything"
    );
    seen.memory.control = Control::Accepted;
    assert!(matches!(told(&seen, PROOF_WAIT_MILLIS), Proof::Ask));
    let mut failed = |class: Class| {
        seen.learned.failed = vec![(Call::ReviewToken, Failure::new(class, "TokenReview"))];
        told(&seen, PROOF_WAIT_MILLIS)
    };
    assert!(matches!(failed(Class::Conflict), Proof::StillAccepted));
    assert!(matches!(failed(Class::Transient), Proof::Given(Evidence::AccountGoneAndWaited)));
    seen.memory.refused = true;
    assert!(matches!(told(&seen, PROOF_WAIT_MILLIS), Proof::Given(Evidence::TokenReviewRefused)));
}

#[test]
fn an_ended_lease_goes_after_its_retention() {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final));
    let ended = world.now;
    world.run(&mut memory, |w| !w.exists);
    assert!(!world.exists && world.now > ended, "it is gone, and was kept for a while");
}

#[test]
fn an_ended_lease_is_kept_until_other_systems_know() {
    let (mut world, mut memory) = (workflow_tests::world("TokenRequest", false), Memory::default());
    let told = Task { step: "told".into(), part: Part::Do };
    world.answers.insert(told.clone(), vec![Outcome::Again { message: "later".into(), after: None }; 50]);
    world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final) && w.called.contains(&told));
    let mut seen = world.observe(&memory);
    seen.settings.retention_millis = 0;
    for work in seen.works.values_mut() {
        work.state = WorkState::Running;
    }
    let next = crate::domain::decide::decide(&seen, world.now());
    assert!(matches!(next, Next::Rest { .. }), "{next:?}");
}

#[test]
fn a_death_is_owed_a_proof_if_anything_tells_of_a_life() {
    type Tell = fn(&mut Observed);
    let tells: [(bool, Tell); 5] = [
        (false, |_| {}),
        (true, |seen| seen.memory.delivered = true),
        (true, |seen| seen.memory.account = Some(account())),
        (true, |seen| credential(seen).service_account = Some(identity())),
        (true, |seen| credential(seen).revocation_time = Some(at(0))),
    ];
    for (n, (owed, tell)) in tells.into_iter().enumerate() {
        let mut seen = World::new("TokenRequest").observe(&Memory::default());
        seen.memory.gone.insert(account().uid);
        tell(&mut seen);
        let end = End { reason: EndReason::Expired, at: at(0), message: String::new() };
        let next = take_down(&seen, at(1), &end);
        let is_final = match &next {
            Next::Do(_, calls) => match &calls[..] {
                [Call::WriteStatus(status)] => status.phase.is_some_and(Phase::is_final),
                // Whether there is a Secret of which nothing tells is looked at on the way to the proof.
                [Call::Find(Child::Secret)] => false,
                other => panic!("{n}: {other:?}"),
            },
            Next::Rest { .. } => false,
            Next::Forget => panic!("{n}"),
        };
        assert_eq!(is_final, !owed, "{n}: {next:?}");
    }
}

fn account() -> ObjectId {
    ObjectId { namespace: "leasehold-leases".into(), name: "account".into(), uid: "account".into() }
}

fn identity() -> AccountIdentity {
    let ObjectId { namespace, name, uid } = account();
    AccountIdentity { namespace, name, uid }
}

fn credential(seen: &mut Observed) -> &mut CredentialStatus {
    seen.lease.status.credential.get_or_insert_default()
}

#[test]
fn whether_a_binding_is_gone_is_asked_again_after_a_pause_until_it_is_known() {
    let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Active));
    let mut seen = world.observe(&memory);
    seen.children.clear();
    let end = End { reason: EndReason::Expired, at: at(0), message: String::new() };
    credential(&mut seen).revocation_time = Some(at(0));
    let pause = |seen: &Observed| match take_down(seen, at(1), &end) {
        Next::Rest { backoff, .. } => backoff,
        other => panic!("{other:?}"),
    };
    let questions = recorded::questions(&seen);
    assert!(!questions.is_empty());
    for call in &questions {
        seen.learned.failed.push((call.clone(), Failure::new(Class::Transient, "no")));
    }
    assert_eq!(pause(&seen), Some(Lane::Retry));
    seen.memory.gone.extend(seen.lease.status.bindings.iter().map(|b| b.uid.clone()));
    assert_eq!(pause(&seen), None);
}

#[test]
fn nobody_is_told_of_an_end_before_its_proof_is_written_down() {
    let (mut world, mut memory) = (workflow_tests::world("TokenRequest", false), Memory::default());
    let told = Task { step: "told".into(), part: Part::Do };
    world.run(&mut memory, |w| w.called.contains(&told));
    let first = |is: &dyn Fn(&Call) -> bool| world.calls.iter().position(is);
    let proven = |call: &Call| match call {
        Call::WriteStatus(status) => status.credential.as_ref().is_some_and(|c| c.evidence.is_some()),
        _ => false,
    };
    let tells = |call: &Call| matches!(call, Call::Start { task, .. } if *task == told);
    let (proven, tells) = (first(&proven), first(&tells));
    assert!(proven.is_some() && proven < tells, "{proven:?} {tells:?}");
}

#[test]
fn nobody_has_to_be_told_of_what_was_never_issued() {
    let (mut world, mut memory) = (workflow_tests::world("TokenRequest", false), Memory::default());
    world.may_lease = false;
    world.run(&mut memory, |w| !w.exists);
    assert_eq!((world.exists, world.status.phase), (false, Some(Phase::Denied)));
}

#[test]
fn a_status_that_could_not_be_written_is_tried_again_apart_from_first_ends_and_in_the_lane_of_issuing() {
    let mut seen = World::new("TokenRequest").observe(&Memory::default());
    let status = CredentialLeaseStatus { phase: Some(Phase::Pending), ..CredentialLeaseStatus::default() };
    seen.learned.failed = vec![(Call::WriteStatus(Box::new(status.clone())), Failure::new(Class::Transient, "no"))];
    for (lane, again) in [(Lane::End, Lane::Retry), (Lane::Retry, Lane::Retry), (Lane::Issue, Lane::Issue)] {
        let next = write(&seen, status.clone(), lane, Next::idle());
        assert_eq!(next, Next::Rest { wishes: vec![], backoff: Some(again) });
    }
}
