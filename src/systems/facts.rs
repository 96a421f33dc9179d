//! What the expressions of an operation may know.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::{
        Duration, Time,
        decision::DecisionType,
        lease::Identity,
        lifecycle::Owner,
        status::CredentialLeaseStatus,
        workflow::{ResolvedStep, StepTime},
    },
    cluster::{render::Endpoint, token::Token},
    domain::observed::{Child, Observed},
};

/// What the expressions of an operation may know. Texts and lists are within the bounds of the resources' schemas.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `params`: the step's `with`.
    pub params: BTreeMap<String, String>,
    /// `lease`.
    pub lease: LeaseFacts,
    /// `lifecycle`.
    pub lifecycle: LifecycleFacts,
    /// `requester`: username, uid, groups. What is absent is an empty text.
    pub requester: Identity,
    /// `credential`; `None` before anything is issued: then an expression that uses it fails.
    pub credential: Option<CredentialFacts>,
    /// `now`.
    pub now: Time,
}

/// `lease` in an expression.
#[derive(Clone, Debug)]
pub struct LeaseFacts {
    /// `lease.name`.
    pub name: String,
    /// `lease.namespace`.
    pub namespace: String,
    /// `lease.uid`.
    pub uid: String,
    /// `lease.reason`.
    pub reason: String,
    /// `lease.ticket`; absent is an empty text.
    pub ticket: Option<String>,
    /// `lease.grants`.
    pub grants: Vec<String>,
    /// `lease.ttl`, a duration.
    pub ttl: Duration,
    /// `lease.requestDigest`; empty before it is known.
    pub request_digest: String,
    /// `lease.endReason`; empty before the end.
    pub end_reason: String,
    /// `lease.endTime`, a text in RFC 3339; empty before the end.
    pub end_time: Option<Time>,
    /// `lease.evidence`: what proves that the credential is dead; empty before that.
    pub evidence: String,
    /// `lease.approvers`: user names of who agreed.
    pub approvers: Vec<String>,
}

/// `lifecycle` in an expression.
#[derive(Clone, Debug)]
pub struct LifecycleFacts {
    /// `lifecycle.name`.
    pub name: String,
    /// `lifecycle.namespace`.
    pub namespace: String,
    /// `lifecycle.class`.
    pub class: String,
    /// `lifecycle.owner`, with `team` and `contact`.
    pub owner: Owner,
    /// `lifecycle.purpose`.
    pub purpose: String,
}

/// `credential` in an expression.
#[derive(Clone, Debug)]
pub struct CredentialFacts {
    /// `credential.token`.
    pub token: TokenFact,
    /// `credential.serviceAccount`: the account's name, in `leasehold-leases`.
    pub service_account: String,
    /// `credential.expirationTime`: the lease's end, a text in RFC 3339.
    pub expiration_time: Option<Time>,
    /// `credential.server`: the API server's URL.
    pub server: String,
    /// `credential.ca`: the API server's CA certificates, PEM.
    pub ca: String,
}

/// The token, as far as whoever renders holds it.
#[derive(Clone)]
pub enum TokenFact {
    /// This process holds it.
    Held(Arc<Token>),
    /// For showing what would be sent: the text `***` stands for it.
    Masked,
    /// Nobody here holds it: an expression that uses it fails. So are undo operations rendered.
    Absent,
}

impl std::fmt::Debug for TokenFact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Held(_) => "Held",
            Self::Masked => "Masked",
            Self::Absent => "Absent",
        })
    }
}

/// What the expressions of a step may know of a lease; `None` where there is no spec to tell, or nothing tells its life.
#[must_use]
pub fn of(seen: &Observed, step: &ResolvedStep, token: TokenFact, endpoint: &Endpoint, now: Time) -> Option<Facts> {
    let (spec, status) = (seen.lease.spec.as_ref()?, &seen.lease.status);
    let lifecycle = seen.lifecycle().map(|l| &l.spec);
    let account = status.credential.as_ref().and_then(|c| c.service_account.as_ref()).map(|a| a.name.clone());
    let account = account.or_else(|| seen.present(&Child::Account).map(|id| id.name.clone()));
    Some(Facts {
        params: step.with.clone(),
        lease: LeaseFacts {
            name: seen.lease.name.clone(),
            namespace: seen.lease.namespace.clone(),
            uid: seen.lease.uid.to_string(),
            reason: spec.reason.clone(),
            ticket: spec.ticket.clone(),
            grants: spec.grants.clone(),
            ttl: seen.ttl().or(status.request.as_ref().map(|r| r.ttl))?,
            request_digest: status.request_digest.clone().unwrap_or_default(),
            end_reason: status.end_reason.map(|r| r.to_string()).unwrap_or_default(),
            end_time: status.end_time,
            evidence: status.credential.as_ref().and_then(|c| c.evidence).map(|e| e.to_string()).unwrap_or_default(),
            approvers: approvers(status),
        },
        lifecycle: LifecycleFacts {
            name: spec.lifecycle_ref.name.clone(),
            namespace: seen.lease.namespace.clone(),
            class: lifecycle.map(|l| l.class.as_str().to_owned()).unwrap_or_default(),
            owner: lifecycle.map_or_else(|| Owner { team: String::new(), contact: String::new() }, |l| l.owner.clone()),
            purpose: lifecycle.map(|l| l.purpose.clone()).unwrap_or_default(),
        },
        requester: spec.requested_by.clone(),
        credential: (step.at != StepTime::Request).then(|| CredentialFacts {
            token,
            service_account: account.unwrap_or_default(),
            expiration_time: status.expiration_time.or_else(|| seen.deadline()),
            server: endpoint.server.clone(),
            ca: endpoint.ca_pem.clone(),
        }),
        now,
    })
}

/// Who agreed; the decisions that count tell of who denied and revoked as well.
fn approvers(status: &CredentialLeaseStatus) -> Vec<String> {
    let agreed = status.decisions.iter().filter(|d| d.decision == DecisionType::Approved);
    agreed.map(|d| d.by.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_denied_or_revoked_is_no_approver() {
        let decision = |decision: &str, by: &str| serde_json::json!({"uid": by, "decision": decision, "by": by, "time": "2026-11-24T12:00:00Z"});
        let decisions = [decision("Approved", "alice"), decision("Revoked", "bob"), decision("Denied", "carol")];
        let status = serde_json::from_value(serde_json::json!({ "decisions": decisions })).unwrap();
        assert_eq!(approvers(&status), ["alice"]);
    }
}
