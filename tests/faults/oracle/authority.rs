//! What a lease lets its holder do, from when, until when, and who learns of it.

use std::collections::BTreeSet;

use leasehold_harness::Record;

use super::Case;
use crate::flow::Terms;

/// An API server remembers a token for 10 s, its watch may lag 2 s, the end itself may take one more.
const OUTLIVES_SECONDS: f64 = 13.0;

fn is_account(r: &Record) -> bool {
    r.resource == "serviceaccounts" && r.subresource.is_empty()
}

/// I1: a token is accepted for at most 13 s after the end, the time without an operator taken off.
pub fn i1_no_outliving(case: &Case<'_>) -> Vec<String> {
    let late = case.life.accepted.filter(|after| *after > OUTLIVES_SECONDS);
    late.map(|after| format!("its token was accepted {after:.1} s after the end")).into_iter().collect()
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
    let grace = if case.met(crate::fault::Fault::holds) { 2.0 } else { 0.0 };
    let late = |r: &Record| r.received.duration_since(case.life.ended).as_secs_f64();
    let hex = case.life.uid.replace('-', "");
    let issues = |r: &Record| (is_account(r) && r.verb == "create") || r.subresource == "token";
    let issued = case.about.iter().filter(|r| r.name.contains(&hex) && issues(r) && r.code == 201);
    let issued = issued.filter(|r| late(r) > grace);
    issued.map(|r| format!("{} {} {:.1} s after the end", r.user, super::kind(r), late(r))).collect()
}
