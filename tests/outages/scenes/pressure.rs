//! F24: an operator that may open few files, then one that may have little memory. What it cannot do is left; nothing is claimed;
//! once it has room again, everything converges.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use leasehold::api::reasons::Phase;
use leasehold_harness::Options;
use tokio::time::sleep;

use super::apiserver::{PATIENCE, tell};
use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::{Dress, Kept},
    oracle::{self, OUTLIVES_SECONDS, moment, status},
    scene::Scene,
    support::Lab,
};

/// The backstop's lag; see tests/e2e/backstop.rs.
const BACKSTOP_SECONDS: f64 = 10.0;
/// How long it stays under pressure: longer than the leases live.
const LONG: Duration = Duration::from_secs(75);
/// What it may have beyond what it has at rest, in bytes.
const HEADROOM: u64 = 3 << 20;

pub async fn play(scene: &mut Scene) -> Result<()> {
    let count = if scene.quick { 24 } else { 120 };
    let lab = Lab::installed(Options::default()).await?;
    let home = Home::create(&lab, "home").await?;
    let operator = Kept::start(&lab, "operator").await?;
    let resident = operator.memory()?;
    pressed(scene, &home, &operator, "files", count, limited("--nofile=24".to_owned())).await?;
    let most = resident + HEADROOM;
    pressed(scene, &home, &operator, "memory", count, limited(format!("--data={most}"))).await?;
    lab.stop().await
}

/// Started by util-linux's prlimit.
fn limited(limit: String) -> Dress {
    Box::new(move |program| {
        let mut command = Command::new("prlimit");
        command.arg(&limit).arg(program);
        command
    })
}

async fn pressed(
    scene: &mut Scene,
    home: &Home,
    operator: &Kept,
    what: &str,
    count: usize,
    dress: Dress,
) -> Result<()> {
    home.insist(&format!("{what}-held"), "60s", "TokenRequest").await?;
    let lease = home.until_in(&format!("{what}-held"), Phase::Active).await?;
    let (holder, due): (Holder, _) =
        (home.holder(&lease).await?, status(&lease).expiration_time.map(moment).context("no deadline")?);
    let before = operator.exits().len();
    operator.hold()?;
    operator.dress(dress);
    operator.let_go();
    for n in 0..count {
        home.insist(&format!("{what}-{n}"), "40s", if n % 2 == 0 { "TokenRequest" } else { "Secret" }).await?;
    }
    sleep(LONG).await;
    let (world, exits) = (oracle::look(&home.admin).await?, operator.exits().split_off(before));
    scene.say(format!(
        "little {what}: {}; it ended {} times by itself: {:?}",
        tell(&world),
        exits.len(),
        exits.first()
    ));
    holder.until(401, Duration::from_secs(60)).await?;
    let after = holder.known_after(due).map_or(0.0, |last| seconds(due, last));
    scene.say(format!("little {what}: the token was dead {after:.1} s after its deadline"));
    scene.must(after <= BACKSTOP_SECONDS + OUTLIVES_SECONDS, || format!("known {after:.1} s after the deadline"));

    operator.hold()?;
    operator.dress(Box::new(|program| Command::new(program)));
    let relieved = Timestamp::now();
    operator.let_go();
    operator.enforced().await?;
    let world = oracle::at_rest(&home.admin, PATIENCE).await?;
    scene.say(format!("room again: after {:.1} s: {}", seconds(relieved, Timestamp::now()), tell(&world)));
    oracle::stories(scene, &world);
    oracle::tokens(scene, &world, &[], &[]);
    oracle::unpanicked(scene, operator)
}
