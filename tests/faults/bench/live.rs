//! One lease from the asking to the proof, and what others see of it.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::ResourceExt;
use leasehold::api::{CredentialLease, reasons::Phase};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Ended, Life, PATIENCE, Run, consumer,
    life::{Accepted, Held},
    lock,
    world::{World, phase},
};
use crate::{
    flow::{End, Script, Terms},
    support::Holder,
};

/// How long somebody who is ready to end waits for the others.
const TOGETHER: Duration = Duration::from_secs(20);

/// What is there before the proxy looks.
pub struct Prepared {
    lifecycle: String,
    /// The lease that a standing credential holds, and its token.
    first: Option<(CredentialLease, String)>,
}

/// What is known of a lease while it lives.
#[derive(Default)]
struct Known {
    decided: Option<Timestamp>,
    was_active: bool,
    account: Option<String>,
    holder: Option<Holder>,
    tokens: Vec<Held>,
    wrong: Vec<String>,
}

impl Run<'_, '_> {
    pub fn script(&self) -> Script {
        self.plan.flow.script()
    }

    pub async fn prepare(&self) -> Result<Prepared> {
        let (home, script) = (&self.slot.home, self.script());
        let lifecycle = self.slot.lifecycle(script, self.number).await?;
        if script.end == End::Completed {
            self.slot.task().await?;
        }
        let mut first = None;
        if script.terms == Terms::Standing {
            let lease = consumer::settled(home, &lifecycle, None).await?;
            consumer::deploy(home, &lifecycle).await?;
            first = Some((lease, consumer::token(home, &lifecycle).await?));
        }
        Ok(Prepared { lifecycle, first })
    }

    pub async fn live(&self, prepared: Prepared) -> Result<Life> {
        let outages = self.bench.runner.outages();
        let Prepared { lifecycle, first } = prepared;
        let mut known = Known::default();
        let standing = first.is_some();
        let lease = match first {
            Some((lease, token)) => {
                self.hold(&mut known, &token).await?;
                consumer::rotate(&self.slot.home, &lifecycle).await?;
                lease
            }
            None => self.ask(&lifecycle).await?,
        };
        let (name, uid) = (lease.name_any(), lease.metadata.uid.clone().context("no uid")?);
        self.bench.proxy.slots().name(self.slot.number, &uid);
        *lock(&self.shared.lease) = Some(lease.clone());
        let end = if standing {
            known.was_active = true;
            self.is_followed(&lease, &lifecycle, &mut known).await?
        } else {
            self.agree(&uid, &mut known).await?;
            self.use_it(&uid, &mut known).await?;
            self.meet_end(&uid, &mut known).await?
        };
        let begun = Instant::now();
        let accepted = match &known.holder {
            Some(holder) => self.accepted(holder, end.at).await?,
            None => Accepted::default(),
        };
        known.wrong.extend(self.rest(&uid, begun).await);
        let restless = self.quiet(&uid).await;
        if let Some(account) = &known.account
            && self.slot.home.mint(account).await.is_ok()
        {
            known.wrong.push("a token could be minted after the end".to_owned());
        }
        if standing && let Err(error) = consumer::has_moved(&self.slot.home, &lifecycle).await {
            known.wrong.push(format!("{error:#}"));
        }
        let outages = self.bench.runner.outages() - outages;
        self.life(lifecycle, name, uid, known, end, accepted, restless, outages)
    }

    #[allow(clippy::too_many_arguments)] // What `live` has found out, put in its places.
    fn life(
        &self,
        lifecycle: String,
        lease: String,
        uid: String,
        known: Known,
        end: Ended,
        accepted: Accepted,
        restless: Vec<String>,
        outages: u32,
    ) -> Result<Life> {
        let (slots, other) = (self.bench.proxy.slots(), self.slot.other()?);
        let world = self.bench.world.borrow();
        let status = world.leases.get(&uid).and_then(|l| l.status.clone());
        let told = serde_json::to_string(&status)?;
        let mut leaks = vec![];
        if known.tokens.iter().any(|token| token.is_in(&told)) {
            leaks.push("the lease's status".to_owned());
        }
        let mut heirs = vec![];
        for (heir, lease) in &world.leases {
            let follows = lease.spec.lifecycle_ref.name == lifecycle && *heir != uid;
            if follows && lease.metadata.namespace.as_ref() == Some(&self.slot.home.namespace) {
                heirs.push(heir.clone());
            }
        }
        Ok(Life {
            namespace: self.slot.home.namespace.clone(),
            lease,
            heirs,
            decided: known.decided,
            was_active: known.was_active,
            end_begun: end.begun,
            ended: end.at,
            accepted,
            tokens: known.tokens,
            leaks,
            status,
            left: world.made.get(&uid).cloned().unwrap_or_default(),
            bound: world.bound.get(&uid).cloned().unwrap_or_default(),
            calls: slots.calls(self.slot.number),
            restless,
            effects: other.effects(),
            kept: other.values().into_keys().collect(),
            trail: vec![],
            unsprung: slots.left(self.slot.number),
            outages,
            wrong: known.wrong,
            lifecycle,
            uid,
        })
    }

    fn has_ended(&self) -> bool {
        lock(&self.shared.end).is_some()
    }

    /// Somebody agrees, where somebody has to; or takes it back, or says no.
    async fn agree(&self, uid: &str, known: &mut Known) -> Result<()> {
        let script = self.script();
        if !matches!(script.terms, Terms::Agreed | Terms::Withdrawn) {
            return Ok(());
        }
        let Some(asked) = self.comes_to(uid, Phase::AwaitingApproval, known).await else { return Ok(()) };
        if script.terms == Terms::Withdrawn {
            let word = self.slot.approver.decides(&asked, "Approved").await?;
            if self.comes_to(uid, Phase::Scheduled, known).await.is_none() {
                return Ok(());
            }
            self.take_back(&word).await?;
            if self.comes_to(uid, Phase::AwaitingApproval, known).await.is_none() {
                return Ok(());
            }
        }
        if script.end == End::Denied {
            self.slot.approver.decides(&asked, "Denied").await?;
        } else {
            known.decided = Some(Timestamp::now());
            self.slot.approver.decides(&asked, "Approved").await?;
        }
        Ok(())
    }

    /// Waits until the lease is in this phase; `None` if it was ended before, or never came to it.
    async fn comes_to(&self, uid: &str, wanted: Phase, known: &mut Known) -> Option<CredentialLease> {
        let found = self.until(uid, |p| p == wanted || p.is_final()).await;
        if found.is_none() && !self.has_ended() {
            known.wrong.push(format!("it did not come to {wanted}: {:?}", self.phase_of(uid)));
        }
        found.filter(|lease| phase(lease) == Some(wanted))
    }

    /// Waits until it is active, and has somebody hold the token.
    async fn use_it(&self, uid: &str, known: &mut Known) -> Result<()> {
        if !self.script().is_active() {
            return Ok(());
        }
        let Some(lease) = self.comes_to(uid, Phase::Active, known).await else { return Ok(()) };
        known.was_active = true;
        known.account =
            lease.status.as_ref().and_then(|s| s.credential.as_ref()?.service_account.clone()).map(|a| a.name);
        match self.token(&lease).await {
            Ok(token) => self.hold(known, &token).await,
            Err(_) if self.has_ended() => Ok(()),
            Err(error) => {
                known.wrong.push(format!("an active lease gives no token: {error:#}"));
                Ok(())
            }
        }
    }

    async fn hold(&self, known: &mut Known, token: &str) -> Result<()> {
        let holder = Holder::new(&self.slot.home, token)?;
        known.tokens.push(Held::new(token));
        match self.is_good(&holder).await {
            Ok(()) => known.holder = Some(holder),
            Err(_) if self.has_ended() => {}
            Err(error) => known.wrong.push(format!("the token of an active lease does not work: {error:#}")),
        }
        Ok(())
    }

    /// Ends it, or waits until it has ended of itself.
    async fn meet_end(&self, uid: &str, known: &mut Known) -> Result<Ended> {
        // All end together, so that a crash in the end is that of many; who is late is not waited for.
        self.ready.fetch_add(1, Ordering::Relaxed);
        if !self.script().is_ended_by_us() {
            return self.see_end(uid, known).await;
        }
        let patience = Instant::now() + TOGETHER;
        while self.ready.load(Ordering::Relaxed) < self.all && Instant::now() < patience {
            sleep(Duration::from_millis(50)).await;
        }
        self.end().await?;
        let now = Timestamp::now();
        Ok(lock(&self.shared.end).unwrap_or(Ended { begun: now, at: now }))
    }

    async fn see_end(&self, uid: &str, known: &mut Known) -> Result<Ended> {
        let found = self.until(uid, Phase::is_final).await;
        if found.is_none() {
            known.wrong.push(format!("it did not end of itself: {:?}", self.phase_of(uid)));
        }
        let told = found.and_then(|l| l.status).and_then(|s| s.end_time);
        let at = told.map_or_else(Timestamp::now, Into::into);
        let end = Ended { begun: at, at };
        *lock(&self.shared.end) = Some(end);
        if known.holder.is_none()
            && let Some(token) = self.token_elsewhere()?
        {
            known.tokens.push(Held::new(&token));
            known.holder = Some(Holder::new(&self.slot.home, &token)?);
        }
        Ok(end)
    }

    /// The next lease takes over; meanwhile whoever reads the Secret is never refused.
    async fn is_followed(&self, lease: &CredentialLease, lifecycle: &str, known: &mut Known) -> Result<Ended> {
        self.ready.fetch_add(1, Ordering::Relaxed);
        let (home, uid) = (&self.slot.home, lease.metadata.uid.clone().unwrap_or_default());
        let mut wrong = vec![];
        let name = lease.name_any();
        let next = || self.patiently(async || consumer::settled(home, lifecycle, Some(&name)).await);
        let followed = async {
            let next = next().await;
            (next, self.see_end(&uid, known).await)
        };
        let (next, end) = tokio::select! {
            both = followed => both,
            refused = consumer::never_refused(home, lifecycle) => {
                wrong.push(format!("{:#}", refused.expect_err("it returns only with an error")));
                (next().await, self.see_end(&uid, known).await)
            }
        };
        if let Err(error) = next {
            wrong.push(format!("{error:#}"));
        }
        known.wrong.extend(wrong);
        end
    }

    fn phase_of(&self, uid: &str) -> Option<Phase> {
        self.bench.world.borrow().leases.get(uid).and_then(phase)
    }

    /// Waits until a lease is so, or has been ended; as it is then, if it is there.
    async fn until(&self, uid: &str, is: impl Fn(Phase) -> bool) -> Option<CredentialLease> {
        let so = |w: &World| self.has_ended() || w.leases.get(uid).and_then(phase).is_some_and(&is);
        let comes = async || {
            let mut world = self.bench.world.clone();
            let seen = timeout(PATIENCE, world.wait_for(so)).await??;
            Ok(seen.leases.get(uid).cloned())
        };
        self.patiently(comes).await.ok()?
    }

    /// Waits for what the operator is to do; anew if it was taken away meanwhile, by whichever lease of the round.
    pub(super) async fn patiently<T>(&self, wait: impl AsyncFn() -> Result<T>) -> Result<T> {
        loop {
            let outages = self.bench.runner.outages();
            let waited = wait().await;
            if waited.is_ok() || self.bench.runner.outages() == outages {
                return waited;
            }
        }
    }
}
