//! F15: the operator is away for longer than thousands of leases live. The cluster's own controllers end them; the operator comes
//! back, finds that out, and proves them, the oldest end first.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, ResourceExt, api::ListParams};
use leasehold::api::{CredentialLease, reasons::EndReason};
use leasehold_harness::{Look, Options, Record, eventually, eventually_seeing};
use tokio::{task::JoinSet, time::sleep};

use super::apiserver::{PATIENCE, tell, until};
use crate::{
    holder::{Holder, seconds},
    home::Home,
    operator::Kept,
    oracle::{self, OPERATOR, World, moment, status},
    scene::Scene,
    support::Lab,
};

/// Who asks at once.
const ASKERS: usize = 8;
/// How many tokens are tried all the time.
const HELD: usize = 16;
/// I1 without an operator: a token that its requester minted lives for ten minutes at the most, API servers grant a minute after that
/// and remember it for 10 s. How much sooner the cluster's own controllers end it is said: they make so many calls in a second, and no
/// more, however many leases end.
const OUTLIVES_ALONE_SECONDS: f64 = 670.0;
/// How long the controllers are waited for.
const CONTROLLERS: Duration = Duration::from_mins(20);

pub async fn play(scene: &mut Scene) -> Result<()> {
    let count = match std::env::var("LEASES") {
        Ok(count) => count.parse().with_context(|| format!("LEASES={count}"))?,
        Err(_) => {
            if scene.quick {
                150
            } else {
                2000
            }
        }
    };
    // All of them have to be issued before the first one ends.
    let ttl = format!("{}s", 120 + count * 2 / 5);
    let lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    let home = Home::create(&lab, "home").await?;
    let admin = lab.plane.admin();
    let mut asking: JoinSet<Result<()>> = JoinSet::new();
    for asker in 0..ASKERS {
        let (home, ttl) = (home.clone(), ttl.clone());
        asking.spawn(async move {
            for n in (asker..count).step_by(ASKERS) {
                home.insist(&format!("run-{n}"), &ttl, "TokenRequest").await?;
            }
            Ok(())
        });
    }
    asking.join_all().await.into_iter().collect::<Result<()>>()?;
    let world = until(&admin, "all to be issued", |world| world.issued() == count).await?;
    let mut holders = vec![];
    for lease in world.leases.iter().step_by(count / HELD) {
        holders.push(home.holder(lease).await?);
    }
    scene.must(world.ended() == 0, || format!("some have ended before the operator was gone: {}", tell(&world)));
    operator.hold()?;
    let (first, last) = deadlines(&world)?;
    scene.say(format!(
        "{count} leases are live and the operator is dead; they end within {:.0} s",
        seconds(first, last)
    ));

    let patience = Duration::try_from(last.duration_since(Timestamp::now())).unwrap_or_default();
    sleep(patience).await;
    scene.say("all deadlines have passed");
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "leasehold-leases");
    let ours = ListParams::default().labels("leasehold.dev/lease-uid");
    let done = || async {
        sleep(Duration::from_secs(1)).await;
        let left = accounts.list_metadata(&ours).await?.items.len();
        Ok::<_, anyhow::Error>(if left == 0 { Look::Done(()) } else { Look::NotYet(format!("{left} are left")) })
    };
    eventually_seeing("the backstop to have deleted every account", CONTROLLERS, done).await?;
    let gone = Timestamp::now();
    scene.say(format!("the backstop has deleted every account {:.1} s after the last deadline", seconds(last, gone)));
    lab.plane.audit().settled().await;
    controllers(scene, &lab.plane.audit().since_start()?, first, gone);
    sleep(Duration::from_secs(12)).await;

    operator.let_go();
    let back = Timestamp::now();
    let reads =
        || async { Ok::<_, anyhow::Error>(operator.get("readyz").await.ok().filter(|text| text.trim() == "ok")) };
    eventually("the operator to have read everything", PATIENCE, reads).await?;
    let knows = Timestamp::now();
    scene.say(format!("the operator has read everything {:.1} s after its start", seconds(back, knows)));
    let world = oracle::at_rest(&admin, PATIENCE).await?;
    scene.say(format!("the operator is back; after {:.1} s: {}", seconds(back, Timestamp::now()), tell(&world)));
    for lease in &world.leases {
        let reason = status(lease).end_reason;
        scene.must(reason == Some(EndReason::Expired), || format!("{} ended by {reason:?}", lease.name_any()));
    }
    oracle::stories(scene, &world);
    let worst = held(scene, &world, &holders);
    scene.say(format!("of {} tokens the last was known {worst:.1} s after its deadline", holders.len()));
    lab.plane.audit().settled().await;
    let audit = lab.plane.audit().since_start()?;
    oracle::accounts(scene, &audit);
    in_order(scene, &world, &audit, (back, knows));
    oracle::sound(scene, &operator)?;
    lab.stop().await
}

fn deadlines(world: &World) -> Result<(Timestamp, Timestamp)> {
    let due = || world.leases.iter().filter_map(|lease| status(lease).expiration_time).map(moment);
    Ok((due().min().context("no lease")?, due().max().context("no lease")?))
}

/// What the cluster's own controllers did meanwhile: their clients hold back what is more than `--kube-api-qps`.
fn controllers(scene: &Scene, audit: &[Record], from: Timestamp, to: Timestamp) {
    for name in ["job-controller", "ttl-after-finished-controller", "generic-garbage-collector"] {
        let user = format!("system:serviceaccount:kube-system:{name}");
        let calls =
            audit.iter().filter(|r| r.user == user && r.verb != "watch" && from <= r.received && r.received <= to);
        let calls = calls.count();
        let took = seconds(from, to);
        scene.say(format!("{name} made {calls} calls in {took:.0} s"));
    }
}

/// Without an operator a token dies by the backstop, and what API servers remember.
fn held(scene: &mut Scene, world: &World, holders: &[Holder]) -> f64 {
    let mut worst = 0_f64;
    for holder in holders {
        let lease = world.leases.iter().find(|lease| lease.uid().as_deref() == Some(&holder.uid));
        let Some(due) = lease.and_then(|lease| status(lease).expiration_time).map(moment) else { continue };
        let after = holder.known_after(due).map_or(0.0, |last| seconds(due, last));
        worst = worst.max(after);
        scene.must(after <= OUTLIVES_ALONE_SECONDS, || {
            format!("the token of {} was known {after:.1} s after its deadline", holder.lease)
        });
    }
    worst
}

/// Whose end was due first is taken down first: counted are those that were taken down while somebody was left who had been due
/// earlier, once all were known: nobody waits for that. Each once: a deletion that is not answered in time is repeated.
fn in_order(scene: &mut Scene, world: &World, audit: &[Record], (back, knows): (Timestamp, Timestamp)) {
    let due: HashMap<String, Timestamp> = world.leases.iter().filter_map(deadline_by_hex).collect();
    let mut first: HashMap<&str, (Timestamp, Timestamp)> = HashMap::new();
    for record in audit.iter().filter(|record| record.user == OPERATOR && record.received >= back) {
        let binding =
            record.resource == "rolebindings" && record.verb == "delete" && record.namespace != "leasehold-leases";
        let hex = record.name.strip_prefix("leasehold-").and_then(|rest| rest.get(..32)).filter(|_| binding);
        if let Some((hex, due)) = hex.and_then(|hex| Some((hex, due.get(hex)?))) {
            let at = first.entry(hex).or_insert((record.received, *due));
            at.0 = at.0.min(record.received);
        }
    }
    let mut served: Vec<(Timestamp, Timestamp)> = first.into_values().collect();
    served.sort_unstable();
    let (mut earliest, mut hasty, mut worst) = (Timestamp::MAX, 0, 0_f64);
    for (at, due) in served.iter().rev() {
        if earliest < *due && *at > knows {
            let by = seconds(earliest, *due);
            // Those that were due within a second of each other are as good as equal.
            hasty += usize::from(by > 1.0);
            worst = worst.max(by);
        }
        earliest = earliest.min(*due);
    }
    let took = served.first().zip(served.last()).map_or(0.0, |(first, last)| seconds(first.0, last.0));
    scene.say(format!(
        "{} ends were taken down within {took:.1} s, the first {:.1} s after the start; {hasty} before one that was due earlier, {worst:.1} s at most",
        served.len(),
        served.first().map_or(0.0, |first| seconds(back, first.0)),
    ));
    scene.must(served.len() == world.leases.len(), || format!("RoleBindings of {} leases were deleted", served.len()));
    scene.must(hasty * 10 <= served.len(), || {
        format!("{hasty} of {} leases were taken down before one that was due earlier", served.len())
    });
}

fn deadline_by_hex(lease: &CredentialLease) -> Option<(String, Timestamp)> {
    Some((lease.uid()?.replace('-', ""), moment(status(lease).expiration_time?)))
}
