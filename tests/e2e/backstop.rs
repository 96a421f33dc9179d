//! The operator dead for good: leases end all the same, on time, by the cluster's own controllers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::Phase,
};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::json;

use crate::support::{Holder, Lab, OUTLIVES_MILLIS, Tenant, run};

fn deadline(lease: &CredentialLease) -> Result<jiff::Timestamp> {
    let end = lease.status.as_ref().and_then(|s| s.expiration_time).context("no expirationTime")?;
    Ok(jiff::Timestamp::from_millisecond(end.as_millis())?)
}

/// What is left of a lease, as `kind/name`.
async fn left(tenant: &Tenant<'_>, lease: &CredentialLease) -> Result<Vec<String>> {
    tenant.lab.made_for(lease.metadata.uid.as_deref().context("no uid")?).await
}

/// The account is gone 10 s after the deadline, its token is refused 13 s later at the latest, and nobody can mint a new one in between.
async fn ends_without_an_operator(tenant: &Tenant<'_>, name: &str) -> Result<()> {
    let lease = tenant.leases().get(name).await?;
    let holder = Holder::new(tenant, &tenant.token(&lease).await?)?;
    let end = deadline(&lease)?;
    let account =
        lease.status.as_ref().and_then(|s| s.credential.as_ref()?.service_account.clone()).context("no account")?;
    let minting = async {
        let past = end.as_millisecond() - jiff::Timestamp::now().as_millisecond() + 100;
        tokio::time::sleep(Duration::from_millis(u64::try_from(past)?)).await;
        let args = ["create", "token", &account.name, "-n", "leasehold-leases", "--duration=600s"];
        let output = tenant.lab.plane.kubectl(&tenant.requester.kubeconfig, &args, None).await?;
        // The account and, where he minted, the right to mint are still there: it is the policy that refuses.
        let there = left(tenant, &lease).await?;
        ensure!(there.iter().any(|name| name.starts_with("serviceaccount/")), "too late to tell: {there:?}");
        let refusal = if name == "minted" { "this lease has ended" } else { "forbidden" };
        ensure!(!output.status.success() && output.stderr.contains(refusal), "after the deadline: {}", output.stderr);
        eventually_seeing("the account to be gone", Duration::from_secs(30), || async {
            let left = left(tenant, &lease).await?;
            let there = left.iter().any(|name| name.starts_with("serviceaccount/"));
            Ok::<_, anyhow::Error>(if there { Look::NotYet(left.join(", ")) } else { Look::Done(()) })
        })
        .await?;
        let late = jiff::Timestamp::now().as_millisecond() - end.as_millisecond();
        ensure!(late <= 10_000, "the account was gone only {late} ms after the deadline");
        Ok::<_, anyhow::Error>(late)
    };
    let (fate, minting) = tokio::join!(holder.fate(end, Duration::from_secs(80)), minting);
    let (gone, fate) = (minting?, fate?);
    ensure!(
        fate.unauthorized - gone <= OUTLIVES_MILLIS,
        "401 comes at most 13 s after the account is gone, {gone} ms: {fate:?}"
    );
    Ok(())
}

#[test]
fn a_dead_operator_outlives_no_lease() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("backstop").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("minted", "nightly", |_| {}).await?;
        tenant.lease("delivered", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        for name in ["minted", "delivered"] {
            tenant.lease_in(name, Phase::Active).await?;
        }
        lab.take_operator()?.kill()?;
        tokio::try_join!(ends_without_an_operator(&tenant, "minted"), ends_without_an_operator(&tenant, "delivered"))?;

        let bindings = left(&tenant, &tenant.leases().get("minted").await?).await?;
        let issuing = |name: &&String| !name.starts_with("rolebinding.rbac.authorization.k8s.io/leasehold-");
        ensure!(bindings.iter().find(issuing).is_none(), "left in the issuing namespace: {bindings:?}");

        lab.start_operator("operator-after", &[]).await?;
        for name in ["minted", "delivered"] {
            let lease = tenant.lease_in(name, Phase::Expired).await?;
            let status = lease.status.as_ref().context("no status")?;
            let revoked = condition::find(&status.conditions, "Revoked").context("no condition Revoked")?;
            ensure!(revoked.status == ConditionStatus::True && revoked.reason == "AccountGoneAndWaited", "{revoked:?}");
            ensure!(left(&tenant, &lease).await?.is_empty(), "{:?}", left(&tenant, &lease).await?);
        }
        let secrets = lab.kubectl(&["get", "secrets", "-n", &tenant.namespace, "-o", "name"], None).await?;
        ensure!(secrets.trim().is_empty(), "the delivered Secret is still there: {secrets}");
        lab.stop().await
    });
}

#[test]
fn without_a_backstop_there_is_no_job() {
    run(async {
        let tenant = Lab::shared().await?.tenant("no-backstop").await?;
        tenant.lifecycle("bare", |spec| spec["terms"]["backstop"] = json!("None")).await?;
        tenant.lease("bare", "bare", |_| {}).await?;
        let lease = tenant.lease_in("bare", Phase::Active).await?;
        let left = left(&tenant, &lease).await?;
        ensure!(left.iter().any(|n| n.starts_with("serviceaccount/")), "{left:?}");
        ensure!(!left.iter().any(|n| n.starts_with("job")), "{left:?}");
        Ok(())
    });
}
