//! Standing credentials of each lifecycle: visited when the lifecycle or one of its leases changes, and when something is due.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    held::{self, Held},
    index::Index,
    lifecycle_status::Writer,
};
use crate::{
    api::{
        ConditionStatus, ServiceAccountLifecycle, Time, condition, lifecycle::ServiceAccountLifecycleStatus,
        reasons::ConditionType, standing::StandingStatus,
    },
    cluster::{
        exchange::{Ask, Exchange},
        paths::path,
        standing::{Keeper, Place},
    },
    domain::{
        call::{Class, Failure},
        standing::{
            decide::{self, decide},
            learn::learn,
            report,
            seen::{Answer, Call, Learned, Memory, Next, Said, Seen},
        },
    },
    runtime::{clock::Clock, metrics::Metrics},
};

type Key = (String, String);

/// Lifecycles that are visited at the same time.
const WIDTH: usize = 4;
/// The most calls of one visit for one credential.
const MAX_CALLS: usize = 60;
/// The first pause after a failure, and the longest, in milliseconds.
const BACKOFF_MILLIS: (i64, i64) = (1_000, 60_000);
/// How often a status is written again because another part of it has changed.
const MAX_TRIES: usize = 4;
/// The pause after a visit that panicked, in milliseconds.
const PANIC_MILLIS: i64 = 30_000;
/// How soon it is looked again whether every first list is there, in milliseconds.
const UNSYNCED_MILLIS: i64 = 500;

/// What visits work with.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub index: Arc<Index>,
    pub exchange: Exchange,
    pub statuses: Writer,
    pub keeper: Keeper,
    pub metrics: Arc<Metrics>,
}

/// What is remembered of a lifecycle between two visits.
#[derive(Clone, Default)]
struct Remembered {
    uid: String,
    credentials: BTreeMap<String, Memory>,
    failures: u32,
    overdue: usize,
    /// Until when the API server asked to wait.
    asked: Option<Time>,
}

/// Serves `changed` for ever.
pub async fn run(context: Context, mut changed: mpsc::UnboundedReceiver<Key>) {
    let (mut due, mut later, mut running) =
        (BTreeSet::<Key>::new(), HashMap::<Key, Time>::new(), BTreeSet::<Key>::new());
    let mut memories: HashMap<Key, Remembered> = HashMap::new();
    // Apart from what is remembered, which a visit takes with it: who is overdue stays so while he is looked at.
    let mut overdue: HashMap<Key, usize> = HashMap::new();
    let mut held = Held::default();
    let mut visits: JoinSet<(Key, Remembered, Option<Time>)> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, Key> = HashMap::new();
    loop {
        let now = context.clock.now();
        due.extend(later.extract_if(|_, at| *at <= now).map(|(key, _)| key));
        held.release(now);
        while running.len() < WIDTH {
            let free = |key: &&Key| !running.contains(*key) && held.is_free(*key);
            let Some(key) = due.iter().find(free).cloned() else { break };
            due.remove(&key);
            let (context, memory) = (context.clone(), memories.remove(&key).unwrap_or_default());
            let (started, visited) = (key.clone(), key.clone());
            let handle = visits.spawn(async move {
                let (memory, again) = visit(&context, &visited, memory).await;
                (visited, memory, again)
            });
            keys.insert(handle.id(), started);
            running.insert(key);
        }
        context.metrics.standing_overdue(overdue.values().sum());
        let sleep = later.values().copied().chain(held.next()).min().map_or(1000, |at| at.since(now).clamp(1, 1000));
        tokio::select! {
            key = changed.recv() => match key {
                Some(key) => _ = due.insert(key),
                None => return,
            },
            Some(done) = visits.join_next_with_id() => match done {
                Ok((id, (key, memory, again))) => {
                    keys.remove(&id);
                    running.remove(&key);
                    later.remove(&key);
                    overdue.insert(key.clone(), memory.overdue);
                    if let Some(until) = memory.asked {
                        held.hold(key.clone(), until);
                    }
                    if again.is_none() {
                        overdue.remove(&key);
                    }
                    if let Some(at) = again {
                        memories.insert(key.clone(), memory);
                        later.insert(key, at);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "looking at standing credentials panicked: this is a bug; they are looked at again later");
                    context.metrics.panicked();
                    if let Some(key) = keys.remove(&error.id()) {
                        running.remove(&key);
                        later.insert(key, now.plus_millis(PANIC_MILLIS));
                    }
                }
            },
            () = tokio::time::sleep(Duration::from_millis(u64::try_from(sleep).unwrap_or(1000))) => {}
        }
    }
}

/// One visit of all standing credentials of a lifecycle; when the next one is due, `None`: there is none.
async fn visit(context: &Context, (namespace, name): &Key, mut memory: Remembered) -> (Remembered, Option<Time>) {
    let now = context.clock.now();
    memory.asked = None;
    match context.index.with_standing(namespace, name) {
        None => return (memory, Some(now.plus_millis(UNSYNCED_MILLIS))),
        Some(None) => return (Remembered::default(), None),
        Some(Some(_)) => {}
    }
    // What was written ahead has to be known as it is, not as a watch has it.
    let object = match read(&context.exchange, namespace, name).await {
        Ok(Some(object)) if object.metadata.deletion_timestamp.is_none() => object,
        Ok(_) => return (Remembered::default(), None),
        Err(failure) => {
            tracing::warn!(lifecycle = %format!("{namespace}/{name}"), error = %failure.message, "a lifecycle could not be read and is looked at again");
            memory.asked = held::until(&failure, context.clock.now());
            return again(memory, now, true, None);
        }
    };
    let uid = object.metadata.uid.clone().unwrap_or_default();
    if memory.uid != uid {
        memory = Remembered { uid, ..Remembered::default() };
    }
    let mut desk = Desk { context, namespace, name, object, asked: None };
    let (mut said, mut at, mut failed, mut overdue) = (vec![], None, false, 0);
    for credential in desk.credentials() {
        if desk.asked.is_some() {
            break;
        }
        let kept = memory.credentials.remove(&credential).unwrap_or_default();
        let round = desk.round(&credential, kept).await;
        said.extend(round.said);
        at = [at, round.at].into_iter().flatten().min();
        failed |= round.failed;
        overdue += usize::from(round.overdue);
        memory.credentials.insert(credential, round.memory);
    }
    memory.overdue = overdue;
    // Whoever was asked to wait calls nothing more, and knows too little to say how its credentials are.
    if desk.asked.is_none()
        && let Err(failure) = desk.conclude(&said).await
    {
        failed = true;
        desk.note(&failure);
    }
    memory.asked = desk.asked;
    again(memory, context.clock.now(), failed, at)
}

/// When the next visit is due: also where nothing is expected, the Secrets have to be looked at.
fn again(mut memory: Remembered, now: Time, failed: bool, at: Option<Time>) -> (Remembered, Option<Time>) {
    memory.failures = if failed { memory.failures.saturating_add(1) } else { 0 };
    let (first, cap) = BACKOFF_MILLIS;
    let pause = if failed { first.saturating_mul(1 << memory.failures.min(10)).min(cap) } else { cap };
    let next = now.plus_millis(pause);
    (memory, Some(at.map_or(next, |at| at.min(next).max(now))))
}

async fn read(exchange: &Exchange, namespace: &str, name: &str) -> Result<Option<ServiceAccountLifecycle>, Failure> {
    let reply = exchange.send(Ask::new(Method::GET, path::<ServiceAccountLifecycle>(namespace, name))).await?;
    if reply.code == StatusCode::NOT_FOUND { Ok(None) } else { reply.decode().map(Some) }
}

/// One visit's work on a lifecycle.
struct Desk<'a> {
    context: &'a Context,
    namespace: &'a str,
    name: &'a str,
    /// As this visit has read it, and written it since.
    object: ServiceAccountLifecycle,
    /// Until when the API server asked to wait.
    asked: Option<Time>,
}

/// What one credential came to.
struct Round {
    memory: Memory,
    said: Option<Said>,
    at: Option<Time>,
    failed: bool,
    overdue: bool,
}

impl Desk<'_> {
    /// Notes down whether the API server asked to wait.
    fn note(&mut self, failure: &Failure) {
        self.asked = self.asked.max(held::until(failure, self.context.clock.now()));
    }

    /// Those that are declared, and those that were.
    fn credentials(&self) -> BTreeSet<String> {
        let declared = self.object.spec.standing.iter().map(|entry| entry.name.clone());
        declared.chain(self.statuses().iter().map(|status| status.name.clone())).collect()
    }

    fn statuses(&self) -> &[StandingStatus] {
        self.object.status.as_ref().map_or(&[], |status| status.standing.as_slice())
    }

    fn seen(&self, credential: &str, memory: Memory, learned: Learned) -> Seen {
        Seen {
            lifecycle_uid: self.object.metadata.uid.clone().unwrap_or_default(),
            name: credential.to_owned(),
            entry: self.object.spec.standing.iter().find(|entry| entry.name == credential).cloned(),
            not_leasable: self.not_leasable(),
            status: self.statuses().iter().find(|status| status.name == credential).cloned(),
            leases: self.context.index.standing_leases(self.namespace, self.name, credential),
            memory,
            learned,
        }
    }

    /// Why nothing is leased now, as the lifecycle itself says; whoever leases judges for himself.
    fn not_leasable(&self) -> Option<String> {
        let conditions = self.object.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
        match condition::find(conditions, ConditionType::Leasable.as_str()) {
            Some(leasable) if leasable.status == ConditionStatus::True => None,
            Some(leasable) => Some(leasable.message.clone()),
            None => Some("the lifecycle has not been looked at yet".into()),
        }
    }

    /// Does for one credential what is to be done now.
    async fn round(&mut self, credential: &str, memory: Memory) -> Round {
        let mut seen = self.seen(credential, memory, Learned::default());
        for _ in 0..MAX_CALLS {
            let now = self.context.clock.now();
            match decide(&seen, now) {
                Next::Rest { at, failed } => {
                    let said = report::said(&seen, self.namespace, now);
                    let overdue = decide::overdue(&seen, now);
                    return Round { memory: seen.memory, said, at, failed, overdue };
                }
                Next::Do(call) => {
                    let answer = match &call {
                        Call::Write(status) => self.write(credential, status.as_deref()).await,
                        _ => {
                            let place = Place { lifecycle: &self.object, name: credential };
                            self.context.keeper.perform(place, &call, now).await
                        }
                    };
                    if let Answer::Failed(failure) = &answer {
                        let lifecycle = format!("{}/{}", self.namespace, self.name);
                        tracing::warn!(%lifecycle, credential, call = word(&call), class = failure.class.as_str(), error = %failure.message, "a call for a standing credential failed");
                        self.note(failure);
                    }
                    learn(&mut seen, call, answer, self.context.clock.now());
                    if self.asked.is_some() {
                        let overdue = decide::overdue(&seen, now);
                        return Round { memory: seen.memory, said: None, at: None, failed: true, overdue };
                    }
                    // Leases go on meanwhile.
                    seen = self.seen(credential, seen.memory, seen.learned);
                }
            }
        }
        let lifecycle = format!("{}/{}", self.namespace, self.name);
        tracing::error!(%lifecycle, credential, "a visit of a standing credential did not come to an end: this is a bug");
        Round { memory: seen.memory, said: None, at: None, failed: true, overdue: false }
    }

    /// Writes one credential's status.
    async fn write(&mut self, credential: &str, status: Option<&StandingStatus>) -> Answer {
        let change = |new: &mut ServiceAccountLifecycleStatus| match (
            new.standing.iter_mut().find(|known| known.name == credential),
            status,
        ) {
            (Some(known), Some(status)) => *known = status.clone(),
            (None, Some(status)) => new.standing.push(status.clone()),
            (_, None) => new.standing.retain(|known| known.name != credential),
        };
        self.put(change).await.map_or_else(Answer::Failed, |()| Answer::Done)
    }

    /// Says in the lifecycle's condition how its credentials are.
    async fn conclude(&mut self, said: &[Said]) -> Result<(), Failure> {
        let (generation, now) = (self.object.metadata.generation.unwrap_or_default(), self.context.clock.now());
        self.put(|new| report::condition(&mut new.conditions, said, generation, now)).await
    }

    /// Writes the status, on the version that was read. If only somebody else's part of it has changed since, it is written on
    /// the new one: counters and other conditions are written by whoever counts.
    async fn put(&mut self, change: impl Fn(&mut ServiceAccountLifecycleStatus)) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let mut new = self.object.status.clone().unwrap_or_default();
            change(&mut new);
            if self.object.status.as_ref() == Some(&new) {
                return Ok(());
            }
            match self.context.statuses.put(&self.object, &new).await {
                Ok(version) => {
                    self.object.metadata.resource_version = Some(version);
                    self.object.status = Some(new);
                    return Ok(());
                }
                Err(failure) if failure.class == Class::Conflict && tries < MAX_TRIES => {
                    tries += 1;
                    let fresh = read(&self.context.exchange, self.namespace, self.name).await?;
                    match fresh.filter(|fresh| self.is_as_decided_on(fresh)) {
                        Some(fresh) => self.object = fresh,
                        None => return Err(failure),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether all that was decided on is the same in another version.
    fn is_as_decided_on(&self, fresh: &ServiceAccountLifecycle) -> bool {
        let standing = |object: &ServiceAccountLifecycle| object.status.clone().unwrap_or_default().standing;
        fresh.metadata.uid == self.object.metadata.uid
            && fresh.metadata.generation == self.object.metadata.generation
            && fresh.metadata.deletion_timestamp.is_none()
            && standing(fresh) == standing(&self.object)
    }
}

fn word(call: &Call) -> &'static str {
    match call {
        Call::CreateLease { .. } => "CreateLease",
        Call::ReadLease { .. } => "ReadLease",
        Call::LookAtSecret { .. } => "LookAtSecret",
        Call::Deliver { .. } => "Deliver",
        Call::DeleteSecret { .. } => "DeleteSecret",
        Call::ListConsumers { .. } => "ListConsumers",
        Call::Restart { .. } => "Restart",
        Call::Write(_) => "Write",
    }
}
