//! What was recorded of a lease's objects and no watch has. Whether it is gone is asked of the API server itself: a list may
//! come from one that lags, or from the past, and an absence there says nothing.
//!
//! And what nothing records: an operator that died between making the Secret and its one status write, and whose successor came
//! when the backstop had taken the account, leaves a Secret that only its name leads to.

use super::{
    call::Call,
    observed::{Child, Known, ObjectId, Observed},
};
use crate::api::reasons::Phase;

/// The account and the bindings, as they were recorded; not those whose end is recorded, too.
fn recorded(seen: &Observed) -> Vec<(Child, ObjectId)> {
    let status = &seen.lease.status;
    if status.phase.is_some_and(Phase::is_final) {
        return vec![];
    }
    let credential = status.credential.as_ref();
    let ended = credential.is_some_and(|c| c.revocation_time.is_some());
    let bindings = status.bindings.iter().map(|b| {
        let id = ObjectId { namespace: b.namespace.clone(), name: b.name.clone(), uid: b.uid.clone() };
        (Child::Binding(b.grant.clone()), id)
    });
    account(seen).filter(|_| !ended).map(|id| (Child::Account, id)).into_iter().chain(bindings).collect()
}

/// The lease's account, as its status or else this process has it.
fn account(seen: &Observed) -> Option<ObjectId> {
    let told = seen.lease.status.credential.as_ref().and_then(|c| c.service_account.as_ref());
    let told = told.map(|a| ObjectId { namespace: a.namespace.clone(), name: a.name.clone(), uid: a.uid.clone() });
    told.or_else(|| seen.memory.account.clone())
}

/// What was recorded and is not seen, and the API server has not said that it is gone. What may or may not be there is looked
/// for anyway.
#[must_use]
pub fn unconfirmed(seen: &Observed) -> Vec<(Child, ObjectId)> {
    let unseen = |(child, id): &(Child, ObjectId)| match seen.child(child) {
        Known::Absent => true,
        Known::Present(there) => there.uid != id.uid,
        Known::Unknown | Known::Stranger => false,
    };
    let stray = |id: &ObjectId| seen.strays.iter().any(|(_, stray)| stray.uid == id.uid);
    let mut all = recorded(seen);
    all.retain(|object| unseen(object) && !stray(&object.1) && !seen.memory.gone.contains(&object.1.uid));
    all
}

/// One question for each of them.
#[must_use]
pub fn questions(seen: &Observed) -> Vec<Call> {
    unconfirmed(seen).into_iter().map(|(child, id)| Call::Confirm { child, id }).collect()
}

/// Whether the lease, now that it ends, may have a Secret of which nothing tells.
#[must_use]
pub fn secret_is_untold(seen: &Observed) -> bool {
    let lease = &seen.lease;
    lease.delivers()
        && !seen.children.contains_key(&Child::Secret)
        && lease.status.credential.as_ref().is_none_or(|c| c.secret.is_none())
        && !lease.status.phase.is_some_and(Phase::is_final)
}

/// The first of the recorded objects that is gone, or being deleted, as the API server itself has said.
#[must_use]
pub fn lost(seen: &Observed) -> Option<(Child, ObjectId)> {
    let lost = |uid: &String| seen.memory.gone.contains(uid) || seen.memory.dying.contains(uid);
    recorded(seen).into_iter().find(|(_, id)| lost(&id.uid))
}

/// Whether an account is missing of which nothing tells which it was, so that nobody can be asked about it.
#[must_use]
pub fn account_is_unknown(seen: &Observed) -> bool {
    *seen.child(&Child::Account) == Known::Absent && account(seen).is_none()
}
