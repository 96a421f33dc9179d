//! The loop that starts visits: the agenda says who is next, a visit is one task, what it answers goes back into the agenda.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    index::Wish,
    visit::{self, Again, Context, Late, Reins},
};
use crate::{
    api::names::LeaseUid,
    domain::agenda::{Agenda, Lane, Widths},
};

/// The longest the loop sleeps, in milliseconds: what a stepped clock or a suspended machine costs at the most.
const MAX_SLEEP_MILLIS: i64 = 1000;
/// How often metrics that have to be counted are brought up to date, in milliseconds.
const MEASURE_MILLIS: i64 = 1000;
/// The first pause after a failure, and the longest, in milliseconds.
const BACKOFF_MILLIS: (u64, u64) = (500, 30_000);

/// The engine.
pub struct Engine {
    agenda: Agenda,
    context: Context,
    wishes: mpsc::UnboundedReceiver<Wish>,
    /// Visits say here that their answer is late.
    late: (mpsc::UnboundedSender<Late>, mpsc::UnboundedReceiver<Late>),
    /// How many visits were started.
    visits: u64,
    leases: HashMap<LeaseUid, Lease>,
    beat: Arc<AtomicI64>,
    /// When the metrics were last brought up to date: counting costs as much as there are leases.
    measured: i64,
}

/// What the loop keeps of a lease that it has business with.
struct Lease {
    /// Failures in a row.
    failures: u32,
    /// Whether the failures are those of an end.
    ending: bool,
    /// Until when the API server has asked not to be called, in milliseconds.
    quiet_until: i64,
    /// The number of its last visit.
    visit: u64,
    /// Tells the running visit to stop after its current call.
    interrupt: Option<Arc<AtomicBool>>,
}

type Done = (LeaseUid, Again);

impl Lease {
    /// Tells the running visit, if there is one, to stop after its current call.
    fn interrupt(&self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.store(true, Ordering::Relaxed);
        }
    }

    /// Until when a visit in this lane has to wait, because the API server has asked for a pause (`Retry-After`): whatever changes
    /// meanwhile is no reason to call it earlier. An end that was not tried yet does not wait for what issuing was told.
    fn held_until(&self, lane: Lane, now: i64) -> Option<i64> {
        (self.quiet_until > now && (self.ending || lane == Lane::Issue)).then_some(self.quiet_until)
    }
}

impl Engine {
    /// An engine that serves `wishes`; `beat` is touched whenever the loop goes round.
    #[must_use]
    pub fn new(context: Context, widths: Widths, wishes: mpsc::UnboundedReceiver<Wish>, beat: Arc<AtomicI64>) -> Self {
        let late = mpsc::unbounded_channel();
        Self {
            agenda: Agenda::new(widths),
            context,
            wishes,
            late,
            visits: 0,
            leases: HashMap::new(),
            beat,
            measured: 0,
        }
    }

    /// Runs until `stop`; then running visits end after their current call.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut visits: JoinSet<Done> = JoinSet::new();
        let mut keys: HashMap<tokio::task::Id, LeaseUid> = HashMap::new();
        loop {
            self.beat.store(self.context.clock.since_start(), Ordering::Relaxed);
            self.catch_up(&mut visits, &mut keys);
            let now = self.context.clock.now().as_millis();
            while let Some(visit) = self.agenda.next(now) {
                let Some(lease) = self.leases.get_mut(&visit.key) else {
                    self.agenda.done(visit.key, []);
                    continue;
                };
                if let Some(until) = lease.held_until(visit.lane, now) {
                    self.agenda.done(visit.key, [(visit.lane, until)]);
                    continue;
                }
                let interrupt = Arc::<AtomicBool>::default();
                lease.interrupt = Some(interrupt.clone());
                let context = self.context.clone();
                self.visits += 1;
                lease.visit = self.visits;
                let (key, number, failed_before) = (visit.key, lease.visit, lease.failures > 0);
                let reins = Reins { key, number, failed_before, interrupt, late: self.late.0.clone() };
                let handle = visits
                    .spawn(async move { (visit.key, visit::run(&context, &visit.key, visit.lane, &reins).await) });
                keys.insert(handle.id(), visit.key);
            }
            self.measure(now);
            let sleep =
                self.agenda.next_deadline().map_or(MAX_SLEEP_MILLIS, |at| (at - now).clamp(0, MAX_SLEEP_MILLIS));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = visits.join_next_with_id() => self.visited(done, &mut keys),
                Some(wish) = self.wishes.recv() => self.wish(wish),
                Some(late) = self.late.1.recv() => self.is_late(late),
                () = tokio::time::sleep(Duration::from_millis(u64::try_from(sleep).unwrap_or_default().max(1))) => {}
            }
        }
        self.leases.values().for_each(Lease::interrupt);
        while visits.join_next().await.is_some() {}
    }

    /// Takes in all that has come in meanwhile, from both sides: under a storm of changes, one tenant's end must not wait for a
    /// round of the loop per wish, or per visit, of another.
    fn catch_up(&mut self, visits: &mut JoinSet<Done>, keys: &mut HashMap<tokio::task::Id, LeaseUid>) {
        while let Some(done) = visits.try_join_next_with_id() {
            self.visited(done, keys);
        }
        while let Ok(late) = self.late.1.try_recv() {
            self.is_late(late);
        }
        for _ in 0..self.wishes.len() {
            let Ok(wish) = self.wishes.try_recv() else { return };
            self.wish(wish);
        }
    }

    /// A visit that has ended meanwhile is late no more.
    fn is_late(&mut self, (key, number): Late) {
        if self.leases.get(&key).is_some_and(|lease| lease.visit == number) {
            self.agenda.late(key);
        }
    }

    fn wish(&mut self, wish: Wish) {
        let key = wish.lease;
        let lease = self.leases.entry(key).or_insert_with(|| Lease {
            failures: 0,
            ending: false,
            quiet_until: 0,
            visit: 0,
            interrupt: None,
        });
        let at = wish.at.map_or_else(|| self.context.clock.now().as_millis(), crate::api::Time::as_millis);
        if self.agenda.wake(key, &wish.namespace, wish.lane, at) {
            lease.interrupt();
        }
    }

    fn visited(
        &mut self,
        done: Result<(tokio::task::Id, Done), tokio::task::JoinError>,
        keys: &mut HashMap<tokio::task::Id, LeaseUid>,
    ) {
        match done {
            Ok((id, (key, again))) => {
                keys.remove(&id);
                self.again(key, again);
            }
            Err(error) => {
                tracing::error!(%error, "a visit panicked: this is a bug; the lease is visited again");
                self.context.metrics.panicked();
                if let Some(key) = keys.remove(&error.id()) {
                    self.again(key, Again::Rest { wishes: vec![], backoff: Some((Lane::Retry, None)) });
                }
            }
        }
    }

    fn again(&mut self, key: LeaseUid, again: Again) {
        if let Some(lease) = self.leases.get_mut(&key) {
            lease.interrupt = None;
        }
        let now = self.context.clock.now().as_millis();
        match again {
            Again::Forget => {
                self.agenda.done(key, []);
                self.agenda.forget(key);
                self.leases.remove(&key);
            }
            Again::Now(lane, wishes) => {
                let wishes = wishes.into_iter().map(|(lane, at)| (lane, at.as_millis()));
                self.agenda.done(key, wishes.chain([(lane, now)]));
            }
            Again::Rest { wishes, backoff } => {
                let mut wishes: Vec<(Lane, i64)> =
                    wishes.into_iter().map(|(lane, at)| (lane, at.as_millis())).collect();
                if let Some(lease) = self.leases.get_mut(&key) {
                    match backoff {
                        Some((lane, asked)) => {
                            lease.failures = lease.failures.saturating_add(1);
                            lease.ending = lane == Lane::Retry;
                            let later = |pause: Duration| {
                                now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
                            };
                            lease.quiet_until = asked.map_or(0, later);
                            wishes.push((lane, later(pause(lease.failures).max(asked.unwrap_or_default()))));
                        }
                        None => lease.failures = 0,
                    }
                }
                self.agenda.done(key, wishes);
            }
        }
    }

    fn measure(&mut self, now: i64) {
        if now - self.measured < MEASURE_MILLIS {
            return;
        }
        self.measured = now;
        let (depth, metrics) = (self.agenda.depth(), &self.context.metrics);
        metrics.queue(Lane::Issue, depth.issue);
        metrics.queue(Lane::End, depth.end);
        metrics.queue(Lane::Retry, depth.retry);
        metrics.tokens(self.context.vault.len());
        let failing = self.leases.values().filter(|lease| lease.failures > 0 && lease.ending).count();
        metrics.ends(self.agenda.overdue(now), failing);
    }
}

/// Doubles with each failure up to the cap, and is spread over its upper half, so that what failed together is not tried together.
fn pause(failures: u32) -> Duration {
    let (first, cap) = BACKOFF_MILLIS;
    let full = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(cap);
    Duration::from_millis(rand::rng().random_range(full / 2..=full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_the_api_server_asked_for_holds_every_visit_but_the_first_try_of_an_end() {
        let asked = |ending| Lease { failures: 1, ending, quiet_until: 2000, visit: 0, interrupt: None };
        for (ending, lane, held) in
            [(false, Lane::Issue, true), (false, Lane::End, false), (true, Lane::End, true), (true, Lane::Retry, true)]
        {
            assert_eq!(asked(ending).held_until(lane, 1000), held.then_some(2000), "{ending} {lane:?}");
            assert_eq!(asked(ending).held_until(lane, 2000), None);
        }
    }

    #[test]
    fn pauses_grow_to_the_cap_and_never_vanish() {
        for failures in [1, 2, 5, 10, u32::MAX] {
            let millis = u64::try_from(pause(failures).as_millis()).unwrap();
            assert!((250..=30_000).contains(&millis), "{failures}: {millis}");
        }
        assert!(pause(20) >= Duration::from_secs(15));
    }
}
