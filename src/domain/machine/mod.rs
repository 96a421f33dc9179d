//! One lease as a state machine: every state it can reach, every class of answer at each of them.
//!
//! What is searched: from each beginning ([`scene`]) every way a call can end and everything that can happen between two calls
//! ([`turn`]), breadth first, `FAULTS` of them on one way and all else going well. Beyond that, random walks with many. At every
//! state the [`rules`] are held, and from every state the way on without a fault leads to an end that leaves nothing.

mod rules;
pub mod scene;
pub mod state;
pub mod turn;

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use scene::Scene;
use state::State;
use turn::Turn;

/// How many faults and happenings one way has: `MACHINE_FAULTS` says more. One takes seconds, two take minutes.
fn faults() -> usize {
    std::env::var("MACHINE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The longest way to an end without a fault, in turns.
const LONGEST: usize = 150;

/// Searches everything that can be reached from a beginning; how many states that is.
fn search(scene: Scene) -> usize {
    // By what tells states apart: the number of each, and which follows without a fault.
    let mut numbers = HashMap::new();
    let mut follows: Vec<Option<usize>> = vec![];
    let mut waiting = VecDeque::from([(State::new(scene, faults()), None)]);
    while let Some((state, before)) = waiting.pop_front() {
        let known = numbers.len();
        let number = *numbers.entry(state.key()).or_insert(known);
        if let Some(before) = before {
            let follow: &mut Option<usize> = &mut follows[before];
            *follow = Some(number);
        }
        if number < known {
            continue;
        }
        follows.push(None);
        rules::hold(&state);
        for turn in state.turns() {
            let before = (turn == Turn::Well).then_some(number);
            waiting.push_back((state.after(&turn), before));
        }
    }
    every_way_ends(&follows);
    follows.len()
}

/// Whether from every state the way without a fault comes to an end: none leads round in a circle.
fn every_way_ends(follows: &[Option<usize>]) {
    let mut left: Vec<Option<usize>> = vec![None; follows.len()];
    for start in 0..follows.len() {
        let (mut way, mut at) = (vec![], start);
        while left[at].is_none() {
            assert!(!way.contains(&at), "from state {start} the way goes round in a circle");
            way.push(at);
            match follows[at] {
                Some(next) => at = next,
                None => left[at] = Some(0),
            }
        }
        let mut turns = left[at].unwrap_or_default();
        for at in way.into_iter().rev().filter(|at| follows[*at].is_some()) {
            turns += 1;
            left[at] = Some(turns);
        }
        assert!(turns <= LONGEST, "from state {start} the end is {turns} turns away");
    }
}

macro_rules! every_state {
    ($($name:ident: $scene:expr, $least:expr;)*) => {$(
        #[test]
        fn $name() {
            let states = search($scene);
            println!("{}: {states} states, {} faults a way", stringify!($name), faults());
            assert!(states >= $least, "only {states} states were reached");
        }
    )*};
}

every_state! {
    every_state_of_a_lease_with_a_secret: Scene::Secret, 1500;
    every_state_of_a_lease_whose_requester_mints: Scene::TokenRequest, 1500;
    every_state_of_a_lease_that_waits_for_agreement: Scene::Agreement, 500;
    every_state_of_a_lease_that_is_agreed_to_afterwards: Scene::Retrospective, 1500;
    every_state_of_a_lease_with_a_workflow: Scene::Workflow, 4000;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_however_often_the_rules_hold(
        scene in prop::sample::select(Scene::ALL.to_vec()),
        choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let mut state = State::new(scene, usize::MAX);
        for (fault, choice) in choices {
            let turns = state.turns();
            if turns.is_empty() {
                break;
            }
            let turn = if fault { choice.get(&turns).clone() } else { Turn::Well };
            state = state.after(&turn);
            rules::hold(&state);
        }
        for turns in 0.. {
            prop_assert!(turns <= LONGEST, "no end after {turns} turns without a fault");
            if !state.turns().contains(&Turn::Well) {
                break;
            }
            state = state.after(&Turn::Well);
            rules::hold(&state);
        }
    }
}
