//! The election as it is held: a Lease in the operator's namespace, watched and claimed as [`crate::domain::election`] says.
//!
//! A watch of that one object, not a poll: a Lease that is given back is taken within milliseconds, and whoever stands by asks
//! nothing.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use http::{Method, StatusCode};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    exchange::{Ask, Exchange},
    lead::Lead,
    paths::{collection, path},
    watches::Pauses,
};
use crate::{
    api::names,
    domain::{
        call::Failure,
        election::{Answer, Election, Lost, Next, Record, Terms},
    },
    runtime::{clock::Clock, metrics::Metrics},
};

/// The longest pause between two looks at the clock, in milliseconds: how late a holder that was paused notices, and how often
/// the loop beats.
const MAX_SLEEP_MILLIS: i64 = 500;

/// A candidate, and while it leads the leader.
pub struct Elector {
    election: Election,
    terms: Terms,
    client: Client,
    clock: Clock,
    lead: Lead,
    metrics: Arc<Metrics>,
    /// Touched as long as this replica stands by; who leads is judged by its engine.
    beat: Arc<AtomicI64>,
    /// The Lease as it was stored last: what is not ours in it stays.
    stored: Option<Lease>,
    /// Who held it when we last said so.
    said: String,
}

impl Elector {
    /// A candidate of this name.
    #[must_use]
    pub fn new(
        me: String,
        terms: Terms,
        client: Client,
        lead: Lead,
        with: (Clock, Arc<Metrics>, Arc<AtomicI64>),
    ) -> Self {
        let (clock, metrics, beat) = with;
        let election = Election::new(me, terms);
        Self { election, terms, client, clock, lead, metrics, beat, stored: None, said: String::new() }
    }

    /// Runs until it has led and lost, or until it is told to give back; `won` is told once it leads.
    ///
    /// # Errors
    /// How it lost.
    pub async fn run(mut self, won: oneshot::Sender<()>, give_back: CancellationToken) -> Result<(), Lost> {
        let mut won = Some(won);
        let mut changes = watch(&self.client);
        loop {
            let now = self.clock.since_start();
            if won.is_some() {
                self.beat.store(now, Ordering::Relaxed);
            }
            if give_back.is_cancelled() {
                self.give_back().await;
                return Ok(());
            }
            match self.election.next(now) {
                Next::Lost(lost) => {
                    self.lead.end();
                    self.metrics.leading(false);
                    return Err(lost);
                }
                Next::Until(at) => {
                    let sleep = at.saturating_sub(now).clamp(1, MAX_SLEEP_MILLIS);
                    tokio::select! {
                        () = give_back.cancelled() => {}
                        Some(change) = changes.next() => self.saw(change),
                        () = tokio::time::sleep(millis(sleep)) => {}
                    }
                }
                asked => {
                    self.ask(&asked, now).await;
                    if let Some(until) = self.election.leads_until() {
                        self.lead.until(until);
                        if let Some(won) = won.take() {
                            self.metrics.leading(true);
                            tracing::info!(identity = self.election.me(), "this replica leads");
                            // A receiver that is gone means that the process is stopping.
                            _ = won.send(());
                        }
                    }
                }
            }
        }
    }

    fn saw(&mut self, change: Change) {
        let now = self.clock.since_start();
        match change {
            Change::Is(lease) => {
                let record = record(&lease);
                if self.election.saw(&record, now) {
                    self.stored = Some(*lease);
                }
                if self.election.leads_until().is_none() && self.said != record.holder {
                    tracing::info!(holder = %record.holder, identity = self.election.me(), "this replica stands by");
                    self.said = record.holder;
                }
            }
            Change::Gone(version) => self.election.saw_none(version.as_deref(), now),
        }
    }

    /// Sends one request and takes in what came of it.
    async fn ask(&mut self, asked: &Next, sent: i64) {
        let exchange = Exchange::new(self.client.clone(), millis(self.election.patience(sent)));
        let request = match asked {
            Next::Claim(on) => self.claim(on.as_deref()),
            _ => Ok(Ask::new(Method::GET, path::<Lease>(names::OPERATOR_NAMESPACE, names::LEADER_LEASE))),
        };
        let answer = match self.send(&exchange, request).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::warn!(class = failure.class.as_str(), error = %failure.message, "the Lease of the election could not be read or claimed; it is tried again");
                Answer::Failed
            }
        };
        self.election.answered(asked, sent, self.clock.since_start(), &answer);
    }

    async fn send(&mut self, exchange: &Exchange, request: Result<Ask, Failure>) -> Result<Answer, Failure> {
        let reply = exchange.send(request?).await?;
        match reply.code {
            StatusCode::NOT_FOUND => Ok(Answer::Absent),
            StatusCode::CONFLICT => Ok(Answer::Conflict),
            _ => {
                let lease: Lease = reply.decode()?;
                let answer = Answer::Stored(record(&lease));
                self.stored = Some(lease);
                Ok(answer)
            }
        }
    }

    /// Ourselves as the holder: renewed, or taken over.
    fn claim(&self, on: Option<&str>) -> Result<Ask, Failure> {
        let now = Some(MicroTime(jiff::Timestamp::from(self.clock.now())));
        let before = self.stored.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewed = before.holder_identity.as_deref() == Some(self.election.me());
        let changed = before.holder_identity.is_some() && !renewed;
        let spec = LeaseSpec {
            holder_identity: Some(self.election.me().to_owned()),
            lease_duration_seconds: i32::try_from(self.terms.lease / 1000).ok(),
            acquire_time: if renewed { before.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(before.lease_transitions.unwrap_or_default().saturating_add(i32::from(changed))),
            ..LeaseSpec::default()
        };
        self.put(on, spec)
    }

    /// A Lease with this spec, on this version of the stored one; `None`: a new one.
    fn put(&self, on: Option<&str>, spec: LeaseSpec) -> Result<Ask, Failure> {
        let (namespace, name) = (names::OPERATOR_NAMESPACE, names::LEADER_LEASE);
        let (method, path, kept) = match on {
            Some(_) => (Method::PUT, path::<Lease>(namespace, name), self.stored.as_ref().map(|l| l.metadata.clone())),
            None => (Method::POST, collection::<Lease>(namespace), None),
        };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            resource_version: on.map(str::to_owned),
            managed_fields: None,
            ..kept.unwrap_or_default()
        };
        let path = format!("{path}?fieldManager={}", names::MANAGER);
        Ask::new(method, path).json(&Lease { metadata, spec: Some(spec) })
    }

    /// Gives the Lease back, so that the next one need not wait. If that fails, it waits for the lease duration.
    async fn give_back(&mut self) {
        self.lead.end();
        self.metrics.leading(false);
        let Some(version) = self.election.release() else { return };
        let before = self.stored.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(jiff::Timestamp::from(self.clock.now()))),
            ..before
        };
        let exchange = Exchange::new(self.client.clone(), millis(self.terms.retry));
        match self.send(&exchange, self.put(Some(&version), spec)).await {
            Ok(Answer::Stored(_)) => tracing::info!("the Lease of the election was given back"),
            Ok(_) => tracing::warn!("the Lease of the election was not given back: it is another one by now"),
            Err(failure) => {
                tracing::warn!(error = %failure.message, "the Lease of the election was not given back");
            }
        }
    }
}

/// What the watch tells.
enum Change {
    Is(Box<Lease>),
    /// It was deleted, with this version; or there is none.
    Gone(Option<String>),
}

/// The Lease as it changes, for ever.
fn watch(client: &Client) -> Pin<Box<dyn Stream<Item = Change> + Send>> {
    let api: Api<Lease> = Api::namespaced(client.clone(), names::OPERATOR_NAMESPACE);
    let only = watcher::Config::default().fields(&format!("metadata.name={}", names::LEADER_LEASE));
    let events = watcher(api, only).backoff(Pauses::new());
    let mut there = false;
    Box::pin(events.filter_map(move |event| {
        let change = match event {
            Ok(Event::Init) => {
                there = false;
                None
            }
            Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                there = true;
                Some(Change::Is(Box::new(lease)))
            }
            Ok(Event::InitDone) => (!there).then_some(Change::Gone(None)),
            Ok(Event::Delete(lease)) => Some(Change::Gone(lease.metadata.resource_version)),
            Err(error) => {
                tracing::warn!(%error, "the watch of the election's Lease failed and is opened again");
                None
            }
        };
        std::future::ready(change)
    }))
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        lasts: spec.lease_duration_seconds.map(|seconds| i64::from(seconds).saturating_mul(1000)),
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
