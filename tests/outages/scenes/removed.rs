//! F17: what the operator stands on is taken away under live leases: a namespace, the policies, its rights, the issuing namespace,
//! every definition. Tokens die, nothing is issued that nobody may, and all goes on once it is back.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::{ResourceExt, api::DeleteParams};
use leasehold::api::reasons::Phase;
use leasehold_harness::{Look, Options, eventually_seeing};
use tokio::time::sleep;

use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::Kept,
    oracle::{self, OUTLIVES_SECONDS, moment, status},
    scene::Scene,
    support::Lab,
};

/// The backstop is told the deadline and takes its time; see tests/e2e/backstop.rs.
const BACKSTOP_SECONDS: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn play(scene: &mut Scene) -> Result<()> {
    let lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    namespace(scene, &lab).await.context("a namespace with live leases")?;
    policies(scene, &lab).await.context("the admission policies")?;
    rights(scene, &lab, &operator).await.context("the operator's rights")?;
    issuing_namespace(scene, &lab, &operator).await.context("the issuing namespace")?;
    definitions(scene, &lab, &operator).await.context("the definitions")?;
    oracle::sound(scene, &operator)?;
    lab.stop().await
}

/// A live lease with its holder.
async fn live(home: &Home, name: &str, ttl: &str) -> Result<Holder> {
    home.insist(name, ttl, "TokenRequest").await?;
    home.holder(&home.until_in(name, Phase::Active).await?).await
}

/// The token is refused at last; how long after `from` it was still known.
async fn dies(scene: &mut Scene, holder: &Holder, from: Timestamp, most: f64) -> Result<f64> {
    holder.until(401, PATIENCE).await?;
    let after = holder.known_after(from).map_or(0.0, |last| seconds(from, last));
    scene.must(after <= most, || {
        format!("the token of {} was known for {after:.1} s, allowed are {most:.1} s", holder.lease)
    });
    Ok(after)
}

/// Leases are issued again.
async fn goes_on(scene: &mut Scene, home: &Home, name: &str) -> Result<()> {
    let begun = Timestamp::now();
    // What was asked for too early may be refused: whoever wants a lease asks again.
    for n in 0.. {
        let name = format!("{name}-{n}");
        home.insist(&name, "10m", "TokenRequest").await?;
        let lease = home
            .until(&name, "active or refused", |s| s.phase.is_some_and(|p| p == Phase::Active || p.is_final()))
            .await?;
        if status(&lease).phase == Some(Phase::Active) {
            home.revoke(&lease).await?;
            break;
        }
        scene.say(format!("{name} was refused: {:?} {:?}", status(&lease).phase, status(&lease).end_reason));
        anyhow::ensure!(n < 20, "nothing is issued");
        sleep(Duration::from_secs(3)).await;
    }
    scene.say(format!("a lease is issued again after {:.1} s", seconds(begun, Timestamp::now())));
    Ok(())
}

async fn namespace(scene: &mut Scene, lab: &Lab) -> Result<()> {
    let home = Home::create(lab, "deleted").await?;
    let holders = [live(&home, "one", "10m").await?, live(&home, "two", "10m").await?];
    let begun = Timestamp::now();
    lab.kubectl(&["delete", "namespace", &home.namespace, "--wait=false"], None).await?;
    for holder in &holders {
        let after = dies(scene, holder, begun, OUTLIVES_SECONDS).await?;
        scene.say(format!("namespace deleted: the token of {} was dead after {after:.1} s", holder.lease));
    }
    let gone = || async {
        let found =
            lab.kubectl(&["get", "namespace", &home.namespace, "--ignore-not-found", "-o", "name"], None).await?;
        let left = oracle::look(&home.admin).await?.made;
        let seen = format!("{found} {left:?}");
        Ok::<_, anyhow::Error>(if found.is_empty() && left.is_empty() { Look::Done(()) } else { Look::NotYet(seen) })
    };
    eventually_seeing("the namespace and all that was made for its leases to be gone", PATIENCE, gone).await
}

async fn policies(scene: &mut Scene, lab: &Lab) -> Result<()> {
    let home = Home::create(lab, "unguarded").await?;
    let holder = live(&home, "live", "45s").await?;
    let revoked = live(&home, "revoked", "10m").await?;
    lab.kubectl(&["delete", "-k", &lab.config("policies")], None).await?;
    let due = deadline(&home, "live").await?;
    home.insist("asks", "10m", "TokenRequest").await?;
    sleep(Duration::from_secs(4)).await;
    let asks = home.leases().get("asks").await?;
    let made = oracle::look(&home.admin).await?.made.contains_key(&asks.uid().unwrap_or_default());
    scene.must(!made, || "something was issued without policies".to_owned());
    let said = Timestamp::now();
    home.revoke(&home.leases().get("revoked").await?).await?;
    let after = dies(scene, &revoked, said, OUTLIVES_SECONDS).await?;
    scene.say(format!("policies deleted: nothing is issued; a revoked token was dead after {after:.1} s"));
    let after = dies(scene, &holder, due, OUTLIVES_SECONDS).await?;
    scene.say(format!("policies deleted: the token whose time was up was dead after {after:.1} s"));
    lab.kubectl(&["apply", "-k", &lab.config("policies")], None).await?;
    goes_on(scene, &home, "again").await
}

async fn deadline(home: &Home, name: &str) -> Result<Timestamp> {
    let lease = home.leases().get(name).await?;
    status(&lease).expiration_time.map(moment).context("no expirationTime")
}

async fn rights(scene: &mut Scene, lab: &Lab, operator: &Kept) -> Result<()> {
    let home = Home::create(lab, "rightless").await?;
    let holder = live(&home, "live", "60s").await?;
    let deleted = live(&home, "deleted", "10m").await?;
    lab.kubectl(&["delete", "clusterrolebinding", "leasehold"], None).await?;
    for namespace in ["leasehold-system", "leasehold-leases"] {
        lab.kubectl(&["delete", "rolebinding", "leasehold", "-n", namespace], None).await?;
    }
    let due = deadline(&home, "live").await?;
    // The requester's own Role is not the operator's: it may still ask and delete.
    home.insist("asks", "10m", "TokenRequest").await?;
    home.leases().delete("deleted", &DeleteParams::default()).await?;
    let after = dies(scene, &holder, due, BACKSTOP_SECONDS + OUTLIVES_SECONDS).await?;
    scene.say(format!("no rights: the backstop ended the lease; its token was dead {after:.1} s after the deadline"));
    let asks = home.leases().get("asks").await?;
    let made = oracle::look(&home.admin).await?.made.contains_key(&asks.uid().unwrap_or_default());
    scene.must(!made, || "something was issued without rights".to_owned());
    scene.must(operator.get("healthz").await.is_ok(), || "the operator does not answer".to_owned());
    let claimed = oracle::status(&home.leases().get("live").await?).credential.and_then(|c| c.evidence);
    scene.must(claimed.is_none(), || format!("{claimed:?} was claimed without rights"));

    let back = Timestamp::now();
    lab.kubectl(&["apply", "-k", &lab.config("rbac")], None).await?;
    // A failed end is tried again after 30 s at most, and so is a failed watch.
    let after = dies(scene, &deleted, back, 60.0).await?;
    scene
        .say(format!("rights are back: the token of the lease that was deleted meanwhile was dead after {after:.1} s"));
    let live = home.until("live", "proven dead", |s| s.phase == Some(Phase::Expired)).await?;
    scene.say(format!("live is {:?} by {:?}", status(&live).phase, status(&live).credential.and_then(|c| c.evidence)));
    goes_on(scene, &home, "again").await
}

async fn issuing_namespace(scene: &mut Scene, lab: &Lab, operator: &Kept) -> Result<()> {
    let home = Home::create(lab, "switched-off").await?;
    let holders = [live(&home, "one", "10m").await?, live(&home, "two", "10m").await?];
    let begun = Timestamp::now();
    lab.kubectl(&["delete", "namespace", "leasehold-leases"], None).await?;
    scene.say(format!("leasehold-leases was gone after {:.1} s", seconds(begun, Timestamp::now())));
    for holder in &holders {
        let after = dies(scene, holder, begun, OUTLIVES_SECONDS + 10.0).await?;
        scene.say(format!("leasehold-leases deleted: the token of {} was dead after {after:.1} s", holder.lease));
    }
    for name in ["one", "two"] {
        let lease = home.until(name, "over", |s| s.phase.is_some_and(Phase::is_final)).await?;
        scene.must(oracle::is_over(&lease), || format!("{name} is final and not proven"));
        scene.say(format!("{name}: {:?} by {:?}", status(&lease).phase, status(&lease).end_reason));
    }
    scene.must(operator.get("healthz").await.is_ok(), || "the operator does not answer".to_owned());
    lab.kubectl(&["apply", "-k", &lab.config("default")], None).await?;
    goes_on(scene, &home, "again").await
}

async fn definitions(scene: &mut Scene, lab: &Lab, operator: &Kept) -> Result<()> {
    let home = Home::create(lab, "undefined").await?;
    let holders = [live(&home, "one", "10m").await?, live(&home, "two", "10m").await?];
    let begun = Timestamp::now();
    lab.kubectl(&["delete", "-k", &lab.config("crds")], None).await?;
    for holder in &holders {
        let after = dies(scene, holder, begun, OUTLIVES_SECONDS + 10.0).await?;
        scene.say(format!("definitions deleted: the token of {} was dead after {after:.1} s", holder.lease));
    }
    sleep(Duration::from_secs(5)).await;
    scene.must(operator.get("healthz").await.is_ok(), || "the operator does not answer".to_owned());
    lab.kubectl(&["apply", "-k", &lab.config("crds")], None).await?;
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    lab.kubectl(&established, None).await?;
    let home = Home::create(lab, "defined").await?;
    goes_on(scene, &home, "again").await?;
    let world = oracle::at_rest(&home.admin, PATIENCE).await?;
    oracle::stories(scene, &world);
    Ok(())
}
