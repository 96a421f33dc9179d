//! An active lease: the positive control, the look at the delivered Secret, and rest until the end.

use super::{
    agenda::Lane,
    call::{Call, Next},
    decide::attempt,
    ending, issue,
    observed::{Child, Control, LifecycleSeen, Observed},
    recorded, report, standing,
    steps::{self, Progress},
};
use crate::api::{Time, workflow::StepTime};

/// How often a delivered Secret is looked at, in milliseconds, as long as there are few. It cannot be watched without the right to
/// read Secrets.
pub const SECRET_PROBE_MILLIS: i64 = 60_000;
/// The least time between two such looks in one process, in milliseconds: what they cost does not grow with the leases.
const SECRET_PACE_MILLIS: i64 = 200;

/// What an active lease needs now, and when it is to be visited again.
#[must_use]
pub fn rest(seen: &Observed, now: Time) -> Next {
    let mut wishes = vec![(Lane::End, end_of(seen, now))];
    let owes = seen.lease.status.approvals.as_ref().filter(|a| a.have < a.required);
    wishes.extend(owes.and_then(|a| a.until).map(|until| (Lane::End, until)));
    let doubts = doubts(seen);
    if doubts.iter().any(|call| seen.failure_of(call).is_none() || *call == Call::ReadLifecycle) {
        return attempt(seen, Lane::End, doubts, wishes);
    }
    // One object that nobody can be asked about is no reason to leave everything else.
    let mut failing = !doubts.is_empty();
    match steps::forward(seen, now, StepTime::Issue) {
        Progress::Settled => {}
        Progress::Record(states) => {
            let rest = Next::Rest { wishes, backoff: Some(Lane::Issue) };
            return ending::write(seen, report::stepped(seen, now, &states), Lane::Issue, rest);
        }
        Progress::Start(calls) => {
            if let Some(mint) = mint_for(seen, &calls) {
                return attempt(seen, Lane::Issue, vec![mint], wishes);
            }
            // How long the token lives that is handed on is known before it is.
            let status = report::active(seen, now);
            if steps::needs_token(seen, &calls) && status.credential != seen.lease.status.credential {
                let rest = Next::Rest { wishes, backoff: Some(Lane::Issue) };
                return ending::write(seen, status, Lane::Issue, rest);
            }
            return attempt(seen, Lane::Issue, calls, wishes);
        }
        Progress::Wait(moments) => wishes.extend(moments.into_iter().map(|at| (Lane::Issue, at))),
    }
    for calls in
        [unknown_namespaces(seen), issue::tidy(seen), if owes.is_some() { issue::deciders(seen) } else { vec![] }]
    {
        let untried: Vec<Call> = calls.iter().filter(|call| seen.failure_of(call).is_none()).cloned().collect();
        if !untried.is_empty() {
            return Next::Do(Lane::Issue, untried);
        }
        failing |= !calls.is_empty();
    }
    if seen.memory.token.is_some()
        && seen.memory.control == Control::NotAsked
        && seen.failure_of(&Call::ReviewToken).is_none()
    {
        return Next::Do(Lane::Issue, vec![Call::ReviewToken]);
    }
    let status = report::active(seen, now);
    if status != seen.lease.status {
        return ending::write(seen, status, Lane::Issue, Next::Rest { wishes, backoff: None });
    }
    if seen.lease.status.credential.as_ref().is_some_and(|c| c.secret.is_some()) {
        let every = secret_probe_millis(seen.delivered);
        let due = seen.memory.secret_seen.or(seen.lease.status.issue_time).unwrap_or(now).plus_millis(every);
        let probe = Call::Find(Child::Secret);
        if due <= now && seen.failure_of(&probe).is_none() {
            return Next::Do(Lane::Issue, vec![probe]);
        }
        wishes.push((Lane::Issue, if due <= now { now.plus_millis(every) } else { due }));
    }
    Next::Rest { wishes, backoff: failing.then_some(Lane::Issue) }
}

/// How often each of so many delivered Secrets is looked at, in milliseconds.
fn secret_probe_millis(delivered: usize) -> i64 {
    i64::try_from(delivered).unwrap_or(i64::MAX).saturating_mul(SECRET_PACE_MILLIS).max(SECRET_PROBE_MILLIS)
}

/// A process that finds a delivered Secret looks at it at once if there are few of them, else at a moment of its own within the
/// time that they all take: what was delivered before a restart is not all looked at in one rush.
pub fn spread_looks(seen: &mut Observed, now: Time) {
    let delivers = seen.lease.status.credential.as_ref().is_some_and(|c| c.secret.is_some());
    let every = secret_probe_millis(seen.delivered);
    if delivers && seen.memory.secret_seen.is_none() && every > SECRET_PROBE_MILLIS {
        let own = i64::try_from(seen.lease.uid.number() % u128::from(every.unsigned_abs())).unwrap_or_default();
        seen.memory.secret_seen = Some(now.plus_millis(-own));
    }
}

/// What would end the lease if it were so, and is asked of the API server first: a watch may lag.
fn doubts(seen: &Observed) -> Vec<Call> {
    let lifecycle = seen.lifecycle == (LifecycleSeen::Absent { confirmed: false }) || standing::to_be_confirmed(seen);
    lifecycle.then_some(Call::ReadLifecycle).into_iter().chain(recorded::questions(seen)).collect()
}

/// The token that a step hands on, where this process does not hold it: after a restart another one of the same account, which
/// dies with the first.
fn mint_for(seen: &Observed, calls: &[Call]) -> Option<Call> {
    let missing = steps::needs_token(seen, calls) && seen.memory.token.is_none();
    let account = seen.present(&Child::Account).filter(|_| missing)?;
    Some(Call::MintToken { account: account.clone() })
}

/// Namespaces have to be known before policies judge a live lease.
fn unknown_namespaces(seen: &Observed) -> Vec<Call> {
    let names = if seen.synced { seen.unknown_namespaces() } else { vec![] };
    names.into_iter().map(|name| Call::ReadNamespace { name }).collect()
}

/// The earlier of the lease's end and the lifecycle's.
fn end_of(seen: &Observed, now: Time) -> Time {
    let lease = seen.lease.status.expiration_time.or_else(|| seen.deadline()).unwrap_or(now);
    let lifecycle = seen.lifecycle().and_then(|l| l.spec.expiration_time);
    lifecycle.map_or(lease, |at| at.min(lease))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        observed::Memory,
        world::{World, uid},
    };

    /// An active lease with its token in a Secret, one of so many, as a process sees it that has just begun.
    fn found(delivered: usize, uid: &str) -> Observed {
        let (mut world, mut memory) = (World::new("Secret"), Memory::default());
        world.run(&mut memory, |world| world.status.phase == Some(crate::api::reasons::Phase::Active));
        let mut seen = Observed { delivered, ..world.observe(&Memory::default()) };
        seen.lease.uid = crate::api::names::LeaseUid::parse(uid).unwrap();
        seen
    }

    fn next_look(seen: &Observed, now: Time) -> i64 {
        match rest(seen, now) {
            Next::Do(_, calls) if calls == [Call::Find(Child::Secret)] => 0,
            Next::Rest { wishes, .. } => {
                let looks = wishes.iter().filter(|(lane, _)| *lane == Lane::Issue);
                looks.map(|(_, at)| at.since(now)).min().unwrap_or(i64::MAX)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn few_secrets_are_looked_at_every_minute_and_many_at_five_a_second() {
        for (delivered, every) in [(0, 60_000), (300, 60_000), (301, 60_200), (10_000, 2_000_000)] {
            let mut seen = found(delivered, &uid().text());
            let now = seen.lease.status.issue_time.unwrap().plus_millis(600_000);
            seen.memory.secret_seen = Some(now);
            assert_eq!(next_look(&seen, now), every, "{delivered}");
            assert_eq!(next_look(&seen, now.plus_millis(every)), 0);
        }
    }

    #[test]
    fn a_process_that_begins_looks_at_few_at_once_and_spreads_the_looks_at_many() {
        let looks = |delivered: usize| -> Vec<i64> {
            let uids = (0..100_u32).map(|n| format!("{:08x}-0000-4000-8000-{:012x}", n.wrapping_mul(2_654_435_761), n));
            let look = |uid: String| {
                let mut seen = found(delivered, &uid);
                let now = seen.lease.status.issue_time.unwrap().plus_millis(86_400_000);
                spread_looks(&mut seen, now);
                next_look(&seen, now)
            };
            uids.map(look).collect()
        };
        assert!(looks(300).iter().all(|at| *at == 0));
        let many = looks(10_000);
        assert!(many.iter().all(|at| (0..=2_000_000).contains(at)), "{many:?}");
        for quarter in 0..4 {
            let those = many.iter().filter(|at| **at / 500_000 == quarter).count();
            assert!((10..=40).contains(&those), "{those} of 100 in quarter {quarter}: {many:?}");
        }
    }
}
