//! What a lease lets its holder do, from when, until when, and who learns of it.

use std::collections::BTreeSet;

use leasehold_harness::Record;

use super::Case;
use crate::{
    fault::{CALL_TIMEOUT, Fault, PERSISTS, Weather},
    flow::Terms,
    plan::Trap,
};

/// An API server remembers a token for 10 s, its watch may lag 2 s, the end itself may take one more.
const OUTLIVES_SECONDS: f64 = 13.0;
/// The longest pause after as many tries as there are while a call is refused again and again.
const LAST_PAUSE_SECONDS: f64 = 16.0;

fn is_account(r: &Record) -> bool {
    r.resource == "serviceaccounts" && r.subresource.is_empty()
}

/// I1: a token lets nobody in for more than 13 s after the end, the time without an operator taken off, whatever failed but for the
/// deletion of its binding again and again. Who it stands for is forgotten with its account, as soon as that is deleted.
pub fn i1_no_outliving(case: &Case<'_>) -> Vec<String> {
    let accepted = &case.life.accepted;
    let let_in_for = OUTLIVES_SECONDS + case.refused_seconds(&["delete rolebindings"]);
    let forgotten_within = OUTLIVES_SECONDS + case.held_up_seconds();
    let mut broken = vec![];
    if let Some(after) = accepted.allowed.filter(|after| *after > let_in_for) {
        broken.push(format!("its token was accepted {after:.1} s after the end"));
    }
    if let Some(after) = accepted.known.filter(|after| *after > forgotten_within) {
        broken.push(format!(
            "who bore its token was known {after:.1} s after the end, and not for {forgotten_within} s at most"
        ));
    }
    broken
}

impl Case<'_> {
    /// How long calls that begin so were refused again and again, and how far away the next try was then.
    fn refused_seconds(&self, begins: &[&str]) -> f64 {
        let refused = self.refused(|key| begins.iter().any(|begin| key.starts_with(begin))) > 0;
        if refused { PERSISTS.as_secs_f64() + LAST_PAUSE_SECONDS } else { 0.0 }
    }

    /// How much later the last deletion may come for what was done to this lease: a call that hangs is given up and made again, an
    /// operator begins anew, events come late.
    fn held_up_seconds(&self) -> f64 {
        let again = CALL_TIMEOUT.as_secs_f64() + 3.0;
        let weather = if self.plan.weather == Weather::Fair { 0.0 } else { 6.0 };
        let once = |trap: &&Trap| !matches!(trap.fault, Fault::Persists(_));
        let traps: f64 = self.plan.traps.iter().filter(once).map(|_| again).sum();
        let refused = self.refused_seconds(&["delete serviceaccounts", "delete rolebindings", "get "]);
        traps + refused + 2.0 * f64::from(self.life.outages) + weather
    }
}

/// I2: nothing is created for a lease that has to be agreed to before somebody has agreed; nothing at all if nobody has.
pub fn i2_no_issue_without_agreement(case: &Case<'_>) -> Vec<String> {
    if !matches!(case.plan.flow.script().terms, Terms::Agreed | Terms::Withdrawn) {
        return vec![];
    }
    let early = case.carried_out().filter(|r| r.verb == "create" && r.resource != "events");
    let early = early.filter(|r| case.life.decided.is_none_or(|decided| r.received < decided));
    early.map(|r| format!("{} {} at {}, agreed at {:?}", r.verb, r.resource, r.received, case.life.decided)).collect()
}

/// I3: a lease has one account in its life; of a standing credential two are there at once at the most.
pub fn i3_at_most_one_credential(case: &Case<'_>) -> Vec<String> {
    let mut broken = vec![];
    let of = |uid: &str| {
        let hex = uid.replace('-', "");
        let made = case.about.iter().filter(|r| is_account(r) && r.verb == "create" && r.code == 201);
        made.filter(|r| r.name.contains(&hex)).map(|r| r.name.as_str()).collect::<Vec<_>>()
    };
    for uid in std::iter::once(&case.life.uid).chain(&case.life.heirs) {
        let made = of(uid);
        if made.len() > 1 {
            broken.push(format!("{} accounts were created for {uid}: {made:?}", made.len()));
        }
    }
    let mut changes: Vec<&&Record> = case.about.iter().filter(|r| is_account(r)).collect();
    changes.sort_by_key(|r| r.finished);
    let (mut live, mut most) = (BTreeSet::new(), 0);
    for r in changes {
        match (r.verb.as_str(), r.code) {
            ("create", 201) => _ = live.insert(&r.name),
            ("delete", 200 | 202) => _ = live.remove(&r.name),
            _ => {}
        }
        most = most.max(live.len());
    }
    if most > 2 {
        broken.push(format!("{most} accounts were there at once"));
    }
    broken
}

/// I6: nothing is bound but the role that was asked for.
pub fn i6_least_privilege(case: &Case<'_>) -> Vec<String> {
    let home = format!("{}/Role/reader", case.life.namespace);
    let (far, cross) = (format!("{}-far", case.life.namespace), case.plan.flow.script().terms == Terms::Cross);
    let asked = |role: &&String| **role == home || role.starts_with("leasehold-leases/Role/");
    let foreign = case
        .life
        .bound
        .iter()
        .filter(|role| !(asked(role) || (cross && role.starts_with(&far) && role.ends_with("/Role/reader"))));
    foreign.map(|role| format!("{role} was bound")).collect()
}

/// I7: the token is in no log, status or audit stream.
pub fn i7_secrecy(case: &Case<'_>) -> Vec<String> {
    case.life.leaks.iter().map(|place| format!("the token is in {place}")).collect()
}

/// I11: once the end was asked for, no account is created and no token minted.
pub fn i11_ending_wins(case: &Case<'_>) -> Vec<String> {
    // Calls that were held while the lease was ended may be carried out after the end.
    let grace = if case.met(Fault::holds) { 2.0 } else { 0.0 };
    let late = |r: &Record| r.received.duration_since(case.life.ended).as_secs_f64();
    let hex = case.life.uid.replace('-', "");
    let issues = |r: &Record| (is_account(r) && r.verb == "create") || r.subresource == "token";
    let issued = case.about.iter().filter(|r| r.name.contains(&hex) && issues(r) && r.code == 201);
    let issued = issued.filter(|r| late(r) > grace);
    issued.map(|r| format!("{} {} {:.1} s after the end", r.user, super::kind(r), late(r))).collect()
}
