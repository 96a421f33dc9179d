//! Decisions: built as data, sent as they are.

use kube::{Api, core::ObjectMeta};

use super::{
    connect::{Cluster, creating},
    exit::Failure,
    view::lease,
};
use crate::api::{
    CredentialLease, CredentialLeaseDecision, CredentialLeaseDecisionSpec, Duration,
    decision::{DecisionType, LeaseRef},
    lease::Identity,
    lifecycle::Independence,
};

/// What goes with an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// The digest of what was shown.
    pub digest: String,
    pub max_ttl: Option<Duration>,
    pub repeat_for: Option<Duration>,
    pub independence: Option<Independence>,
}

/// What somebody says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Approved(Approval),
    Denied,
    Revoked,
}

/// A decision about a lease.
#[must_use]
pub fn decision(lease: &CredentialLease, word: Word, reason: &str, by: &Identity) -> CredentialLeaseDecision {
    let (decision, approval) = match word {
        Word::Approved(approval) => (DecisionType::Approved, Some(approval)),
        Word::Denied => (DecisionType::Denied, None),
        Word::Revoked => (DecisionType::Revoked, None),
    };
    let name = lease::name(lease).to_owned();
    CredentialLeaseDecision {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: lease.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        spec: CredentialLeaseDecisionSpec {
            lease_ref: LeaseRef { name, uid: lease.metadata.uid.clone().unwrap_or_default() },
            lifecycle_ref: lease.spec.lifecycle_ref.clone(),
            requester: lease.spec.requested_by.username.clone(),
            decision,
            request_digest: approval.as_ref().map(|a| a.digest.clone()),
            reason: reason.to_owned(),
            max_ttl: approval.as_ref().and_then(|a| a.max_ttl),
            repeat_for: approval.as_ref().and_then(|a| a.repeat_for),
            independence: approval.and_then(|a| a.independence),
            decided_by: by.clone(),
        },
    }
}

/// Creates a decision; as it was created.
///
/// # Errors
/// What the API server says.
pub async fn send(cluster: &Cluster, decision: &CredentialLeaseDecision) -> Result<CredentialLeaseDecision, Failure> {
    let namespace = decision.metadata.namespace.as_deref().unwrap_or(&cluster.namespace);
    let api: Api<CredentialLeaseDecision> = Api::namespaced(cluster.client.clone(), namespace);
    let created = api.create(&creating(), decision).await;
    created.map_err(|e| super::fetch::installed(e, "credentialleasedecisions"))
}

#[cfg(test)]
mod tests {
    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn a_decision_pins_the_lease_and_says_who_and_what() {
        let by = Identity { username: "alice".into(), ..Identity::default() };
        let lease = waiting(|_| {});
        let approval = Approval { digest: "sha256:1".into(), max_ttl: "5m".parse().ok(), ..Approval::default() };
        let spec = serde_json::to_value(decision(&lease, Word::Approved(approval), "ok", &by).spec).unwrap();
        let expected = serde_json::json!({
            "leaseRef": {"name": "rollout", "uid": "5f2c8a8e-0000-4000-8000-000000000000"}, "lifecycleRef": {"name": "payments-deployer"},
            "requester": "system:serviceaccount:payments:ci", "decision": "Approved", "requestDigest": "sha256:1", "reason": "ok", "maxTTL": "5m",
            "decidedBy": {"username": "alice"},
        });
        assert_eq!(spec, expected);
        for word in [Word::Denied, Word::Revoked] {
            let spec = decision(&lease, word, "no", &by).spec;
            assert!(spec.request_digest.is_none() && spec.max_ttl.is_none() && spec.independence.is_none());
        }
    }
}
