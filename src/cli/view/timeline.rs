//! One lease's whole story.

use super::{facts::Facts, lease, text, when};
use crate::api::{
    Condition, ConditionStatus, CredentialLease, Time,
    lifecycle::Independence,
    quantities::seconds,
    reasons::{ConditionType, LeaseReason, Phase},
    status::CredentialLeaseStatus,
    workflow::StepState,
};

/// Who and until when.
#[must_use]
pub fn head(lease: &CredentialLease, now: Time) -> Facts {
    let status = lease.status.clone().unwrap_or_default();
    let mut facts = Facts::default();
    facts.say("Lease", lease::title(lease));
    facts.say("Phase", lease::phase(lease).as_str());
    if let Some(reason) = status.end_reason {
        facts.more(reason.meaning());
    }
    facts.say("Lifecycle", &lease.spec.lifecycle_ref.name);
    facts.say("Requester", &lease.spec.requested_by.username);
    facts.say("Reason", &lease.spec.reason);
    facts.maybe("Ticket", lease.spec.ticket.as_ref());
    if let Some(at) = status.issue_time {
        facts.say("Issued", moment(at, now));
    }
    match (status.end_time, status.expiration_time) {
        (Some(at), _) => facts.say("Ended", moment(at, now)),
        (None, Some(at)) => facts.say("Expires", moment(at, now)),
        (None, None) => {}
    }
    if let Some(approvals) = &status.approvals {
        facts.say("Approvals", format!("{} of {}", approvals.have, approvals.required));
        if let Some(until) = approvals.until.filter(|_| lease::phase(lease) == Phase::AwaitingApproval) {
            facts.more(format!("an answer counts until {}", moment(until, now)));
        }
    }
    if !status.policies.is_empty() {
        facts.say("Policies", status.policies.join(", "));
    }
    facts
}

fn moment(at: Time, now: Time) -> String {
    format!("{at} ({})", when::relative(at, now))
}

/// What it gives.
#[must_use]
pub fn grants(lease: &CredentialLease) -> Facts {
    let mut facts = Facts::default();
    match lease::request(lease) {
        None => facts.say("Grants", text::list(&lease.spec.grants, "none")),
        Some(request) => {
            for grant in &request.grants {
                facts.say("Grant", super::request::grant_title(grant));
                for rule in &grant.rules {
                    facts.more(format!("  {rule}"));
                }
                for mark in &grant.outlives {
                    facts.more(format!("  ! {}", super::request::outlives(*mark)));
                }
            }
            facts.say("Delivery", super::request::delivery_name(&request.delivery));
            facts.say("Audiences", text::list(&request.audiences, "the API server"));
        }
    }
    facts
}

/// Whose word counts.
#[must_use]
pub fn decisions(status: &CredentialLeaseStatus) -> Facts {
    let mut facts = Facts::default();
    for decision in &status.decisions {
        let mut line = format!("by {} at {}", decision.by, decision.time);
        if let Some(max) = decision.max_ttl {
            line.push_str(&format!(", for at most {max}"));
        }
        if let Some(repeats) = &decision.repeats {
            line.push_str(&format!(", given for {repeats} and repeated"));
        }
        if decision.independence == Some(Independence::Recorded) {
            line.push_str(", who could act as the requester");
        }
        facts.say(decision.decision.as_str(), line);
    }
    facts
}

/// What was called in other systems.
#[must_use]
pub fn steps(lease: &CredentialLease) -> Facts {
    let (mut facts, status) = (Facts::default(), lease.status.clone().unwrap_or_default());
    let workflow = status.request.as_ref().map(|r| r.workflow.clone()).unwrap_or_default();
    for step in &status.steps {
        let resolved = workflow.iter().find(|s| s.name == step.name);
        let what = resolved.map(|s| format!(" ({}/{})", s.system.name, s.operation)).unwrap_or_default();
        let (state, at) = match step.state {
            StepState::Running => ("being called since", step.start_time),
            StepState::Done => ("done at", step.end_time.unwrap_or(step.start_time)),
            StepState::Failed => ("failed at", step.end_time.unwrap_or(step.start_time)),
            StepState::Undoing => ("being taken back; begun at", step.start_time),
            StepState::Undone => ("taken back at", step.undo_time.unwrap_or(step.start_time)),
        };
        facts.say(&step.name, format!("at {}{what}: {state} {at}", step.at.as_str()));
        if !step.message.is_empty() {
            facts.more(format!("  {}", step.message));
        }
    }
    facts
}

/// What happened, record by record.
#[must_use]
pub fn history(status: &CredentialLeaseStatus) -> Facts {
    let mut facts = Facts::default();
    let Some(history) = &status.history else { return facts };
    if let Some(first) = history.records.first().filter(|first| first.seq > 1) {
        facts.say("…", format!("{} earlier record(s): the operator's audit stream has them", first.seq - 1));
    }
    for record in &history.records {
        facts.say(&record.time.to_string(), format!("{} by {}", record.event, record.actor));
        if !record.detail.is_empty() {
            facts.more(format!("  {}", record.detail));
        }
    }
    facts
}

/// The credential, and how it died.
#[must_use]
pub fn credential(status: &CredentialLeaseStatus) -> Facts {
    let mut facts = Facts::default();
    let Some(credential) = &status.credential else { return facts };
    if let Some(account) = &credential.service_account {
        facts.say("Account", format!("{}/{}", account.namespace, account.name));
    }
    if let Some(secret) = &credential.secret {
        let gone = secret.deletion_time.map(|at| format!(", gone at {at}")).unwrap_or_default();
        facts.say("Secret", format!("{}{gone}", secret.name));
    }
    facts.maybe("Credential", credential.credential_id.as_ref());
    facts.maybe("Token expires", credential.token_expiration_time.map(|t| t.to_string()));
    if let Some(at) = credential.offline_expiration_time {
        facts.say("Offline", format!("verifiers that never ask the API server may accept a token until {at}"));
    }
    if let Some(at) = credential.revocation_time {
        let lag = credential
            .revocation_lag_seconds
            .as_ref()
            .map(|lag| format!(", {lag} s after the end"))
            .unwrap_or_default();
        facts.say("Gone", format!("{at}{lag}"));
    }
    if let Some(at) = credential.verified_time {
        let lag =
            status.end_time.map(|end| format!(", {} s after the end", seconds(at.since(end)))).unwrap_or_default();
        facts.say("Proven dead", format!("{at}{lag}"));
    }
    if let Some(evidence) = credential.evidence {
        facts.say("Evidence", format!("{evidence}: {}", evidence.meaning()));
    }
    facts
}

/// Conditions that say something is not as it should be.
#[must_use]
pub fn concerns(lease: &CredentialLease) -> Vec<Condition> {
    let over = lease::phase(lease).is_final();
    let conditions = lease.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    let concerning = |c: &Condition| {
        let is = |kind: ConditionType| c.kind == kind.as_str();
        if [ConditionType::Stalled, ConditionType::RoleWidened, ConditionType::PolicyViolated].into_iter().any(is) {
            c.status == ConditionStatus::True
        } else if is(ConditionType::Active) || is(ConditionType::Reconciling) {
            false
        } else if c.status == ConditionStatus::Unknown
            && ([ConditionType::Approved, ConditionType::DependentsUpdated, ConditionType::RolledBack]
                .into_iter()
                .any(is)
                || c.reason == LeaseReason::AwaitingGate.as_str())
        {
            // To wait for people, or for other systems, is as it should be.
            false
        } else if is(ConditionType::Revoked) {
            over && c.status != ConditionStatus::True || c.status == ConditionStatus::Unknown
        } else {
            c.status != ConditionStatus::True
        }
    };
    conditions.into_iter().filter(concerning).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::lease::tests::waiting, *};

    #[test]
    fn the_story_is_told_in_order_with_actors_and_lags() {
        let lease = waiting(|lease| {
            lease["status"] = json!({
                "phase": "Expired", "endReason": "Expired", "endTime": "2026-11-24T12:10:00Z",
                "history": {"seed": "0", "head": "1", "records": [
                    {"seq": 3, "time": "2026-11-24T12:00:01Z", "event": "Issued", "actor": "leasehold", "detail": "minted"},
                    {"seq": 4, "time": "2026-11-24T12:10:00Z", "event": "Ended", "actor": "leasehold", "detail": ""},
                ]},
                "credential": {"revocationTime": "2026-11-24T12:10:00.021Z", "revocationLagSeconds": "0.021", "verifiedTime": "2026-11-24T12:10:12.5Z", "evidence": "AccountGoneAndWaited"},
                "decisions": [{"uid": "1", "decision": "Approved", "by": "alice", "time": "2026-11-24T12:00:00Z", "maxTTL": "5m"}],
            });
        });
        let status = lease.status.clone().unwrap();
        let expected = "\
…                     2 earlier record(s): the operator's audit stream has them
2026-11-24T12:00:01Z  Issued by leasehold
                        minted
2026-11-24T12:10:00Z  Ended by leasehold
";
        assert_eq!(history(&status).plain(), expected);
        let text = credential(&status).plain();
        assert!(text.contains("0.021 s after the end") && text.contains("12.500 s after the end"), "{text}");
        assert_eq!(decisions(&status).plain(), "Approved  by alice at 2026-11-24T12:00:00Z, for at most 5m\n");
        let head = head(&lease, "2026-11-24T13:10:00Z".parse().unwrap()).plain();
        assert!(head.contains("Ended      2026-11-24T12:10:00Z (60m ago)"), "{head}");
    }

    #[test]
    fn only_conditions_that_matter_are_named() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-11-24T12:00:00Z", "reason": "X", "message": "m"});
        let kinds = |phase: &str, conditions: serde_json::Value| -> Vec<String> {
            let lease = waiting(|l| l["status"] = json!({"phase": phase, "conditions": conditions}));
            concerns(&lease).into_iter().map(|c| c.kind).collect()
        };
        let healthy = json!([
            condition("Allowed", "True"),
            condition("Active", "True"),
            condition("Revoked", "False"),
            condition("Issued", "True")
        ]);
        assert!(kinds("Active", healthy).is_empty());
        let ended = json!([
            condition("Active", "False"),
            condition("Revoked", "Unknown"),
            condition("Stalled", "True"),
            condition("Issued", "False")
        ]);
        assert_eq!(kinds("Failed", ended), ["Revoked", "Stalled", "Issued"]);
    }
}
