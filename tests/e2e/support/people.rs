//! People who decide about leases.

use anyhow::{Context, Result};
use kube::{Api, api::PostParams};
use leasehold::api::{CredentialLease, CredentialLeaseDecision};
use leasehold_harness::User;
use serde_json::{Value, json};

use super::Tenant;

/// Somebody who may approve, deny and revoke in a tenant's namespace.
pub struct Person {
    pub user: User,
    namespace: String,
}

impl Person {
    /// A new user with the shipped ClusterRole leasehold-approver there.
    pub async fn approver(tenant: &Tenant<'_>, name: &str) -> Result<Self> {
        let name = format!("{}-{name}", tenant.namespace);
        let user = tenant.lab.plane.user(&name, &["leads"])?;
        let args =
            ["create", "rolebinding", &name, "-n", &tenant.namespace, "--clusterrole=leasehold-approver", "--user"];
        tenant.lab.kubectl(&[&args[..], &[name.as_str()]].concat(), None).await?;
        Ok(Self { user, namespace: tenant.namespace.clone() })
    }

    /// The tenant's requester, who may also end what it asked for.
    pub async fn requester(tenant: &Tenant<'_>) -> Result<Self> {
        let name = format!("{}-withdraws", tenant.namespace);
        let args =
            ["create", "rolebinding", &name, "-n", &tenant.namespace, "--clusterrole=leasehold-requester", "--user"];
        tenant.lab.kubectl(&[&args[..], &[tenant.requester.name.as_str()]].concat(), None).await?;
        Ok(Self { user: tenant.requester.clone(), namespace: tenant.namespace.clone() })
    }

    /// A decision about a lease as this person would write it. `change` edits its spec.
    pub fn word(&self, lease: &CredentialLease, decision: &str, change: impl FnOnce(&mut Value)) -> Result<Value> {
        let (name, uid) = (lease.metadata.name.as_ref().context("no name")?, lease.metadata.uid.as_ref());
        let mut spec = json!({
            "leaseRef": {"name": name, "uid": uid}, "lifecycleRef": {"name": lease.spec.lifecycle_ref.name},
            "requester": lease.spec.requested_by.username, "decision": decision, "reason": "looked at it",
            "decidedBy": {"username": self.user.name, "groups": self.user.groups},
        });
        if decision == "Approved" {
            spec["requestDigest"] = json!(lease.status.as_ref().and_then(|s| s.request_digest.as_ref()));
        }
        change(&mut spec);
        Ok(json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision",
            "metadata": {"generateName": format!("{name}-"), "namespace": self.namespace}, "spec": spec,
        }))
    }

    /// Decides; the API server's answer.
    pub async fn tries(
        &self,
        lease: &CredentialLease,
        decision: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<kube::Result<CredentialLeaseDecision>> {
        let object = serde_json::from_value(self.word(lease, decision, change)?)?;
        let api: Api<CredentialLeaseDecision> = Api::namespaced(self.user.client.clone(), &self.namespace);
        Ok(api.create(&PostParams::default(), &object).await)
    }

    /// Decides.
    pub async fn decides(&self, lease: &CredentialLease, decision: &str) -> Result<CredentialLeaseDecision> {
        self.tries(lease, decision, |_| {}).await?.with_context(|| format!("{} decides {decision}", self.user.name))
    }
}
