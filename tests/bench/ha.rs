//! Two replicas: how long ends wait when the leader is killed, paused or told to stop (B-9).

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{
    arm::{Arm, Kind},
    field::{Asked, Field, PATIENCE},
    figures::{Found, Goal, Stat, millis},
};

/// What becomes of the leader.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill,
    Stop,
    Term,
}

const BLOWS: [(Blow, &str, f64); 3] =
    [(Blow::Kill, "KILL", 16_000.0), (Blow::Stop, "STOP", 16_000.0), (Blow::Term, "TERM", 1000.0)];

/// B-9.
pub async fn takeover(field: &Field) -> Result<Found> {
    let how = "Two replicas with the shipped durations. The leader gets the signal, and at the same moment a lease's requester ends it: \
               from the signal until its RoleBinding is gone. The goal is the Lease's duration of 15 s and 1 s."
        .to_owned();
    let mut found = Found::new("B-9", "Takeover", how);
    for repeat in 0..field.sizes.repeats {
        field.eyes.forget();
        let mut leader = Arm::start(field, Kind::Leasehold).await?;
        let leases = field.issued(BLOWS.len()).await?;
        for ((blow, name, _), lease) in BLOWS.iter().zip(&leases) {
            let standby = standby(field).await?;
            let took = strike(field, leader, *blow, lease).await?;
            found.add(&format!("{name}, ms"), Kind::Leasehold, repeat, took);
            standby.until_it_acts().await?;
            leader = standby;
        }
        leader.stop().await?;
        field.clear().await?;
    }
    for (_, name, goal) in BLOWS {
        let what = format!("{name} of the leader to the first end");
        found.absolute(&what, &format!("{name}, ms"), Stat::Median, "ms", Goal::AtMost(goal));
    }
    Ok(found)
}

/// One more replica that has read everything, and waits.
async fn standby(field: &Field) -> Result<Arm> {
    let arm = Arm::launch(field, Kind::Leasehold, &field.kubeconfig, &[])?;
    let begun = Instant::now();
    while !arm.is_ready().await {
        if begun.elapsed() > PATIENCE {
            bail!("a standby does not get ready");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(arm)
}

async fn strike(field: &Field, mut leader: Arm, blow: Blow, lease: &Asked) -> Result<f64> {
    let begun = Instant::now();
    let mut stopping = None;
    match blow {
        Blow::Kill => leader.kill()?,
        Blow::Stop => leader.pause()?,
        Blow::Term => stopping = Some(leader.stop()),
    }
    let stopped = async {
        match stopping {
            Some(stopping) => stopping.await,
            None => Ok(()),
        }
    };
    let ended = async {
        // What a leader that is told to stop still does for an end that comes at once is its own affair.
        tokio::time::sleep(Duration::from_millis(20)).await;
        field.revoke(lease).await?;
        field.eyes.until(&lease.uid, PATIENCE, "unbound", |seen| seen.unbound).await
    };
    let (stopped, at) = tokio::join!(stopped, ended);
    stopped?;
    // A paused one is killed when it is dropped: what it does when it goes on is for the tests of faults.
    Ok(millis(begun, at?))
}
