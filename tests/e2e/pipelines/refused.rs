//! A pipeline that will not get a lease is told so at once, and by its exit code why: no minute of a runner is burnt.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use leasehold_harness::Options;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Child,
};

use super::ground::{ALONE, GITHUB_USER, Ground, github_claims};
use crate::{
    cli_ask::plugin::{Shell, finish, said},
    support::{Lab, Person, run},
};

/// At most this long for an answer that needs nobody: a few calls, on a machine that is busy. Who waits for what will not come
/// waits for a minute.
const AT_ONCE: Duration = Duration::from_secs(20);

const RUN: &str = "kubectl lease run payments-release -n payments --grant deploy --timeout 60s -- touch ran";

/// Starts a command that waits; the moment it said so on standard error, and the rest of what it says there.
async fn began(child: &mut Child) -> Result<(Instant, impl Future<Output = Result<String>> + use<>)> {
    let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await? {
        said.push_str(&line);
        if line.contains("waiting for") {
            let mut rest = lines.into_inner();
            return Ok((Instant::now(), async move {
                rest.read_to_string(&mut said).await?;
                Ok(said)
            }));
        }
    }
    anyhow::bail!("it does not wait: {said}")
}

/// How a waiting command ended, and after how long.
async fn ended(
    mut child: Child,
    since: Instant,
    said: impl Future<Output = Result<String>>,
) -> Result<(i32, String, Duration)> {
    let (said, status) = tokio::join!(said, child.wait());
    let took = since.elapsed();
    Ok((status?.code().context("a signal ended it")?, said?, took))
}

/// That a wait was over after so long, and not only when the next limit, of a minute, had passed.
fn soon_after(of: Duration, took: Duration) -> Result<()> {
    ensure!(took >= of && took < of + AT_ONCE, "{took:?} instead of {of:?}");
    Ok(())
}

#[test]
fn whoever_is_not_the_pipeline_that_may_lease_is_told_at_once() {
    run(async {
        let _alone = ALONE.lock().await;
        let ground = Ground::shared().await?;
        let changed = |change: fn(&mut Value)| {
            let mut claims = github_claims();
            change(&mut claims);
            claims
        };
        let table: [(&str, Value, i64, i32, &str); 5] = [
            (
                "another repository of ours",
                changed(|c| {
                    c["sub"] = json!("repo:acme@123456/website@456790:environment:production");
                    c["repository"] = json!("acme/website");
                }),
                300,
                120,
                "forbidden",
            ),
            (
                "a pull request",
                changed(|c| c["sub"] = json!("repo:acme@123456/payments@456789:pull_request")),
                300,
                120,
                "forbidden",
            ),
            (
                "a repository of somebody who took the name",
                changed(|c| c["repository_owner_id"] = json!("999999")),
                300,
                125,
                "does not take your credentials",
            ),
            (
                "for somebody else",
                changed(|c| c["aud"] = json!("sts.example.com")),
                300,
                125,
                "does not take your credentials",
            ),
            ("expired", github_claims(), -2, 125, "does not take your credentials"),
        ];
        let leases = ground.tenant()?.leases();
        let before = leases.list(&ListParams::default()).await?.items.len();
        for (who, claims, seconds, code, words) in table {
            let mut runner = ground.runner()?;
            let token = ground.issuer.token("github", &claims, seconds)?;
            let begun = Instant::now();
            let refused = finish(runner.with_token(&token, RUN)?).await?.ended(code, words).context(who)?;
            ensure!(begun.elapsed() < AT_ONCE, "{who} waited {:?}", begun.elapsed());
            ensure!(!refused.stderr.contains(&token) && !runner.shell.file("ran").exists(), "{who}: {refused:?}");
        }
        let after = leases.list(&ListParams::default()).await?.items.len();
        ensure!(before == after, "somebody who may not has asked");
        Ok(())
    });
}

#[test]
fn a_job_that_nobody_answers_ends_at_its_timeout_and_withdraws() {
    run(async {
        let _alone = ALONE.lock().await;
        let ground = Ground::shared().await?;
        let mut runner = ground.runner()?;
        let token = ground.issuer.token("github", &github_claims(), 600)?;
        let mut child = runner.with_token(&token, &RUN.replace("60s", "4s"))?.spawn()?;
        let (since, rest) = began(&mut child).await?;
        let name = ground.waiting(GITHUB_USER).await?.metadata.name.context("no name")?;
        let (code, said, took) = ended(child, since, rest).await?;
        ensure!(code == 124 && said.contains("was withdrawn: revoked"), "{code}: {said}");
        soon_after(Duration::from_secs(4), took)?;
        ensure!(!runner.shell.file("ran").exists(), "nothing ran");
        // The person who comes too late.
        let lead = ground.lead("lead-slow").await?;
        let late = lead.lease(&["approve", &name, "--reason", "at last", "--yes"]).await?;
        ensure!(late.code != Some(0), "{late:?}");
        Ok(())
    });
}

#[test]
fn a_denial_ends_the_job_at_once() {
    run(async {
        let _alone = ALONE.lock().await;
        let ground = Ground::shared().await?;
        let mut runner = ground.runner()?;
        let token = ground.issuer.token("github", &github_claims(), 600)?;
        let child = runner.with_token(&token, RUN)?.spawn()?;
        let name = ground.waiting(GITHUB_USER).await?.metadata.name.context("no name")?;
        let lead = ground.lead("lead-no").await?;
        lead.lease(&["deny", &name, "--reason", "a freeze", "--yes"]).await?.ended(0, "")?;
        let denied = Instant::now();
        said(child).await?.ended(121, "a freeze")?;
        soon_after(Duration::ZERO, denied.elapsed())
    });
}

#[test]
fn a_job_does_not_wait_for_an_operator_that_is_not_there() {
    run(async {
        let lab = Lab::installed(Options::default()).await?;
        let tenant = lab.tenant("pipe-alone").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        Person::requester(&tenant).await?;
        let shell = Shell::of(&tenant)?;
        let mut child = shell.start(&["run", "deployer", "--grant", "read", "--", "touch", "ran"])?;
        // It says what it waits for as soon as it has asked.
        let begun = Instant::now();
        let said = said_of(&mut child);
        let (code, said, took) = ended(child, begun, said).await?;
        ensure!(code == 125 && said.contains("the operator does not get to lease"), "{code}: {said}");
        ensure!(said.contains("was withdrawn: revoked"), "{said}");
        ensure!(took > Duration::from_secs(55) && took < Duration::from_secs(60) + AT_ONCE, "{took:?}");
        ensure!(!shell.file("ran").exists(), "nothing ran without a lease");
        lab.stop().await
    });
}

/// All that a command says on standard error.
fn said_of(child: &mut Child) -> impl Future<Output = Result<String>> + use<> {
    let stderr = child.stderr.take();
    async move {
        let mut said = String::new();
        stderr.context("no stderr")?.read_to_string(&mut said).await?;
        Ok(said)
    }
}
