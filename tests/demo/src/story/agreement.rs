//! Somebody has to agree: who waits, who may not, what is shown, and what is agreed to.

use std::time::Instant;

use anyhow::{Context, Result};
use kube::{Api, api::ListParams};
use leasehold::{
    api::{CredentialLeaseDecision, reasons::Phase},
    domain::request,
};
use serde_json::json;

use super::{NAMESPACE, Story, status};
use crate::{expect, holder::Holder, timeline::seconds};

/// The lease that somebody agrees to.
const FIX: &str = "fix";

impl Story {
    /// A request waits; its requester may not approve it; somebody else does; whoever holds the token.
    pub(super) async fn somebody_agrees(&mut self) -> Result<Holder> {
        self.waits().await?;
        self.nobody_agrees_to_his_own().await?;
        self.agreed().await
    }

    /// At the end of the story one request is left to decide.
    pub(super) async fn one_waits(&mut self) -> Result<()> {
        self.timeline.step("One more request is left for you to decide: lease fix-again");
        self.asks("fix-again", "Correct the ledger once more").await
    }

    async fn asks(&self, name: &'static str, reason: &str) -> Result<()> {
        let args = ["request", "fixer", "--name", name, "--ttl", "10m", "--reason", reason, "--ticket", "INC-7"];
        self.does(&self.people.oncall, &args, 2).await?;
        self.lease_in(name, Phase::AwaitingApproval).await.map(drop)
    }

    async fn waits(&mut self) -> Result<()> {
        self.timeline.step("Somebody has to agree: payments-oncall asks for fixer, which may write");
        self.asks(FIX, "Correct the ledger").await?;
        self.timeline.fact("nothing is made for it: no account, no binding. Whoever may agree sees it:");
        let said = self.does(&self.people.lead, &["list", "--waiting"], 4).await?;
        expect(said.text.contains(FIX), || "the approver sees what waits".into())
    }

    async fn nobody_agrees_to_his_own(&mut self) -> Result<()> {
        self.timeline.step("payments-oncall tries to agree to it alone");
        let oncall = &self.people.oncall;
        let said = self.types(oncall, &["approve", FIX, "--reason", "it is urgent", "--yes"]).await?;
        self.timeline.printed(said.last_line(), 1);
        expect(said.code == Some(120), || "nobody approves his own request".into())?;
        self.timeline.fact("so they leave the plugin out, and write the decision by hand:");
        let lease = self.leases.get(FIX).await?;
        let digest = status(&lease)?.request_digest.clone().context("no requestDigest")?;
        let decision = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision",
            "metadata": {"generateName": "fix-", "namespace": NAMESPACE},
            "spec": {"leaseRef": {"name": FIX, "uid": lease.metadata.uid}, "lifecycleRef": {"name": "fixer"},
                "requester": oncall.name, "decision": "Approved", "requestDigest": digest, "reason": "it is urgent",
                "decidedBy": {"username": oncall.name, "groups": oncall.groups}}});
        let words = self.refused(oncall, "decision.yaml", &decision).await?;
        expect(words.contains("somebody else"), || words.clone())
    }

    async fn agreed(&mut self) -> Result<Holder> {
        self.timeline.step("payments-lead looks, and agrees to exactly what is shown");
        let active = self.active(FIX);
        let mut args = vec!["approve", FIX, "--reason", "seen the incident", "--yes"];
        // Elsewhere everybody is a ServiceAccount: it could be minted for, and the decision says so.
        args.extend(self.cluster.plane.is_none().then_some("--recorded"));
        let lead = &self.people.lead;
        self.does(lead, &args, 24).await?;
        let answered = Instant::now();
        active.await??;
        self.timeline.fact(&format!("usable {} after the answer", seconds(answered.elapsed())));
        self.timeline.figure("from the answer to a usable credential", seconds(answered.elapsed()));

        let lease = self.leases.get(FIX).await?;
        let resolved = status(&lease)?.request.as_ref().context("no request")?;
        let computed = request::digest_of(resolved).context("no digest")?;
        let decisions: Api<CredentialLeaseDecision> = Api::namespaced(self.cluster.admin_client().await?, NAMESPACE);
        let of_fix = ListParams::default().fields("spec.leaseRef.name=fix,spec.decision=Approved");
        let decision = decisions.list(&of_fix).await?.items.pop().context("no decision")?;
        self.timeline.fact(&format!(
            "{} agreed to {}…: computed again here from what was issued, it is the same",
            decision.spec.decided_by.username,
            computed.get(..23).unwrap_or_default()
        ));
        expect(decision.spec.request_digest.as_deref() == Some(&computed), || {
            format!("{computed}, not {:?}", decision.spec.request_digest)
        })?;

        let holder = self.minted(&self.people.oncall, FIX).await?;
        let (writes, deletes) = (holder.writes().await?, holder.oversteps().await?[0]);
        self.timeline.fact(&format!("with the token: correct the ledger {writes}, delete it {deletes}"));
        expect((writes, deletes) == (200, 403), || "200 for the grant, 403 for the rest".into())?;
        Ok(holder)
    }
}
