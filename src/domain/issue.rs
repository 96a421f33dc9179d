//! Issuing: the first thing that is missing, in the order in which nothing that grants precedes what allows taking it back.

use super::{
    agenda::Lane,
    call::{Call, Class, Next},
    decide::{attempt, until_deadline},
    ending,
    observed::{Child, Enforcement, Known, LifecycleSeen, Observed},
    rbac, report, terms,
};
use crate::api::{
    Time,
    lifecycle::{Backstop, DeliveryType},
    reasons::EndReason,
};

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
                    Next::Rest { wishes: until_deadline(seen), backoff: None },
                )
            },
            |next| explain(seen, now, next),
        )
}

/// A pause after a failure is explained in the status, once.
fn explain(seen: &Observed, now: Time, next: Next) -> Next {
    match next {
        Next::Rest { backoff: Some(Lane::Issue), .. } => pause(seen, report::retrying(seen, now), Some(Lane::Issue)),
        next => next,
    }
}

fn pause(seen: &Observed, status: crate::api::status::CredentialLeaseStatus, backoff: Option<Lane>) -> Next {
    ending::write(seen, status, Lane::Issue, Next::Rest { wishes: until_deadline(seen), backoff })
}

fn ask(seen: &Observed, calls: Vec<Call>) -> Option<Next> {
    if calls.is_empty() { None } else { Some(attempt(seen, Lane::Issue, calls, until_deadline(seen))) }
}

/// What has to be asked before the rules can speak.
fn checks(seen: &Observed) -> Option<Next> {
    let mut calls = vec![];
    if let Some(lifecycle) = seen.lifecycle() {
        if seen.learned.access.is_none() {
            calls.push(Call::CheckAccess);
        }
        if seen.learned.violations.is_none() && !lifecycle.spec.terms.validations.is_empty() {
            calls.push(Call::Evaluate);
        }
    }
    ask(seen, calls)
}

/// What has to be read again before a refusal is said: watches may lag behind the requester.
fn confirm(seen: &Observed, now: Time) -> Option<Next> {
    ask(seen, confirmations(seen, &terms::refusals(seen, now)))
}

/// The refusal of a request, once every rule has spoken and the API server itself has confirmed what they rest on.
#[must_use]
pub fn refusal(seen: &Observed, now: Time) -> Option<Vec<terms::Refusal>> {
    let undecided = seen.enforcement != Enforcement::Enforced || checks(seen).is_some();
    let refusals = terms::refusals(seen, now);
    let settled = !undecided && !refusals.is_empty() && confirmations(seen, &refusals).is_empty();
    settled.then_some(refusals)
}

fn confirmations(seen: &Observed, refusals: &[terms::Refusal]) -> Vec<Call> {
    if !refusals.iter().any(terms::Refusal::may_be_stale) {
        return vec![];
    }
    match &seen.lifecycle {
        LifecycleSeen::Absent { confirmed: false } => vec![Call::ReadLifecycle],
        LifecycleSeen::Present(l) if !l.confirmed => vec![Call::ReadLifecycle],
        LifecycleSeen::Present(_) => refusals
            .iter()
            .filter_map(|r| match r {
                terms::Refusal::RoleNotFound { grant, .. } if !seen.learned.roles_confirmed.contains(grant) => {
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

/// Job, then account and bindings: the account must know its owner, the bindings need nobody.
fn objects(seen: &Observed) -> Option<Next> {
    let job = seen.lifecycle().map(|l| l.spec.terms.backstop()) == Some(Backstop::Job);
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
        Some(DeliveryType::Secret) if seen.memory.token.is_none() => {
            calls.extend(seen.present(&Child::Account).map(|id| Call::MintToken { account: id.clone() }));
        }
        Some(DeliveryType::TokenRequest) if seen.present(&Child::MintRole).is_none() => {
            calls.push(Call::Create(Child::MintRole))
        }
        _ => {}
    }
    ask(seen, calls)
}

/// Which role gained rights, or vanished, between the decision and the binding.
#[must_use]
pub fn stale(seen: &Observed) -> Option<String> {
    seen.grants().iter().find_map(|grant| {
        let decided = seen.roles.get(grant)?;
        match seen.learned.roles_after.get(grant)? {
            None => Some(format!("the role of grant {grant} was deleted while the lease was being issued: ask again once it is there")),
            Some(now) if now == decided || rbac::covers(&decided.rules, &now.rules) => None,
            Some(now) => Some(format!(
                "the role of grant {grant} gained rights while the lease was being issued ({}): look at the role, then ask again",
                ending::describe(&rbac::gained(&decided.rules, &now.rules))
            )),
        }
    })
}

fn delivery(seen: &Observed) -> Option<Next> {
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
