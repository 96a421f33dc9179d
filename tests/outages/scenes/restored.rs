//! F12: etcd restored from an older backup. What was made since is gone, what was ended since is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use leasehold::api::{CredentialLease, reasons::Phase};
use leasehold_harness::Options;

use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::Kept,
    oracle::{self, OUTLIVES_SECONDS},
    scene::Scene,
    support::Lab,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long after a restore the operator may still be at finding it out.
const FINDS_OUT: f64 = 15.0;

/// What the operator does while the store is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Runs,
    Away,
}

/// How the store is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// As it was: versions are given a second time.
    AsItWas,
    /// The store's version is raised above every one that was given, as etcd's own tool can do it.
    Raised,
}

/// The leases of the scene, and who holds their tokens.
struct Cast {
    /// Live when the backup was taken, and all along.
    kept: Holder,
    /// Its time was up after the backup.
    timed: Holder,
    /// Somebody ended it after the backup.
    revoked: Holder,
    /// It was deleted after the backup.
    deleted: Holder,
    /// Asked for before the backup, issued after it.
    pending: Holder,
    /// Asked for and issued after the backup.
    after: Holder,
}

pub async fn play(scene: &mut Scene, what: Operator, version: Version) -> Result<()> {
    let mut lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    let home = Home::create(&lab, "home").await?;
    for (name, ttl) in [("kept", "15m"), ("timed", "40s"), ("revoked", "3m"), ("deleted", "3m")] {
        home.ask(name, ttl, "TokenRequest").await?;
    }
    let mut held = vec![];
    for name in ["kept", "timed", "revoked", "deleted"] {
        held.push(home.holder(&home.until_in(name, Phase::Active).await?).await?);
    }
    operator.hold()?;
    home.ask("pending", "15m", "TokenRequest").await?;
    let backup = lab.plane.back_up_store("older")?;
    scene.say("the backup was taken: kept, timed, revoked and deleted are live, pending waits");
    operator.let_go();
    operator.enforced().await?;
    held.push(home.holder(&home.until_in("pending", Phase::Active).await?).await?);
    home.ask("after", "15m", "TokenRequest").await?;
    held.push(home.holder(&home.until_in("after", Phase::Active).await?).await?);
    let [kept, timed, revoked, deleted, pending, after] = held.try_into().ok().context("six are held")?;
    let cast = Cast { kept, timed, revoked, deleted, pending, after };
    ends_after_the_backup(scene, &home, &cast).await?;
    // Versions go far beyond those of the backup, as in a cluster where others write too.
    churn(&home).await?;

    if what == Operator::Away {
        operator.hold()?;
    }
    match version {
        Version::AsItWas => lab.plane.restore_store(&backup).await?,
        Version::Raised => lab.plane.restore_store_raised(&backup).await?,
    }
    let restored = Timestamp::now();
    scene.say("the backup was restored");
    if what == Operator::Away {
        operator.let_go();
    }
    comes_back(scene, &home, &cast, restored).await?;
    oracle::unpanicked(scene, &operator)?;
    scene.say(format!("the operator ended by itself: {:?}", operator.exits()));
    let most = if what == Operator::Runs { 1 } else { 0 };
    scene.must(operator.exits().len() <= most, || format!("it ended again and again: {:?}", operator.exits()));
    lab.stop().await
}

/// What ends between backup and restore, each with proof.
async fn ends_after_the_backup(scene: &mut Scene, home: &Home, cast: &Cast) -> Result<()> {
    home.revoke(&home.leases().get("revoked").await?).await?;
    home.leases().delete("deleted", &DeleteParams::default()).await?;
    home.until("revoked", "proven dead", |status| status.phase == Some(Phase::Revoked)).await?;
    home.until("timed", "proven dead", |status| status.phase == Some(Phase::Expired)).await?;
    for holder in [&cast.timed, &cast.revoked, &cast.deleted] {
        holder.until(401, PATIENCE).await?;
    }
    scene.say("timed, revoked and deleted have ended, pending and after were issued");
    Ok(())
}

async fn churn(home: &Home) -> Result<()> {
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(home.admin.clone(), &home.namespace);
    for n in 0..400 {
        let patch = kube::api::Patch::Merge(serde_json::json!({"data": {"churn": n.to_string()}}));
        api.patch("ledger", &kube::api::PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// What must be true of each of them after the restore.
async fn comes_back(scene: &mut Scene, home: &Home, cast: &Cast, restored: Timestamp) -> Result<()> {
    // Nobody gets what is new before the operator has seen where it is.
    home.insist("new", "5m", "TokenRequest").await?;
    let new = home.until_in("new", Phase::Active).await?;
    scene.say(format!("a new lease is issued {:.1} s after the restore", seconds(restored, Timestamp::now())));

    let timed = home.until("timed", "ended again", |status| status.phase == Some(Phase::Expired)).await?;
    cast.timed.until(401, PATIENCE).await?;
    let lived = cast.timed.known_after(restored).map_or(0.0, |last| seconds(restored, last));
    scene.say(format!("timed, whose time was up, came back alive and was dead again after {lived:.1} s"));
    scene.must(lived <= OUTLIVES_SECONDS + FINDS_OUT, || {
        format!("the token of timed lived for {lived:.1} s after the restore")
    });
    ensure!(oracle::is_over(&timed), "timed is not proven dead");

    for (holder, what) in [
        (&cast.after, "after: its lease is not in the backup"),
        (&cast.pending, "pending: its first account is not in the backup"),
    ] {
        holder.until(401, PATIENCE).await?;
        let lived = holder.known_after(restored).map_or(0.0, |last| seconds(restored, last));
        scene.say(format!("{what}; its token was known for {lived:.1} s after the restore"));
        scene.must(lived <= OUTLIVES_SECONDS, || format!("the token of {} lived for {lived:.1} s", holder.lease));
    }
    ensure!(home.leases().get_opt("after").await?.is_none(), "after is in the backup");
    let pending = home.until_in("pending", Phase::Active).await?;
    one_account(scene, home, &pending).await?;
    let second = home.holder(&pending).await?;

    // Words that were said since the backup are gone with it: they have to be said again, and are heard.
    for name in ["revoked", "deleted"] {
        let lease = home.leases().get(name).await?;
        let phase = oracle::status(&lease).phase;
        // An operator that lived through it may have remembered.
        let remembered = phase.is_some_and(|phase| phase.is_final() || phase == Phase::Ending);
        scene.must(phase == Some(Phase::Active) || remembered, || format!("{name} came back as {phase:?}"));
        scene.say(format!("{name} came back as {phase:?}"));
    }
    let again = Timestamp::now();
    home.revoke(&home.leases().get("revoked").await?).await?;
    home.leases().delete("deleted", &DeleteParams::default()).await?;
    for holder in [&cast.revoked, &cast.deleted] {
        holder.until(401, PATIENCE).await?;
        let lived = holder.known_after(again).map_or(0.0, |last| seconds(again, last));
        scene.say(format!("{}: once it was said again, its token was dead after {lived:.1} s", holder.lease));
        scene.must(lived <= OUTLIVES_SECONDS, || format!("the token of {} lived for {lived:.1} s", holder.lease));
    }
    let kept = home.leases().get("kept").await?;
    scene.must(oracle::status(&kept).phase == Some(Phase::Active), || "kept was ended".to_owned());
    cast.kept.until(200, PATIENCE).await?;
    drop(second);

    for lease in [kept, new, pending] {
        home.revoke(&lease).await?;
    }
    let world = oracle::at_rest(&home.admin, Duration::from_secs(90)).await?;
    oracle::stories(scene, &world);
    Ok(())
}

async fn one_account(scene: &mut Scene, home: &Home, lease: &CredentialLease) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(home.admin.clone(), "leasehold-leases");
    let label = format!("leasehold.dev/lease-uid={}", lease.metadata.uid.clone().unwrap_or_default());
    let there = accounts.list(&ListParams::default().labels(&label)).await?.items.len();
    scene.must(there == 1, || format!("pending has {there} accounts"));
    Ok(())
}
