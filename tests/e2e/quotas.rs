//! Quotas are exact, whoever asks at the same time and whatever happens to the operator.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::ListParams;
use leasehold::api::reasons::Phase;
use leasehold_harness::Options;
use serde_json::json;

use crate::support::{Lab, QUIET, Tenant, condition_of, run};

/// How many leases of the tenant are in a phase.
async fn count(tenant: &Tenant<'_>, phase: Phase) -> Result<usize> {
    let leases = tenant.leases().list(&ListParams::default()).await?;
    Ok(leases.iter().filter(|lease| lease.status.as_ref().and_then(|s| s.phase) == Some(phase)).count())
}

async fn ask_at_once(tenant: &Tenant<'_>, lifecycle: &str, prefix: &str, many: usize) -> Result<()> {
    let _quiet = QUIET.lock().await;
    let names: Vec<String> = (0..many).map(|n| format!("{prefix}-{n}")).collect();
    try_join_all(names.iter().map(|name| tenant.lease(name, lifecycle, |spec| spec["ttl"] = json!("10m")))).await?;
    Ok(())
}

/// Every lease of these is decided.
async fn decided(tenant: &Tenant<'_>, prefix: &str, many: usize) -> Result<()> {
    for number in 0..many {
        let is = |phase: Phase| matches!(phase, Phase::Active | Phase::Denied);
        let name = format!("{prefix}-{number}");
        tenant.lease_is(&name, "decided", |l| l.status.as_ref().and_then(|s| s.phase).is_some_and(is)).await?;
    }
    Ok(())
}

#[test]
fn of_fifty_at_once_exactly_as_many_are_active_as_may_be() {
    run(async {
        let tenant = Lab::shared().await?.tenant("quota").await?;
        tenant.lifecycle("five", |spec| spec["terms"]["maxActive"] = json!(5)).await?;
        ask_at_once(&tenant, "five", "many", 50).await?;
        decided(&tenant, "many", 50).await?;
        ensure!(count(&tenant, Phase::Active).await? == 5, "{} are active", count(&tenant, Phase::Active).await?);

        let leases = tenant.leases().list(&ListParams::default()).await?;
        let phase = |l: &leasehold::api::CredentialLease, p| l.status.as_ref().and_then(|s| s.phase) == Some(p);
        let expected = "5 leases of this lifecycle are active, the most it allows (maxActive): wait for one to end";
        let denied: Vec<_> = leases.iter().filter(|l| phase(l, Phase::Denied)).collect();
        ensure!(denied.len() == 45, "{} are denied", denied.len());
        for lease in denied {
            let said = &condition_of(lease, "Allowed")?.message;
            ensure!(said == expected, "{said}");
        }

        let active = leases.iter().find(|l| phase(l, Phase::Active)).context("none is active")?;
        let name = active.metadata.name.clone().context("no name")?;
        tenant.delete_lease(&name).await?;
        let uid = active.metadata.uid.clone().context("no uid")?;
        tenant.lab.nothing_left_of(&uid).await?;
        tenant.lease("after", "five", |_| {}).await?;
        tenant.lease_in("after", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn one_requester_cannot_take_the_places_of_another() {
    run(async {
        let tenant = Lab::shared().await?.tenant("quota-each").await?;
        tenant.lifecycle("two", |spec| spec["terms"]["maxActivePerRequester"] = json!(2)).await?;
        ask_at_once(&tenant, "two", "mine", 4).await?;
        decided(&tenant, "mine", 4).await?;
        ensure!(count(&tenant, Phase::Active).await? == 2, "of one requester");
        let other = tenant.another_requester("other").await?;
        other.lease("theirs", "two", |_| {}).await?;
        other.lease_in("theirs", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn a_killed_operator_gives_no_place_twice() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("quota-kill").await?;
        tenant.lifecycle("five", |spec| spec["terms"]["maxActive"] = json!(5)).await?;
        for round in 0..4 {
            let operator = lab.take_operator()?;
            let prefix = format!("r{round}");
            let killing = async {
                tokio::time::sleep(std::time::Duration::from_millis(30 + 40 * round)).await;
                operator.kill()
            };
            tokio::try_join!(ask_at_once(&tenant, "five", &prefix, 10), killing)?;
            lab.start_operator(&format!("operator-{round}"), &[]).await?;
            decided(&tenant, &prefix, 10).await?;
            ensure!(
                count(&tenant, Phase::Active).await? == 5,
                "round {round}: {}",
                count(&tenant, Phase::Active).await?
            );
        }
        lab.stop().await
    });
}
