//! F13 and F14: two replicas, their clocks two hours apart, and set while they run. Who leads is decided by how long a Lease was not
//! renewed, as each replica sees it by a clock that nobody can set.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, rbac::v1::RoleBinding};
use kube::{Api, ResourceExt, api::ListParams};
use leasehold::api::{
    CredentialLease,
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Options, eventually};
use tokio::time::{Instant, sleep};

use super::clock::{dress, faketime, set, shows};
use crate::{
    holder::Holder,
    home::Home,
    operator::Kept,
    oracle::{self, status},
    scene::Scene,
    support::Lab,
};

/// The shipped duration of the leader's Lease: nobody takes over from a leader that may live.
const LEASE: Duration = Duration::from_secs(15);
/// What a busy machine may add to a takeover.
const BUSY: Duration = Duration::from_secs(6);

struct Replica {
    operator: Kept,
    clock: PathBuf,
}

impl Replica {
    async fn start(lab: &Lab, name: &str, library: PathBuf, offset: &str) -> Result<Self> {
        let clock = lab.plane.dir().join(format!("clock-{name}"));
        set(&clock, offset)?;
        let flags = ["--leader-election=true", "--log=debug"];
        let operator = Kept::launch(lab, name, &flags, dress(library, clock.clone())).await?;
        operator.enforced().await?;
        let replica = Self { operator, clock };
        replica.shows(offset).await?;
        Ok(replica)
    }

    /// Who stands by says something every half minute.
    async fn shows(&self, offset: &str) -> Result<()> {
        let right = || async { Ok::<_, anyhow::Error>(shows(&self.operator, offset).ok()) };
        eventually(&format!("its clock to be {offset} s off"), 3 * LEASE, right).await
    }

    fn set(&self, offset: &str) -> Result<()> {
        set(&self.clock, offset)
    }

    async fn leads(&self) -> Result<bool> {
        Ok(self.operator.get("metrics").await?.contains("leasehold_leading 1"))
    }
}

pub async fn play(scene: &mut Scene) -> Result<()> {
    let lab = Lab::installed(Options::default()).await?;
    let library = faketime().await?;
    let home = Home::create(&lab, "home").await?;
    let ahead = Replica::start(&lab, "ahead", library.clone(), "+3600").await?;
    eventually("the first replica to lead", LEASE + BUSY, || async {
        Ok::<_, anyhow::Error>(ahead.leads().await?.then_some(()))
    })
    .await?;
    let behind = Replica::start(&lab, "behind", library, "-3600").await?;
    scene.say("one replica leads, an hour ahead; the other is an hour behind");
    stays(scene, &lab, (&ahead, &behind)).await?;
    let first = dies(scene, &home, "ahead-dies", (&ahead, &behind)).await?;
    ahead.operator.let_go();
    ahead.operator.enforced().await?;
    scene.say("the one that is behind leads, and the other is there again");
    stays(scene, &lab, (&behind, &ahead)).await?;
    home.ask("held", "10m", "Secret").await?;
    let held = home.until_in("held", Phase::Active).await?;
    behind.set("+3600")?;
    ahead.set("-3600")?;
    scene.say("both clocks are set by two hours, each to where the other was");
    stays(scene, &lab, (&behind, &ahead)).await?;
    behind.shows("+3600").await?;
    ahead.shows("-3600").await?;
    let phase = home.leases().get("held").await?.status.and_then(|s| s.phase);
    scene.must(phase == Some(Phase::Active), || format!("a lease is {phase:?} since the clocks were set"));
    home.revoke(&held).await?;
    let second = dies(scene, &home, "behind-dies", (&behind, &ahead)).await?;
    let world = oracle::at_rest(&home.admin, Duration::from_secs(90)).await?;
    oracle::stories(scene, &world);
    for lease in &world.leases {
        let reason = status(lease).end_reason;
        scene.must(reason == Some(EndReason::DecisionRevoked), || format!("{} ended by {reason:?}", lease.name_any()));
    }
    let (holders, leaderless): (Vec<_>, Vec<_>) = [first, second].into_iter().unzip();
    let worst = oracle::tokens(scene, &world, &holders, &leaderless);
    scene.say(format!("the last token was known {worst:.1} s after somebody led"));
    lab.plane.audit().settled().await;
    oracle::accounts(scene, &lab.plane.audit().since_start()?);
    for replica in [&ahead, &behind] {
        oracle::sound(scene, &replica.operator)?;
    }
    lab.stop().await
}

/// For longer than a Lease lasts, who leads does so alone.
async fn stays(scene: &mut Scene, lab: &Lab, (leader, other): (&Replica, &Replica)) -> Result<()> {
    let (before, begun) = (holder(lab).await?, Instant::now());
    while begun.elapsed() < LEASE + BUSY {
        scene.must(leader.leads().await?, || "who leads has lost its lead".to_owned());
        scene.must(!other.leads().await?, || "two lead at once".to_owned());
        sleep(Duration::from_millis(500)).await;
    }
    let after = holder(lab).await?;
    scene.must(before == after, || format!("{before} held the Lease, and now {after}"));
    Ok(())
}

/// The leader is killed and stays away: the other ends what is to end as soon as it would with a right clock. Who held it, and
/// from when to when nobody led.
async fn dies(
    scene: &mut Scene,
    home: &Home,
    name: &str,
    (leader, next): (&Replica, &Replica),
) -> Result<(Holder, (Timestamp, Timestamp))> {
    home.ask(name, "10m", "Secret").await?;
    let lease = home.until_in(name, Phase::Active).await?;
    let held = home.holder(&lease).await?;
    // Times in a status have whole seconds.
    let (begun, died) = (Instant::now(), Timestamp::now() - Duration::from_secs(1));
    leader.operator.hold()?;
    home.revoke(&lease).await?;
    unbound(home, &lease).await?;
    let took = begun.elapsed();
    scene.say(format!("{name}: its RoleBinding is gone {:.1} s after the leader's death", took.as_secs_f64()));
    scene.must(took <= LEASE + BUSY, || format!("the takeover took {took:?}"));
    scene.must(next.leads().await?, || "the other one does not lead".to_owned());
    Ok((held, (died, Timestamp::now())))
}

async fn unbound(home: &Home, lease: &CredentialLease) -> Result<()> {
    let api: Api<RoleBinding> = Api::namespaced(home.admin.clone(), &home.namespace);
    let uid = lease.uid().context("no uid")?;
    let ours = ListParams::default().labels(&format!("leasehold.dev/lease-uid={uid}"));
    eventually("the RoleBinding to be gone", 3 * LEASE, || async {
        Ok::<_, anyhow::Error>(api.list(&ours).await?.items.is_empty().then_some(()))
    })
    .await
}

async fn holder(lab: &Lab) -> Result<String> {
    let api: Api<Lease> = Api::namespaced(lab.plane.admin(), "leasehold-system");
    api.get("leasehold").await?.spec.and_then(|spec| spec.holder_identity).context("nobody holds the Lease")
}
