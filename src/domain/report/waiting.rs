//! What a lease says that is not issued yet, and why it waits.

use super::draft::{Draft, contact, people};
use crate::{
    api::{
        ConditionStatus, Time,
        condition::bound,
        decision::DecisionType,
        reasons::{ConditionType, Happening, LeaseReason, Phase},
        status::CredentialLeaseStatus,
    },
    domain::{
        agreement::Standing,
        observed::{Known, Observed},
        request,
    },
};

/// Nothing is issued: the policies that Leasehold rests on are not in force.
#[must_use]
pub fn not_enforced(seen: &Observed, now: Time, why: &str) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    draft
        .condition(ConditionType::Allowed, ConditionStatus::Unknown, LeaseReason::PolicyNotEnforced.as_str(), why)
        .condition(
            ConditionType::Issued,
            ConditionStatus::False,
            LeaseReason::NotIssued.as_str(),
            "nothing is issued until the admission policies are in force",
        )
        .phase(Phase::Pending, "waits for the admission policies")
        .condition(
            ConditionType::Reconciling,
            ConditionStatus::True,
            Phase::Pending.as_str(),
            "waits for the admission policies",
        );
    draft.done()
}

/// The operator has only just started, or waits for its watches.
#[must_use]
pub fn not_known_yet(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    let (message, pending) = ("the operator has not read everything yet", Phase::Pending.as_str());
    draft
        .condition(ConditionType::Allowed, ConditionStatus::Unknown, LeaseReason::Checking.as_str(), message)
        .phase(Phase::Pending, message)
        .condition(ConditionType::Reconciling, ConditionStatus::True, pending, message);
    draft.done()
}

/// A call did not work and will be tried again.
#[must_use]
pub fn retrying(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    let why = failures(seen);
    let begun = seen.children.values().any(|known| matches!(known, Known::Present(_)));
    let phase = if begun { Phase::Issuing } else { Phase::Pending };
    if !draft.status.conditions.iter().any(|c| c.kind == ConditionType::Allowed.as_str()) {
        draft.condition(
            ConditionType::Allowed,
            ConditionStatus::Unknown,
            LeaseReason::Checking.as_str(),
            "not decided yet",
        );
    }
    draft
        .condition(ConditionType::Issued, ConditionStatus::False, LeaseReason::Retrying.as_str(), why)
        .phase(phase, "not issued yet; it is being tried again")
        .condition(
            ConditionType::Reconciling,
            ConditionStatus::True,
            phase.as_str(),
            "a call failed and is tried again until the lease's end",
        );
    draft.done()
}

/// What failed in this visit, as one sentence that stays the same while it keeps failing the same way.
pub(super) fn failures(seen: &Observed) -> String {
    let mut texts: Vec<String> =
        seen.learned.failed.iter().map(|(_, f)| format!("{}: {}", f.class.as_str(), f.message)).collect();
    texts.dedup();
    let mut text = texts.join("; ");
    bound(&mut text, 1024);
    text
}

/// It waits for people who have to agree; the document they agree to is shown.
#[must_use]
pub fn awaiting(seen: &Observed, now: Time, standing: &Standing) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    let resolved = request::current(seen);
    let had_word = seen.lease.status.decisions.iter().any(|d| d.decision == DecisionType::Approved);
    if let Some(resolved) = resolved {
        if draft.status.request.is_none() {
            draft.record(Happening::AwaitingApproval, &resolved.digest);
        } else if !resolved.changes.is_empty() {
            draft.record(Happening::ApprovalVoid, &resolved.changes.join("; "));
        }
        draft.show(resolved);
    }
    draft.decisions(standing);
    let have = standing.have(&seen.lease.status);
    let missing = standing.required.saturating_sub(have);
    let mut message =
        format!("waits until {} for {} who may approve{}", standing.until, people(missing), contact(standing));
    if had_word && have == 0 {
        message.push_str("; earlier approvals no longer count");
    }
    for (decision, why) in &standing.ignored {
        message.push_str(&format!("; not counted: {} by {}: {why}", decision.name, decision.spec.decided_by.username));
    }
    bound(&mut message, 1024);
    draft
        .allowed()
        .condition(
            ConditionType::Approved,
            ConditionStatus::Unknown,
            LeaseReason::AwaitingApproval.as_str(),
            message.clone(),
        )
        .phase(Phase::AwaitingApproval, "waits for people who have to agree")
        .condition(ConditionType::Reconciling, ConditionStatus::True, Phase::AwaitingApproval.as_str(), message);
    draft.done()
}

/// It is agreed; nothing has been made yet.
#[must_use]
pub fn agreed(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    if let Some(resolved) = request::current(seen) {
        draft.show(resolved);
    }
    draft.agreed().phase(Phase::Issuing, "agreed, and being issued").condition(
        ConditionType::Reconciling,
        ConditionStatus::True,
        Phase::Issuing.as_str(),
        "it is being issued",
    );
    draft.done()
}

/// It is agreed, and waits for its time.
#[must_use]
pub fn scheduled(seen: &Observed, now: Time, at: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    if let Some(resolved) = request::current(seen) {
        draft.show(resolved);
    }
    let message = format!("is issued at {at}");
    draft.agreed().phase(Phase::Scheduled, message.clone()).condition(
        ConditionType::Reconciling,
        ConditionStatus::True,
        Phase::Scheduled.as_str(),
        message,
    );
    draft.done()
}
