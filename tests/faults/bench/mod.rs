//! Tenants, the operator behind the proxy, and one round of plans: each on a lease of its own, side by side.

mod act;
mod attend;
mod consumer;
mod holder;
mod life;
mod live;
mod operator;
mod rest;
mod slot;
mod system;
mod world;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use leasehold::api::CredentialLease;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, sleep},
};

use crate::{
    fault::Weather,
    plan::Plan,
    proxy::{Hit, Proxy},
    support::{Lab, Operator},
};
pub use life::Life;
use operator::Runner;
use slot::Slot;
use world::World;

/// How long anything may take that is to come true.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a list may be behind, and a little more: what was made before a round is in all of them.
const SETTLED: Duration = Duration::from_secs(5);

pub struct Bench<'a> {
    pub proxy: Arc<Proxy>,
    hits: tokio::sync::Mutex<mpsc::UnboundedReceiver<Hit>>,
    slots: Vec<Slot<'a>>,
    runner: Runner<'a>,
    world: watch::Receiver<World>,
    rounds: AtomicU32,
}

/// What the tasks of one round share about one lease.
#[derive(Default)]
struct Shared {
    lease: Mutex<Option<CredentialLease>>,
    end: Mutex<Option<Ended>>,
}

/// When a lease was ended: since when somebody was at it, and when it was done.
#[derive(Debug, Clone, Copy)]
struct Ended {
    begun: Timestamp,
    at: Timestamp,
}

/// One plan, in its slot.
struct Run<'r, 'a> {
    bench: &'r Bench<'a>,
    slot: &'r Slot<'a>,
    plan: &'r Plan,
    shared: &'r Shared,
    number: u32,
    /// How many leases of the round are ready to end, and how many there are.
    ready: &'r AtomicUsize,
    all: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Bench<'a> {
    pub async fn start(lab: &'a Lab, width: usize) -> Result<Self> {
        let mut slots = vec![];
        let numbers: Vec<usize> = (0..width).collect();
        for some in numbers.chunks(4) {
            slots.extend(try_join_all(some.iter().map(|number| Slot::create(lab, *number))).await?);
        }
        let namespaces = slots.iter().map(|s: &Slot<'_>| s.home.namespace.clone()).collect();
        let (proxy, hits) = Proxy::start(lab.plane.url(), lab.plane.ca_pem(), namespaces).await?;
        for some in slots.chunks_mut(4) {
            try_join_all(some.iter_mut().map(|slot| slot.connect(lab, &proxy))).await?;
        }
        let direct = Operator::kubeconfig(&lab.plane, "behind-the-proxy").await?;
        // The operator speaks plain HTTP to the proxy, and sends its token along.
        let text = std::fs::read_to_string(&direct)?.replace(lab.plane.url(), &format!("http://{}", proxy.address));
        let kubeconfig = direct.with_extension("proxied");
        std::fs::write(&kubeconfig, text)?;
        let (world, seen) = watch::channel(World::default());
        tokio::spawn(world::observe(lab.plane.admin(), world, proxy.clone()));
        let runner = Runner::new(lab, kubeconfig);
        let hits = tokio::sync::Mutex::new(hits);
        let bench = Self { proxy, hits, slots, runner, world: seen, rounds: AtomicU32::default() };
        bench.runner.start().await?;
        for slot in &bench.slots {
            slot.is_leasable().await?;
        }
        Ok(bench)
    }

    /// Runs plans side by side, one per slot.
    pub async fn round(&self, plans: &[Plan]) -> Result<Vec<Life>> {
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        let weather = plans.first().map_or(Weather::Fair, |p| p.weather);
        let shared: Vec<Shared> = plans.iter().map(|_| Shared::default()).collect();
        let ready = AtomicUsize::new(0);
        let run =
            |((slot, plan), shared)| Run { bench: self, slot, plan, shared, number, ready: &ready, all: plans.len() };
        let runs: Vec<Run<'_, 'a>> = self.slots.iter().zip(plans).zip(&shared).map(run).collect();
        let prepared = try_join_all(runs.iter().map(Run::prepare)).await?;
        if weather == Weather::Behind {
            sleep(SETTLED).await;
        }
        self.proxy.set_weather(weather);
        if weather != Weather::Fair {
            // So that the watches that are open feel it too.
            self.proxy.cut();
            sleep(Duration::from_secs(1)).await;
        }
        for run in &runs {
            let standing = run.script().terms == crate::flow::Terms::Standing;
            self.proxy.slots().arm(run.slot.number, run.plan.traps.clone(), standing);
        }
        let lives = runs.iter().zip(prepared).map(|(run, prepared)| run.live(prepared));
        let lives = tokio::select! {
            lives = join_all(lives) => lives,
            error = self.attend(&runs) => return Err(error),
            () = self.storm(weather) => unreachable!("a storm ends with the round"),
        };
        for slot in &self.slots {
            self.proxy.slots().arm(slot.number, vec![], false);
        }
        if weather != Weather::Fair {
            self.proxy.set_weather(Weather::Fair);
            self.proxy.cut();
        }
        let mut lives = lives.into_iter().collect::<Result<Vec<Life>>>()?;
        self.runner.heard(&mut lives)?;
        Ok(lives)
    }

    /// Takes away what the last round has left on purpose, so that the next one begins as this one did.
    pub async fn clean_up(&self, lives: &[Life]) -> Result<()> {
        try_join_all(self.slots.iter().zip(lives).map(|(slot, life)| slot.clean_up(life))).await?;
        let since = tokio::time::Instant::now();
        let gone = |world: &World| {
            let left = lives.iter().flat_map(|life| &life.heirs).any(|heir| world.made.contains_key(heir));
            world.seen.is_some_and(|at| at > since) && !left
        };
        let mut world = self.world.clone();
        let gone = tokio::time::timeout(PATIENCE, world.wait_for(gone)).await;
        gone.context("a lease that followed another one does not end with its lifecycle")??;
        Ok(())
    }

    async fn storm(&self, weather: Weather) {
        let Some(pace) = weather.pace() else { return std::future::pending().await };
        loop {
            sleep(pace).await;
            self.proxy.cut();
        }
    }
}
