//! Whom a lease's tokens are for, and what is not claimed about those who never ask the API server.

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    condition::{self, ConditionStatus},
    reasons::Phase,
};
use serde_json::json;

use crate::support::{Lab, run};

const STS: &str = "https://sts.example.com";

#[test]
fn offline_verified_tokens_live_at_least_ten_minutes_and_nothing_is_claimed_too_early() {
    run(async {
        let tenant = Lab::shared().await?.tenant("audience").await?;
        tenant.lifecycle("sts", |spec| spec["terms"]["audiences"] = json!([STS])).await?;

        tenant.lease("short", "sts", |spec| spec["audiences"] = json!([STS])).await?;
        let status = tenant.lease_in("short", Phase::Denied).await?.status.context("no status")?;
        let said = condition::find(&status.conditions, "Allowed").map(|c| c.message.clone()).unwrap_or_default();
        ensure!(said.contains("ask for at least 10m"), "{said}");

        let foreign = |spec: &mut serde_json::Value| {
            spec["audiences"] = json!([STS]);
            spec["ttl"] = json!("10m");
            spec["delivery"] = json!({"type": "Secret"});
        };
        tenant.lease("offline", "sts", foreign).await?;
        let status = tenant.lease_in("offline", Phase::Active).await?.status.context("no status")?;
        let credential = status.credential.context("no credential")?;
        ensure!(credential.offline_expiration_time == credential.token_expiration_time, "{credential:?}");

        // Taking the grant back ends the lease, and leaves it there to be read.
        let patch = json!({"spec": {"stopPolicy": "HoldAndRevoke"}});
        tenant.stop("sts", &patch).await?;
        let says = |l: &leasehold::api::CredentialLease| {
            let revoked = l.status.as_ref().and_then(|s| condition::find(&s.conditions, "Revoked").cloned());
            revoked.is_some_and(|c| c.status == ConditionStatus::Unknown && c.reason == "NotRevocableOffline")
        };
        tenant.lease_is("offline", "not revocable offline", says).await?;
        tokio::time::sleep(std::time::Duration::from_secs(15)).await;
        let lease = tenant.leases().get("offline").await?;
        ensure!(says(&lease), "nothing is proven while a verifier may accept the token: {:?}", lease.status);
        Ok(())
    });
}

/// Mints for a lease's account as somebody; whether that worked, and what was said if not.
async fn mint(
    lab: &Lab,
    kubeconfig: &std::path::Path,
    account: &str,
    duration: &str,
    audiences: &[&str],
) -> Result<(bool, String)> {
    let audiences = audiences.iter().flat_map(|audience| ["--audience", audience]);
    let args: Vec<&str> = ["create", "token", account, "-n", "leasehold-leases", "--duration", duration]
        .into_iter()
        .chain(audiences)
        .collect();
    let output = lab.plane.kubectl(kubeconfig, &args, None).await?;
    Ok((output.status.success(), output.stderr))
}

/// The account of an active lease.
fn account(lease: leasehold::api::CredentialLease) -> Result<String> {
    Ok(lease.status.and_then(|s| s.credential?.service_account).context("no account")?.name)
}

#[test]
fn a_lease_for_somebody_else_mints_for_him_and_not_for_the_api_server() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("mint-sts").await?;
        tenant.lifecycle("sts", |spec| spec["terms"]["audiences"] = json!([STS])).await?;
        tenant
            .lease("run", "sts", |spec| {
                spec["audiences"] = json!([STS]);
                spec["ttl"] = json!("10m");
            })
            .await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        let status = lease.status.as_ref().context("no status")?;
        let outlives =
            status.credential.as_ref().and_then(|c| c.offline_expiration_time).context("no offlineExpirationTime")?;
        let last = status.expiration_time.context("no expirationTime")?.plus_millis(600_000);
        ensure!(
            outlives == last,
            "the last token is minted at the end and lives ten minutes: {outlives} is not {last}"
        );
        let (account, own) = (account(lease)?, &tenant.requester.kubeconfig);
        let (minted, said) = mint(lab, own, &account, "600s", &[STS]).await?;
        ensure!(minted, "the audience of the lease: {said}");
        for (duration, audiences) in [
            ("601s", &[STS] as &[&str]),
            ("600s", &[]),
            ("600s", &["https://kubernetes.default.svc"]),
            ("600s", &[STS, "https://kubernetes.default.svc"]),
            ("600s", &[STS, STS, STS, STS, STS]),
        ] {
            let (minted, said) = mint(lab, own, &account, duration, audiences).await?;
            ensure!(!minted && said.contains("leasehold-token-request"), "{duration} for {audiences:?}: {said}");
        }
        tenant.delete_lease("run").await
    });
}

#[test]
fn a_requester_mints_for_the_leases_audiences_only_and_for_ten_minutes_at_most() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("mint").await?;
        tenant.lifecycle("api", |_| {}).await?;
        tenant.lease("own", "api", |_| {}).await?;
        let lease = tenant.lease_in("own", Phase::Active).await?;
        let account = account(lease)?;
        let own = &tenant.requester.kubeconfig;
        let (minted, said) = mint(lab, own, &account, "600s", &[]).await?;
        ensure!(minted, "the requester may mint: {said}");
        for (duration, audiences, why) in [
            ("601s", &[] as &[&str], "longer than ten minutes"),
            ("600s", &[STS], "for somebody else"),
            ("600s", &[STS, "https://kubernetes.default.svc"], "also for somebody else"),
        ] {
            let (minted, said) = mint(lab, own, &account, duration, audiences).await?;
            ensure!(!minted && said.contains("leasehold-token-request"), "{why}: {said}");
        }
        let (minted, said) = mint(lab, &tenant.author.kubeconfig, &account, "600s", &[]).await?;
        ensure!(!minted && said.contains("forbidden"), "another user: {said}");
        Ok(())
    });
}
