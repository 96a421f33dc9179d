//! etcd restored from an older backup under a running operator. `make outages` tries what becomes of leases then.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::api::reasons::Phase;
use leasehold_harness::Options;

use crate::support::{Lab, Operator, run};

async fn issues(lab: &Lab, label: &str) -> Result<()> {
    let tenant = lab.tenant(label).await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    tenant.lease("run", "nightly", |_| {}).await?;
    tenant.lease_in("run", Phase::Active).await.map(drop)
}

/// Its watches would go on from a version that the store has not reached again, and hear nothing until it has.
#[test]
fn an_operator_that_has_seen_what_is_no_more_ends_and_starts_again() {
    run(async {
        let mut lab = Lab::installed(Options::default()).await?;
        let operator = Operator::start(&lab.plane, "before", &[]).await?;
        let backup = lab.plane.back_up_store("older")?;
        issues(&lab, "lost").await?;
        lab.plane.restore_store(&backup).await?;
        let status = operator.ended(Duration::from_secs(60)).await.context("the operator to notice")?;
        ensure!(status.code() == Some(1), "it says that it could not go on: {status}");
        let operator = Operator::start(&lab.plane, "after", &[]).await?;
        issues(&lab, "found").await?;
        drop(operator);
        lab.stop().await
    });
}
