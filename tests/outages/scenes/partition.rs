//! F12: two API servers on one etcd, one of them cut off from it. Holders at both; the operator at one, then at the other.

use std::{process::Command, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use leasehold::api::reasons::Phase;
use leasehold_harness::{Options, SecondApiserver, eventually};
use tokio::time::sleep;

use crate::{
    holder::{Asks, Holder, seconds},
    home::Home,
    operator::Kept,
    oracle::{self, OUTLIVES_SECONDS, moment, status},
    relay::Relay,
    scene::Scene,
    support::Lab,
};

const PATIENCE: Duration = Duration::from_secs(90);
/// How long the second API server stays cut off after everything has ended.
const CUT: Duration = Duration::from_secs(20);
/// The backstop's lag; see tests/e2e/backstop.rs.
const BACKSTOP_SECONDS: f64 = 10.0;

pub async fn play(scene: &mut Scene) -> Result<()> {
    let lab = Lab::installed(Options::default()).await?;
    let relay = Relay::to(lab.plane.store().address).await?;
    let second = lab.plane.second_apiserver(relay.port).await?;
    scene.say("two API servers are ready");
    let home = Home::create(&lab, "home").await?;
    operator_at_the_whole_one(scene, &lab, &home, &relay, &second).await?;
    operator_at_the_cut_one(scene, &lab, &home, &relay, &second).await?;
    let world = oracle::at_rest(&home.admin, PATIENCE).await?;
    oracle::stories(scene, &world);
    lab.plane.audit().settled().await;
    oracle::accounts(scene, &lab.plane.audit().since_start()?);
    lab.stop().await
}

/// A live lease, with one holder at each API server.
async fn live(home: &Home, second: &SecondApiserver, name: &str, ttl: &str) -> Result<[Holder; 2]> {
    home.ask(name, ttl, "TokenRequest").await?;
    let lease = home.until_in(name, Phase::Active).await?;
    let token = home.token(&lease).await?;
    let holders = [
        Holder::new(home, &lease, home.client_of(&token)?),
        Holder::asking(Asks::WhoItIs, home, &lease, second.token_client(&token)?),
    ];
    for holder in &holders {
        holder.until(200, Duration::from_secs(15)).await?;
    }
    Ok(holders)
}

async fn cut(scene: &Scene, relay: &Relay, second: &SecondApiserver) -> Result<()> {
    let begun = Timestamp::now();
    relay.cut();
    let unready = || async { Ok::<_, anyhow::Error>(second.ready().await.is_err().then_some(())) };
    eventually("the API server that is cut off to say that it is not ready", PATIENCE, unready).await?;
    scene.say(format!(
        "the second API server is cut off from etcd, and says so {:.1} s later",
        seconds(begun, Timestamp::now())
    ));
    Ok(())
}

async fn mend(scene: &mut Scene, relay: &Relay, second: &SecondApiserver, holder: &Holder) -> Result<()> {
    relay.mend();
    eventually("the second API server to be ready again", PATIENCE, || second.ready()).await?;
    let ready = Timestamp::now();
    holder.until(401, PATIENCE).await?;
    let after = holder.known_after(ready).map_or(0.0, |last| seconds(ready, last));
    scene.say(format!("the second API server is ready again; it knew the token for {after:.1} s more"));
    scene.must(after <= OUTLIVES_SECONDS, || format!("known for {after:.1} s after it was in contact again"));
    Ok(())
}

async fn operator_at_the_whole_one(
    scene: &mut Scene,
    lab: &Lab,
    home: &Home,
    relay: &Relay,
    second: &SecondApiserver,
) -> Result<()> {
    let operator = Kept::start(lab, "operator").await?;
    let [here, there] = live(home, second, "one", "10m").await?;
    cut(scene, relay, second).await?;
    let said = Timestamp::now();
    home.revoke(&home.leases().get("one").await?).await?;
    here.until(401, PATIENCE).await?;
    let after = here.known_after(said).map_or(0.0, |last| seconds(said, last));
    scene.say(format!("revoked: where there is contact the token was dead after {after:.1} s"));
    scene.must(after <= OUTLIVES_SECONDS, || format!("known for {after:.1} s where there is contact"));
    let lease = home.until_in("one", Phase::Revoked).await?;
    sleep(CUT).await;
    let last = there.known_after(said).map_or(0.0, |last| seconds(said, last));
    scene.say(format!(
        "the one that is cut off still knew it {last:.1} s after the word; its death was said to be proven after {:.1} s ({:?})",
        status(&lease).credential.and_then(|c| c.verified_time).map_or(0.0, |at| seconds(said, moment(at))),
        status(&lease).credential.and_then(|c| c.evidence),
    ));
    mend(scene, relay, second, &there).await?;
    oracle::sound(scene, &operator)?;
    operator.hold()
}

async fn operator_at_the_cut_one(
    scene: &mut Scene,
    lab: &Lab,
    home: &Home,
    relay: &Relay,
    second: &SecondApiserver,
) -> Result<()> {
    let args = ["create", "token", "leasehold", "-n", "leasehold-system", "--duration=12h"];
    let kubeconfig = second.token_kubeconfig("operator", lab.kubectl(&args, None).await?.trim())?;
    let operator = Kept::launch_as(lab, "operator-at-the-second", kubeconfig, &[], Box::new(|p| Command::new(p)))?;
    operator.enforced().await?;
    let [here, there] = live(home, second, "two", "60s").await?;
    cut(scene, relay, second).await?;
    let lease = home.leases().get("two").await?;
    let due = status(&lease).expiration_time.map(moment).unwrap_or_default();
    here.until(401, PATIENCE).await?;
    let after = here.known_after(due).map_or(0.0, |last| seconds(due, last));
    scene.say(format!("the operator is cut off with its API server: the backstop ended the lease; dead {after:.1} s after the deadline"));
    scene.must(after <= BACKSTOP_SECONDS + OUTLIVES_SECONDS, || format!("known {after:.1} s after the deadline"));
    sleep(CUT).await;
    let said = status(&home.leases().get("two").await?);
    scene.must(said.credential.and_then(|c| c.evidence).is_none(), || "a proof was written without contact".to_owned());
    mend(scene, relay, second, &there).await?;
    let lease = home.until_in("two", Phase::Expired).await?;
    scene.must(oracle::is_over(&lease), || "two is not proven".to_owned());
    oracle::sound(scene, &operator)?;
    operator.hold()
}
