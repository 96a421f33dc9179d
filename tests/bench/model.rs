//! Takes what Leasehold writes for a lease, for the yardsticks to write the same.

use anyhow::{Context, Result};
use leasehold::api::names::{self, ISSUING_NAMESPACE, LeaseUid};
use serde_json::Value;

use crate::{
    arm::{Arm, Kind},
    field::{Asked, Field, PATIENCE},
    template::{GRANT, Own},
    wire::{core, jobs, leases, rbac, text},
};

impl Field {
    /// Issues leases of both deliveries with Leasehold, ends one, and keeps what was written.
    pub async fn model(&mut self) -> Result<()> {
        let operator = Arm::start(self, Kind::Leasehold).await?;
        let delivered = self.ask(&self.lease("bench-model", "Secret", "1h")).await?;
        let minted = self.ask(&self.lease("bench-model", "TokenRequest", "1h")).await?;
        let active = |lease: &Asked| (lease.uid.clone(), format!("{}/{}", leases(&lease.namespace), lease.name));
        for (lease, mint) in [(&delivered, false), (&minted, true)] {
            let (uid, path) = active(lease);
            self.eyes.until(&uid, PATIENCE, "active", |seen| seen.active).await?;
            let status = self.admin.get(&path).await?["status"].clone();
            let own = self.keep_objects(lease, &status, mint).await?;
            self.templates.keep(if mint { "minted" } else { "active" }, status, &own);
            if mint {
                continue;
            }
            self.revoke(lease).await?;
            self.eyes.until(&uid, PATIENCE, "ended", |seen| seen.ended).await?;
            self.templates.keep("ended", self.admin.get(&path).await?["status"].clone(), &own);
            self.eyes.until(&uid, PATIENCE, "proven", |seen| seen.proven).await?;
            self.templates.keep("proven", self.admin.get(&path).await?["status"].clone(), &own);
        }
        operator.stop().await?;
        self.clear().await
    }

    async fn keep_objects(&mut self, lease: &Asked, status: &Value, mint: bool) -> Result<Own> {
        let uid = LeaseUid::parse(&lease.uid).context("a UID that is none")?;
        let issuing = names::issuing(&uid);
        let account = text(&status["credential"]["serviceAccount"]["name"]);
        let deadline = names::account_deadline(&account, &uid).context("no deadline in the account's name")?;
        let mut own = Own::new(&lease.namespace, &lease.name, &uid, deadline, &self.templates);
        let job = self.admin.get(&format!("{}/{issuing}", jobs(ISSUING_NAMESPACE))).await?;
        own.job = text(&job["metadata"]["uid"]);
        let account = self.admin.get(&format!("{}/{account}", core(ISSUING_NAMESPACE, "serviceaccounts"))).await?;
        own.account = text(&account["metadata"]["uid"]);
        let binding = names::binding(&uid, GRANT);
        let binding = self.admin.get(&format!("{}/{binding}", rbac(&lease.namespace, "rolebindings"))).await?;
        own.binding = text(&binding["metadata"]["uid"]);
        if mint {
            let role = self.admin.get(&format!("{}/{issuing}", rbac(ISSUING_NAMESPACE, "roles"))).await?;
            let bound = self.admin.get(&format!("{}/{issuing}", rbac(ISSUING_NAMESPACE, "rolebindings"))).await?;
            self.templates.keep("mint-role", role, &own);
            self.templates.keep("mint-binding", bound, &own);
            return Ok(own);
        }
        let secret = names::default_secret(&lease.name);
        let secret = self.admin.get(&format!("{}/{secret}", core(&lease.namespace, "secrets"))).await?;
        own.secret = text(&secret["metadata"]["uid"]);
        let mut job = job;
        if let Some(spec) = job["spec"].as_object_mut() {
            spec.retain(|name, _| {
                matches!(
                    name.as_str(),
                    "parallelism" | "completions" | "activeDeadlineSeconds" | "ttlSecondsAfterFinished" | "template"
                )
            });
        }
        if let Some(template) = job["spec"]["template"].as_object_mut() {
            template.remove("metadata");
        }
        self.templates.keep("job", job, &own);
        self.templates.keep("account", account, &own);
        self.templates.keep("binding", binding, &own);
        self.templates.keep("secret", secret, &own);
        Ok(own)
    }
}
