//! Issuing: the first thing that is missing, in the order in which nothing that grants precedes what allows taking it back.

use std::time::Duration;

use super::{
    agenda::Lane,
    agreement,
    call::{Call, Class, Failure, Next},
    decide::{attempt, until_end},
    ending,
    observed::{Child, Enforcement, Known, LifecycleSeen, Observed},
    rbac,
    refusal::Refusal,
    report, request, standing,
    steps::{self, Progress},
    terms,
};
use crate::api::{
    Time,
    lifecycle::{ApprovalType, Backstop, DeliveryType},
    reasons::EndReason,
    workflow::StepTime,
};

/// How long after a lease's creation the watches may lag with a connected system that its workflow names, in milliseconds.
const SYSTEM_LAG_MILLIS: i64 = 3_000;
/// A pause that needs no explanation.
const SOON: Duration = Duration::from_secs(5);
/// How old a lease becomes, in milliseconds, before any failure is told where its status says nothing yet: half of the time after
/// which `kubectl lease` takes it that nobody sees it.
const WITHOUT_A_WORD_MILLIS: i64 = 30_000;

/// The next step towards an issued credential.
#[must_use]
pub fn advance(seen: &Observed, now: Time) -> Next {
    if let Enforcement::Missing(why) = &seen.enforcement {
        return pause(seen, report::not_enforced(seen, now, why), None);
    }
    if seen.enforcement == Enforcement::Unknown || seen.lifecycle == LifecycleSeen::Unknown {
        // The first lists are on their way: whoever looks meanwhile sees a lease that waits, not one that is well.
        return pause(seen, report::not_known_yet(seen, now), None);
    }
    let decided = checks(seen).or_else(|| confirm(seen, now));
    decided
        .or_else(|| gates(seen, now))
        .or_else(|| agree(seen, now))
        .or_else(|| note(seen, now))
        .or_else(|| schedule(seen, now))
        .or_else(|| ask(seen, tidy(seen)))
        .or_else(|| place(seen))
        .or_else(|| objects(seen))
        .or_else(|| roles(seen))
        .or_else(|| delivery(seen))
        .map_or_else(
            || {
                ending::write(
                    seen,
                    report::issued(seen, now),
                    Lane::Issue,
                    Next::Rest { wishes: until_end(seen), backoff: None },
                )
            },
            |next| explain(seen, now, next),
        )
}

/// A pause after a failure is explained in the status, once, unless it is the first and may be the last: each call that an API
/// server does not take would cost it one more, the dearest there is.
fn explain(seen: &Observed, now: Time, next: Next) -> Next {
    match next {
        Next::Rest { backoff: Some(Lane::Issue), .. } if !is_a_stumble(seen, now) => {
            pause(seen, report::retrying(seen, now), Some(Lane::Issue))
        }
        next => next,
    }
}

/// Whether what failed in this visit failed for the first time, may pass, and is tried again soon, of a lease whose requester has
/// not waited for long without a word.
fn is_a_stumble(seen: &Observed, now: Time) -> bool {
    let passes = |failure: &Failure| failure.class.may_pass() && failure.retry_after.is_none_or(|asked| asked <= SOON);
    let waits = seen.lease.status.phase.is_none() && now >= seen.lease.created.plus_millis(WITHOUT_A_WORD_MILLIS);
    !waits && !seen.failed_before && seen.learned.failed.iter().all(|(_, failure)| passes(failure))
}

/// Waits until every gate has passed. One that did not pass at once need not keep people from looking at the request.
fn gates(seen: &Observed, now: Time) -> Option<Next> {
    let moments = match steps::forward(seen, now, StepTime::Request) {
        Progress::Settled => return None,
        Progress::Record(states) => return Some(pause(seen, report::stepped(seen, now, &states), Some(Lane::Issue))),
        Progress::Start(calls) => return ask(seen, calls),
        Progress::Wait(moments) => moments,
    };
    let answered = steps::open_gate(seen).is_some_and(|gate| !gate.message.is_empty());
    let next = agree(seen, now).filter(|_| answered);
    let mut next = next.unwrap_or_else(|| Next::Rest { wishes: until_end(seen), backoff: None });
    if let Next::Rest { wishes, .. } = &mut next {
        wishes.extend(moments.into_iter().map(|at| (Lane::Issue, at)));
    }
    Some(next)
}

fn pause(seen: &Observed, status: crate::api::status::CredentialLeaseStatus, backoff: Option<Lane>) -> Next {
    ending::write(seen, status, Lane::Issue, Next::Rest { wishes: until_end(seen), backoff })
}

fn ask(seen: &Observed, calls: Vec<Call>) -> Option<Next> {
    if calls.is_empty() { None } else { Some(attempt(seen, Lane::Issue, calls, until_end(seen))) }
}

/// What has to be asked before the rules can speak, and about whom before an approval counts: all at once.
fn checks(seen: &Observed) -> Option<Next> {
    let mut calls = questions(seen);
    calls.extend(deciders(seen));
    ask(seen, calls)
}

/// What has to be asked before the rules can speak.
fn questions(seen: &Observed) -> Vec<Call> {
    let Some(terms) = seen.terms() else { return vec![] };
    let mut calls: Vec<Call> = seen.unknown_namespaces().into_iter().map(|name| Call::ReadNamespace { name }).collect();
    if !calls.is_empty() {
        // Which rules there are depends on the answer.
        return calls;
    }
    if waits_for_others(seen) {
        return calls;
    }
    // Nobody asked for a standing credential: its lifecycle says that it must be there, and a rule compares the two.
    if seen.learned.access.is_none() && !standing::is_standing(seen) {
        calls.push(Call::CheckAccess);
    }
    if seen.learned.violations.is_none() && !terms.validations.is_empty() {
        calls.push(Call::Evaluate);
    }
    calls
}

/// Whether all that is missing is somebody's word: the document is shown, so every rule was asked, and is again once it counts.
fn waits_for_others(seen: &Observed) -> bool {
    let undecided = |s: agreement::Standing| s.kind == ApprovalType::Required && !s.may_be_agreed();
    seen.lease.status.request.is_some() && agreement::standing(seen).is_some_and(undecided)
}

/// About whom the authorizer has to be asked before his approval counts.
pub(super) fn deciders(seen: &Observed) -> Vec<Call> {
    let Some(standing) = agreement::standing(seen) else { return vec![] };
    // Only as many as are missing: each costs a question for every way to act as the requester. While too few have agreed anyway,
    // those who were asked about before are not again: they are when it counts.
    let missing = standing.required.saturating_sub(standing.counted.len());
    let known = if standing.may_be_agreed() { vec![] } else { standing.known(&seen.lease.status) };
    let unknown = standing.unasked.iter().filter(|d| !known.iter().any(|k| k.uid == d.uid));
    let calls: Vec<Call> = unknown.map(|d| Call::CheckDecider { decision: d.uid.clone() }).collect();
    // One whose question fails keeps no other from being asked about.
    let untried: Vec<Call> = calls.iter().filter(|call| seen.failure_of(call).is_none()).cloned().collect();
    (if untried.is_empty() { calls } else { untried }).into_iter().take(missing).collect()
}

/// Waits until enough people have agreed.
fn agree(seen: &Observed, now: Time) -> Option<Next> {
    let standing = agreement::standing(seen)?;
    let waits = standing.kind == ApprovalType::Required && !standing.is_agreed();
    waits.then(|| pause(seen, report::awaiting(seen, now, &standing), None))
}

/// What was agreed to for an earlier request is written down before anything is made of it: the account's name will tell a
/// shorter life where the agreement has one, and not what was asked for.
fn note(seen: &Observed, now: Time) -> Option<Next> {
    let standing = agreement::standing(seen)?;
    // A gate has the request written down before anybody has agreed.
    let status = &seen.lease.status;
    let gated = !status.steps.is_empty() && status.decisions.is_empty();
    let unwritten = (status.request.is_none() || gated) && !standing.counted.is_empty();
    unwritten.then(|| pause(seen, report::agreed(seen, now), Some(Lane::Issue)))
}

/// Waits until its time has come. Whoever is visited then knows nothing of this visit: everything is asked again.
fn schedule(seen: &Observed, now: Time) -> Option<Next> {
    let at = seen.lease.spec.as_ref()?.not_before.filter(|at| now < *at)?;
    let mut wishes = until_end(seen);
    wishes.push((Lane::Issue, at));
    Some(ending::write(seen, report::scheduled(seen, now, at), Lane::Issue, Next::Rest { wishes, backoff: None }))
}

/// What has to be read again before a refusal is said: watches may lag behind the requester.
fn confirm(seen: &Observed, now: Time) -> Option<Next> {
    let refusals = terms::refusals(seen, now);
    let asked = ask(seen, confirmations(seen, &refusals));
    asked.or_else(|| system_may_come(seen, now, &refusals).map(|at| Next::at(Lane::Issue, at)))
}

/// A connected system that is applied together with the lease may reach us after it: until when that is waited for.
fn system_may_come(seen: &Observed, now: Time, refusals: &[Refusal]) -> Option<Time> {
    let until = seen.lease.created.plus_millis(SYSTEM_LAG_MILLIS);
    let step = |r: &Refusal| matches!(r, Refusal::StepInvalid { .. });
    (now < until && refusals.iter().any(step)).then_some(until)
}

/// The refusal of a request, once every rule has spoken and the API server itself has confirmed what they rest on.
#[must_use]
pub fn refusal(seen: &Observed, now: Time) -> Option<Vec<Refusal>> {
    let undecided = seen.enforcement != Enforcement::Enforced || !questions(seen).is_empty();
    let refusals = terms::refusals(seen, now);
    let undecided = undecided || system_may_come(seen, now, &refusals).is_some();
    let settled = !undecided && !refusals.is_empty() && confirmations(seen, &refusals).is_empty();
    settled.then_some(refusals)
}

fn confirmations(seen: &Observed, refusals: &[Refusal]) -> Vec<Call> {
    if !refusals.iter().any(Refusal::may_be_stale) {
        return vec![];
    }
    match &seen.lifecycle {
        LifecycleSeen::Absent { confirmed: false } => vec![Call::ReadLifecycle],
        LifecycleSeen::Present(l) if !l.confirmed => vec![Call::ReadLifecycle],
        LifecycleSeen::Present(_) => refusals
            .iter()
            .filter_map(|r| match r {
                Refusal::RoleNotFound { grant, .. } if !seen.learned.roles_confirmed.contains(grant) => {
                    Some(Call::ReadRole { grant: grant.clone() })
                }
                _ => None,
            })
            .collect(),
        _ => vec![],
    }
}

fn place(seen: &Observed) -> Option<Next> {
    if seen.memory.reserved { None } else { ask(seen, vec![Call::Reserve]) }
}

/// Bindings of the lease that are where it would have none today, as after a crash and a change of its lifecycle: they are
/// looked at, and removed if they are its own.
pub(super) fn tidy(seen: &Observed) -> Vec<Call> {
    if !seen.synced {
        return vec![];
    }
    let claims = seen.claims.iter().map(|(child, id)| Call::Inspect { child: child.clone(), id: id.clone() });
    let strays = seen.strays.iter().filter(|(child, _)| child.gives_authority());
    claims.chain(strays.map(|(child, id)| Call::Delete { child: child.clone(), id: id.clone() })).collect()
}

/// Job, then account and bindings: the account must know its owner, the bindings need nobody.
fn objects(seen: &Observed) -> Option<Next> {
    let job = seen.terms().map(|terms| terms.backstop) == Some(Backstop::Job);
    if job && seen.present(&Child::Job).is_none() && seen.present(&Child::Account).is_none() {
        return ask(seen, vec![Call::Create(Child::Job)]);
    }
    let wanted = std::iter::once(Child::Account).chain(seen.grants().iter().map(|g| Child::Binding(g.clone())));
    ask(seen, wanted.filter(|child| seen.present(child).is_none()).map(Call::Create).collect())
}

/// The roles are read again after their bindings are in force; beside that, what gives nobody anything yet is prepared.
fn roles(seen: &Observed) -> Option<Next> {
    let mut calls: Vec<Call> = seen
        .grants()
        .iter()
        .filter(|g| !seen.learned.roles_after.contains_key(*g))
        .map(|g| Call::ReadRole { grant: g.clone() })
        .collect();
    match seen.lease.spec.as_ref().map(|s| s.delivery.kind) {
        _ if standing::is_standing(seen) => {}
        Some(DeliveryType::Secret) if seen.memory.token.is_none() => {
            calls.extend(seen.present(&Child::Account).map(|id| Call::MintToken { account: id.clone() }));
        }
        Some(DeliveryType::TokenRequest) if seen.present(&Child::MintRole).is_none() => {
            calls.push(Call::Create(Child::MintRole));
        }
        _ => {}
    }
    if steps::needs_ledger(seen) && seen.present(&Child::Ledger).is_none() {
        calls.push(Call::Create(Child::Ledger));
    }
    ask(seen, calls)
}

/// Which role gained rights, or vanished, between the agreement and the binding.
#[must_use]
pub fn stale(seen: &Observed) -> Option<String> {
    if seen.learned.roles_after.is_empty() {
        return None;
    }
    let agreed = request::current(seen)?.request;
    seen.learned.roles_after.iter().find_map(|(grant, after)| {
        let held = agreed.grants.iter().find(|g| g.name == *grant)?;
        let Some(role) = after else {
            return Some(format!("the role of grant {grant} was deleted while the lease was being issued: ask again once it is there"));
        };
        if rbac::digest(&role.rules) == held.rules_digest {
            return None;
        }
        // Rules that are too many for a status are those that were watched, or unknown.
        let watched = seen.roles.get(grant).filter(|r| rbac::digest(&r.rules) == held.rules_digest);
        let before = watched.map_or(held.rules.as_slice(), |r| r.rules.as_slice());
        let gained = rbac::gained(before, &role.rules);
        (!gained.is_empty()).then(|| {
            format!(
                "the role of grant {grant} gained rights while the lease was being issued ({}): look at the role, then ask again",
                ending::describe(&gained)
            )
        })
    })
}

fn delivery(seen: &Observed) -> Option<Next> {
    if standing::is_standing(seen) {
        // Its token goes into the Secret of the standing credential, once it is active.
        return None;
    }
    let last = match seen.lease.spec.as_ref()?.delivery.kind {
        DeliveryType::Secret => Child::Secret,
        DeliveryType::TokenRequest => Child::MintBinding,
    };
    if seen.present(&last).is_some() && seen.learned_delivery(&last) {
        None
    } else {
        ask(seen, vec![Call::Create(last)])
    }
}

impl Observed {
    /// A Secret counts as delivered only if this visit's token is in it: one from before a crash holds a token nobody knows.
    fn learned_delivery(&self, child: &Child) -> bool {
        *child != Child::Secret || matches!(self.memory.secret, Some(Known::Present(_)))
    }
}

/// What a failed creation means for good, if it does.
#[must_use]
pub fn outcome_of(call: &Call, class: Class) -> Option<EndReason> {
    match (call, class) {
        // In the issuing namespace a missing right is a fault of the installation: it is retried, and the condition says what is missing.
        (Call::Create(Child::Binding(_) | Child::Secret), Class::Forbidden) => Some(EndReason::MissingRight),
        (Call::Create(_) | Call::MintToken { .. }, Class::Invalid) => Some(EndReason::Rejected),
        _ => None,
    }
}

#[cfg(test)]
#[path = "issue_tests.rs"]
mod tests;
