//! What a status says: a pure function of what was observed, so that a failure midway needs no special path.
//!
//! Every function here returns the whole status as it should be; whoever calls it compares it with the one that is there.

use super::{
    digest,
    ending::{self, End},
    observed::{Child, Known, Observed},
    rbac,
};
use crate::api::{
    Condition, ConditionStatus, Duration, Time,
    condition::{bound, set, unset},
    lease::SecretDelivery,
    lifecycle::{DeliveryType, OnRoleChange},
    quantities::seconds,
    reasons::{ConditionType, EndReason, Evidence, Happening, LeaseReason, Phase},
    status::{
        AccountIdentity, BindingStatus, CredentialLeaseStatus, CredentialStatus, DeliveredSecret, ObjectIdentity,
        ResolvedDelivery, ResolvedGrant, ResolvedRequest,
    },
};

/// Who writes records that nobody else caused.
const OPERATOR: &str = "leasehold";

/// A status in the making.
struct Draft<'a> {
    seen: &'a Observed,
    now: Time,
    status: CredentialLeaseStatus,
}

impl<'a> Draft<'a> {
    /// Starts from what is there; the first record is that the lease was created.
    fn new(seen: &'a Observed, now: Time) -> Self {
        let mut draft = Self { seen, now, status: seen.lease.status.clone() };
        if seen.lease.generation > 0 {
            draft.status.observed_generation = Some(seen.lease.generation);
        }
        if draft.status.expiration_time.is_none() {
            draft.status.expiration_time = seen.deadline();
        }
        if let Some(spec) = seen.lease.spec.as_ref().filter(|_| draft.status.history.is_none()) {
            let detail = format!("{}: {}", spec.lifecycle_ref.name, spec.reason);
            draft.record_at(Happening::Requested, seen.lease.created, &spec.requested_by.username, &detail);
        }
        draft
    }

    fn condition(
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

    fn without(&mut self, kind: ConditionType) -> &mut Self {
        unset(&mut self.status.conditions, kind.as_str());
        self
    }

    fn phase(&mut self, phase: Phase, message: impl Into<String>) -> &mut Self {
        self.status.phase = Some(phase);
        let active = if phase == Phase::Active { ConditionStatus::True } else { ConditionStatus::False };
        self.condition(ConditionType::Active, active, phase.as_str(), message)
    }

    fn record(&mut self, event: Happening, detail: &str) -> &mut Self {
        self.record_at(event, self.now, OPERATOR, detail);
        self
    }

    fn record_at(&mut self, event: Happening, time: Time, actor: &str, detail: &str) {
        let history = self.status.history.get_or_insert_with(|| digest::begin(&self.seen.lease.uid));
        digest::append(history, time, event, actor, detail);
    }

    fn has_recorded(&self, event: Happening) -> bool {
        self.status.history.iter().flat_map(|h| &h.records).any(|r| r.event == event)
    }

    fn credential(&mut self) -> &mut CredentialStatus {
        self.status.credential.get_or_insert_default()
    }

    fn done(self) -> CredentialLeaseStatus {
        self.status
    }
}

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
fn failures(seen: &Observed) -> String {
    let mut texts: Vec<String> =
        seen.learned.failed.iter().map(|(_, f)| format!("{}: {}", f.class.as_str(), f.message)).collect();
    texts.dedup();
    let mut text = texts.join("; ");
    bound(&mut text, 1024);
    text
}

/// The credential is usable.
#[must_use]
pub fn issued(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    draft.status.request = resolve(seen);
    draft.status.request_digest =
        draft.status.request.as_ref().and_then(|r| digest::canonical(r).ok()).map(|text| digest::sha256(&text));
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
        .condition(
            ConditionType::Allowed,
            ConditionStatus::True,
            LeaseReason::TermsMet.as_str(),
            "every term of the lifecycle is met",
        )
        .condition(
            ConditionType::Approved,
            ConditionStatus::True,
            LeaseReason::NotRequired.as_str(),
            "the lifecycle's terms ask nobody",
        )
        .condition(ConditionType::Issued, ConditionStatus::True, LeaseReason::Delivered.as_str(), delivered(seen))
        .phase(Phase::Active, format!("usable until {end}{shorter}"))
        .condition(
            ConditionType::Revoked,
            ConditionStatus::False,
            LeaseReason::NotEnded.as_str(),
            offline_note(outlives),
        )
        .without(ConditionType::Reconciling);
    draft.record(Happening::Allowed, "every term of the lifecycle is met");
    let detail = draft.status.request_digest.clone().unwrap_or_default();
    draft.record(Happening::Issued, &detail);
    draft.done()
}

fn offline_note(outlives: Option<Time>) -> String {
    outlives.map_or_else(|| "the lease is active".into(), |until| format!("the lease is active; verifiers that do not ask the API server accept its tokens until {until} whatever happens"))
}

fn delivered(seen: &Observed) -> String {
    let account = seen.present(&Child::Account).map(|id| id.name.clone()).unwrap_or_default();
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

/// The resolved document: exactly what is issued, with the rules that were in force after the bindings.
#[must_use]
pub fn resolve(seen: &Observed) -> Option<ResolvedRequest> {
    let (spec, lifecycle) = (seen.lease.spec.as_ref()?, seen.lifecycle()?);
    let grants = spec.grants.iter().filter_map(|name| {
        let grant = lifecycle.spec.grant(name)?;
        let role = seen.learned.roles_after.get(name).and_then(Option::as_ref).or_else(|| seen.roles.get(name))?;
        let rules = if rbac::recordable(&role.rules) { role.rules.clone() } else { vec![] };
        Some(ResolvedGrant {
            name: name.clone(),
            namespace: seen.lease.namespace.clone(),
            role_ref: grant.role_ref.clone(),
            role_uid: role.uid.clone(),
            rules_digest: rbac::digest(&role.rules),
            rules,
            outlives: vec![],
        })
    });
    Some(ResolvedRequest {
        requester: spec.requested_by.clone(),
        lifecycle: ObjectIdentity { name: spec.lifecycle_ref.name.clone(), uid: lifecycle.uid.clone() },
        grants: grants.collect(),
        ttl: seen.ttl()?,
        audiences: seen.audiences(),
        delivery: ResolvedDelivery {
            kind: spec.delivery.kind,
            secret: seen.secret_name().map(|name| SecretDelivery { name }),
        },
        not_before: spec.not_before,
    })
}

/// An active lease, with what has been noticed since it was issued.
#[must_use]
pub fn active(seen: &Observed, now: Time) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    let reports = seen.lifecycle().is_some_and(|l| l.spec.terms.on_role_change() == OnRoleChange::Report);
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

/// What every status of an ended lease says.
fn ended<'a>(seen: &'a Observed, now: Time, end: &End) -> Draft<'a> {
    let mut draft = Draft::new(seen, now);
    if draft.status.end_time.is_none() {
        draft.status.end_time = Some(end.at);
        draft.status.end_reason = Some(end.reason);
        record_end(&mut draft, end);
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
        reason if reason.phase() == Phase::Failed => {
            // Issuing only begins, and can only fail, after the terms were met.
            draft
                .condition(
                    ConditionType::Allowed,
                    ConditionStatus::True,
                    LeaseReason::TermsMet.as_str(),
                    "every term of the lifecycle is met",
                )
                .condition(
                    ConditionType::Approved,
                    ConditionStatus::True,
                    LeaseReason::NotRequired.as_str(),
                    "the lifecycle's terms ask nobody",
                )
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
            draft.record_at(Happening::Ended, end.at, OPERATOR, &format!("{reason}: {}", end.message));
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
            .map(|(c, _)| super::learn::describe(c))
            .collect();
        let message = format!(
            "the credential is dead, but this could not be deleted yet: {}. {}",
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
