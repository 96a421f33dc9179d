//! F12: etcd goes under an API server that stays, while leases are issued and end.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use leasehold_harness::{Component, Options};
use tokio::time::sleep;

use super::apiserver::{Traffic, tell, ttl, until};
use crate::{home::Home, operator::Kept, oracle::World, scene::Scene, support::Lab};

/// How long there is none.
const AWAY: Duration = Duration::from_secs(6);

pub async fn play(scene: &mut Scene) -> Result<()> {
    let count = if scene.quick { 40 } else { 150 };
    let mut lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    let homes = [Home::create(&lab, "home").await?];
    let admin = lab.plane.admin();
    scene.say(format!("{count} leases are asked for, to live for {} s to {} s", ttl(count, 0), ttl(count, 3)));
    let traffic = Traffic::begin(&homes, count);
    let mut outages = vec![];
    let so_many: [fn(&World) -> usize; 2] = [World::issued, World::ended];
    for (what, so_many) in ["many to be issued", "many to have ended"].into_iter().zip(so_many) {
        let world = until(&admin, what, |world| so_many(world) * 3 >= count).await?;
        let killed = Timestamp::now();
        lab.plane.kill_component(Component::Etcd)?;
        scene.say(format!("KILL of etcd: {}", tell(&world)));
        sleep(AWAY).await;
        lab.plane.start_component(Component::Etcd).await?;
        outages.push((killed, Timestamp::now()));
        scene.say("etcd is back");
    }
    traffic.end(scene, &mut lab, &operator, &outages).await
}
