//! A status in the making: what every report starts from and says alike.

use crate::{
    api::{
        Condition, ConditionStatus, Time,
        condition::{set, unset},
        lifecycle::ApprovalType,
        reasons::{ConditionType, Happening, LeaseReason, Phase},
        status::{Approvals, CredentialLeaseStatus, CredentialStatus, DecisionStatus, ObjectIdentity},
    },
    domain::{
        agreement::{self, Standing},
        digest,
        observed::{DecisionSeen, Observed},
        request::Resolved,
        steps, task,
    },
};

/// The most decisions and policies that a status holds, as its schema says.
const MAX_DECISIONS: usize = 32;
const MAX_POLICIES: usize = 64;

/// Who writes records that nobody else caused.
pub(super) const OPERATOR: &str = "leasehold";

/// A status in the making.
pub(super) struct Draft<'a> {
    pub(super) seen: &'a Observed,
    pub(super) now: Time,
    pub(super) status: CredentialLeaseStatus,
}

impl<'a> Draft<'a> {
    /// Starts from what is there; the first record is that the lease was created.
    pub(super) fn new(seen: &'a Observed, now: Time) -> Self {
        let mut draft = Self { seen, now, status: seen.lease.status.clone() };
        if seen.lease.generation > 0 {
            draft.status.observed_generation = Some(seen.lease.generation);
        }
        if draft.status.issue_time.is_none() && draft.status.end_time.is_none() {
            // Whoever takes an approval back takes the deadline with it.
            draft.status.expiration_time = seen.deadline();
        }
        draft.later_token();
        if let Some(what) = seen.lease.spec.as_ref().and_then(|s| s.completion_ref.as_ref())
            && draft.status.completion.is_none()
            && let Some(uid) = task::pinned(seen)
        {
            draft.status.completion = Some(ObjectIdentity { name: what.name.clone(), uid: uid.to_owned() });
        }
        if let Some(spec) = seen.lease.spec.as_ref().filter(|_| draft.status.history.is_none()) {
            let detail = format!("{}: {}", spec.lifecycle_ref.name, spec.reason);
            draft.record_at(Happening::Requested, seen.lease.created, &spec.requested_by.username, &detail);
        }
        draft
    }

    pub(super) fn condition(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
    ) -> &mut Self {
        let condition = Condition {
            kind: kind.as_str().into(),
            status,
            observed_generation: self.status.observed_generation,
            last_transition_time: self.now,
            reason: reason.into(),
            message: message.into(),
        };
        set(&mut self.status.conditions, condition);
        self
    }

    pub(super) fn without(&mut self, kind: ConditionType) -> &mut Self {
        unset(&mut self.status.conditions, kind.as_str());
        self
    }

    pub(super) fn phase(&mut self, phase: Phase, message: impl Into<String>) -> &mut Self {
        self.status.phase = Some(phase);
        let active = if phase == Phase::Active { ConditionStatus::True } else { ConditionStatus::False };
        self.condition(ConditionType::Active, active, phase.as_str(), message)
    }

    pub(super) fn record(&mut self, event: Happening, detail: &str) -> &mut Self {
        self.record_at(event, self.now, OPERATOR, detail);
        self
    }

    pub(super) fn record_at(&mut self, event: Happening, time: Time, actor: &str, detail: &str) {
        let history = self.status.history.get_or_insert_with(|| digest::begin(&self.seen.lease.uid));
        digest::append(history, time, event, actor, detail);
    }

    pub(super) fn has_recorded(&self, event: Happening) -> bool {
        self.status.history.iter().flat_map(|h| &h.records).any(|r| r.event == event)
    }

    /// The terms were met, and whoever must agree has agreed: what is true of everything that is issued or that fails on the way.
    pub(super) fn agreed(&mut self) -> &mut Self {
        let standing = agreement::standing(self.seen);
        let (status, reason, message) = match &standing {
            Some(s) if s.kind == ApprovalType::Required => (ConditionStatus::True, LeaseReason::Agreed, words(s)),
            Some(s) if s.kind == ApprovalType::Retrospective && s.is_agreed() => {
                (ConditionStatus::True, LeaseReason::Agreed, words(s))
            }
            Some(s) if s.kind == ApprovalType::Retrospective => {
                let message = format!(
                    "issued before anybody agreed; {} must agree until {}{}",
                    people(s.required),
                    s.until,
                    contact(s)
                );
                (ConditionStatus::Unknown, LeaseReason::Retrospective, message)
            }
            _ => (ConditionStatus::True, LeaseReason::NotRequired, "the lifecycle's terms ask nobody".into()),
        };
        if let Some(standing) = &standing {
            self.decisions(standing);
        }
        self.allowed().condition(ConditionType::Approved, status, reason.as_str(), message)
    }

    /// Every rule is met.
    pub(super) fn allowed(&mut self) -> &mut Self {
        self.policies();
        let message = match self.status.policies.as_slice() {
            [] => "every term of the lifecycle is met".to_owned(),
            policies => format!("every term of the lifecycle is met, and of these policies: {}", policies.join(", ")),
        };
        if let Some(gate) = steps::open_gate(self.seen) {
            let message = format!("{message}, but step {} has not passed yet: {}", gate.name, gate.message);
            let reason = LeaseReason::AwaitingGate.as_str();
            return self.condition(ConditionType::Allowed, ConditionStatus::Unknown, reason, message);
        }
        self.condition(ConditionType::Allowed, ConditionStatus::True, LeaseReason::TermsMet.as_str(), message)
    }

    /// The policies that guard it.
    pub(super) fn policies(&mut self) {
        if let Some(terms) = self.seen.terms() {
            self.status.policies = terms.policies.into_iter().take(MAX_POLICIES).collect();
        }
    }

    /// The decisions that count, each recorded once with who made it.
    pub(super) fn decisions(&mut self, standing: &Standing) {
        if standing.kind == ApprovalType::NotRequired {
            if !self.seen.issued() {
                // Nobody is asked any more: nobody owes an answer.
                self.status.approvals = None;
                self.status.decisions.clear();
            }
            return;
        }
        let known = standing.known(&self.status);
        self.status.approvals = Some(approvals(standing, standing.have(&self.status)));
        let counted = standing.counted.iter().map(|counted| (counted.decision, counted.repeats));
        let own = |d: &DecisionSeen| self.seen.lease.uid == *d.spec.lease_ref.uid;
        let known: Vec<(&DecisionSeen, bool)> = known.into_iter().map(|d| (d, !own(d))).collect();
        let counted = counted.chain(known);
        let before = std::mem::take(&mut self.status.decisions);
        for (decision, repeats) in counted.take(MAX_DECISIONS) {
            if !before.iter().any(|d| d.uid == decision.uid) {
                let spec = &decision.spec;
                let covers =
                    if repeats { format!(" (for {}, which this repeats)", spec.lease_ref.name) } else { String::new() };
                self.record_at(
                    Happening::Approved,
                    decision.created,
                    &spec.decided_by.username,
                    &format!("{}{covers}", spec.reason),
                );
            }
            self.status.decisions.push(recorded(decision, repeats));
        }
    }

    /// Takes in a decision that ended it or came late. It has a place before approvals: it is what the record is about.
    pub(super) fn decided(&mut self, decision: DecisionStatus) {
        if self.status.decisions.iter().any(|d| d.uid == decision.uid) {
            return;
        }
        self.status.decisions.truncate(MAX_DECISIONS - 1);
        self.status.decisions.push(decision);
    }

    /// A token that was minted after a restart, for a step that hands one on, may live longer than the one that is recorded.
    fn later_token(&mut self) {
        let offline = self.seen.verified_offline();
        let Some(token) = self.seen.memory.token.as_ref().filter(|_| self.seen.issued()) else { return };
        let Some(credential) = self.status.credential.as_mut() else { return };
        let later = |known: &mut Option<Time>| *known = (*known).max(Some(token.expires));
        if credential.token_expiration_time.is_some() {
            later(&mut credential.token_expiration_time);
        }
        if offline {
            later(&mut credential.offline_expiration_time);
        }
    }

    /// Shows the document that people agree to. What was recorded of gates was recorded for the one that was shown before.
    pub(super) fn show(&mut self, resolved: Resolved) {
        if self.status.request.as_ref().is_some_and(|shown| *shown != resolved.request) {
            self.status.steps.clear();
        }
        self.status.request = Some(resolved.request);
        self.status.request_digest = Some(resolved.digest);
    }

    pub(super) fn credential(&mut self) -> &mut CredentialStatus {
        self.status.credential.get_or_insert_default()
    }

    pub(super) fn done(self) -> CredentialLeaseStatus {
        self.status
    }
}

/// A decision as a status tells of it.
pub(super) fn recorded(decision: &DecisionSeen, repeats: bool) -> DecisionStatus {
    let spec = &decision.spec;
    DecisionStatus {
        uid: decision.uid.clone(),
        decision: spec.decision,
        by: spec.decided_by.username.clone(),
        time: decision.created,
        max_ttl: spec.max_ttl,
        repeats: repeats.then(|| spec.lease_ref.name.clone()),
        independence: spec.independence,
    }
}

/// How many must agree, and have.
fn approvals(standing: &Standing, have: usize) -> Approvals {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let (required, have) = (standing.required, have.min(standing.required));
    Approvals {
        required: number(required),
        have: number(have),
        summary: format!("{have} of {required}"),
        until: Some(standing.until),
    }
}

/// Who agreed, as a sentence.
fn words(standing: &Standing) -> String {
    let by = |c: &agreement::Counted| {
        let repeats =
            if c.repeats { format!(" (for lease {})", c.decision.spec.lease_ref.name) } else { String::new() };
        format!("{}{repeats}", c.decision.spec.decided_by.username)
    };
    let all: Vec<String> = standing.counted.iter().map(by).collect();
    format!("agreed to by {}", all.join(", "))
}

/// So many people.
pub(super) fn people(count: usize) -> String {
    if count == 1 { "one person".into() } else { format!("{count} people") }
}

/// Where those who may agree are reached.
pub(super) fn contact(standing: &Standing) -> String {
    standing.contact.as_ref().map_or_else(String::new, |contact| format!(" ({contact})"))
}
