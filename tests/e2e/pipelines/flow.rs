//! What a pipeline's deployment leaves, and what it may rely on while it waits.

use std::time::Duration;

use anyhow::{Context, ensure};
use leasehold::api::reasons::{EndReason, Evidence};

use super::{
    ground::{ALONE, GITHUB_USER, Ground, github_claims},
    samples::scripts,
};
use crate::{
    cli_ask::plugin::said,
    support::{Holder, run},
};

#[test]
fn what_a_deployment_was_given_is_dead_with_proof_when_it_is_over() {
    run(async {
        let _alone = ALONE.lock().await;
        let ground = Ground::shared().await?;
        let mut runner = ground.runner()?;
        // A job that keeps the token it deployed with.
        let script = "kubectl lease run payments-release -n payments --grant deploy --timeout 60s -- \
                      sh -c 'kubectl set image deployment/payments payments=registry.example.com/payments:kept; \
                             KUBECONFIG=kubeconfig kubectl lease token $LEASEHOLD_LEASE > kept'";
        let token = ground.issuer.token("github", &github_claims(), 600)?;
        let child = runner.with_token(&token, script)?.spawn()?;
        let name = ground.waiting(GITHUB_USER).await?.metadata.name.context("no name")?;
        let lead = ground.lead("lead-dead").await?;
        lead.lease(&["approve", &name, "--reason", "agreed", "--yes"]).await?.ended(0, "")?;
        said(child).await?.ended(0, ": revoked")?;
        ensure!(ground.deployed().await?.ends_with(":kept"), "it did not deploy");

        let tenant = ground.tenant()?;
        let kept = std::fs::read_to_string(runner.shell.file("kept"))?;
        let holder = Holder::new(&tenant, kept.trim())?;
        holder.until(&[401], Duration::from_millis(200), Duration::from_secs(30)).await?;
        let status = tenant.lease_ended(&name, EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
        ensure!(status.decisions.len() == 2, "the agreement and the end: {:?}", status.decisions);
        let lease = tenant.leases().get(&name).await?;
        tenant.lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}

#[test]
fn a_job_waits_longer_than_its_token_lives() {
    run(async {
        let _alone = ALONE.lock().await;
        let ground = Ground::shared().await?;
        let mut runner = ground.runner()?;
        for (name, value) in ground.github(&github_claims(), 8) {
            runner.set(&name, &value);
        }
        runner.set("GITHUB_SHA", "patient");
        let child = runner.start(&scripts("github-actions.yaml")?.join("\n"))?;
        let name = ground.waiting(GITHUB_USER).await?.metadata.name.context("no name")?;
        // The token it asked with has expired, and no API server remembers it: 8 s, and 10 s.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let lead = ground.lead("lead-late").await?;
        let approved = lead.lease(&["approve", &name, "--reason", "agreed", "--yes"]).await?;
        let job = said(child).await?;
        approved.ended(0, "").with_context(|| format!("the job said {job:?}"))?;
        job.ended(0, ": revoked")?;
        ensure!(ground.deployed().await?.ends_with(":patient"), "it did not deploy");
        Ok::<_, anyhow::Error>(())
    });
}
