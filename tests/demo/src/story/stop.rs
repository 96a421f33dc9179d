//! The emergency stop: what is leased ends, nothing more is leased, and then it goes on.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kube::Api;
use leasehold::api::{
    CredentialLeasePolicy,
    reasons::{EndReason, Phase},
};
use leasehold_harness::eventually;

use super::{NAMESPACE, PATIENCE, STOP, Story, status};
use crate::{
    expect,
    holder::Holder,
    timeline::{millis, seconds},
};

impl Story {
    pub(super) async fn stopped(&mut self, fixer: Holder) -> Result<()> {
        self.timeline
            .step("An incident: the platform team stops whatever is leased in this namespace; lease fix is live");
        let begun = Instant::now();
        let forbidden = tokio::spawn(async move {
            while begun.elapsed() < PATIENCE {
                if fixer.reads().await? == 403 {
                    return Ok(Instant::now());
                }
            }
            bail!("not as told: the token of lease fix is still good {PATIENCE:?} after the stop")
        });
        let policies: Api<CredentialLeasePolicy> = Api::all(self.cluster.admin_client().await?);
        let in_force = tokio::spawn(async move {
            while begun.elapsed() < PATIENCE {
                if policies.get_opt(STOP).await?.is_some() {
                    return Ok(Instant::now());
                }
            }
            bail!("not as told: there is no policy {STOP} after {PATIENCE:?}")
        });
        let labels = format!("kubernetes.io/metadata.name={NAMESPACE}");
        let args = ["stop", "--lifecycles", &labels, "--name", STOP, "--reason", "INC-7", "--yes"];
        self.does(&self.people.platform, &args, 4).await?;
        let (forbidden, in_force) = (forbidden.await??, in_force.await??);
        let lag = forbidden.saturating_duration_since(in_force);
        self.timeline.fact(&format!(
            "403 for the holder of lease fix {} after the API server took the stop, {} after the command was typed",
            seconds(lag),
            seconds(forbidden - begun)
        ));
        self.timeline.figure("an emergency stop: 403", seconds(lag));
        expect(self.cluster.plane.is_none() || lag < Duration::from_secs(1), || {
            format!("403 within a second: {lag:?}")
        })?;
        let why = eventually("lease fix to say why it ended", PATIENCE, || async {
            Ok::<_, anyhow::Error>(status(&self.leases.get("fix").await?)?.end_reason)
        });
        let why = why.await?;
        expect(why == EndReason::PolicyStopped, || format!("ended by the stop, not {why:?}"))?;
        self.timeline.fact(&format!("lease fix says what ended it: {why}. Nothing more is leased:"));

        let args = ["request", "deployer", "--name", "too-late", "--ttl", "30s", "--reason", "Roll out 2.4", "--wait"];
        let said = self.types(&self.people.pipeline, &args).await?;
        self.timeline.printed(&said.text, 3);
        expect(said.code == Some(120), || format!("nothing more is leased, exit code 120: {}", said.text))?;

        self.timeline.step("All clear: the stop is taken back, and the pipeline asks again");
        self.does(&self.people.platform, &["resume"], 2).await?;
        self.does(&self.people.platform, &["resume", STOP], 2).await?;
        let begun = Instant::now();
        let args = ["request", "deployer", "--name", "nightly", "--ttl", "30s", "--reason", "Nightly run", "--wait"];
        self.does(&self.people.pipeline, &args, 4).await?;
        self.lease_in("nightly", Phase::Active).await?;
        self.timeline
            .fact(&format!("active; the command took {}", millis(i64::try_from(begun.elapsed().as_millis())?)));
        Ok(())
    }
}
