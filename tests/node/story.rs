//! The story: Leasehold is installed, used, upgraded, rolled back, and taken away, and leases live and end all the while.

use anyhow::{Context, Result};
use leasehold::api::CredentialLease;
use leasehold::api::condition::{self, ConditionStatus};
use leasehold::api::status::CredentialLeaseStatus;
use serde_json::Value;

use crate::Steps;
use crate::image::Images;
use crate::support::{Lab, Tenant};

pub struct Story<'a> {
    pub lab: &'a Lab,
    pub images: &'a Images,
}

impl<'a> Story<'a> {
    pub async fn tell(&self, steps: &mut Steps) -> Result<()> {
        steps.hold("helm install --wait brings up two replicas under restricted Pod Security", self.install()).await?;
        steps.hold("helm test finds the install whole, and leaves nothing behind", self.examine()).await?;
        let tenant = self.tenant("payments").await?;
        let pod = self.a_job_asks_as_itself(&tenant);
        steps.hold("a pod runs `kubectl-lease run` as itself, and the lease ends with the command", pod).await?;
        let mounted = self.a_mounted_secret_is_used_and_lost(&tenant);
        steps
            .hold("a token is used from a mounted Secret, refused at the end, and gone from the mount", mounted)
            .await?;
        let upgrade = self.leases_live_and_end_during(&tenant, "upgrade", self.upgrade());
        steps.hold("helm upgrade: a lease lives on, one ends on time, one is issued", upgrade).await?;
        let rollback = self.leases_live_and_end_during(&tenant, "rollback", self.roll_back());
        steps.hold("helm rollback: the same", rollback).await?;
        let namespace = self.a_namespace_is_deleted_under_its_leases();
        steps.hold("a namespace is deleted under its leases, and they end", namespace).await?;
        steps.hold("helm uninstall ends every lease first, with proof", self.uninstall(&tenant)).await
    }

    /// A namespace under restricted Pod Security, with a lifecycle `reading`, and ServiceAccount `ci` that may lease it.
    pub async fn tenant(&self, label: &str) -> Result<Tenant<'a>> {
        let tenant = self.lab.tenant(label).await?;
        let namespace = &tenant.namespace;
        for args in [
            vec!["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"],
            vec!["create", "serviceaccount", "ci", "-n", namespace],
            vec![
                "create",
                "rolebinding",
                "ci",
                "-n",
                namespace,
                "--clusterrole=leasehold-requester",
                &format!("--serviceaccount={namespace}:ci"),
            ],
        ] {
            self.lab.kubectl(&args, None).await?;
        }
        tenant.lifecycle("reading", |_| ()).await?;
        Ok(tenant)
    }

    /// Waits until a lease has ended and that is proven, by whichever evidence: another replica may lead than the one that minted.
    pub async fn ended(&self, tenant: &Tenant<'_>, lease: &str) -> Result<CredentialLeaseStatus> {
        let proven = |lease: &CredentialLease| {
            let conditions = lease.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            condition::find(conditions, "Revoked").is_some_and(|revoked| revoked.status == ConditionStatus::True)
        };
        tenant.lease_is(lease, "ended with proof", proven).await?.status.context("a lease without a status")
    }

    /// kubectl as the administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.lab.kubectl(args, None).await
    }

    pub async fn apply(&self, object: &Value) -> Result<()> {
        self.lab.kubectl(&["apply", "-f", "-"], Some(&object.to_string())).await.map(drop)
    }

    /// For whoever reads why a step failed.
    pub async fn state(&self) -> String {
        let mut said = String::new();
        for args in [
            ["get", "pods,jobs,credentialleases", "-A", "-o", "wide"].as_slice(),
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &["logs", "-n", "leasehold-system", "-l", "app.kubernetes.io/name=leasehold", "--tail=30", "--prefix"],
        ] {
            let seen = self.kubectl(args).await.unwrap_or_else(|error| format!("{error:#}\n"));
            said.push_str(&format!("$ kubectl {}\n{seen}", args.join(" ")));
        }
        said
    }
}
