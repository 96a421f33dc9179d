//! Tenants, the operator behind the proxy, and one round of plans: each on a lease of its own, side by side.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, ResourceExt, api::ListParams};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::Phase,
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    plan::{End, Plan, Terms, Weather},
    proxy::{Hit, Made, Proxy, What},
    support::{Holder, Lab, Operator, Person, Tenant},
};

/// An API server remembers a token for 10 s; the operator proves the death 12 s after the deletion.
pub const PROOF: Duration = Duration::from_millis(13_500);
/// How long a kill waits for other leases to come to their crash: well within the operator's deadline for a call.
const GATHER: Duration = Duration::from_millis(2500);
/// How long anything may take that is to come true.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long the operator waits for an answer: shorter than its default, so that a hang costs little.
const CALL_TIMEOUT: &str = "--call-timeout=5s";

/// Where one lease at a time lives.
struct Slot<'a> {
    number: usize,
    home: Tenant<'a>,
    approver: Person,
    requester: Person,
}

/// What there is, as the administrator sees it.
#[derive(Default)]
struct World {
    seen: Option<Instant>,
    leases: BTreeMap<String, CredentialLease>,
    /// What is labelled with the UID of a lease.
    made: BTreeMap<String, Vec<String>>,
}

/// How one lease lived under one plan.
#[derive(Debug, Clone)]
pub struct Life {
    pub namespace: String,
    pub lease: String,
    pub uid: String,
    pub decided: Option<Timestamp>,
    pub was_active: bool,
    pub ended: Timestamp,
    /// When the token was last accepted, counted in seconds from the end, the time without an operator taken off.
    pub accepted: Option<f64>,
    pub status: Option<leasehold::api::status::CredentialLeaseStatus>,
    pub left: Vec<String>,
    pub calls: Vec<Made>,
    /// Traps that were not sprung.
    pub unsprung: usize,
    /// Kills while it lived.
    pub kills: u32,
    /// What went wrong on the way.
    pub wrong: Vec<String>,
}

pub struct Bench<'a> {
    lab: &'a Lab,
    pub proxy: Arc<Proxy>,
    hits: tokio::sync::Mutex<mpsc::UnboundedReceiver<Hit>>,
    slots: Vec<Slot<'a>>,
    operator: tokio::sync::Mutex<Option<Operator>>,
    starts: AtomicU32,
    kills: AtomicU32,
    /// No operator is running.
    dead: AtomicBool,
    /// When there was no operator that would end anything.
    down: Mutex<Vec<(Timestamp, Timestamp)>>,
    world: watch::Receiver<World>,
    rounds: AtomicU32,
    kubeconfig: std::path::PathBuf,
}

/// What the tasks of one round share about one lease.
#[derive(Default)]
struct Shared {
    lease: Mutex<Option<CredentialLease>>,
    ended: Mutex<Option<Timestamp>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
        let direct = Operator::kubeconfig(&lab.plane, "behind-the-proxy").await?;
        // The operator speaks plain HTTP to the proxy, and sends its token along.
        let text = std::fs::read_to_string(&direct)?.replace(lab.plane.url(), &format!("http://{}", proxy.address));
        let kubeconfig = direct.with_extension("proxied");
        std::fs::write(&kubeconfig, text)?;
        let (world, seen) = watch::channel(World::default());
        tokio::spawn(observe(lab.plane.admin(), world));
        let bench = Self {
            lab,
            proxy,
            hits: tokio::sync::Mutex::new(hits),
            slots,
            operator: tokio::sync::Mutex::default(),
            starts: AtomicU32::default(),
            kills: AtomicU32::default(),
            dead: AtomicBool::new(true),
            down: Mutex::default(),
            world: seen,
            rounds: AtomicU32::default(),
            kubeconfig,
        };
        bench.start_operator().await?;
        for slot in &bench.slots {
            for lifecycle in ["plain", "agreed", "cross"] {
                slot.home.lifecycle_says(lifecycle, "Leasable", ConditionStatus::True, "Leasable").await?;
            }
        }
        Ok(bench)
    }

    async fn start_operator(&self) -> Result<()> {
        let label = format!("operator-{}", self.starts.fetch_add(1, Ordering::Relaxed));
        let flags = [CALL_TIMEOUT, "--issue-width=32", "--end-width=32", "--retry-width=32"];
        let operator = Operator::launch_as(&self.lab.plane, &label, &self.kubeconfig, &flags)?;
        operator.wait_until_enforced().await?;
        self.operator.lock().await.replace(operator);
        self.dead.store(false, Ordering::Release);
        Ok(())
    }

    async fn kill(&self) -> Result<()> {
        self.dead.store(true, Ordering::Release);
        if let Some(operator) = self.operator.lock().await.take() {
            operator.kill()?;
        }
        let killed = Timestamp::now();
        self.kills.fetch_add(1, Ordering::Relaxed);
        self.proxy.revive();
        self.start_operator().await?;
        lock(&self.down).push((killed, Timestamp::now()));
        Ok(())
    }

    /// Runs plans side by side, one per slot.
    pub async fn round(&self, plans: &[Plan]) -> Result<Vec<Life>> {
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        let weather = plans.first().map_or(Weather::Fair, |p| p.weather);
        self.proxy.set_weather(weather);
        if weather != Weather::Fair {
            // So that the watches that are open feel it too.
            self.proxy.cut();
            sleep(Duration::from_secs(1)).await;
        }
        for (slot, plan) in self.slots.iter().zip(plans) {
            self.proxy.arm(slot.number, plan.traps.clone());
        }
        let shared: Vec<Shared> = plans.iter().map(|_| Shared::default()).collect();
        let ready = AtomicUsize::new(0);
        let lives = self.slots.iter().zip(plans).zip(&shared).map(|((slot, plan), shared)| {
            let ready = &ready;
            async move { self.live(slot, plan, shared, ready, plans.len(), number).await }
        });
        let lives = tokio::select! {
            lives = join_all(lives) => lives,
            error = self.attend(plans, &shared) => return Err(error),
            () = self.storm(weather) => unreachable!("a storm ends with the round"),
        };
        for slot in &self.slots {
            self.proxy.arm(slot.number, vec![]);
        }
        if weather != Weather::Fair {
            self.proxy.set_weather(Weather::Fair);
            self.proxy.cut();
        }
        lives.into_iter().collect()
    }

    async fn storm(&self, weather: Weather) {
        loop {
            sleep(Duration::from_millis(1100)).await;
            if matches!(weather, Weather::Cut | Weather::Gone) {
                self.proxy.cut();
            }
        }
    }

    /// Does what held calls wait for. Returns only if that fails.
    async fn attend(&self, plans: &[Plan], shared: &[Shared]) -> anyhow::Error {
        let mut hits = self.hits.lock().await;
        loop {
            let Some(hit) = hits.recv().await else { return anyhow::anyhow!("the proxy is gone") };
            let mut held = vec![hit];
            if held[0].what == What::Kill {
                let until = Instant::now() + GATHER;
                while self.proxy.killers() > 0 {
                    match tokio::time::timeout_at(until, hits.recv()).await {
                        Ok(Some(hit)) if hit.what == What::Kill => held.push(hit),
                        Ok(Some(hit)) => {
                            if let Err(error) = self.end_held(&hit, plans, shared).await {
                                return error;
                            }
                        }
                        Ok(None) | Err(_) => break,
                    }
                }
                if let Err(error) = self.kill().await {
                    return error.context("restart the operator");
                }
            } else if let Err(error) = self.end_held(&held[0], plans, shared).await {
                return error;
            }
            for hit in held {
                // A receiver that has gone has given up waiting.
                hit.go.send(()).ok();
            }
        }
    }

    async fn end_held(&self, hit: &Hit, plans: &[Plan], shared: &[Shared]) -> Result<()> {
        let (Some(plan), Some(shared)) = (plans.get(hit.slot), shared.get(hit.slot)) else { return Ok(()) };
        // The call may come before the creation of the lease was answered to us.
        for _ in 0..40 {
            if lock(&shared.lease).is_some() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.end(&self.slots[hit.slot], plan, shared).await
    }

    /// Ends the lease, if it has not been ended.
    async fn end(&self, slot: &Slot<'_>, plan: &Plan, shared: &Shared) -> Result<()> {
        let lease = lock(&shared.lease).clone().context("there is no lease to end")?;
        let begun = Timestamp::now();
        {
            let mut ended = lock(&shared.ended);
            if ended.is_some() {
                return Ok(());
            }
            *ended = Some(begun);
        }
        match plan.flow.end {
            End::Deleted => slot.home.delete_lease(&lease.name_any()).await?,
            End::Revoked => drop(slot.requester.decides(&lease, "Revoked").await?),
        }
        *lock(&shared.ended) = Some(Timestamp::now());
        Ok(())
    }

    async fn live(
        &self,
        slot: &Slot<'_>,
        plan: &Plan,
        shared: &Shared,
        ready: &AtomicUsize,
        all: usize,
        round: u32,
    ) -> Result<Life> {
        let kills = self.kills.load(Ordering::Relaxed);
        let mut wrong = vec![];
        let name = format!("run-{round}");
        let delivery = json!({"type": plan.flow.delivery});
        let change = |spec: &mut serde_json::Value| {
            spec["ttl"] = json!("15m");
            spec["delivery"] = delivery;
        };
        let lease = slot.home.lease(&name, plan.flow.lifecycle(), change).await?;
        let uid = lease.metadata.uid.clone().context("no uid")?;
        self.proxy.name(slot.number, &uid);
        *lock(&shared.lease) = Some(lease);
        let ended = || lock(&shared.ended).is_some();

        let mut decided = None;
        if plan.flow.terms == Terms::Agreed {
            let asked = self.until(&uid, ended, |p| p == Phase::AwaitingApproval || p.is_final()).await;
            match asked {
                Some(lease) if phase(&lease) == Some(Phase::AwaitingApproval) => {
                    decided = Some(Timestamp::now());
                    slot.approver.decides(&lease, "Approved").await?;
                }
                Some(_) => {}
                None if ended() => {}
                None => wrong.push("it never asked anybody".to_owned()),
            }
        }
        let active = self.until(&uid, ended, |p| p == Phase::Active || p.is_final()).await;
        if active.is_none() && !ended() {
            wrong.push(format!("it did not become active: {:?}", self.phase_of(&uid)));
        }
        let active = active.filter(|l| phase(l) == Some(Phase::Active));
        let was_active = active.is_some();
        let (mut holder, mut account) = (None, None);
        if let Some(lease) = active {
            account =
                lease.status.as_ref().and_then(|s| s.credential.as_ref()?.service_account.clone()).map(|a| a.name);
            match self.token(slot, plan, &lease).await {
                Ok(token) => {
                    let found = Holder::new(&slot.home, &token)?;
                    // A grant for another namespace is none here: 403 is from somebody who is known.
                    let good = if plan.flow.terms == Terms::Cross { 403 } else { 200 };
                    let known = found.until(&[good], Duration::from_millis(100), Duration::from_secs(5)).await;
                    if let Err(error) = known.as_ref().map(drop)
                        && !ended()
                    {
                        wrong.push(format!("the token of an active lease does not work: {error:#}"));
                    }
                    holder = known.is_ok().then_some((found, good));
                }
                Err(error) if !ended() => wrong.push(format!("an active lease gives no token: {error:#}")),
                Err(_) => {}
            }
        }

        // All end together, so that a crash in the end is that of many; who is late is not waited for.
        ready.fetch_add(1, Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_secs(20);
        while ready.load(Ordering::Relaxed) < all && Instant::now() < patience {
            sleep(Duration::from_millis(50)).await;
        }
        self.end(slot, plan, shared).await?;
        let end = lock(&shared.ended).unwrap_or_else(Timestamp::now);
        let begun = Instant::now();

        let accepted = match holder {
            Some((holder, good)) => self.accepted(&holder, good, end).await?,
            None => None,
        };
        let done = |world: &World| {
            let fresh = world.seen.is_some_and(|at| at >= begun);
            let at_rest = match plan.flow.end {
                End::Deleted => !world.leases.contains_key(&uid),
                End::Revoked => world.leases.get(&uid).is_some_and(is_proven),
            };
            fresh && at_rest && !world.made.contains_key(&uid)
        };
        let mut world = self.world.clone();
        if timeout(PATIENCE, world.wait_for(done)).await.is_err() {
            let world = self.world.borrow();
            let lease = world.leases.get(&uid).and_then(|l| serde_json::to_string(&l.status).ok());
            wrong.push(format!("not at its end after {PATIENCE:?}: {lease:?}"));
        }
        sleep(PROOF.saturating_sub(begun.elapsed())).await;
        // A crash at the very end: its successor must have had time to do harm.
        while self.proxy.is_dying(slot.number) || self.dead.load(Ordering::Acquire) {
            sleep(Duration::from_millis(100)).await;
            if !self.proxy.is_dying(slot.number) && !self.dead.load(Ordering::Acquire) {
                sleep(Duration::from_secs(3)).await;
            }
        }
        if let Some(account) = account
            && slot.home.mint(&account).await.is_ok()
        {
            wrong.push("a token could be minted after the end".to_owned());
        }
        let (status, left) = {
            let world = self.world.borrow();
            let status = world.leases.get(&uid).and_then(|l| l.status.clone());
            (status, world.made.get(&uid).cloned().unwrap_or_default())
        };
        Ok(Life {
            namespace: slot.home.namespace.clone(),
            lease: name,
            uid,
            decided,
            was_active,
            ended: end,
            accepted,
            status,
            left,
            calls: self.proxy.calls(slot.number),
            unsprung: self.proxy.left(slot.number),
            kills: self.kills.load(Ordering::Relaxed) - kills,
            wrong,
        })
    }

    async fn token(&self, slot: &Slot<'_>, plan: &Plan, lease: &CredentialLease) -> Result<String> {
        if plan.flow.delivery == "Secret" {
            return slot.home.token(lease).await;
        }
        let account = lease.status.as_ref().and_then(|s| s.credential.as_ref()?.service_account.clone());
        let account = account.context("an active lease without an account")?.name;
        let mut tried = 0;
        loop {
            match slot.home.mint(&account).await {
                // The authorizer's own watch may be behind the binding.
                Err(_) if tried < 20 => sleep(Duration::from_millis(100)).await,
                answer => return answer,
            }
            tried += 1;
        }
    }

    /// Until when the token was accepted, in seconds from the end, without the time in which no operator was there.
    async fn accepted(&self, holder: &Holder, good: u16, end: Timestamp) -> Result<Option<f64>> {
        let (begun, mut last) = (Instant::now(), None);
        while begun.elapsed() < Duration::from_secs(45) {
            let sent = Timestamp::now();
            let code = holder.reads().await?;
            if code == good {
                last = Some(sent);
            } else if code == 401 || (code == 403 && good == 200 && begun.elapsed() > Duration::from_secs(14)) {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        let Some(last) = last else { return Ok(None) };
        let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
        let without: f64 = lock(&self.down).iter().map(|(from, to)| seconds((*from).max(end), (*to).min(last))).sum();
        Ok(Some(seconds(end, last) - without))
    }

    fn phase_of(&self, uid: &str) -> Option<Phase> {
        self.world.borrow().leases.get(uid).and_then(phase)
    }

    /// Waits until a lease is so, or has been ended; as it is then, if it is there.
    async fn until(&self, uid: &str, ended: impl Fn() -> bool, is: impl Fn(Phase) -> bool) -> Option<CredentialLease> {
        let mut world = self.world.clone();
        let so = |w: &World| ended() || w.leases.get(uid).and_then(phase).is_some_and(&is);
        let seen = timeout(PATIENCE, world.wait_for(so)).await.ok()?.ok()?;
        seen.leases.get(uid).cloned()
    }
}

fn phase(lease: &CredentialLease) -> Option<Phase> {
    lease.status.as_ref().and_then(|s| s.phase)
}

/// Whether it rests: its credential is proven dead, or there never was one.
fn is_proven(lease: &CredentialLease) -> bool {
    let revoked = |status: &leasehold::api::status::CredentialLeaseStatus| {
        condition::find(&status.conditions, "Revoked").is_none_or(|c| c.status == ConditionStatus::True)
            || status.credential.as_ref().is_none_or(|c| c.service_account.is_none())
    };
    phase(lease).is_some_and(Phase::is_final) && lease.status.as_ref().is_some_and(revoked)
}

impl<'a> Slot<'a> {
    async fn create(lab: &'a Lab, number: usize) -> Result<Self> {
        // No namespace of one slot is a part of another's: the proxy tells them apart by their names.
        let letter = char::from(b'a' + u8::try_from(number)?);
        let home = lab.tenant(&format!("slot-{letter}")).await?;
        let far = lab.tenant(&format!("{}-far", home.namespace)).await?;
        let approver = Person::approver(&home, "alice").await?;
        let requester = Person::requester(&home).await?;
        let bind = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "foreign-author", "namespace": far.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": home.author.name}]});
        let open = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy",
            "metadata": {"name": format!("{}-open", far.namespace)},
            "spec": {"match": {"grantNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": far.namespace}}},
                "grants": {"crossNamespace": {"type": "Allow"}}}});
        lab.kubectl(&["apply", "-f", "-"], Some(&format!("{bind}\n---\n{open}"))).await?;
        home.lifecycle("plain", |_| {}).await?;
        home.lifecycle("agreed", |spec| spec["terms"]["approval"] = json!({})).await?;
        home.lifecycle("cross", |spec| spec["grants"][0]["namespace"] = json!(far.namespace)).await?;
        Ok(Self { number, home, approver, requester })
    }
}

/// Looks at everything twice a second, for as long as somebody wants to know.
async fn observe(client: kube::Client, world: watch::Sender<World>) {
    while !world.is_closed() {
        // What cannot be read now is read the next time.
        if let Ok(seen) = look(&client).await {
            world.send_replace(seen);
        }
        sleep(Duration::from_millis(400)).await;
    }
}

async fn look(client: &kube::Client) -> kube::Result<World> {
    let seen = Some(Instant::now());
    let leases: Api<CredentialLease> = Api::all(client.clone());
    let leases = leases.list(&ListParams::default()).await?.items;
    let leases = leases.into_iter().filter_map(|l| Some((l.metadata.uid.clone()?, l))).collect();
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let label = ListParams::default().labels("leasehold.dev/lease-uid");
    macro_rules! list {
        ($($kind:ty),+) => { $(
            for object in Api::<$kind>::all(client.clone()).list_metadata(&label).await?.items {
                let uid = object.labels().get("leasehold.dev/lease-uid").cloned().unwrap_or_default();
                made.entry(uid).or_default().push(format!("{} {}/{}", stringify!($kind), object.namespace().unwrap_or_default(), object.name_any()));
            }
        )+ };
    }
    list!(ServiceAccount, Job, Role, RoleBinding, Secret);
    Ok(World { seen, leases, made })
}
