//! What has ended a lease, if anything has.

use crate::{
    api::{
        Time,
        decision::DecisionType,
        lifecycle::{ApprovalType, Grant, OnRoleChange, StopPolicy},
        policy::OnViolation,
        reasons::EndReason,
        status::PolicyRule,
        workflow::StepTime,
    },
    domain::{
        agreement,
        call::Call,
        guards, issue,
        observed::{Child, DecisionSeen, Enforcement, Known, LifecycleSeen, Observed, Presence},
        rbac, recorded,
        refusal::Refusal,
        standing::{self, Succession},
        steps, task, terms,
    },
};

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
    if let Some(end) = task::over(seen, now) {
        return Some(end);
    }
    if seen.issued() { ended_while_active(seen, now) } else { stopped_while_issuing(seen, now) }
}

fn stopped_while_issuing(seen: &Observed, now: Time) -> Option<End> {
    if let Some((step, status)) = steps::failed(seen, StepTime::Request) {
        let message =
            format!("step {} ({}/{}) did not pass: {}", step.name, step.system.name, step.operation, status.message);
        return Some(End::new(EndReason::GateRefused, status.end_time.unwrap_or(now), message));
    }
    if let Some(stale) = issue::stale(seen).or_else(|| changed_while_issuing(seen)) {
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

/// What was made before the lifecycle or the agreement changed is not what is agreed to now.
fn changed_while_issuing(seen: &Observed) -> Option<String> {
    let lifecycle = seen.lifecycle()?;
    let there = seen.present(&Child::Ledger).is_some() && seen.is_complete();
    let written = seen.memory.ledger.as_ref().filter(|_| there);
    if written.is_some_and(|of| steps::workflow_digest(seen).as_ref() != Some(of)) {
        return Some("the workflow was changed while the lease was being issued: ask again".to_owned());
    }
    let moved = seen.memory.bound.iter().find(|(grant, (namespace, role))| {
        let now = lifecycle.spec.grant(grant);
        now.is_none_or(|g| g.role_ref != *role || g.namespace.as_ref().unwrap_or(&seen.lease.namespace) != namespace)
    });
    if let Some((grant, _)) = moved {
        return Some(format!("the lifecycle changed grant {grant} while the lease was being issued: ask again"));
    }
    let made = |child: &Child| matches!(seen.child(child), Known::Present(_));
    let begun = made(&Child::Account)
        || made(&Child::MintBinding)
        || seen.grants().iter().any(|g| made(&Child::Binding(g.clone())));
    let judged = begun && seen.enforcement == Enforcement::Enforced && seen.is_complete();
    let standing = agreement::standing(seen).filter(|_| judged)?;
    (standing.kind == ApprovalType::Required && !standing.may_be_agreed())
        .then(|| "the agreement was taken back while the lease was being issued: ask again".to_owned())
}

/// Too few have agreed, and nobody who was not asked about could make them enough.
fn unanswered(seen: &Observed, now: Time) -> Option<End> {
    let standing = agreement::standing(seen).filter(|_| seen.is_complete())?;
    let over = standing.kind == ApprovalType::Required && !standing.may_be_agreed() && standing.until <= now;
    over.then(|| {
        let (have, need) = (standing.have(&seen.lease.status), standing.required);
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
    let until = due.until.filter(|until| *until <= now && seen.is_complete())?;
    let standing = agreement::standing(seen)?;
    (!standing.may_be_agreed()).then(|| {
        let (have, need) = (standing.have(&seen.lease.status), standing.required);
        let message = format!("{have} of {need} approvals came in time; the lifecycle is held until somebody decides");
        End::new(EndReason::ApprovalMissing, until, message)
    })
}

/// Somebody decided against it.
fn decided(seen: &Observed, decision: &DecisionSeen, now: Time) -> End {
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
    if let Some((step, status)) = steps::failed(seen, StepTime::Issue) {
        let message =
            format!("step {} ({}/{}) failed: {}", step.name, step.system.name, step.operation, status.message);
        return Some(End::new(EndReason::StepFailed, status.end_time.unwrap_or(now), message));
    }
    lifecycle_over(seen, now)
        .or_else(|| policy_against(seen, now))
        .or_else(|| grants_changed(seen, now))
        .or_else(|| succeeded(seen, now))
        .or_else(|| if confirms_first(seen) { None } else { children_gone(seen, now) })
        .or_else(|| unanswered_while_active(seen, now))
}

/// What is missing of a lease that seems to be left behind, or whose lifecycle seems to be gone, was, for all that is known, taken
/// down by an earlier self: which it is will be known in this visit, unless the question fails.
fn confirms_first(seen: &Observed) -> bool {
    let asks = standing::to_be_confirmed(seen) || seen.lifecycle == (LifecycleSeen::Absent { confirmed: false });
    asks && seen.failure_of(&Call::ReadLifecycle).is_none()
}

/// It was made for a standing credential that is held by another lease by now, as the API server itself has confirmed.
fn succeeded(seen: &Observed, now: Time) -> Option<End> {
    seen.lifecycle().filter(|l| l.confirmed)?;
    Some(match standing::succession(seen)? {
        Succession::Superseded => {
            End::new(EndReason::Superseded, now, "its standing credential is held by another lease, or by none")
        }
        Succession::RolledBack(why) => End::new(EndReason::RolledBack, now, why),
    })
}

/// Keeps the cause that was seen first: taking a lease down changes what could be taken for a cause.
pub fn settle(seen: &mut Observed, now: Time) {
    if seen.memory.task.is_none() {
        seen.memory.task = task::pinned(seen).map(str::to_owned);
    }
    if seen.memory.end.is_none() {
        seen.memory.end = cause(seen, now);
    }
}

fn children_gone(seen: &Observed, now: Time) -> Option<End> {
    match recorded::lost(seen) {
        Some((Child::Binding(_), id)) => {
            let message = format!("somebody else deleted RoleBinding {}/{}", id.namespace, id.name);
            return Some(End::new(EndReason::BindingDeleted, now, message));
        }
        None if !recorded::account_is_unknown(seen) => {}
        _ => return Some(End::new(EndReason::AccountDeleted, now, "somebody else deleted the lease's account")),
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
    if !judged_by_policies(seen) {
        return None;
    }
    let scope = seen.scope();
    let guards = seen.guards(&scope);
    if let Some((StopPolicy::HoldAndRevoke, policy)) = guards::stop(&guards) {
        return Some(End::new(EndReason::PolicyStopped, now, format!("policy {policy} stops it (HoldAndRevoke)")));
    }
    let revoked = violations(seen).into_iter().filter(|(on, _)| *on == OnViolation::Revoke);
    let messages: Vec<String> = revoked.map(|(_, refusal)| refusal.to_string()).collect();
    (!messages.is_empty()).then(|| End::new(EndReason::PolicyViolated, now, messages.join("; ")))
}

/// Whether it is known which policies guard the lease. A namespace that is gone took with it what was granted there.
fn judged_by_policies(seen: &Observed) -> bool {
    let gone = |name: &str| !seen.namespaces.contains_key(name);
    seen.synced && !gone(&seen.lease.namespace) && !seen.scope().grants.iter().any(|g| gone(g.namespace))
}

/// What policies forbid by now of what the lease holds: its grants, its life, its delivery, its audiences. Nothing, as long as it
/// is not known which policies guard it.
#[must_use]
pub fn violations(seen: &Observed) -> Vec<(OnViolation, Refusal)> {
    if !judged_by_policies(seen) {
        return vec![];
    }
    let scope = seen.scope();
    let guards = seen.guards(&scope);
    let mut out = guards::violations(&scope, &guards);
    if let Some(request) = seen.lease.status.request.as_ref() {
        let agreed = seen.lease.status.decisions.iter().filter_map(|d| d.max_ttl).min();
        let life = agreed.map_or(request.ttl, |max| request.ttl.min(max));
        out.extend(guards.iter().flat_map(|guard| terms::violated(guard, request, life, &seen.api_audiences)));
    }
    out
}

fn grants_changed(seen: &Observed, now: Time) -> Option<End> {
    let lifecycle = seen.lifecycle()?;
    for held in seen.lease.status.request.iter().flat_map(|r| &r.grants) {
        let same = |g: &Grant| {
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

#[cfg(test)]
#[path = "cause_tests.rs"]
mod tests;
