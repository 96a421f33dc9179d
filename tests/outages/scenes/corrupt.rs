//! F25: what is stored of live leases is falsified, past the API server and its schema. Each token dies at the deadline that is in its
//! account's name, nothing lives longer, and the operator goes on, also after a restart on the same data.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use leasehold::{
    api::{CredentialLease, reasons::Phase},
    domain::digest,
};
use leasehold_harness::{Options, eventually};
use serde_json::{Value, json};

use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::Kept,
    oracle::{self, OUTLIVES_SECONDS, moment, status},
    raw,
    scene::Scene,
    support::Lab,
};

/// The backstop's lag; see tests/e2e/backstop.rs.
const BACKSTOP_SECONDS: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(150);
const LATER: &str = "2099-01-01T00:00:00Z";
const EARLIER: &str = "2020-01-01T00:00:00Z";

/// What is done to a stored lease.
struct Falsehood {
    name: &'static str,
    edit: fn(&mut Value),
    /// Its token may die before its deadline: what is left of it is an end.
    may_end_early: bool,
}

const fn false_in(name: &'static str, edit: fn(&mut Value)) -> Falsehood {
    Falsehood { name, edit, may_end_early: false }
}

const FALSEHOODS: &[Falsehood] = &[
    false_in("phase-unknown", |l| l["status"]["phase"] = json!("Nonsense")),
    false_in("deadline-no-time", |l| l["status"]["expirationTime"] = json!(17)),
    false_in("deadline-later", |l| l["status"]["expirationTime"] = json!(LATER)),
    Falsehood {
        name: "deadline-earlier",
        edit: |l| l["status"]["expirationTime"] = json!(EARLIER),
        may_end_early: true,
    },
    Falsehood { name: "status-gone", edit: |l| drop(l["status"].take()), may_end_early: true },
    false_in("history-detail", |l| l["status"]["history"]["records"][0]["detail"] = json!("nothing happened")),
    false_in("history-head", |l| l["status"]["history"]["head"] = json!("sha256:00")),
    false_in("history-gone", |l| l["status"]["history"] = json!({"seed": "", "head": "", "records": []})),
    Falsehood {
        name: "account-other",
        edit: |l| l["status"]["credential"]["serviceAccount"]["uid"] = json!("0"),
        may_end_early: true,
    },
    Falsehood { name: "binding-other", edit: |l| l["status"]["bindings"][0]["uid"] = json!("0"), may_end_early: true },
    Falsehood { name: "ended-and-proven", edit: ended, may_end_early: true },
    Falsehood { name: "ttl-longer", edit: |l| l["spec"]["ttl"] = json!("1h"), may_end_early: true },
    false_in("ttl-no-duration", |l| l["spec"]["ttl"] = json!(["x"])),
    Falsehood { name: "spec-gone", edit: |l| drop(l["spec"].take()), may_end_early: true },
    Falsehood {
        name: "lifecycle-other",
        edit: |l| l["spec"]["lifecycleRef"] = json!({"name": "other"}),
        may_end_early: true,
    },
];

/// A lie that the credential is dead.
fn ended(lease: &mut Value) {
    let status = &mut lease["status"];
    (status["phase"], status["endReason"], status["endTime"]) = (json!("Expired"), json!("Expired"), json!(EARLIER));
    status["credential"]["revocationTime"] = json!(EARLIER);
    status["credential"]["verifiedTime"] = json!(EARLIER);
    status["credential"]["evidence"] = json!("TokenReviewRefused");
}

pub async fn play(scene: &mut Scene) -> Result<()> {
    let lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    let (home, store) = (Home::create(&lab, "home").await?, lab.plane.store());
    let mut held = vec![];
    for falsehood in FALSEHOODS {
        home.ask(falsehood.name, "75s", "TokenRequest").await?;
    }
    for falsehood in FALSEHOODS {
        let lease = home.until_in(falsehood.name, Phase::Active).await?;
        let due = status(&lease).expiration_time.map(moment).context("no deadline")?;
        held.push((falsehood, due, home.holder(&lease).await?));
    }
    for falsehood in FALSEHOODS {
        raw::edit_lease(&store, &home.namespace, falsehood.name, falsehood.edit).await.context(falsehood.name)?;
    }
    scene.say(format!("{} live leases were falsified", FALSEHOODS.len()));
    for (falsehood, due, holder) in &held {
        judge(scene, falsehood, *due, holder).await?;
    }
    tells(scene, &home).await?;
    labels(scene, &lab, &home).await?;

    oracle::sound(scene, &operator)?;
    operator.hold()?;
    operator.let_go();
    operator.enforced().await?;
    scene.say("the operator was killed and works on the same data");
    for lease in leases(&home).await? {
        home.leases().delete(&lease, &DeleteParams::default()).await.with_context(|| format!("delete {lease}"))?;
    }
    oracle::at_rest(&home.admin, PATIENCE).await?;
    oracle::sound(scene, &operator)?;
    lab.stop().await
}

/// The token died by its deadline, and only if something was said to have ended before it.
async fn judge(scene: &mut Scene, falsehood: &Falsehood, due: Timestamp, holder: &Holder) -> Result<()> {
    let name = falsehood.name;
    if let Err(error) = holder.until(401, PATIENCE).await {
        scene.broken(format!("{name}: {error:#}"));
        return Ok(());
    }
    let after = holder.known_after(Timestamp::UNIX_EPOCH).map_or(0.0, |last| seconds(due, last));
    scene.say(format!("{name}: the token was last known {after:+.1} s from its deadline"));
    scene.must(after <= BACKSTOP_SECONDS + OUTLIVES_SECONDS, || {
        format!("{name}: known {after:.1} s after the deadline")
    });
    scene.must(falsehood.may_end_early || after > -2.0, || format!("{name}: it was ended {:.1} s early", -after));
    Ok(())
}

/// What the leases say by now, and whether who reads the history would notice.
async fn tells(scene: &mut Scene, home: &Home) -> Result<()> {
    for falsehood in FALSEHOODS {
        let lease = match home.leases().get(falsehood.name).await {
            Ok(lease) => lease,
            Err(kube::Error::Api(refused)) if refused.code == 404 => {
                scene.say(format!("{}: it was deleted", falsehood.name));
                continue;
            }
            // That is what the operator says of it, too.
            Err(_) => {
                scene.say(format!("{}: it cannot be decoded", falsehood.name));
                continue;
            }
        };
        let status = status(&lease);
        let verified = status.history.as_ref().map(digest::verify);
        scene.say(format!(
            "{}: {:?} by {:?}, its history verifies: {verified:?}",
            falsehood.name, status.phase, status.end_reason
        ));
        if falsehood.name == "history-detail" || falsehood.name == "history-head" {
            scene
                .must(verified == Some(false), || format!("{}: the falsehood cannot be seen any more", falsehood.name));
        }
    }
    Ok(())
}

/// Labels and owners of a live account are taken away, by an administrator who takes the policy away that forbids it.
async fn labels(scene: &mut Scene, lab: &Lab, home: &Home) -> Result<()> {
    for (name, patch) in [
        ("label-gone", json!({"metadata": {"labels": {"leasehold.dev/lease-uid": null}}})),
        ("owner-gone", json!({"metadata": {"ownerReferences": null}})),
    ] {
        home.ask(name, "60s", "TokenRequest").await?;
        let lease = home.until_in(name, Phase::Active).await?;
        let holder = home.holder(&lease).await?;
        let due = status(&lease).expiration_time.map(moment).context("no deadline")?;
        let account = status(&lease).credential.and_then(|c| c.service_account).context("no account")?.name;
        lab.kubectl(&["delete", "validatingadmissionpolicybinding", "leasehold-issuing-namespace"], None).await?;
        let patch = patch.to_string();
        let args = ["patch", "serviceaccount", &account, "-n", "leasehold-leases", "--type=merge", "-p", &patch];
        eventually("the policy to be out of force", PATIENCE, || lab.kubectl(&args, None).map(|said| said.map(Some)))
            .await?;
        lab.kubectl(&["apply", "-k", &lab.config("policies")], None).await?;
        let falsehood = Falsehood { name, edit: |_| (), may_end_early: true };
        judge(scene, &falsehood, due, &holder).await?;
        let lease = home
            .until(name, "proven dead", |status| status.credential.as_ref().is_some_and(|c| c.verified_time.is_some()))
            .await?;
        let status = status(&lease);
        scene.say(format!("{name}: {:?} by {:?}", status.phase, status.end_reason));
        let proven = status.credential.and_then(|c| c.verified_time).map(moment).context("no proof")?;
        scene.must(holder.known_after(proven).is_none(), || {
            format!("{name}: the token was known after its death was proven, at {proven}")
        });
        // The next lease is asked for under policies that are seen to be in force.
        eventually("a lease to be issued again", PATIENCE, || async {
            let probe = format!("{name}-{}", Timestamp::now().as_millisecond());
            home.ask(&probe, "30s", "TokenRequest").await?;
            let lease =
                home.until(&probe, "answered", |s| s.phase.is_some_and(|p| p == Phase::Active || p.is_final())).await?;
            Ok::<_, anyhow::Error>((oracle::status(&lease).phase == Some(Phase::Active)).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Names of all leases, also of those that cannot be decoded.
async fn leases(home: &Home) -> Result<Vec<String>> {
    let api: kube::Api<CredentialLease> = home.leases();
    Ok(api.list_metadata(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect())
}
