//! From the lease that is held to the next one, or back.
//!
//! The Secret gets the next token, consumers are restarted and waited for, and only then the next lease takes the place of the
//! one before: with that write the former ends. If they do not become healthy, the Secret gets a token of the former again,
//! consumers are moved back, and the next one ends. Their template is then what it was before, so pods that never left it stay.

use super::{
    consumer::{Consumer, Health},
    decide::{attempt, give_up, write},
    seen::{Call, LeaseFacts, Next, Seen, State},
};
use crate::api::{
    Time,
    standing::{StandingLease, StandingPhase, StandingStatus},
};

/// How long consumers are waited for where their own controllers set no limit, in seconds.
pub const PATIENCE_SECONDS: i64 = 600;
/// How long readers that nobody restarts keep the former token, in milliseconds: kubelets write a changed Secret into volumes
/// within their sync period and the age of their cache, a minute each by default.
pub const READERS_MILLIS: i64 = 120_000;
/// How often consumers are looked at, in milliseconds: at first, and later.
const LOOK_MILLIS: (i64, i64) = (1_000, 5_000);

/// How long a lease that was just created may take to be shown by the watch before it is asked for again, in milliseconds.
const LAG_MILLIS: i64 = 10_000;

/// Follows the next lease through.
pub(super) fn follow(seen: &Seen, status: &StandingStatus, next: &StandingLease, now: Time) -> Next {
    let moving = matches!(status.phase, StandingPhase::RollingOut | StandingPhase::RollingBack);
    if let Some(former) = status.current.as_ref().filter(|former| moving && seen.lease(former).is_none()) {
        // Whether there is something to go back to has to be known first.
        return attempt(seen, Call::ReadLease { name: former.name.clone() });
    }
    let Some(found) = seen.lease(next) else {
        let name = next.name.clone();
        let created = seen.memory.created.as_ref().filter(|(created, _)| *created == name && next.uid.is_none());
        if let Some(shown) = created.map(|(_, at)| at.plus_millis(LAG_MILLIS)).filter(|at| *at > now) {
            return Next::Rest { at: Some(shown), failed: false };
        }
        return attempt(seen, if next.uid.is_some() { Call::ReadLease { name } } else { Call::CreateLease { name } });
    };
    let alive = found.filter(|facts| facts.state != State::Ended);
    match (status.phase, alive) {
        (StandingPhase::RollingBack, _) => back(seen, status, next, alive, now),
        (StandingPhase::RollingOut, Some(facts)) => out(seen, status, facts, now),
        (StandingPhase::RollingOut, None) => {
            turn_back(seen, status, format!("{} ended: {}", next.name, why(found)), now)
        }
        (_, Some(LeaseFacts { state: State::Active { .. }, uid, .. })) => {
            let named = StandingLease { uid: Some(uid.clone()), ..next.clone() };
            let begun = StandingStatus {
                phase: StandingPhase::RollingOut,
                next: Some(named),
                handover_time: Some(now),
                ..status.clone()
            };
            write(seen, begun)
        }
        (_, Some(_)) => Next::Rest { at: None, failed: false },
        (_, None) => {
            let what = format!("{} was not issued: {}", next.name, why(found));
            write(seen, give_up(status, what, now))
        }
    }
}

fn why(found: Option<&LeaseFacts>) -> String {
    found.map_or_else(|| "it was deleted".to_owned(), |facts| facts.message.clone())
}

/// Moves consumers to the next lease.
fn out(seen: &Seen, status: &StandingStatus, next: &LeaseFacts, now: Time) -> Next {
    // With nothing to go back to, nothing is waited for: nobody loses anything by the next one.
    let former = seen.held().is_some();
    let begun = status.handover_time.unwrap_or(now);
    let late = |consumers: &[Consumer]| now >= begun.plus_millis(patience(consumers) * 1000);
    let listed = match place(seen, status, next, None, begun, now) {
        Placed::Not(other) => {
            let failed = matches!(other, Next::Rest { failed: true, .. });
            let delivered = status.secret.as_ref().is_some_and(|secret| secret.lease.as_ref() == Some(&next.name));
            return match (failed && late(&[]), former) {
                (true, true) => turn_back(seen, status, "its token could not be handed over in time".into(), now),
                // Consumers that cannot be restarted keep nobody else from holding it.
                (true, false) if delivered => write(seen, promoted(status, next)),
                _ => other,
            };
        }
        Placed::All(listed) => listed,
    };
    if !former {
        return write(seen, promoted(status, next));
    }
    let consumers = listed.unwrap_or_default();
    if let Some(broken) = consumers.iter().find_map(broken) {
        return turn_back(seen, status, broken, now);
    }
    if let Some(waiting) = consumers.iter().find_map(waiting) {
        return if late(consumers) { turn_back(seen, status, waiting, now) } else { look_again(begun, now) };
    }
    match read_by_others(status, listed, now) {
        Some(read) => Next::Rest { at: Some(read), failed: false },
        None => write(seen, promoted(status, next)),
    }
}

/// Until when whoever is not restarted has time to read the Secret by itself; `None`: there is nobody, or the time is up.
fn read_by_others(status: &StandingStatus, listed: Option<&[Consumer]>, now: Time) -> Option<Time> {
    let others = listed.is_none_or(|all| all.is_empty() || all.iter().any(|c| !c.restartable));
    let read = status.secret.as_ref()?.write_time?.plus_millis(READERS_MILLIS);
    (others && now < read).then_some(read)
}

/// Moves consumers back to the lease before.
fn back(seen: &Seen, status: &StandingStatus, next: &StandingLease, alive: Option<&LeaseFacts>, now: Time) -> Next {
    let Some(former) = seen.held() else {
        // There is nothing left to go back to.
        return match alive {
            Some(facts @ LeaseFacts { state: State::Active { .. }, .. }) => write(seen, promoted(status, facts)),
            _ => write(seen, StandingStatus { current: None, ..give_up(status, status.message.clone(), now) }),
        };
    };
    let begun = status.handover_time.unwrap_or(now);
    let listed = match place(seen, status, former, Some(next), begun, now) {
        Placed::Not(other) => return other,
        Placed::All(listed) => listed,
    };
    let consumers = listed.unwrap_or_default();
    let over = alive.is_none() || now >= begun.plus_millis(patience(consumers) * 1000);
    if !over && consumers.iter().any(|c| waiting(c).is_some()) {
        return look_again(begun, now);
    }
    if let Some(read) = read_by_others(status, listed, now).filter(|_| alive.is_some()) {
        return Next::Rest { at: Some(read), failed: false };
    }
    let given_up = give_up(status, status.message.clone(), now);
    write(seen, StandingStatus { rolled_back: Some(next.clone()), ..given_up })
}

/// Whether the token of a lease is where it is to be.
enum Placed<'a> {
    /// Not yet: this comes first.
    Not(Next),
    /// In the Secret, and every consumer was restarted for it. Nothing inside: nobody may look for consumers.
    All(Option<&'a [Consumer]>),
}

/// Puts the token of a lease into the Secret, and restarts who mounts it; on the way back from another lease, who was restarted
/// for that one.
fn place<'a>(
    seen: &'a Seen,
    status: &StandingStatus,
    lease: &LeaseFacts,
    back_from: Option<&StandingLease>,
    begun: Time,
    now: Time,
) -> Placed<'a> {
    let Some(secret) = &status.secret else { return Placed::Not(Next::Rest { at: None, failed: false }) };
    if secret.lease.as_ref() != Some(&lease.name) {
        return Placed::Not(match &seen.learned.delivered {
            Some(delivered) if delivered.lease.as_ref() == Some(&lease.name) => {
                write(seen, StandingStatus { secret: Some(delivered.clone()), ..status.clone() })
            }
            _ => attempt(seen, Call::Deliver { secret: secret.name.clone(), lease: Box::new(lease.clone()) }),
        });
    }
    let Some(listed) = &seen.learned.consumers else {
        return Placed::Not(attempt(seen, Call::ListConsumers { secret: secret.name.clone() }));
    };
    let behind = |c: &&Consumer| {
        let has = c.lease(&secret.name);
        c.restartable && back_from.map_or(has != Some(&lease.name), |from| has == Some(&from.name))
    };
    let mut failed = false;
    for consumer in listed.iter().flatten().filter(behind) {
        let marks = match back_from {
            None => consumer.marks.moved(&secret.name, &lease.name),
            Some(_) => consumer.marks.moved_back(&secret.name, &lease.name),
        };
        let call = Call::Restart { consumer: Box::new(consumer.clone()), marks };
        if seen.failure_of(&call).is_none() {
            return Placed::Not(Next::Do(call));
        }
        failed = true;
    }
    if failed {
        // It keeps no other from being restarted, and is tried again.
        return Placed::Not(Next::Rest { at: Some(soon(begun, now)), failed: true });
    }
    Placed::All(listed.as_deref())
}

/// The next lease takes the place of the one before, which ends with that.
fn promoted(status: &StandingStatus, next: &LeaseFacts) -> StandingStatus {
    StandingStatus {
        phase: StandingPhase::Settled,
        current: Some(StandingLease { name: next.name.clone(), uid: Some(next.uid.clone()) }),
        next: None,
        handover_time: None,
        rolled_back: None,
        failures: None,
        retry_time: None,
        message: String::new(),
        ..status.clone()
    }
}

/// From now on consumers are moved back; why is told to whoever reads the lease and the lifecycle.
fn turn_back(seen: &Seen, status: &StandingStatus, why: String, now: Time) -> Next {
    let mut message = why;
    crate::api::condition::bound(&mut message, 512);
    let turned =
        StandingStatus { phase: StandingPhase::RollingBack, handover_time: Some(now), message, ..status.clone() };
    write(seen, turned)
}

fn waiting(consumer: &Consumer) -> Option<String> {
    match &consumer.health {
        Health::Rolling(what) | Health::Broken(what) if consumer.restartable => {
            Some(format!("{} did not become healthy in time: {what}", consumer.title()))
        }
        _ => None,
    }
}

fn broken(consumer: &Consumer) -> Option<String> {
    match &consumer.health {
        Health::Broken(what) if consumer.restartable => {
            Some(format!("{} did not become healthy: {what}", consumer.title()))
        }
        _ => None,
    }
}

fn patience(consumers: &[Consumer]) -> i64 {
    let all = consumers.iter().filter(|c| c.restartable).map(|c| c.patience_seconds);
    all.max().unwrap_or(PATIENCE_SECONDS)
}

fn look_again(begun: Time, now: Time) -> Next {
    Next::Rest { at: Some(soon(begun, now)), failed: false }
}

/// When consumers are looked at again: the longer it has taken, the later.
fn soon(begun: Time, now: Time) -> Time {
    now.plus_millis((now.since(begun) / 10).clamp(LOOK_MILLIS.0, LOOK_MILLIS.1))
}
