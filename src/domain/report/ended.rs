//! What an ended lease says: what ended it, what is gone, what is proven.

use super::{
    draft::{Draft, OPERATOR, recorded},
    waiting::failures,
};
use crate::{
    api::{
        ConditionStatus, Time,
        decision::DecisionType,
        lifecycle::{ApprovalType, DeliveryType},
        quantities::seconds,
        reasons::{ConditionType, EndReason, Evidence, Happening, LeaseReason, Phase},
        status::{AccountIdentity, CredentialLeaseStatus},
        workflow::StepTime,
    },
    domain::{
        agreement::{self, Late},
        ending::{self, End},
        learn,
        observed::{Child, Known, Observed},
        recorded,
    },
};

/// What every status of an ended lease says.
fn ended<'a>(seen: &'a Observed, now: Time, end: &End) -> Draft<'a> {
    let mut draft = Draft::new(seen, now);
    if draft.status.end_time.is_none() {
        draft.status.end_time = Some(end.at);
        draft.status.end_reason = Some(end.reason);
        record_end(&mut draft, end);
        draft.interrupted();
    }
    let name = seen.memory.account.as_ref().or_else(|| seen.present(&Child::Account)).map(|id| AccountIdentity {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        uid: id.uid.clone(),
    });
    if let Some(account) = name.filter(|_| draft.status.credential.as_ref().is_none_or(|c| c.service_account.is_none()))
    {
        draft.credential().service_account = Some(account);
    }
    if *seen.child(&Child::Secret) == Known::Absent
        && let Some(secret) =
            draft.status.credential.as_mut().and_then(|c| c.secret.as_mut()).filter(|s| s.deletion_time.is_none())
    {
        secret.deletion_time = Some(now);
    }
    draft
}

fn record_end(draft: &mut Draft, end: &End) {
    let issued = draft.seen.issued();
    match end.reason {
        EndReason::Denied => {
            draft
                .condition(
                    ConditionType::Allowed,
                    ConditionStatus::False,
                    LeaseReason::TermsViolated.as_str(),
                    end.message.clone(),
                )
                .condition(
                    ConditionType::Issued,
                    ConditionStatus::False,
                    LeaseReason::NotIssued.as_str(),
                    "the request was refused",
                )
                .record(Happening::Denied, &end.message);
        }
        reason @ (EndReason::DecisionDenied
        | EndReason::ApprovalTimeout
        | EndReason::CreatedUnproven
        | EndReason::GateRefused) => {
            let (approved, who) = match (reason, agreement::against(draft.seen)) {
                (EndReason::DecisionDenied, Some(decision)) => (true, decision.spec.decided_by.username.clone()),
                (EndReason::ApprovalTimeout, _) => (true, OPERATOR.to_owned()),
                _ => (false, OPERATOR.to_owned()),
            };
            let kind = if approved { ConditionType::Approved } else { ConditionType::Allowed };
            draft.condition(kind, ConditionStatus::False, reason.as_str(), end.message.clone()).condition(
                ConditionType::Issued,
                ConditionStatus::False,
                LeaseReason::NotIssued.as_str(),
                "the request was refused",
            );
            draft.note_decision();
            draft.record_at(Happening::Denied, end.at, &who, &format!("{reason}: {}", end.message));
        }
        EndReason::StepFailed => {
            draft.record(Happening::Failed, &format!("{}: {}", EndReason::StepFailed, end.message));
        }
        EndReason::RolledBack => {
            // Where its workflow has done something elsewhere, the condition tells of that.
            let told = draft.status.steps.iter().any(|s| s.at == StepTime::Issue);
            if told {
                draft.record_at(Happening::Ended, end.at, OPERATOR, &format!("{}: {}", end.reason, end.message));
                return;
            }
            draft
                .condition(
                    ConditionType::RolledBack,
                    ConditionStatus::True,
                    LeaseReason::MovedBack.as_str(),
                    end.message.clone(),
                )
                .record_at(Happening::Ended, end.at, OPERATOR, &format!("{}: {}", end.reason, end.message));
        }
        reason if reason.phase() == Phase::Failed => {
            // Issuing only begins, and can only fail, after the terms were met.
            if seen_agreed(draft.seen) {
                draft.agreed();
            } else {
                draft.condition(
                    ConditionType::Approved,
                    ConditionStatus::False,
                    reason.as_str(),
                    "what was agreed to is no longer so",
                );
            }
            draft
                .condition(ConditionType::Issued, ConditionStatus::False, reason.as_str(), end.message.clone())
                .record(Happening::Failed, &format!("{reason}: {}", end.message));
        }
        reason if draft.seen.lease.spec.is_none() => {
            draft.record(Happening::Swept, reason.as_str());
        }
        reason => {
            if !issued {
                draft.condition(
                    ConditionType::Issued,
                    ConditionStatus::False,
                    LeaseReason::NotIssued.as_str(),
                    format!("not issued before the end: {}", end.message),
                );
            }
            let decided = agreement::against(draft.seen).filter(|_| reason == EndReason::DecisionRevoked);
            let who = decided.map_or_else(|| OPERATOR.to_owned(), |d| d.spec.decided_by.username.clone());
            draft.note_decision();
            draft.record_at(Happening::Ended, end.at, &who, &format!("{reason}: {}", end.message));
        }
    }
}

/// Something that gives or is a credential could not be deleted.
#[must_use]
pub fn deletion_failing(seen: &Observed, now: Time, end: &End) -> CredentialLeaseStatus {
    let mut draft = ended(seen, now, end);
    let why = failures(seen);
    draft
        .phase(Phase::Ending, "its end has come, and the account could not be deleted yet")
        .condition(ConditionType::Revoked, ConditionStatus::Unknown, LeaseReason::DeletionFailing.as_str(), why)
        .condition(
            ConditionType::Reconciling,
            ConditionStatus::True,
            LeaseReason::DeletionFailing.as_str(),
            "deletion is tried again for ever",
        );
    draft.done()
}

/// The account is gone; the proof is still to come.
#[must_use]
pub fn revoked(seen: &Observed, now: Time, end: &End) -> CredentialLeaseStatus {
    let mut draft = ended(seen, now, end);
    let end_time = draft.status.end_time.unwrap_or(now);
    let requester_mints = seen.lease.spec.as_ref().is_some_and(|s| s.delivery.kind == DeliveryType::TokenRequest);
    let token_expires = seen
        .lease
        .status
        .credential
        .as_ref()
        .and_then(|c| c.token_expiration_time)
        .or_else(|| seen.memory.token.as_ref().map(|t| t.expires));
    let offline = seen.verified_offline().then(|| {
        let last_mint = now.plus_millis(ending::MINTED_TOKEN_MILLIS);
        // A process that died may have delivered a token that nothing tells of: it lives to the deadline.
        let unknown = || seen.deadline().map_or(last_mint, |at| at.max(last_mint));
        if requester_mints { last_mint } else { token_expires.unwrap_or_else(unknown) }
    });
    let credential = draft.credential();
    credential.revocation_time = Some(now);
    credential.revocation_lag_seconds = Some(seconds(now.since(end_time)));
    credential.offline_expiration_time = offline;
    let (reason, message) = match offline {
        Some(until) => (
            LeaseReason::NotRevocableOffline,
            format!("the account is gone; verifiers that do not ask the API server accept its tokens until {until}"),
        ),
        None => {
            (LeaseReason::Waiting, "the account is gone; API servers may remember its token for 10 s more".to_owned())
        }
    };
    draft
        .phase(Phase::Ending, "its end has come; the proof that the credential is dead is still to come")
        .condition(ConditionType::Revoked, ConditionStatus::Unknown, reason.as_str(), message)
        .condition(
            ConditionType::Reconciling,
            ConditionStatus::True,
            reason.as_str(),
            "the credential's death is being proven",
        )
        .record(Happening::Removed, &format!("{} s after the end", seconds(now.since(end_time))));
    draft.done()
}

/// All that is to be said about an ended lease. `evidence` is absent where no account was ever made.
#[must_use]
pub fn concluded(
    seen: &Observed,
    now: Time,
    end: &End,
    clean: bool,
    evidence: Option<Evidence>,
) -> CredentialLeaseStatus {
    let mut draft = ended(seen, now, end);
    if let Late::Given(decision) = agreement::late_answer(seen) {
        let spec = &decision.spec;
        let event = if spec.decision == DecisionType::Approved { Happening::Approved } else { Happening::Denied };
        draft.record_at(event, decision.created, &spec.decided_by.username, &format!("after the end: {}", spec.reason));
        draft.decided(recorded(decision, false));
    }
    if let Some(evidence) = evidence {
        prove(&mut draft, evidence);
    } else {
        draft.without(ConditionType::Revoked);
    }
    let reason = draft.status.end_reason.unwrap_or(end.reason);
    if !clean {
        let left: Vec<String> = seen
            .children
            .iter()
            .filter(|(_, k)| matches!(k, Known::Present(_) | Known::Unknown))
            .map(|(c, _)| learn::describe(c))
            .chain(recorded::unconfirmed(seen).iter().map(|(child, _)| learn::describe(child)))
            .chain(recorded::secret_is_untold(seen).then(|| learn::describe(&Child::Secret)))
            .collect();
        let credential = if evidence.is_some() { "the credential is dead" } else { "no credential is known of" };
        let message = format!(
            "{credential}, but this could not be deleted yet, or is not known to be gone: {}. {}",
            left.join(", "),
            failures(seen)
        );
        draft.phase(Phase::Ending, "what was made for it is still being removed").condition(
            ConditionType::Reconciling,
            ConditionStatus::True,
            LeaseReason::CleaningUp.as_str(),
            message,
        );
        return draft.done();
    }
    let phase = reason.phase();
    if draft.status.phase != Some(phase) {
        draft.phase(phase, if end.message.is_empty() { reason.meaning().to_owned() } else { end.message.clone() });
    }
    draft.without(ConditionType::Reconciling);
    if matches!(phase, Phase::Denied | Phase::Failed)
        && !draft.status.conditions.iter().any(|c| c.kind == ConditionType::Stalled.as_str())
    {
        let message = if end.message.is_empty() { reason.meaning().to_owned() } else { end.message.clone() };
        draft.condition(ConditionType::Stalled, ConditionStatus::True, reason.as_str(), message);
    }
    draft.done()
}

fn prove(draft: &mut Draft, evidence: Evidence) {
    if draft.status.credential.as_ref().is_some_and(|c| c.evidence.is_some()) {
        return;
    }
    let now = draft.now;
    let credential = draft.credential();
    credential.verified_time = Some(now);
    credential.evidence = Some(evidence);
    draft
        .condition(ConditionType::Revoked, ConditionStatus::True, evidence.as_str(), evidence.meaning())
        .record(Happening::Revoked, evidence.as_str());
}

impl Draft<'_> {
    /// The decision that ended or refused it.
    fn note_decision(&mut self) {
        if let Some(decision) = agreement::against(self.seen) {
            self.decided(recorded(decision, false));
        }
    }
}

/// Whether whoever must agree does, as far as is known.
fn seen_agreed(seen: &Observed) -> bool {
    agreement::standing(seen).is_none_or(|s| s.kind != ApprovalType::Required || s.may_be_agreed())
}
