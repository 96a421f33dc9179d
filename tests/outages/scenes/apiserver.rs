//! F12: the API server goes in the middle of hundreds of leases being issued and ending, once killed and once in good order.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use kube::ResourceExt;
use leasehold::api::{condition::ConditionStatus, reasons::Phase};
use leasehold_harness::{Component, Look, Options, eventually_seeing};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    holder::Holder,
    home::Home,
    operator::Kept,
    oracle::{self, World},
    scene::Scene,
    support::Lab,
};

/// How long there is none.
const AWAY: Duration = Duration::from_secs(4);
/// Of so many leases one is held by somebody who tries its token.
const HELD: usize = 12;
/// How long a step of the scene may take.
pub const PATIENCE: Duration = Duration::from_secs(400);

pub async fn play(scene: &mut Scene) -> Result<()> {
    let count = if scene.quick { 60 } else { 500 };
    let mut lab = Lab::installed(Options::default()).await?;
    let operator = Kept::start(&lab, "operator").await?;
    let homes = [Home::create(&lab, "first").await?, Home::create(&lab, "second").await?];
    let admin = lab.plane.admin();
    scene.say(format!("{count} leases are asked for, to live for {} s to {} s", ttl(count, 0), ttl(count, 3)));
    let traffic = Traffic::begin(&homes, count);

    let world = until(&admin, "many to be issued", |world| world.issued() * 5 >= count * 2).await?;
    let killed = Timestamp::now();
    lab.plane.kill_component(Component::Apiserver)?;
    scene.say(format!("KILL of the API server: {}", tell(&world)));
    sleep(AWAY).await;
    lab.plane.start_component(Component::Apiserver).await?;
    let mut outages = vec![(killed, Timestamp::now())];
    scene.say("the API server is back");

    let world = until(&admin, "many to have ended", |world| world.ended() * 4 >= count).await?;
    let stopped = Timestamp::now();
    lab.plane.stop_component(Component::Apiserver).await?;
    scene.say(format!("the API server ends in good order: {}", tell(&world)));
    sleep(AWAY).await;
    lab.plane.start_component(Component::Apiserver).await?;
    outages.push((stopped, Timestamp::now()));
    scene.say("the API server is back");

    traffic.end(scene, &mut lab, &operator, &outages).await
}

/// Leases that are asked for, and holders of some of their tokens.
pub struct Traffic {
    count: usize,
    asking: JoinSet<Result<()>>,
    holding: JoinSet<Option<Holder>>,
}

/// How long the n-th lease lives, in seconds: the more there are, the longer it takes until the last one is issued.
pub fn ttl(count: usize, n: usize) -> usize {
    45 + count / 4 + 20 * (n % 4)
}

/// Who asks at once.
const ASKERS: usize = 8;

impl Traffic {
    pub fn begin(homes: &[Home], count: usize) -> Self {
        let (mut asking, mut holding) = (JoinSet::new(), JoinSet::new());
        let homes: Arc<[Home]> = homes.into();
        for asker in 0..ASKERS {
            let homes = homes.clone();
            asking.spawn(async move {
                for n in (asker..count).step_by(ASKERS) {
                    let delivery = if n % 3 == 0 { "Secret" } else { "TokenRequest" };
                    homes[n % homes.len()]
                        .insist(&format!("run-{n}"), &format!("{}s", ttl(count, n)), delivery)
                        .await?;
                }
                Ok(())
            });
        }
        for n in (0..count).step_by(HELD) {
            let home = homes[n % homes.len()].clone();
            holding.spawn(async move { hold(&home, &format!("run-{n}")).await });
        }
        Self { count, asking, holding }
    }

    /// Waits until everything is over, and looks at it.
    pub async fn end(
        self,
        scene: &mut Scene,
        lab: &mut Lab,
        operator: &Kept,
        outages: &[(Timestamp, Timestamp)],
    ) -> Result<()> {
        self.asking.join_all().await.into_iter().collect::<Result<()>>()?;
        let holders: Vec<Holder> = self.holding.join_all().await.into_iter().flatten().collect();
        let world = oracle::at_rest(&lab.plane.admin(), PATIENCE).await?;
        let issued = world.issued();
        scene.say(format!("all over: {}, {issued} of {} were issued", tell(&world), self.count));
        scene.must(world.leases.len() == self.count, || format!("{} leases are there", world.leases.len()));
        scene.must(issued * 2 >= self.count, || format!("only {issued} were issued: this shows little"));
        for lease in &world.leases {
            let status = oracle::status(lease);
            let strange = matches!(status.phase, Some(Phase::Failed | Phase::Denied | Phase::Revoked));
            scene.must(!strange, || {
                let said = status.conditions.iter().filter(|c| c.status == ConditionStatus::False);
                let said: Vec<_> = said.map(|c| format!("{}: {}", c.reason, c.message)).collect();
                format!("{} ended otherwise than by time: {:?} {said:?}", lease.name_any(), status.end_reason)
            });
        }
        oracle::stories(scene, &world);
        lab.plane.audit().settled().await;
        let accounts = oracle::accounts(scene, &lab.plane.audit().since_start()?);
        let worst = oracle::tokens(scene, &world, &holders, outages);
        scene.say(format!(
            "{accounts} accounts were made; of {} tokens the last was known {worst:.1} s after its end",
            holders.len()
        ));
        scene.must(holders.len() * HELD * 2 >= self.count, || format!("only {} tokens were held", holders.len()));
        oracle::sound(scene, operator)
    }
}

/// Waits for an active lease and holds its token; `None`: it ended before that.
async fn hold(home: &Home, name: &str) -> Option<Holder> {
    for _ in 0..1000 {
        // There may be no answer, or no lease, yet.
        if let Ok(lease) = home.leases().get(name).await {
            let status = oracle::status(&lease);
            if status.phase == Some(Phase::Active) {
                let token = home.token(&lease).await.ok()?;
                return Some(Holder::new(home, &lease, home.client_of(&token).ok()?));
            }
            if status.phase.is_some_and(Phase::is_final) {
                return None;
            }
        }
        sleep(Duration::from_millis(400)).await;
    }
    None
}

/// Waits until there is this.
pub async fn until(admin: &kube::Client, what: &str, is: impl Fn(&World) -> bool) -> Result<World> {
    eventually_seeing(what, PATIENCE, || async {
        let world = oracle::look(admin).await?;
        // Listing thousands of leases is work for the API server, too.
        sleep(Duration::from_millis(500)).await;
        Ok::<_, anyhow::Error>(if is(&world) { Look::Done(world) } else { Look::NotYet(tell(&world)) })
    })
    .await
}

/// Where leases are, in a line.
pub fn tell(world: &World) -> String {
    let mut phases: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for lease in &world.leases {
        *phases.entry(oracle::status(lease).phase.map_or("new".to_owned(), |phase| phase.to_string())).or_default() +=
            1;
    }
    let phases: Vec<String> = phases.iter().map(|(phase, n)| format!("{n} {phase}")).collect();
    phases.join(", ")
}
