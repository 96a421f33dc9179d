//! Taking a lease down, and proving that its credential is dead.

use super::{EXPIRY_LEEWAY_MILLIS, End, PROOF_WAIT_MILLIS};
use crate::{
    api::{Time, reasons::Evidence, status::CredentialLeaseStatus, workflow::StepTime},
    domain::{
        agenda::Lane,
        agreement,
        call::{Call, Class, Next},
        decide::{account_gone, attempt},
        observed::{Child, Control, Known, ObjectId, Observed, Presence},
        recorded, report,
        steps::{self, Progress},
    },
};

/// RoleBindings first, then everything else at once; each is tried even if another fails; then the status; then the look for a
/// Secret of which nothing tells; then the proof.
#[must_use]
pub fn take_down(seen: &Observed, now: Time, end: &End) -> Next {
    let untried =
        |calls: Vec<Call>| -> Vec<Call> { calls.into_iter().filter(|call| seen.failure_of(call).is_none()).collect() };
    let (authority, rest): (Vec<_>, Vec<_>) = untried(left(seen)).into_iter().partition(gives_authority);
    // Whether something is there that no watch has is asked beside the last deletions: none of them waits for the answer.
    let calls = if authority.is_empty() { [rest, untried(recorded::questions(seen))].concat() } else { authority };
    if !calls.is_empty() {
        return Next::Do(Lane::End, calls);
    }
    if !account_gone(seen) {
        return write(
            seen,
            report::deletion_failing(seen, now, end),
            Lane::End,
            Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) },
        );
    }
    let made = seen.memory.account.is_some()
        || seen.memory.delivered
        || seen
            .lease
            .status
            .credential
            .as_ref()
            .is_some_and(|c| c.service_account.is_some() || c.revocation_time.is_some());
    let revoked_at = seen.lease.status.credential.as_ref().and_then(|c| c.revocation_time);
    let Some(revoked_at) = revoked_at.or_else(|| (!made).then_some(now)) else {
        return write(
            seen,
            report::revoked(seen, now, end),
            Lane::End,
            Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) },
        );
    };
    // The authority is gone: from here on nothing is urgent, and other systems may take their time.
    let look = Call::Find(Child::Secret);
    let secret_is_untold = recorded::secret_is_untold(seen);
    if secret_is_untold && seen.failure_of(&look).is_none() {
        return Next::Do(Lane::Retry, vec![look]);
    }
    let clean = left(seen).is_empty() && recorded::unconfirmed(seen).is_empty() && !secret_is_untold;
    let mut wishes = match call_systems(seen, now, steps::back(seen, now)) {
        Ok(next) => return next,
        Err(wishes) => wishes,
    };
    let evidence = if made {
        match proof(seen, now, revoked_at) {
            Proof::Wait(at) => {
                wishes.push((Lane::Retry, at));
                return Next::Rest { wishes, backoff: (!clean).then_some(Lane::Retry) };
            }
            Proof::Ask => return Next::Do(Lane::Retry, vec![Call::ReviewToken]),
            Proof::StillAccepted => return Next::Rest { wishes, backoff: Some(Lane::Retry) },
            Proof::Given(evidence) => Some(evidence),
        }
    } else {
        None
    };
    if !steps::undo_was_tried(seen) {
        return Next::Rest { wishes, backoff: None };
    }
    conclude(seen, now, &Concluded { end, clean, evidence, wishes })
}

/// What the steps need now; else the moments at which they want to be looked at again.
fn call_systems(seen: &Observed, now: Time, progress: Progress) -> Result<Next, Vec<(Lane, Time)>> {
    match progress {
        Progress::Settled => Err(vec![]),
        Progress::Wait(moments) => Err(moments.into_iter().map(|at| (Lane::Retry, at)).collect()),
        Progress::Start(calls) => Ok(attempt(seen, Lane::Retry, calls, vec![])),
        Progress::Record(steps) => {
            let rest = Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) };
            Ok(write(seen, report::stepped(seen, now, &steps), Lane::Retry, rest))
        }
    }
}

fn gives_authority(call: &Call) -> bool {
    matches!(call, Call::Delete { child, .. } | Call::Inspect { child, .. } | Call::Find(child) if child.gives_authority())
}

/// What is left to delete, and what is left to look for because nobody knows whether it was made.
fn left(seen: &Observed) -> Vec<Call> {
    let known = seen.children.iter().filter_map(|(child, known)| match known {
        // How to take the workflow back has to stay until it is.
        Known::Present(_) if *child == Child::Ledger && !steps::all_undone(seen) => None,
        Known::Present(id) => Some(delete(child, id)),
        Known::Unknown => Some(Call::Find(child.clone())),
        Known::Absent | Known::Stranger => None,
    });
    let strays = seen.strays.iter().map(|(child, id)| delete(child, id));
    let claims = seen.claims.iter().map(|(child, id)| Call::Inspect { child: child.clone(), id: id.clone() });
    known.chain(strays).chain(claims).collect()
}

fn delete(child: &Child, id: &ObjectId) -> Call {
    Call::Delete { child: child.clone(), id: id.clone() }
}

enum Proof {
    Wait(Time),
    Ask,
    StillAccepted,
    Given(Evidence),
}

/// What proves that the credential is dead, or what is missing for it.
fn proof(seen: &Observed, now: Time, revoked_at: Time) -> Proof {
    let due = revoked_at.plus_millis(PROOF_WAIT_MILLIS);
    if now < due {
        return Proof::Wait(due);
    }
    if let Some(until) = seen.lease.status.credential.as_ref().and_then(|c| c.offline_expiration_time) {
        let due = until.plus_millis(EXPIRY_LEEWAY_MILLIS);
        return if now < due { Proof::Wait(due) } else { Proof::Given(Evidence::AccountGoneAndExpired) };
    }
    if seen.memory.refused {
        return Proof::Given(Evidence::TokenReviewRefused);
    }
    let can_ask = seen.memory.token.is_some() && seen.memory.control == Control::Accepted;
    match seen.learned.failed.iter().find(|(call, _)| *call == Call::ReviewToken) {
        None if can_ask => Proof::Ask,
        // The API server said that it still knows the token: nothing is claimed, and it is asked again for ever.
        Some((_, failure)) if failure.class == Class::Conflict => Proof::StillAccepted,
        _ => Proof::Given(Evidence::AccountGoneAndWaited),
    }
}

/// What is known at the end.
struct Concluded<'a> {
    end: &'a End,
    /// Nothing is left to delete.
    clean: bool,
    /// Absent where no account was ever made.
    evidence: Option<Evidence>,
    /// When what could not be taken back is tried again.
    wishes: Vec<(Lane, Time)>,
}

/// Everything is said; what remains is to tell other systems, to remove the lease after its retention, or to keep trying what
/// is left.
fn conclude(seen: &Observed, now: Time, concluded: &Concluded) -> Next {
    let Concluded { end, clean, evidence, wishes } = concluded;
    let (clean, evidence) = (*clean, *evidence);
    let answer = agreement::late_answer(seen);
    if let agreement::Late::Ask(decision) = &answer {
        let call = Call::CheckDecider { decision: decision.uid.clone() };
        if seen.failure_of(&call).is_none() {
            return Next::Do(Lane::Retry, vec![call]);
        }
    }
    let status = report::concluded(seen, now, end, clean, evidence);
    let mut wishes = wishes.clone();
    if status == seen.lease.status && seen.issued() {
        match call_systems(seen, now, steps::forward(seen, now, StepTime::Revoke)) {
            Ok(next) => return next,
            Err(more) => wishes.extend(more),
        }
    }
    let told = !seen.issued() || steps::forward(seen, now, StepTime::Revoke) == Progress::Settled;
    let rest = if !clean {
        Next::Rest { wishes, backoff: Some(Lane::Retry) }
    } else if !told || !steps::all_undone(seen) {
        // It is kept until other systems know, and until everything is taken back.
        Next::Rest { wishes, backoff: None }
    } else if seen.lease.presence == Presence::Unconfirmed {
        attempt(seen, Lane::Retry, vec![Call::ConfirmGone], vec![])
    } else if seen.lease.presence == Presence::Gone {
        Next::Forget
    } else {
        let ended = status.credential.as_ref().and_then(|c| c.verified_time).or(status.end_time).unwrap_or(now);
        let due = ended.plus_millis(seen.settings.retention_millis);
        if matches!(answer, agreement::Late::Ask(_)) {
            Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) }
        } else if answer == agreement::Late::Missing {
            // It is kept until somebody decides: it holds the lifecycle.
            Next::idle()
        } else if matches!(seen.lease.presence, Presence::Deleting | Presence::Unreadable) {
            // Its finalizer's owner, or whoever can mend or delete it, is next.
            Next::idle()
        } else if due <= now {
            attempt(seen, Lane::Retry, vec![Call::DeleteLease], vec![])
        } else {
            Next::at(Lane::Retry, due.max(now))
        }
    };
    write(seen, status, Lane::Retry, rest)
}

/// Write the status if it differs, then rest.
pub(in crate::domain) fn write(seen: &Observed, status: CredentialLeaseStatus, lane: Lane, rest: Next) -> Next {
    if status == seen.lease.status || seen.lease.presence == Presence::Unreadable {
        return rest;
    }
    let call = match seen.lease.presence {
        Presence::Gone | Presence::Unconfirmed => Call::Record(Box::new(status)),
        _ => Call::WriteStatus(Box::new(status)),
    };
    if seen.learned.failed.iter().any(|(c, _)| matches!(c, Call::WriteStatus(_) | Call::Record(_))) {
        let wishes = match rest {
            Next::Rest { wishes, .. } => wishes,
            _ => vec![],
        };
        return Next::Rest { wishes, backoff: Some(if lane == Lane::End { Lane::Retry } else { lane }) };
    }
    Next::Do(lane, vec![call])
}

#[cfg(test)]
#[path = "take_down_tests.rs"]
mod tests;
