//! An active lease: the positive control, the look at the delivered Secret, and rest until the end.

use super::{
    agenda::Lane,
    call::{Call, Next},
    decide::attempt,
    ending, issue,
    observed::{Child, Control, LifecycleSeen, Observed},
    report, standing,
    steps::{self, Progress},
};
use crate::api::{Time, workflow::StepTime};

/// How often a delivered Secret is looked at, in milliseconds. It cannot be watched without the right to read Secrets.
pub const SECRET_PROBE_MILLIS: i64 = 60_000;

/// What an active lease needs now, and when it is to be visited again.
#[must_use]
pub fn rest(seen: &Observed, now: Time) -> Next {
    let mut wishes = vec![(Lane::End, end_of(seen, now))];
    if seen.lifecycle == (LifecycleSeen::Absent { confirmed: false }) {
        return attempt(seen, Lane::End, vec![Call::ReadLifecycle], wishes);
    }
    if standing::to_be_confirmed(seen) {
        // The lifecycle's watch may lag behind that of the lease.
        return attempt(seen, Lane::End, vec![Call::ReadLifecycle], wishes);
    }
    let owes = seen.lease.status.approvals.as_ref().filter(|a| a.have < a.required);
    wishes.extend(owes.and_then(|a| a.until).map(|until| (Lane::End, until)));
    let mut failing = false;
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
        let due =
            seen.memory.secret_seen.or(seen.lease.status.issue_time).unwrap_or(now).plus_millis(SECRET_PROBE_MILLIS);
        let probe = Call::Find(Child::Secret);
        if due <= now && seen.failure_of(&probe).is_none() {
            return Next::Do(Lane::Issue, vec![probe]);
        }
        wishes.push((Lane::Issue, if due <= now { now.plus_millis(SECRET_PROBE_MILLIS) } else { due }));
    }
    Next::Rest { wishes, backoff: failing.then_some(Lane::Issue) }
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
