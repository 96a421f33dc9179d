//! F14: the operator's clock is an hour off, ahead and behind, and is set while it runs. Nothing is issued early, nothing ends late,
//! and nobody is ended early. Its monotonic clock is left alone: nobody can set that one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan};
use kube::{Api, ResourceExt, api::PostParams};
use leasehold::api::{CredentialLease, reasons::Phase};
use leasehold_harness::{Options, Record, assets};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::{Dress, Kept},
    oracle::{self, OPERATOR, OUTLIVES_SECONDS, moment, status},
    scene::Scene,
    support::Lab,
};

/// What the operator knows of the API server's time is this exact: the `Date` of an answer has seconds.
const EARLY_SECONDS: f64 = 1.0;
/// How late an end may begin on a machine that does other things, too.
const LATE_SECONDS: f64 = 4.0;

pub async fn play(scene: &mut Scene) -> Result<()> {
    let lab = Lab::installed(Options::default()).await?;
    let offset = lab.plane.dir().join("clock");
    set(&offset, "+0")?;
    let library = faketime().await?;
    let home = Home::create(&lab, "home").await?;
    let operator = Kept::launch(&lab, "operator", &["--log=debug"], dress(library, offset.clone())).await?;
    operator.enforced().await?;
    let mut seen = vec![];
    for (name, before) in [("ahead", "+3600"), ("behind", "-3600")] {
        operator.hold()?;
        set(&offset, before)?;
        operator.let_go();
        operator.enforced().await?;
        shows(&operator, before)?;
        scene.say(format!("the operator starts with its clock at {before} s"));
        seen.push(lives(scene, &home, name, None, &offset).await?);
    }
    for (name, step) in [("back-to-right", "+0"), ("stepped-ahead", "+3600"), ("stepped-behind", "-3600")] {
        scene.say(format!("while it runs, its clock is set to {step} s"));
        seen.push(lives(scene, &home, name, Some(step), &offset).await?);
        shows(&operator, step)?;
    }
    let world = oracle::at_rest(&home.admin, Duration::from_secs(90)).await?;
    oracle::stories(scene, &world);
    let holders: Vec<Holder> = seen.into_iter().flatten().collect();
    let worst = oracle::tokens(scene, &world, &holders, &[]);
    scene.say(format!("the last token was known {worst:.1} s after its end, and none was refused before"));
    lab.plane.audit().settled().await;
    let audit = lab.plane.audit().since_start()?;
    oracle::accounts(scene, &audit);
    for lease in &world.leases {
        on_time(scene, lease, &audit)?;
    }
    oracle::sound(scene, &operator)?;
    lab.stop().await
}

/// The library that gives a process another clock: Debian's libfaketime.
pub(super) async fn faketime() -> Result<PathBuf> {
    let files = assets::debian_files("libfaketime").await?;
    let name = "faketime/libfaketimeMT.so.1";
    let places = [files.join("usr/lib/x86_64-linux-gnu"), files.join("usr/lib/aarch64-linux-gnu")];
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{} has no {name}", files.display()))
}

pub(super) fn set(offset: &Path, to: &str) -> Result<()> {
    // Replaced as a whole: a half-written file would be another time.
    let new = offset.with_extension("new");
    std::fs::write(&new, to)?;
    Ok(std::fs::rename(new, offset)?)
}

pub(super) fn dress(library: PathBuf, offset: PathBuf) -> Dress {
    Box::new(move |program| {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &offset);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
        command
    })
}

/// The operator's own log tells that its clock is what it was set to; else the scene shows nothing.
pub(super) fn shows(operator: &Kept, offset: &str) -> Result<()> {
    let log = operator.log()?;
    let line = log.lines().rev().find_map(|line| {
        serde_json::from_str::<serde_json::Value>(line).ok()?.get("timestamp")?.as_str()?.parse::<Timestamp>().ok()
    });
    let (last, wanted) = (line.context("it has said nothing")?, offset.parse::<f64>()?);
    let off = seconds(Timestamp::now(), last);
    anyhow::ensure!((off - wanted).abs() < 120.0, "its clock should be {wanted} s off, and is {off:.0} s");
    Ok(())
}

/// Two leases, one of them for later; the clock is set in the middle of their lives. Who held them.
async fn lives(scene: &Scene, home: &Home, name: &str, step: Option<&str>, offset: &Path) -> Result<Vec<Holder>> {
    home.ask(&format!("{name}-now"), "40s", "TokenRequest").await?;
    let mut later = home.lease_json(&format!("{name}-later"), "nightly", "30s", "TokenRequest");
    later["spec"]["notBefore"] =
        json!(Timestamp::now().checked_add(15.seconds())?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let api: Api<CredentialLease> = Api::namespaced(home.requester_client(), &home.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(later)?).await?;
    let mut holders = vec![home.holder(&home.until_in(&format!("{name}-now"), Phase::Active).await?).await?];
    sleep(Duration::from_secs(5)).await;
    if let Some(step) = step {
        set(offset, step)?;
    }
    holders.push(home.holder(&home.until_in(&format!("{name}-later"), Phase::Active).await?).await?);
    for kind in ["now", "later"] {
        home.until(&format!("{name}-{kind}"), "proven dead", |s| s.phase.is_some_and(Phase::is_final)).await?;
    }
    scene.say(format!("{name}: both leases are over"));
    Ok(holders)
}

/// Made not before it may be, taken down not before its deadline and soon after it.
fn on_time(scene: &mut Scene, lease: &CredentialLease, audit: &[Record]) -> Result<()> {
    let (name, status) = (lease.name_any(), status(lease));
    let hex = lease.uid().unwrap_or_default().replace('-', "");
    let due = status.expiration_time.map(moment).with_context(|| format!("{name} has no deadline"))?;
    let of = |verb: &'static str, resource: &'static str| {
        let mut found =
            audit.iter().filter(|r| r.user == OPERATOR && r.verb == verb && r.resource == resource && r.code < 300);
        found.find(|r| r.name.contains(&hex) && r.subresource.is_empty()).map(|r| r.received)
    };
    let begun = of("delete", "rolebindings").with_context(|| format!("{name} was never taken down"))?;
    let late = seconds(due, begun);
    scene.say(format!("{name}: its end began {late:+.3} s from its deadline"));
    scene.must(late >= -EARLY_SECONDS, || format!("{name} was ended {:.1} s early", -late));
    scene.must(late <= LATE_SECONDS, || format!("{name} was ended {late:.1} s late"));
    let reason = status.end_reason;
    scene.must(reason == Some(leasehold::api::reasons::EndReason::Expired), || format!("{name} ended by {reason:?}"));
    if let Some(from) = lease.spec.not_before {
        let made = of("create", "serviceaccounts").with_context(|| format!("{name} has no account"))?;
        let early = seconds(made, moment(from));
        scene.must(early <= EARLY_SECONDS, || format!("{name} was issued {early:.1} s before it may be"));
    }
    scene.must(late <= OUTLIVES_SECONDS, || format!("{name} outlived its deadline"));
    Ok(())
}
