//! The end of a lease, from any cause: what ended it, taking it down, proving it.

use super::{
    agenda::Lane,
    agreement,
    call::{Call, Next},
    decide::{account_gone, attempt},
    guards, issue,
    observed::{Child, Control, Enforcement, Known, LifecycleSeen, ObjectId, Observed, Presence},
    rbac, report,
    terms::{self, Refusal},
};
use crate::api::{
    Time,
    decision::DecisionType,
    lifecycle::{ApprovalType, OnRoleChange, StopPolicy},
    policy::OnViolation,
    reasons::{EndReason, Evidence},
    status::PolicyRule,
};

/// How long after the account's deletion no API server in contact with etcd accepts its tokens any more, in milliseconds:
/// they remember an accepted token for 10 s (`TokenSuccessCacheTTL`, pkg/kubeapiserver/options/authentication.go); 2 s are
/// for the lag of their watches. A review before that would refresh what they remember.
pub const PROOF_WAIT_MILLIS: i64 = 12_000;
/// API servers accept a token for so long after its `exp`, in milliseconds (go-jose's `DefaultLeeway`).
pub const EXPIRY_LEEWAY_MILLIS: i64 = 60_000;
/// The longest life of a token that a requester mints, in milliseconds; policy leasehold-token-request enforces it.
pub const MINTED_TOKEN_MILLIS: i64 = 600_000;

/// The end of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub reason: EndReason,
    /// When the end was due or seen.
    pub at: Time,
    pub message: String,
}

impl End {
    fn new(reason: EndReason, at: Time, message: impl Into<String>) -> Self {
        Self { reason, at, message: message.into() }
    }
}

/// What has ended the lease, if anything has. What a status recorded stays the cause; then what is certain; then what is inferred.
#[must_use]
pub fn cause(seen: &Observed, now: Time) -> Option<End> {
    if let Some(end) = &seen.memory.end {
        return Some(end.clone());
    }
    let status = &seen.lease.status;
    if let (Some(reason), Some(at)) = (status.end_reason, status.end_time) {
        return Some(End::new(reason, at, ""));
    }
    if let Some(outcome) = &seen.memory.outcome {
        return Some(End::new(outcome.reason, now, outcome.message.clone()));
    }
    let due = seen.deadline().filter(|at| *at <= now);
    match seen.lease.presence {
        Presence::Gone | Presence::Deleting => {
            return Some(End::new(EndReason::LeaseDeleted, due.unwrap_or(now).min(now), "the lease was deleted"));
        }
        Presence::Unconfirmed | Presence::Unreadable => return due.map(expired),
        Presence::Exists => {}
    }
    if let Some(at) = due {
        return Some(expired(at));
    }
    if let Some(decision) = agreement::against(seen) {
        return Some(decided(seen, decision, now));
    }
    if seen.issued() { ended_while_active(seen, now) } else { stopped_while_issuing(seen, now) }
}

fn stopped_while_issuing(seen: &Observed, now: Time) -> Option<End> {
    if let Some(stale) = issue::stale(seen) {
        return Some(End::new(EndReason::ApprovalStale, now, stale));
    }
    // What a terminal refusal rests on has to be there first.
    let judged = seen.lease.status.request.is_some();
    let unproven = !judged && seen.unproven_until.is_some_and(|at| seen.lease.created <= at);
    if unproven && seen.enforcement == Enforcement::Enforced {
        let message = "it was created while the admission policies were not known to be in force, so nothing proves who asked: ask again";
        return Some(End::new(EndReason::CreatedUnproven, now, message));
    }
    issue::refusal(seen, now).map(|refusals| denied(&refusals, now)).or_else(|| unanswered(seen, now))
}

/// Too few have agreed, and nobody who was not asked about could make them enough.
fn unanswered(seen: &Observed, now: Time) -> Option<End> {
    let standing = agreement::standing(seen)?;
    let over = standing.kind == ApprovalType::Required && !standing.may_be_agreed() && standing.until <= now;
    over.then(|| {
        let (have, need) = (standing.counted.len(), standing.required);
        End::new(
            EndReason::ApprovalTimeout,
            standing.until,
            format!("{have} of {need} approvals came in time: ask again"),
        )
    })
}

/// It was issued before anybody agreed, and too few have agreed since.
fn unanswered_while_active(seen: &Observed, now: Time) -> Option<End> {
    let due = seen.lease.status.approvals.as_ref().filter(|a| a.have < a.required)?;
    let until = due.until.filter(|until| *until <= now)?;
    let standing = agreement::standing(seen)?;
    let required = usize::try_from(due.required).unwrap_or(usize::MAX);
    let may_be_enough = standing.counted.len() + standing.unasked.len() >= required;
    (!may_be_enough).then(|| {
        let message = format!(
            "{} of {required} approvals came in time; the lifecycle is held until somebody decides",
            standing.counted.len()
        );
        End::new(EndReason::ApprovalMissing, until, message)
    })
}

/// Somebody decided against it.
fn decided(seen: &Observed, decision: &super::observed::DecisionSeen, now: Time) -> End {
    let by = &decision.spec.decided_by.username;
    let (reason, what) = match decision.spec.decision {
        DecisionType::Denied if !seen.issued() => (EndReason::DecisionDenied, "denied it"),
        DecisionType::Denied => (EndReason::DecisionRevoked, "denied it after it was issued"),
        _ if *by == decision.spec.requester => (EndReason::DecisionRevoked, "ended it, as who asked for it"),
        _ => (EndReason::DecisionRevoked, "revoked it"),
    };
    // An end is never said to have been before what it ended, nor to be still to come.
    let at = decision.created.max(seen.lease.status.issue_time.unwrap_or(decision.created)).min(now);
    End::new(reason, at, format!("{by} {what}: {}", decision.spec.reason))
}

fn expired(at: Time) -> End {
    End::new(EndReason::Expired, at, "its time was up")
}

fn ended_while_active(seen: &Observed, now: Time) -> Option<End> {
    lifecycle_over(seen, now)
        .or_else(|| policy_against(seen, now))
        .or_else(|| grants_changed(seen, now))
        .or_else(|| children_gone(seen, now))
        .or_else(|| unanswered_while_active(seen, now))
}

/// Keeps the cause that was seen first: taking a lease down changes what could be taken for a cause.
pub fn settle(seen: &mut Observed, now: Time) {
    if seen.memory.end.is_none() {
        seen.memory.end = cause(seen, now);
    }
}

fn children_gone(seen: &Observed, now: Time) -> Option<End> {
    if *seen.child(&Child::Account) == Known::Absent {
        return Some(End::new(EndReason::AccountDeleted, now, "somebody else deleted the lease's account"));
    }
    let lost = seen.lease.status.bindings.iter().find(|b| match seen.child(&Child::Binding(b.grant.clone())) {
        Known::Absent => true,
        Known::Present(id) => id.uid != b.uid,
        Known::Unknown | Known::Stranger => false,
    });
    if let Some(binding) = lost {
        return Some(End::new(
            EndReason::BindingDeleted,
            now,
            format!("somebody else deleted RoleBinding {}/{}", binding.namespace, binding.name),
        ));
    }
    let secret = seen.lease.status.credential.as_ref().and_then(|c| c.secret.as_ref())?;
    match &seen.memory.secret {
        Some(Known::Absent | Known::Stranger) => Some(End::new(
            EndReason::SecretChanged,
            now,
            format!("somebody else deleted or changed Secret {}", secret.name),
        )),
        _ => None,
    }
}

fn lifecycle_over(seen: &Observed, now: Time) -> Option<End> {
    let pinned = seen.lease.status.request.as_ref().map(|r| r.lifecycle.uid.as_str());
    match &seen.lifecycle {
        LifecycleSeen::Unknown | LifecycleSeen::Absent { confirmed: false } => None,
        LifecycleSeen::Absent { confirmed: true } => {
            Some(End::new(EndReason::LifecycleDeleted, now, "the lifecycle was deleted"))
        }
        LifecycleSeen::Present(l) if l.deleting || pinned.is_some_and(|uid| uid != l.uid) => {
            Some(End::new(EndReason::LifecycleDeleted, now, "the lifecycle or its namespace is being deleted"))
        }
        LifecycleSeen::Present(l) if l.spec.stop() == StopPolicy::HoldAndRevoke => {
            Some(End::new(EndReason::LifecycleStopped, now, "the lifecycle was stopped (HoldAndRevoke)"))
        }
        LifecycleSeen::Present(l) => {
            let at = l.spec.expiration_time.filter(|at| *at <= now)?;
            Some(End::new(
                EndReason::LifecycleExpired,
                at.max(seen.lease.status.issue_time.unwrap_or(at)),
                "the lifecycle's expirationTime passed",
            ))
        }
    }
}

/// A policy stops it, or forbids by now what it holds and says to revoke for that.
fn policy_against(seen: &Observed, now: Time) -> Option<End> {
    let scope = seen.scope();
    let guards = seen.guards(&scope);
    if let Some((StopPolicy::HoldAndRevoke, policy)) = guards::stop(&guards) {
        return Some(End::new(EndReason::PolicyStopped, now, format!("policy {policy} stops it (HoldAndRevoke)")));
    }
    let revoked = violations(seen).into_iter().filter(|(on, _)| *on == OnViolation::Revoke);
    let messages: Vec<String> = revoked.map(|(_, refusal)| refusal.to_string()).collect();
    (!messages.is_empty()).then(|| End::new(EndReason::PolicyViolated, now, messages.join("; ")))
}

/// What policies forbid by now of what the lease holds: its grants, its delivery, its audiences.
#[must_use]
pub fn violations(seen: &Observed) -> Vec<(OnViolation, Refusal)> {
    let scope = seen.scope();
    let guards = seen.guards(&scope);
    let mut out = guards::violations(&scope, &guards);
    if let Some(request) = seen.lease.status.request.as_ref() {
        out.extend(guards.iter().flat_map(|guard| terms::violated(guard, request, &seen.api_audiences)));
    }
    out
}

fn grants_changed(seen: &Observed, now: Time) -> Option<End> {
    let lifecycle = seen.lifecycle()?;
    for held in seen.lease.status.request.iter().flat_map(|r| &r.grants) {
        let same = |g: &crate::api::lifecycle::Grant| {
            g.role_ref == held.role_ref && g.namespace.as_ref().unwrap_or(&seen.lease.namespace) == &held.namespace
        };
        if !lifecycle.spec.grant(&held.name).is_some_and(same) {
            return Some(End::new(
                EndReason::GrantWithdrawn,
                now,
                format!("the lifecycle no longer grants {}", held.name),
            ));
        }
    }
    if seen.terms()?.on_role_change == OnRoleChange::Report {
        return None;
    }
    let (grant, gained) = widened(seen)?;
    Some(End::new(EndReason::RoleWidened, now, format!("the role of grant {grant} gained rights: {gained}")))
}

/// The first grant whose role has gained rights since it was resolved, and which.
#[must_use]
pub fn widened(seen: &Observed) -> Option<(String, String)> {
    let held = seen.lease.status.request.as_ref()?;
    held.grants.iter().find_map(|grant| {
        let role = seen.roles.get(&grant.name)?;
        if rbac::digest(&role.rules) == grant.rules_digest {
            return None;
        }
        if grant.rules.is_empty() && grant.rules_digest != rbac::digest(&[]) {
            return Some((grant.name.clone(), "its rules changed, and were too many to keep for a comparison".into()));
        }
        let gained = rbac::gained(&grant.rules, &role.rules);
        (!gained.is_empty()).then(|| (grant.name.clone(), describe(&gained)))
    })
}

/// Rules as one sentence.
#[must_use]
pub fn describe(rules: &[PolicyRule]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The end of a refused request: whatever a crashed visit had made for it is taken down too.
fn denied(refusals: &[Refusal], now: Time) -> End {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    End::new(EndReason::Denied, now, all.join("; "))
}

/// RoleBindings first, then everything else at once; each is tried even if another fails; then the status; then the proof.
#[must_use]
pub fn take_down(seen: &Observed, now: Time, end: &End) -> Next {
    let (authority, rest): (Vec<_>, Vec<_>) = left(seen).into_iter().partition(gives_authority);
    for batch in [authority, rest] {
        let untried: Vec<Call> = batch.into_iter().filter(|call| seen.failure_of(call).is_none()).collect();
        if !untried.is_empty() {
            return Next::Do(Lane::End, untried);
        }
    }
    let clean = left(seen).is_empty();
    if !account_gone(seen) {
        return write(
            seen,
            report::deletion_failing(seen, now, end),
            Lane::End,
            Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) },
        );
    }
    let made = seen.memory.account.is_some()
        || seen.lease.status.credential.as_ref().is_some_and(|c| c.service_account.is_some());
    if !made {
        return conclude(seen, now, end, clean, None);
    }
    let revoked_at = seen.lease.status.credential.as_ref().and_then(|c| c.revocation_time);
    let Some(revoked_at) = revoked_at else {
        return write(
            seen,
            report::revoked(seen, now, end),
            Lane::End,
            Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) },
        );
    };
    match proof(seen, now, revoked_at) {
        Proof::Wait(at) if clean => Next::at(Lane::Retry, at),
        Proof::Wait(at) => Next::Rest { wishes: vec![(Lane::Retry, at)], backoff: Some(Lane::Retry) },
        Proof::Ask => Next::Do(Lane::Retry, vec![Call::ReviewToken]),
        Proof::StillAccepted => Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) },
        Proof::Given(evidence) => conclude(seen, now, end, clean, Some(evidence)),
    }
}

fn gives_authority(call: &Call) -> bool {
    matches!(call, Call::Delete { child, .. } | Call::Inspect { child, .. } | Call::Find(child) if child.gives_authority())
}

/// What is left to delete, and what is left to look for because nobody knows whether it was made.
fn left(seen: &Observed) -> Vec<Call> {
    let known = seen.children.iter().filter_map(|(child, known)| match known {
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
        Some((_, failure)) if failure.class == super::call::Class::Conflict => Proof::StillAccepted,
        _ => Proof::Given(Evidence::AccountGoneAndWaited),
    }
}

/// Everything is said; what remains is to remove the lease after its retention, or to keep trying to remove what is left.
fn conclude(seen: &Observed, now: Time, end: &End, clean: bool, evidence: Option<Evidence>) -> Next {
    let answer = agreement::late_answer(seen);
    if let agreement::Late::Ask(decision) = &answer {
        let call = Call::CheckDecider { decision: decision.uid.clone() };
        if seen.failure_of(&call).is_none() {
            return Next::Do(Lane::Retry, vec![call]);
        }
    }
    let status = report::concluded(seen, now, end, clean, evidence);
    let rest = if !clean {
        Next::Rest { wishes: vec![], backoff: Some(Lane::Retry) }
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
        } else if due <= now && status == seen.lease.status {
            attempt(seen, Lane::Retry, vec![Call::DeleteLease], vec![])
        } else {
            Next::at(Lane::Retry, due.max(now))
        }
    };
    write(seen, status, Lane::Retry, rest)
}

/// Write the status if it differs, then rest.
pub(super) fn write(
    seen: &Observed,
    status: crate::api::status::CredentialLeaseStatus,
    lane: Lane,
    rest: Next,
) -> Next {
    if status == seen.lease.status || seen.lease.presence == Presence::Unreadable {
        return rest;
    }
    let call = match seen.lease.presence {
        Presence::Gone | Presence::Unconfirmed => Call::Record(Box::new(status)),
        _ => Call::WriteStatus(Box::new(status)),
    };
    if seen.learned.failed.iter().any(|(c, _)| matches!(c, Call::WriteStatus(_))) {
        let wishes = match rest {
            Next::Rest { wishes, .. } => wishes,
            _ => vec![],
        };
        return Next::Rest { wishes, backoff: Some(if lane == Lane::End { Lane::Retry } else { lane }) };
    }
    Next::Do(lane, vec![call])
}
