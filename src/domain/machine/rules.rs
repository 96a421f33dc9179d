//! What holds at every state, whatever has happened before.

use super::state::{State, effect};
use crate::{
    api::decision::DecisionType,
    domain::{
        agenda::Lane,
        call::{Answer, Call, Next},
        decide::decide,
        observed::{Child, Known},
        recorded::secret_is_untold,
        steps::{self, Part},
    },
};

pub fn hold(state: &State) {
    state.world.check();
    decided_the_same_again(state);
    nothing_finished_is_repeated(state);
    strangers_are_left_alone(state);
    nothing_is_issued_after_an_end(state);
    nothing_is_made_that_nobody_agreed_to(state);
    ending_waits_for_nothing(state);
    an_end_leaves_nothing(state);
}

fn calls(state: &State) -> &[Call] {
    match &state.next {
        Next::Do(_, calls) => calls,
        _ => &[],
    }
}

/// A decision is a function of what is known.
fn decided_the_same_again(state: &State) {
    let again = decide(&state.seen, state.world.now());
    match (&again, &state.next) {
        // Some of its calls were made already, and what they taught is known.
        (_, Next::Do(..)) => {}
        _ => assert_eq!(again, state.next),
    }
}

/// What was done is not done again, what failed is not tried again in the same visit, and nothing is written that is written.
fn nothing_finished_is_repeated(state: &State) {
    for call in calls(state) {
        assert!(state.seen.failure_of(call).is_none(), "tried again in the same visit: {call:?}");
        // As what its answer would be told.
        let answers = match call {
            Call::Create(_) => Answer::Present(super::turn::strangers(&Child::Job)),
            Call::Reserve => Answer::Reserved,
            _ => Answer::Done,
        };
        let again = effect(call, &answers).filter(|effect| state.finished.contains(effect));
        assert!(again.is_none(), "done already: {again:?}");
        if let Call::WriteStatus(status) | Call::Record(status) = call {
            assert_ne!(**status, state.seen.lease.status, "written in vain");
        }
    }
}

/// An object that is not the lease's is neither deleted nor taken for its own.
fn strangers_are_left_alone(state: &State) {
    for child in &state.strangers {
        assert!(matches!(state.world.objects.get(child), Some((_, false))), "{child:?} of a stranger is gone");
        let adopted = state.seen.present(child).is_some_and(|id| id.uid.starts_with("stranger"));
        assert!(!adopted, "{child:?} of a stranger was adopted");
    }
    for call in calls(state) {
        let uid = match call {
            Call::Delete { id, .. } => &id.uid,
            Call::MintToken { account } => &account.uid,
            _ => continue,
        };
        assert!(!uid.starts_with("stranger"), "{call:?}");
    }
}

/// Whether a call brings authority nearer.
fn issues(call: &Call) -> bool {
    match call {
        Call::Create(_) | Call::MintToken { .. } | Call::Reserve => true,
        Call::Start { task, .. } => task.part == Part::Do && task.step != "told",
        Call::WriteStatus(status) => status.issue_time.is_some() && status.end_time.is_none(),
        _ => false,
    }
}

fn nothing_is_issued_after_an_end(state: &State) {
    let known = state.seen.memory.end.is_some();
    for call in calls(state).iter().filter(|call| issues(call)) {
        assert!(!known && !state.is_over(), "after the end: {call:?}");
    }
}

fn nothing_is_made_that_nobody_agreed_to(state: &State) {
    let approved = |d: &crate::domain::observed::DecisionSeen| d.spec.decision == DecisionType::Approved;
    if !state.scene.needs_agreement() || state.world.decisions.iter().any(approved) {
        return;
    }
    assert!(state.world.ours().is_empty() && state.world.tokens.is_empty(), "made before anybody agreed");
    assert!(state.world.status.issue_time.is_none(), "issued before anybody agreed");
    for call in calls(state) {
        assert!(!matches!(call, Call::Create(_) | Call::MintToken { .. }), "before anybody agreed: {call:?}");
    }
}

/// Of an ended lease everything that can be deleted is, at once: what gives authority first, and nothing waits for another's
/// deletion that fails, nor for a question, a write or a step.
fn ending_waits_for_nothing(state: &State) {
    if state.seen.memory.end.is_none() {
        return;
    }
    let delete = |(child, known): (&Child, &Known)| match known {
        Known::Present(id) => Some(Call::Delete { child: child.clone(), id: id.clone() }),
        Known::Unknown => Some(Call::Find(child.clone())),
        Known::Absent | Known::Stranger => None,
    };
    let kept = |call: &Call| {
        matches!(call, Call::Delete { child: Child::Ledger, .. } if !steps::all_undone(&state.seen))
            || state.seen.failure_of(call).is_some()
    };
    let due: Vec<Call> = state.seen.children.iter().filter_map(delete).filter(|call| !kept(call)).collect();
    let authority =
        |call: &Call| matches!(call, Call::Delete { child, .. } | Call::Find(child) if child.gives_authority());
    let first: Vec<&Call> = due.iter().filter(|call| authority(call)).collect();
    let has_authority = !first.is_empty();
    let now: Vec<&Call> = if has_authority { first } else { due.iter().collect() };
    match &state.next {
        Next::Do(Lane::End, calls) => {
            let early =
                calls.iter().find(|call| has_authority && matches!(call, Call::Delete { .. }) && !authority(call));
            assert!(early.is_none(), "{early:?} before what gives authority: {now:?}");
            // An answer to one of several calls may have told of something new; it is decided on when all are answered.
            let decided = decide(&state.seen, state.world.now()) == state.next;
            let waits = now.iter().find(|call| decided && !calls.contains(call));
            assert!(waits.is_none(), "{waits:?} waits for {calls:?}");
        }
        next => assert!(now.is_empty(), "{now:?} wait for {next:?}"),
    }
    let undeleted = state.seen.children.iter().any(|entry| delete(entry).is_some()) || secret_is_untold(&state.seen);
    if let Next::Rest { wishes, backoff } = &state.next {
        assert!(!undeleted || backoff.is_some() || !wishes.is_empty(), "given up: {:?}", state.seen.children);
    }
    assert!(!undeleted || state.next != Next::Forget, "forgotten: {:?}", state.seen.children);
}

/// Where nothing is left to do, nothing is left.
fn an_end_leaves_nothing(state: &State) {
    if !state.turns().is_empty() {
        return;
    }
    assert!(state.is_final(), "it rests for ever: {:?}", state.world.status.phase);
    assert!(state.world.ours().is_empty(), "left for ever: {:?}", state.world.ours());
    assert_eq!(state.world.live_tokens(), 0);
}
