//! What a lifecycle's condition StandingReady says.

use super::seen::{Call, Said, SecretSeen, Seen};
use crate::{
    api::{
        Condition, ConditionStatus, Time,
        condition::{set, unset},
        reasons::{ConditionType, LifecycleReason},
        standing::StandingPhase,
    },
    domain::{call::Class, consent},
};

/// What is said about one standing credential after a visit; `None`: there is none.
#[must_use]
pub fn said(seen: &Seen, namespace: &str, now: Time) -> Option<Said> {
    let name = &seen.name;
    let say = |reason, message: String| Some(Said { reason, message: format!("{name}: {message}") });
    let Some(status) = &seen.status else {
        return seen.entry.as_ref().and_then(|_| say(LifecycleReason::NotHeld, nothing_yet(seen)));
    };
    if let Some((reason, message)) = trouble(seen, namespace) {
        return say(reason, message);
    }
    if status.phase == StandingPhase::Withdrawn {
        return say(LifecycleReason::Withdrawing, "it is being removed".into());
    }
    let again =
        status.retry_time.filter(|at| *at > now).map_or_else(String::new, |at| format!("; tried again at {at}"));
    let waits = status.next.as_ref().and_then(|next| Some((next, seen.lease(next).flatten()?)));
    if status.phase == StandingPhase::RollingBack || (status.rolled_back.is_some() && status.next.is_none()) {
        return say(LifecycleReason::RolledBack, format!("{}{again}", status.message));
    }
    if seen.held().is_none() {
        let message = match waits {
            Some((next, facts)) => format!("{} is not issued yet: {}", next.name, facts.message),
            None if status.message.is_empty() => nothing_yet(seen),
            None => format!("{}{again}", status.message),
        };
        let failed = status.failures.is_some() && status.next.is_none();
        return say(if failed { LifecycleReason::LeaseFailed } else { LifecycleReason::NotHeld }, message);
    }
    if status.failures.is_some() && status.next.is_none() {
        return say(LifecycleReason::LeaseFailed, format!("{}{again}", status.message));
    }
    match (&status.next, &status.current) {
        (Some(next), _) if status.phase == StandingPhase::RollingOut => {
            say(LifecycleReason::Renewing, format!("consumers are being moved to {}", next.name))
        }
        (Some(next), _) => say(
            LifecycleReason::Renewing,
            format!(
                "{} is being issued{}",
                next.name,
                waits.map_or_else(String::new, |(_, f)| format!(": {}", f.message))
            ),
        ),
        (None, Some(current)) => say(LifecycleReason::Delivered, format!("held by {}", current.name)),
        (None, None) => say(LifecycleReason::NotHeld, nothing_yet(seen)),
    }
}

fn nothing_yet(seen: &Seen) -> String {
    seen.not_leasable.clone().unwrap_or_else(|| "no lease was issued yet".into())
}

/// What keeps failing, with what to do.
fn trouble(seen: &Seen, namespace: &str) -> Option<(LifecycleReason, String)> {
    if seen.learned.secret == Some(SecretSeen::Stranger) {
        let secret = seen.entry.as_ref().map(|entry| entry.secret.as_str()).unwrap_or_default();
        let message =
            format!("a Secret {secret} is there that is not this credential's: remove it, or choose another name");
        return Some((LifecycleReason::NameCollision, message));
    }
    let (call, failure) =
        seen.learned.failed.iter().find(|(_, failure)| failure.class != Class::Conflict).map(|(c, f)| (c, f))?;
    let said = &failure.message;
    let missing = failure.class == Class::Forbidden;
    Some(match call {
        Call::Deliver { .. } | Call::LookAtSecret { .. } | Call::DeleteSecret { .. } if missing => {
            let command = consent::to_deliver(namespace);
            (
                LifecycleReason::MissingRight,
                format!(
                    "the Secret could not be written: {said}. If the operator lacks the right, opt the namespace in: {command}"
                ),
            )
        }
        Call::Restart { consumer, .. } => {
            (LifecycleReason::DeliveryFailing, format!("{} could not be restarted: {said}", consumer.title()))
        }
        Call::Deliver { .. } | Call::LookAtSecret { .. } | Call::DeleteSecret { .. } => {
            (LifecycleReason::DeliveryFailing, format!("the Secret could not be written: {said}"))
        }
        Call::ListConsumers { .. } => {
            (LifecycleReason::DeliveryFailing, format!("consumers could not be listed: {said}"))
        }
        Call::CreateLease { name } | Call::ReadLease { name } => {
            (LifecycleReason::LeaseFailed, format!("{name} could not be asked for: {said}"))
        }
        Call::Write(_) => return None,
    })
}

/// How urgent a reason is: the condition's reason is that of the most urgent credential.
fn urgency(reason: LifecycleReason) -> u8 {
    match reason {
        LifecycleReason::Withdrawing => 0,
        LifecycleReason::Delivered => 1,
        LifecycleReason::Renewing => 2,
        LifecycleReason::RolledBack => 3,
        LifecycleReason::LeaseFailed => 4,
        LifecycleReason::NotHeld => 5,
        _ => 6,
    }
}

/// Sets condition StandingReady from what is said about each; takes it away where nothing is.
pub fn condition(conditions: &mut Vec<Condition>, all: &[Said], generation: i64, now: Time) {
    let kind = ConditionType::StandingReady.as_str();
    let Some(worst) = all.iter().max_by_key(|said| urgency(said.reason)) else { return unset(conditions, kind) };
    let status = match worst.reason {
        LifecycleReason::Delivered | LifecycleReason::Renewing => ConditionStatus::True,
        LifecycleReason::Withdrawing => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    let condition = Condition {
        kind: kind.into(),
        status,
        observed_generation: Some(generation),
        last_transition_time: now,
        reason: worst.reason.as_str().into(),
        message: all.iter().map(|said| said.message.as_str()).collect::<Vec<_>>().join("; "),
    };
    set(conditions, condition);
}
