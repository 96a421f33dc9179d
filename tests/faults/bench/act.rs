//! What people do to a lease: they ask for it, agree to it, and end it.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use leasehold::api::{CredentialLease, CredentialLeaseDecision};
use leasehold_harness::eventually;
use serde_json::{Value, json};

use super::{
    Ended, PATIENCE, Run, lock,
    slot::{TASK, absent},
};
use crate::flow::{Delivery, End, Terms};

impl Run<'_, '_> {
    pub(super) async fn ask(&self, lifecycle: &str) -> Result<CredentialLease> {
        let script = self.script();
        let change = |spec: &mut Value| {
            // A lease may live no shorter than half a minute.
            spec["ttl"] = json!(if script.end == End::Time { "30s" } else { "15m" });
            spec["ticket"] = json!("CHG-1");
            spec["delivery"] = match script.delivery {
                Delivery::TokenRequest => json!({"type": "TokenRequest"}),
                Delivery::Secret => json!({"type": "Secret"}),
            };
            if script.end == End::Completed {
                spec["completionRef"] = json!({"apiVersion": "batch/v1", "kind": "Job", "name": TASK});
            }
            if script.terms == Terms::Withdrawn {
                spec["notBefore"] = json!((Timestamp::now() + SignedDuration::from_hours(1)).to_string());
            }
        };
        self.slot.home.lease("run", lifecycle, change).await
    }

    /// Takes an approval back before anything was issued on it.
    pub(super) async fn take_back(&self, decision: &CredentialLeaseDecision) -> Result<()> {
        let home = &self.slot.home;
        let api: Api<CredentialLeaseDecision> = Api::namespaced(home.admin.clone(), &home.namespace);
        api.delete(&decision.name_any(), &DeleteParams::default()).await.map(drop).context("take the approval back")
    }

    /// Ends the lease, if it has not been ended and is ended by somebody.
    pub(super) async fn end(&self) -> Result<()> {
        let lease = lock(&self.shared.lease).clone().context("there is no lease to end")?;
        let begun = Timestamp::now();
        {
            let mut end = lock(&self.shared.end);
            if end.is_some() || !(self.script().is_ended_by_us()) {
                return Ok(());
            }
            *end = Some(Ended { begun, at: begun });
        }
        self.do_end(&lease).await?;
        *lock(&self.shared.end) = Some(Ended { begun, at: Timestamp::now() });
        Ok(())
    }

    async fn do_end(&self, lease: &CredentialLease) -> Result<()> {
        let home = &self.slot.home;
        let lifecycle = &lease.spec.lifecycle_ref.name;
        match self.script().end {
            End::Deleted => home.delete_lease(&lease.name_any()).await,
            End::Revoked => self.slot.requester.decides(lease, "Revoked").await.map(drop),
            End::Stopped => home.change_lifecycle(lifecycle, json!({"spec": {"stopPolicy": "HoldAndRevoke"}})).await,
            End::Retired => {
                home.lifecycles().delete(lifecycle, &DeleteParams::default()).await.map(drop).or_else(absent)
            }
            End::Widened => home.widen_role().await,
            End::Completed => self.complete().await,
            End::Time | End::Denied | End::StepFailed | End::Superseded => Ok(()),
        }
    }

    /// Lets the Job run, and waits until it is complete.
    async fn complete(&self) -> Result<()> {
        let home = &self.slot.home;
        let jobs: Api<Job> = Api::namespaced(home.admin.clone(), &home.namespace);
        jobs.patch(TASK, &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": false}}))).await?;
        let complete = || async {
            let done = jobs.get(TASK).await?.status.is_some_and(|s| s.completion_time.is_some());
            Ok::<_, anyhow::Error>(done.then_some(()))
        };
        eventually("the Job to complete", PATIENCE, complete).await
    }
}
