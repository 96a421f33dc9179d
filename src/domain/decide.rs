//! What to do next for a lease. Total: every observation has an answer.
//!
//! 1. A lease of which only its objects are known is looked up before anything is concluded.
//! 2. An ended lease is taken down before anything else is looked at.
//! 3. An active lease rests until its end.
//! 4. Only then is something issued; what could not be read blocks issuing, never ending.

use super::{
    agenda::Lane,
    agreement,
    call::{Call, Next},
    ending, issue,
    observed::{Child, Observed, Presence},
    recorded, steady,
};
use crate::api::Time;

/// The next calls, or how long to rest.
///
/// Whatever was due has been done by the time a lease rests, or has failed and is tried again after its pause: there is no wish
/// for what has passed, since it would undo that pause.
#[must_use]
pub fn decide(seen: &Observed, now: Time) -> Next {
    match next(seen, now) {
        Next::Rest { mut wishes, backoff } => {
            wishes.retain(|(_, at)| *at > now);
            Next::Rest { wishes, backoff }
        }
        next => next,
    }
}

fn next(seen: &Observed, now: Time) -> Next {
    if let Some(end) = ending::cause(seen, now) {
        return ending::take_down(seen, now, &end);
    }
    match seen.lease.presence {
        Presence::Unconfirmed => attempt(seen, Lane::End, vec![Call::ConfirmGone], until_end(seen)),
        Presence::Unreadable => Next::Rest { wishes: until_end(seen), backoff: None },
        _ if seen.issued() => steady::rest(seen, now),
        _ => issue::advance(seen, now),
    }
}

/// Whether a visit in `lane` does what belongs into `work`; else it ends, and what it has learned is lost.
///
/// A retry may do whatever an end needs, it only waits apart. The upkeep of an active lease is done by whoever is there: what it
/// rests on may have been read in this very visit, because a watch lags, and two lanes would send each other there for ever.
#[must_use]
pub fn belongs(seen: &Observed, work: Lane, lane: Lane) -> bool {
    let upkeep = work == Lane::Issue && seen.issued() && seen.lease.status.end_time.is_none();
    work == lane || (lane == Lane::Retry && work == Lane::End) || upkeep
}

/// The end that is certain to come, as a wish: the deadline, or while nobody has agreed the time for an answer.
pub(super) fn until_end(seen: &Observed) -> Vec<(Lane, Time)> {
    let due = seen.deadline().or_else(|| agreement::standing(seen).map(|standing| standing.until));
    due.map(|at| (Lane::End, at)).into_iter().collect()
}

/// The same, if it has not come yet: for a visit that leaves its work to another lane, where that may have to wait for a place. An
/// end that has come is what is decided then.
#[must_use]
pub fn end_to_come(seen: &Observed, now: Time) -> Vec<(Lane, Time)> {
    until_end(seen).into_iter().filter(|(_, at)| *at > now).collect()
}

/// Those of the calls that have not failed in this visit; if all of them have, a pause.
pub(super) fn attempt(seen: &Observed, lane: Lane, calls: Vec<Call>, wishes: Vec<(Lane, Time)>) -> Next {
    let left: Vec<Call> = calls.into_iter().filter(|call| seen.failure_of(call).is_none()).collect();
    if left.is_empty() {
        let backoff = Some(if lane == Lane::End { Lane::Retry } else { lane });
        return Next::Rest { wishes, backoff };
    }
    Next::Do(lane, left)
}

/// Whether the account is gone: no token of the lease is good for anything at an API server that knows it.
pub(super) fn account_gone(seen: &Observed) -> bool {
    use super::observed::Known;
    matches!(seen.child(&Child::Account), Known::Absent | Known::Stranger)
        && !recorded::unconfirmed(seen).iter().any(|(child, _)| *child == Child::Account)
        && !seen.strays.iter().any(|(child, _)| *child == Child::Account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::reasons::Phase,
        domain::{
            observed::{Known, Memory, ObjectId},
            world::World,
        },
    };

    #[test]
    fn a_visit_does_the_work_of_its_lane_a_retry_that_of_ends_and_any_the_upkeep() {
        let mut world = World::new("TokenRequest");
        let told = |seen: &Observed, lane: Lane| [Lane::End, Lane::Issue].map(|work| belongs(seen, work, lane));
        let seen = world.observe(&Memory::default());
        assert_eq!(told(&seen, Lane::End), [true, false]);
        assert_eq!(told(&seen, Lane::Issue), [false, true]);
        assert_eq!(told(&seen, Lane::Retry), [true, false]);
        world.run(&mut Memory::default(), |w| w.status.phase == Some(Phase::Active));
        let seen = world.observe(&Memory::default());
        assert_eq!([Lane::End, Lane::Issue, Lane::Retry].map(|lane| belongs(&seen, Lane::Issue, lane)), [true; 3]);
        assert!(!belongs(&seen, Lane::End, Lane::Issue));
        world.run(&mut Memory::default(), |w| w.status.end_time.is_some());
        let seen = world.observe(&Memory::default());
        assert!(!belongs(&seen, Lane::Issue, Lane::End));
    }

    #[test]
    fn an_account_that_stands_where_none_should_is_not_gone_and_only_an_account_counts() {
        let world = World::new("TokenRequest");
        let mut seen = world.observe(&Memory::default());
        seen.children.insert(Child::Account, Known::Absent);
        let id = ObjectId { namespace: "ns".into(), name: "stray".into(), uid: "stray".into() };
        for (stray, gone) in [(Child::Account, false), (Child::Job, true)] {
            seen.strays = vec![(stray.clone(), id.clone())];
            assert_eq!(account_gone(&seen), gone, "{stray:?}");
        }
    }
}
