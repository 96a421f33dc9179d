//! What to do next for a standing credential. Total: every observation has an answer.
//!
//! 1. One that the lifecycle no longer declares is withdrawn: its lease ends before its Secret is deleted.
//! 2. A lease that is to follow is followed through, or given up; nothing else is begun meanwhile.
//! 3. While a lease is held, its token is in the Secret.
//! 4. The next lease is asked for when it is due and no third one may be alive.

use super::{
    handover,
    seen::{Call, LeaseFacts, Next, SecretSeen, Seen, State, lease_name},
};
use crate::{
    api::{
        Time,
        standing::{StandingLease, StandingPhase, StandingSecret, StandingStatus},
        workflow::Standing,
    },
    domain::steady::SECRET_PROBE_MILLIS,
};

/// The least time between a failure and the next try, and the longest, in milliseconds.
const RETRY_MILLIS: (i64, i64) = (60_000, 3_600_000);
/// How soon it is looked again where something is expected that no watch tells of, in milliseconds.
const SOON_MILLIS: i64 = 5_000;

/// The next call, or how long to rest.
#[must_use]
pub fn decide(seen: &Seen, now: Time) -> Next {
    let Some(entry) = &seen.entry else { return withdraw(seen) };
    let Some(status) = &seen.status else {
        let secret = StandingSecret { name: entry.secret.clone(), ..StandingSecret::default() };
        let first = StandingStatus { name: seen.name.clone(), secret: Some(secret), ..StandingStatus::default() };
        return ask(seen, first, now);
    };
    if status.secret.as_ref().is_some_and(|secret| secret.name != entry.secret) {
        return withdraw(seen);
    }
    match &status.next {
        Some(next) => handover::follow(seen, status, next, now),
        None => hold(seen, entry, status, now),
    }
}

/// Makes a call, unless it has failed in this visit.
pub(super) fn attempt(seen: &Seen, call: Call) -> Next {
    if seen.failure_of(&call).is_some() { Next::Rest { at: None, failed: true } } else { Next::Do(call) }
}

pub(super) fn write(seen: &Seen, status: StandingStatus) -> Next {
    attempt(seen, Call::Write(Some(Box::new(status))))
}

/// Ends what is held, and removes the Secret. The lease first: its end needs no right on Secrets.
fn withdraw(seen: &Seen) -> Next {
    let Some(status) = &seen.status else { return Next::Rest { at: None, failed: false } };
    if status.phase != StandingPhase::Withdrawn {
        let status = StandingStatus {
            phase: StandingPhase::Withdrawn,
            current: None,
            next: None,
            handover_time: None,
            ..status.clone()
        };
        return write(seen, status);
    }
    let Some(secret) = status.secret.as_ref().filter(|_| !seen.learned.secret_deleted) else {
        return attempt(seen, Call::Write(None));
    };
    // What was written last may not be what the status tells of.
    match &seen.learned.secret {
        None => attempt(seen, Call::LookAtSecret { name: secret.name.clone() }),
        Some(SecretSeen::Ours { uid, .. } | SecretSeen::Touched { uid }) => {
            attempt(seen, Call::DeleteSecret { name: secret.name.clone(), uid: uid.clone() })
        }
        Some(SecretSeen::Absent | SecretSeen::Stranger) => attempt(seen, Call::Write(None)),
    }
}

/// Asks for the next lease, as soon as it may be: written down before it is created.
fn ask(seen: &Seen, mut status: StandingStatus, now: Time) -> Next {
    if let Some(at) = status.retry_time.filter(|at| *at > now) {
        return Next::Rest { at: Some(at), failed: false };
    }
    if seen.not_leasable.is_some() {
        return Next::Rest { at: None, failed: false };
    }
    if seen.left_behind() > 0 {
        return Next::Rest { at: Some(now.plus_millis(SOON_MILLIS)), failed: false };
    }
    status.sequence = (status.sequence + 1).max(now.as_millis().div_euclid(1000));
    let name = lease_name(&seen.lifecycle_uid, &seen.name, status.sequence);
    status.next = Some(StandingLease { name, uid: None });
    status.phase = StandingPhase::Issuing;
    // What was given up has ended by now: else it were left behind.
    status.rolled_back = None;
    write(seen, status)
}

fn hold(seen: &Seen, entry: &Standing, status: &StandingStatus, now: Time) -> Next {
    let Some(current) = &status.current else { return ask(seen, status.clone(), now) };
    let Some(found) = seen.lease(current) else {
        return attempt(seen, Call::ReadLease { name: current.name.clone() });
    };
    let Some(facts) = found.filter(|facts| facts.state != State::Ended) else {
        // Whatever ended it might end the next one as well: not more often than once a minute.
        let earliest = Time::from_millis(status.sequence * 1000).plus_millis(RETRY_MILLIS.0);
        let retry_time = status.retry_time.unwrap_or(earliest).max(earliest);
        let lost = StandingStatus { current: None, retry_time: Some(retry_time), ..status.clone() };
        return write(seen, lost);
    };
    let State::Active { .. } = facts.state else { return Next::Rest { at: None, failed: false } };
    if let Some(next) = secret(seen, status, facts, now) {
        return next;
    }
    let due = due(entry, status, facts);
    let probe = seen.memory.secret_seen.unwrap_or(now).plus_millis(SECRET_PROBE_MILLIS);
    if due > now {
        return Next::Rest { at: Some(due.min(probe)), failed: !seen.learned.failed.is_empty() };
    }
    match ask(seen, status.clone(), now) {
        Next::Rest { at, failed } => Next::Rest { at: Some(at.map_or(probe, |at| at.min(probe))), failed },
        next => next,
    }
}

/// What has to be done for the Secret of the lease that is held.
fn secret(seen: &Seen, status: &StandingStatus, held: &LeaseFacts, now: Time) -> Option<Next> {
    let secret = status.secret.as_ref()?;
    if let Some(delivered) = &seen.learned.delivered {
        let written = StandingStatus { secret: Some(delivered.clone()), ..status.clone() };
        return (written != *status).then(|| write(seen, written));
    }
    let deliver = || quietly(seen, Call::Deliver { secret: secret.name.clone(), lease: Box::new(held.clone()) });
    if secret.lease.as_ref() != Some(&held.name) {
        return deliver();
    }
    if seen.memory.secret_seen.is_some_and(|at| now.since(at) < SECRET_PROBE_MILLIS) {
        return None;
    }
    match &seen.learned.secret {
        None => quietly(seen, Call::LookAtSecret { name: secret.name.clone() }),
        Some(SecretSeen::Ours { lease, .. }) if lease.as_ref() == Some(&held.name) => None,
        // One that cannot be trusted is replaced, not mended.
        Some(SecretSeen::Touched { uid }) if !seen.learned.secret_deleted => {
            quietly(seen, Call::DeleteSecret { name: secret.name.clone(), uid: uid.clone() })
        }
        Some(_) => deliver(),
    }
}

/// A call without which everything else can go on.
fn quietly(seen: &Seen, call: Call) -> Option<Next> {
    seen.failure_of(&call).is_none().then_some(Next::Do(call))
}

/// When the next lease is due: after two thirds of this one's life; at once if it is not what is declared now.
#[must_use]
pub fn due(entry: &Standing, status: &StandingStatus, held: &LeaseFacts) -> Time {
    let State::Active { issued, expires, .. } = held.state else { return Time::from_millis(0) };
    let mut grants = (held.grants.clone(), entry.grants.clone());
    grants.0.sort();
    grants.1.sort();
    if grants.0 != grants.1 || held.ttl != Some(entry.ttl) {
        return issued;
    }
    let token = status.secret.as_ref().filter(|s| s.lease.as_ref() == Some(&held.name));
    // An API server may let a token live shorter than the lease.
    let end = token.and_then(|s| s.token_expiration_time).map_or(expires, |at| at.min(expires));
    issued.plus_millis(end.since(issued) / 3 * 2)
}

/// Whether something should have been done a minute ago: nothing is held, or the next lease is late.
#[must_use]
pub fn overdue(seen: &Seen, now: Time) -> bool {
    let (Some(entry), Some(status)) = (&seen.entry, &seen.status) else { return false };
    let since = match seen.held() {
        Some(held) => due(entry, status, held),
        None => Time::from_millis(status.sequence * 1000),
    };
    now.since(since) > RETRY_MILLIS.0
}

/// Gives the next lease up; the one before is held as long as it is good.
pub(super) fn give_up(status: &StandingStatus, why: String, now: Time) -> StandingStatus {
    let failures = status.failures.unwrap_or_default().saturating_add(1);
    let doublings = u32::try_from(failures - 1).unwrap_or_default().min(10);
    let pause = RETRY_MILLIS.0.saturating_mul(1 << doublings).min(RETRY_MILLIS.1);
    let mut message = why;
    crate::api::condition::bound(&mut message, 512);
    StandingStatus {
        phase: if status.current.is_some() { StandingPhase::Settled } else { StandingPhase::Issuing },
        next: None,
        handover_time: None,
        failures: Some(failures),
        retry_time: Some(now.plus_millis(pause)),
        message,
        ..status.clone()
    }
}
