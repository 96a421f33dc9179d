//! Where a lease stands for whoever waits until it is active.

use super::{
    exit::Failure,
    mint,
    view::{lease, text::safe},
};
use crate::api::{
    CredentialLease, condition,
    reasons::{EndReason, Phase},
    workflow::{StepState, StepTime},
};

/// Where a lease stands for whoever waits until it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not there yet, and what it waits for.
    Waits(String),
    Active,
    /// It will never be active.
    Over(Failure),
}

/// Where this lease stands.
#[must_use]
pub fn standing(of: &CredentialLease) -> Standing {
    let phase = lease::phase(of);
    let say = |kind: &str| {
        let conditions = of.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        condition::find(conditions, kind).map(|c| safe(&c.message)).filter(|message| !message.is_empty())
    };
    let with =
        |what: &str, more: Option<String>| more.map_or_else(|| what.to_owned(), |more| format!("{what}: {more}"));
    match phase {
        Phase::Active => Standing::Active,
        Phase::Pending if awaits_gate(of) => Standing::Waits(with("waiting for another system", say("Active"))),
        Phase::Pending => Standing::Waits(with("waiting for the operator", say("Active"))),
        Phase::AwaitingApproval => {
            let approvals = of.status.as_ref().and_then(|s| s.approvals.as_ref());
            let count = approvals.map(|a| format!(", {} of {} so far", a.have, a.required)).unwrap_or_default();
            Standing::Waits(with(&format!("waiting for approval{count}"), say("Approved")))
        }
        Phase::Scheduled => {
            let at = of.spec.not_before.map(|at| at.to_string());
            Standing::Waits(
                at.map_or_else(|| "agreed, and scheduled".into(), |at| format!("agreed, and issued at {at}")),
            )
        }
        Phase::Issuing => Standing::Waits(with("being issued", say("Issued"))),
        Phase::Denied | Phase::Failed | Phase::Ending | Phase::Completed | Phase::Expired | Phase::Revoked => {
            let message = say("Stalled").or_else(|| say("Active"));
            Standing::Over(over(of, message))
        }
    }
}

/// Whether the operator has not got to a request yet: nobody has decided anything about it, and no person is waited for. So it
/// stays while the operator is down, or may not issue because its policies are not in force.
#[must_use]
pub fn is_unattended(of: &CredentialLease) -> bool {
    lease::phase(of) == Phase::Pending && !awaits_gate(of)
}

/// Whether another system is asked before anything is issued: that may take as long as its step may.
fn awaits_gate(of: &CredentialLease) -> bool {
    let steps = of.status.iter().flat_map(|s| &s.steps);
    steps.into_iter().any(|step| step.at == StepTime::Request && step.state == StepState::Running)
}

/// Why a lease will never be active, by the exit code that tells it apart.
fn over(of: &CredentialLease, message: Option<String>) -> Failure {
    let title = lease::title(of);
    let tell =
        |what: &str| format!("lease {title} {what}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default());
    match of.status.as_ref().and_then(|s| s.end_reason) {
        Some(EndReason::Denied | EndReason::CreatedUnproven | EndReason::GateRefused) => {
            Failure::Refused(tell("was refused"))
        }
        Some(EndReason::DecisionDenied) => Failure::Denied(tell("was denied")),
        Some(EndReason::DecisionRevoked) => Failure::Denied(tell("was revoked")),
        Some(EndReason::ApprovalTimeout | EndReason::ApprovalMissing) => {
            Failure::TimedOut(tell("was not approved in time"))
        }
        Some(_) if lease::phase(of) == Phase::Failed => Failure::Ended(tell("could not be issued")),
        Some(_) if message.is_some() => Failure::Ended(tell("has ended")),
        _ => mint::ended(of),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::view::lease::tests::waiting, *};

    fn in_phase(phase: &str, change: impl FnOnce(&mut Value)) -> CredentialLease {
        waiting(|l| {
            l["status"]["phase"] = json!(phase);
            change(l);
        })
    }

    fn says(kind: &str, message: &str) -> Value {
        json!([{"type": kind, "status": "False", "lastTransitionTime": "2026-11-24T12:00:00Z", "reason": "Why", "message": message}])
    }

    #[test]
    fn whoever_waits_is_told_for_what() {
        let waits = |lease: &CredentialLease| match standing(lease) {
            Standing::Waits(what) => what,
            other => panic!("{other:?}"),
        };
        let asked = in_phase("AwaitingApproval", |l| {
            l["status"]["approvals"]["have"] = json!(1);
            l["status"]["conditions"] = says("Approved", "ask #pay-approvals");
        });
        assert_eq!(waits(&asked), "waiting for approval, 1 of 2 so far: ask #pay-approvals");
        let night = in_phase("Scheduled", |l| l["spec"]["notBefore"] = json!("2026-11-28T02:00:00Z"));
        assert_eq!(waits(&night), "agreed, and issued at 2026-11-28T02:00:00Z");
        assert_eq!(waits(&in_phase("Issuing", |_| {})), "being issued");
        assert_eq!(standing(&in_phase("Active", |_| {})), Standing::Active);
        let mut fresh = in_phase("Pending", |_| {});
        fresh.status = None;
        assert_eq!(waits(&fresh), "waiting for the operator", "nobody has looked at it yet");
        let gate = json!([{"name": "approved", "at": "Request", "state": "Running", "tries": 1, "startTime": "2026-11-24T12:00:00Z"}]);
        let gated = in_phase("Pending", |l| l["status"]["steps"] = gate);
        assert!(!is_unattended(&gated), "another system is waited for as long as its step may take");
        assert!(is_unattended(&fresh) && is_unattended(&in_phase("Pending", |_| {})));
        assert!(!is_unattended(&asked), "a person is waited for as long as whoever asks wants");
    }

    #[test]
    fn each_way_of_not_getting_it_has_its_exit_code() {
        let table = [
            ("Denied", "Denied", 120),
            ("Denied", "CreatedUnproven", 120),
            ("Denied", "DecisionDenied", 121),
            ("Denied", "ApprovalTimeout", 124),
            ("Revoked", "DecisionRevoked", 121),
            ("Ending", "DecisionRevoked", 121),
            ("Revoked", "LifecycleStopped", 122),
            ("Expired", "Expired", 122),
            ("Failed", "MissingRight", 122),
        ];
        for (phase, reason, code) in table {
            let lease = in_phase(phase, |l| {
                l["status"]["endReason"] = json!(reason);
                l["status"]["conditions"] = says("Stalled", "ttl is above 1h");
            });
            let Standing::Over(failure) = standing(&lease) else { panic!("{phase} {reason}") };
            assert_eq!(failure.code(), code, "{phase} {reason}");
            assert!(failure.to_string().ends_with(": ttl is above 1h"), "{failure}");
        }
    }
}
