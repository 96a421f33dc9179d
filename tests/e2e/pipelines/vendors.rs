//! Each CI system's job as it is shipped, from its own token to the end of its lease.

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    lease::Identity,
    reasons::{EndReason, Evidence},
};
use serde_json::json;

use super::{
    ground::{AUDIENCE, GITHUB_USER, Ground, Runner, github_claims},
    samples::scripts,
};
use crate::{cli_ask::plugin::said, support::run};

/// Runs a shipped job, lets a person agree, and sees it deploy and its lease end; who asked.
async fn deploys(ground: &Ground, runner: &Runner, sample: &str, user: &str, lead: &str) -> Result<Identity> {
    let child = runner.start(&scripts(sample)?.join("\n"))?;
    let lease = ground.waiting(user).await?;
    let name = lease.metadata.name.context("no name")?;
    ground.lead(lead).await?.lease(&["approve", &name, "--reason", "seen the change", "--yes"]).await?.ended(0, "")?;
    said(child).await?.ended(0, ": revoked").with_context(|| sample.to_owned())?;
    let image = ground.deployed().await?;
    ensure!(image.ends_with(&format!(":{lead}")), "{sample} did not deploy: {image}");
    let tenant = ground.tenant()?;
    tenant.lease_ended(&name, EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
    Ok(lease.spec.requested_by)
}

#[test]
fn a_github_workflow_deploys_with_nothing_stored() {
    run(async {
        let ground = Ground::shared().await?;
        let mut runner = ground.runner()?;
        for (name, value) in ground.github(&github_claims(), 300) {
            runner.set(&name, &value);
        }
        runner.set("GITHUB_SHA", "lead-github");
        let by = deploys(ground, &runner, "github-actions.yaml", GITHUB_USER, "lead-github").await?;
        ensure!(by.groups == ["github:acme/payments"], "{by:?}");
        ensure!(by.credential_id.is_none_or(|id| id.starts_with("JTI=")), "the id of the token, not the token");
        Ok(())
    });
}

#[test]
fn a_gitlab_job_deploys_with_nothing_stored() {
    run(async {
        let ground = Ground::shared().await?;
        let claims = json!({
            "sub": "project_path:acme/payments:ref_type:branch:ref:main", "aud": AUDIENCE,
            "namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/payments",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
            "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "environment": "production",
        });
        let mut runner = ground.runner()?;
        runner.set("KUBE_ID_TOKEN", &ground.issuer.token("gitlab", &claims, 1800)?);
        runner.set("CI_PROJECT_PATH", "acme/payments");
        runner.set("CI_COMMIT_SHA", "lead-gitlab");
        let user = "gitlab:project_path:acme/payments:ref_type:branch:ref:main";
        let by = deploys(ground, &runner, "gitlab-ci.yaml", user, "lead-gitlab").await?;
        ensure!(by.groups == ["gitlab:acme/payments"], "{by:?}");
        Ok(())
    });
}

#[test]
fn a_jenkins_build_deploys_with_nothing_stored() {
    run(async {
        let ground = Ground::shared().await?;
        let job = "https://jenkins.example.com/job/payments/";
        let claims = json!({"sub": job, "aud": AUDIENCE, "build_number": 7});
        let mut runner = ground.runner()?;
        let file = runner.shell.file("id-token-of-the-build");
        std::fs::write(&file, ground.issuer.token("jenkins", &claims, 1800)?)?;
        runner.set("ID_TOKEN_FILE", &file.to_string_lossy());
        runner.set("BUILD_TAG", "jenkins-payments-7");
        runner.set("GIT_COMMIT", "lead-jenkins");
        deploys(ground, &runner, "Jenkinsfile", &format!("jenkins:{job}"), "lead-jenkins").await?;
        Ok(())
    });
}
