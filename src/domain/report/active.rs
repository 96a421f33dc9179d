//! What an issued lease says, and what has been noticed since.

use super::draft::Draft;
use crate::{
    api::{
        ConditionStatus, Duration, Time,
        lifecycle::{ApprovalType, OnRoleChange},
        reasons::{ConditionType, Happening, LeaseReason, Phase},
        status::{AccountIdentity, BindingStatus, CredentialLeaseStatus, DeliveredSecret, ResolvedRequest},
        workflow::StepTime,
    },
    domain::{
        agreement, ending,
        observed::{Child, Known, Observed},
        request::{self, Roles},
        steps::{self, Progress},
    },
};

/// The credential is usable.
#[must_use]
pub fn issued(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    draft.status.request = agreed_request(seen);
    let workflow = draft.status.request.as_ref().map(|r| r.workflow.clone()).unwrap_or_default();
    draft.status.steps.retain(|s| workflow.iter().any(|step| step.name == s.name && step.at == s.at));
    draft.status.request_digest = draft.status.request.as_ref().and_then(request::digest_of);
    draft.status.issue_time = Some(now);
    draft.status.bindings = bindings(seen);
    let token = seen.memory.token.clone();
    let deadline = seen.deadline().unwrap_or(now);
    let end = token.as_ref().map_or(deadline, |t| t.expires.min(deadline));
    draft.status.expiration_time = Some(end);
    let outlives = offline_expiration_time(seen, token.as_ref().map(|t| t.expires), deadline);
    let account = seen.present(&Child::Account).cloned();
    let secret = seen.present(&Child::Secret).cloned();
    let credential = draft.credential();
    credential.service_account =
        account.map(|id| AccountIdentity { namespace: id.namespace, name: id.name, uid: id.uid });
    credential.secret = secret.map(|id| DeliveredSecret { name: id.name, uid: id.uid, deletion_time: None });
    credential.credential_id = token.as_ref().and_then(|t| t.credential_id.clone());
    credential.token_expiration_time = token.as_ref().map(|t| t.expires);
    credential.offline_expiration_time = outlives;
    let shorter = if end < deadline {
        format!(
            " (the API server gave the token {} less than was asked)",
            Duration::from_secs(deadline.since(end) / 1000)
        )
    } else {
        String::new()
    };
    draft
        .agreed()
        .condition(ConditionType::Issued, ConditionStatus::True, LeaseReason::Delivered.as_str(), delivered(seen))
        .condition(
            ConditionType::Revoked,
            ConditionStatus::False,
            LeaseReason::NotEnded.as_str(),
            offline_note(outlives),
        );
    draft.record(Happening::Allowed, "every term of the lifecycle is met");
    let detail = draft.status.request_digest.clone().unwrap_or_default();
    draft.record(Happening::Issued, &detail);
    match steps::forward(seen, now, StepTime::Issue) {
        Progress::Record(states) => {
            draft.phase(Phase::Issuing, "issued; what depends on it is being brought up to date").condition(
                ConditionType::Reconciling,
                ConditionStatus::True,
                LeaseReason::StepsRunning.as_str(),
                "steps at Issue are being called",
            );
            draft.steps(&states);
        }
        _ => {
            draft.phase(Phase::Active, format!("usable until {end}{shorter}")).without(ConditionType::Reconciling);
        }
    }
    draft.done()
}

/// What was agreed to; where nobody was asked, what is in force after the bindings.
fn agreed_request(seen: &Observed) -> Option<ResolvedRequest> {
    let asked = agreement::standing(seen).is_some_and(|s| s.kind == ApprovalType::Required);
    if asked { request::current(seen).map(|resolved| resolved.request) } else { request::resolve(seen, Roles::Bound) }
}

fn offline_note(outlives: Option<Time>) -> String {
    outlives.map_or_else(|| "the lease is active".into(), |until| format!("the lease is active; verifiers that do not ask the API server accept its tokens until {until} whatever happens"))
}

fn delivered(seen: &Observed) -> String {
    let account = seen.present(&Child::Account).map(|id| id.name.clone()).unwrap_or_default();
    if let Some(of) = seen.lease.spec.as_ref().and_then(|s| s.standing_ref.as_ref()) {
        return format!(
            "account and bindings are there; the token goes into the Secret of standing credential {}",
            of.name
        );
    }
    match seen.secret_name() {
        Some(name) => format!(
            "the token is in Secret {name}, readable by everyone with get on secrets in namespace {}",
            seen.lease.namespace
        ),
        None => format!(
            "mint with: kubectl create token {account} -n {} --duration=600s",
            crate::api::names::ISSUING_NAMESPACE
        ),
    }
}

/// Until when a verifier that never asks the API server may accept a token of the lease.
fn offline_expiration_time(seen: &Observed, token_expires: Option<Time>, deadline: Time) -> Option<Time> {
    seen.verified_offline().then(|| token_expires.unwrap_or_else(|| deadline.plus_millis(ending::MINTED_TOKEN_MILLIS)))
}

fn bindings(seen: &Observed) -> Vec<BindingStatus> {
    let each = seen.children.iter().filter_map(|(child, known)| match (child, known) {
        (Child::Binding(grant), Known::Present(id)) => Some(BindingStatus {
            grant: grant.clone(),
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            uid: id.uid.clone(),
        }),
        _ => None,
    });
    each.collect()
}

/// An active lease, with what has been noticed since it was issued.
#[must_use]
pub fn active(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    draft.settled();
    answered(&mut draft);
    violated(&mut draft);
    let reports = seen.terms().is_some_and(|terms| terms.on_role_change == OnRoleChange::Report);
    match ending::widened(seen).filter(|_| reports) {
        Some((grant, gained)) => {
            let message = format!("the role of grant {grant} gained rights: {gained}");
            if !draft.has_recorded(Happening::RoleWidened) {
                draft.record(Happening::RoleWidened, &message);
            }
            draft.condition(ConditionType::RoleWidened, ConditionStatus::True, LeaseReason::Reported.as_str(), message);
        }
        None => {
            draft.without(ConditionType::RoleWidened);
        }
    }
    draft.done()
}

/// A lease that was issued before anybody agreed, and is agreed to now.
fn answered(draft: &mut Draft) {
    let due = draft.status.approvals.as_ref().is_some_and(|a| a.have < a.required);
    let Some(standing) = agreement::standing(draft.seen).filter(|s| due && s.kind != ApprovalType::NotRequired) else {
        return;
    };
    if standing.counted.len() <= draft.status.decisions.len() {
        return;
    }
    draft.agreed();
    let shorter = standing.max_ttl().map(|max| draft.seen.earliest_start().plus(max));
    draft.status.expiration_time = [draft.status.expiration_time, shorter].into_iter().flatten().min();
}

/// What policies forbid by now of what it holds.
fn violated(draft: &mut Draft) {
    let found: Vec<String> =
        ending::violations(draft.seen).into_iter().map(|(_, refusal)| refusal.to_string()).collect();
    if found.is_empty() {
        draft.without(ConditionType::PolicyViolated);
        return;
    }
    let message = found.join("; ");
    if !draft.has_recorded(Happening::PolicyViolated) {
        draft.record(Happening::PolicyViolated, &message);
    }
    draft.condition(ConditionType::PolicyViolated, ConditionStatus::True, LeaseReason::Reported.as_str(), message);
}
