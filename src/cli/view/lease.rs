//! What commands ask about a lease.

use crate::{
    api::{CredentialLease, Time, reasons::Phase, status::ResolvedRequest},
    domain::agreement,
};

/// `<namespace>/<name>`.
#[must_use]
pub fn title(lease: &CredentialLease) -> String {
    format!("{}/{}", namespace(lease), name(lease))
}

/// Its name.
#[must_use]
pub fn name(lease: &CredentialLease) -> &str {
    lease.metadata.name.as_deref().unwrap_or_default()
}

/// Its namespace.
#[must_use]
pub fn namespace(lease: &CredentialLease) -> &str {
    lease.metadata.namespace.as_deref().unwrap_or_default()
}

/// Where it is; one that the operator has not looked at is pending.
#[must_use]
pub fn phase(lease: &CredentialLease) -> Phase {
    lease.status.as_ref().and_then(|s| s.phase).unwrap_or(Phase::Pending)
}

/// Whether its end has come, or it never began.
#[must_use]
pub fn is_over(lease: &CredentialLease) -> bool {
    phase(lease).is_final() || phase(lease) == Phase::Ending
}

/// Whether it was issued before anybody agreed, and nobody has answered for it yet: also one that has ended owes its answer.
#[must_use]
pub fn is_unanswered(lease: &CredentialLease) -> bool {
    lease.status.as_ref().is_some_and(|s| agreement::owed(s, &lease.spec.requested_by.username).is_some())
}

/// Whether it waits for somebody's word.
#[must_use]
pub fn waits_for_people(lease: &CredentialLease) -> bool {
    phase(lease) == Phase::AwaitingApproval || is_unanswered(lease)
}

/// The resolved document.
#[must_use]
pub fn request(lease: &CredentialLease) -> Option<&ResolvedRequest> {
    lease.status.as_ref().and_then(|s| s.request.as_ref())
}

/// Until when it lives, or would have; nothing for one that was never issued and will not be.
#[must_use]
pub fn expires(lease: &CredentialLease) -> Option<Time> {
    let status = lease.status.as_ref().filter(|s| s.issue_time.is_some() || !is_over(lease))?;
    status.expiration_time
}

/// When it was created, by the API server's clock.
#[must_use]
pub fn created(lease: &CredentialLease) -> Option<Time> {
    lease.metadata.creation_timestamp.as_ref().map(Time::from)
}

/// Which leases a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Filter {
    /// Only leases that reach into this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub reaching: Option<String>,
    /// Only leases of this requester.
    #[arg(long, value_name = "USERNAME")]
    pub requester: Option<String>,
    /// Only leases of this lifecycle.
    #[arg(long, value_name = "NAME")]
    pub lifecycle: Option<String>,
}

impl Filter {
    /// Whether it selects by anything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.reaching.is_some() || self.requester.is_some() || self.lifecycle.is_some()
    }

    /// Whether it selects this lease.
    #[must_use]
    pub fn selects(&self, lease: &CredentialLease) -> bool {
        let is = |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
        is(&self.reaching, &|namespace| reaches(lease, namespace))
            && is(&self.requester, &|user| lease.spec.requested_by.username == user)
            && is(&self.lifecycle, &|name| lease.spec.lifecycle_ref.name == name)
    }

    /// The field selector that lets the API server do most of it.
    #[must_use]
    pub fn fields(&self) -> String {
        let pairs = [("spec.lifecycleRef.name", &self.lifecycle), ("spec.requestedBy.username", &self.requester)];
        let escaped = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        let set = |(field, value): (&str, &Option<String>)| value.as_deref().map(|v| format!("{field}={}", escaped(v)));
        pairs.into_iter().filter_map(set).collect::<Vec<_>>().join(",")
    }
}

/// Whether a lease has a grant into this namespace. One that is not resolved yet reaches into its own.
#[must_use]
pub fn reaches(lease: &CredentialLease, target: &str) -> bool {
    match request(lease) {
        Some(request) => request.grants.iter().any(|grant| grant.namespace == target),
        None => namespace(lease) == target,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A lease as an operator has resolved it: 10 minutes of `deploy` in `payments-prod`, waiting for two people.
    pub fn waiting(change: impl FnOnce(&mut Value)) -> CredentialLease {
        let mut lease = json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"name": "rollout", "namespace": "payments", "uid": "5f2c8a8e-0000-4000-8000-000000000000", "creationTimestamp": "2026-11-24T12:00:00Z"},
            "spec": {
                "lifecycleRef": {"name": "payments-deployer"}, "grants": ["deploy"], "ttl": "10m", "reason": "Roll out 2.3", "ticket": "CHG-1234",
                "delivery": {"type": "TokenRequest"},
                "requestedBy": {"username": "system:serviceaccount:payments:ci", "groups": ["ci"], "podName": "runner-1", "credentialID": "JTI=1"},
            },
            "status": {
                "phase": "AwaitingApproval", "approvals": {"required": 2, "have": 0, "summary": "0 of 2", "until": "2026-11-24T13:00:00Z"},
                "policies": ["production"],
                "request": {
                    "requester": {"username": "system:serviceaccount:payments:ci", "groups": ["ci"]},
                    "lifecycle": {"name": "payments-deployer", "uid": "6f2c8a8e-0000-4000-8000-000000000000"},
                    "grants": [{
                        "name": "deploy", "namespace": "payments-prod", "roleRef": {"kind": "ClusterRole", "name": "payments-deploy"}, "roleUID": "7f2c",
                        "rulesDigest": "sha256:0", "outlives": ["Exec"],
                        "rules": [{"verbs": ["get", "patch"], "apiGroups": ["apps"], "resources": ["deployments"]}, {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/exec"]}],
                    }],
                    "ttl": "10m", "delivery": {"type": "TokenRequest"},
                },
            },
        });
        change(&mut lease);
        let mut lease: CredentialLease = serde_json::from_value(lease).unwrap();
        if let Some(status) = &mut lease.status
            && let Some(request) = &mut status.request
        {
            for grant in &mut request.grants {
                grant.rules_digest = crate::domain::rbac::digest(&grant.rules);
            }
            status.request_digest = Some(super::super::proof::digest(request).unwrap());
        }
        lease
    }

    #[test]
    fn a_filter_selects_by_all_it_names() {
        let lease = waiting(|_| {});
        let filter = |reaching: &str, requester: &str| Filter {
            reaching: Some(reaching.into()),
            requester: Some(requester.into()),
            lifecycle: None,
        };
        assert!(filter("payments-prod", "system:serviceaccount:payments:ci").selects(&lease));
        assert!(
            !filter("payments", "system:serviceaccount:payments:ci").selects(&lease),
            "its own namespace is not reached"
        );
        assert!(!filter("payments-prod", "ci").selects(&lease));
        assert!(Filter::default().selects(&lease) && !Filter::default().is_any());
        assert_eq!(filter("x", "CN=ci,O=x").fields(), "spec.requestedBy.username=CN\\=ci\\,O\\=x");
    }
}
