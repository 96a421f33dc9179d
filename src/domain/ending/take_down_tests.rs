//! What is claimed of a credential's death, and when an ended lease goes.

use super::*;
use crate::domain::{
    call::Failure,
    observed::{Memory, TokenFacts},
    world::{START, World},
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
    seen.memory.token = Some(TokenFacts { credential_id: None, expires: at(600_000) });
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
    world.run(&mut memory, |w| w.status.phase.is_some_and(crate::api::reasons::Phase::is_final));
    let ended = world.now;
    world.run(&mut memory, |w| !w.exists);
    assert!(!world.exists && world.now > ended, "it is gone, and was kept for a while");
}
