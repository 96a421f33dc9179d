//! What is kept of each system between calls: nothing of it is shared with another system.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_rustls::rustls::ClientConfig;

use super::{
    breaker::Breaker,
    pace::Pace,
    proof::Kept,
    trust::{self, Untrusted},
};
use crate::api::{ConnectedSystem, system::ConnectedSystemSpec};

/// How many calls run at the same time if nothing is said.
const CONCURRENCY: usize = 4;
/// How long a call may take if nothing is said.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept of one system, in one generation of its spec.
pub(super) struct State {
    generation: Option<i64>,
    pub(super) places: Semaphore,
    pub(super) timeout: Duration,
    pub(super) tls: Result<Arc<ClientConfig>, Untrusted>,
    /// Locked while what proves who we are is fetched, so that it is fetched once.
    pub(super) proof: tokio::sync::Mutex<Option<Kept>>,
    pace: Mutex<Pace>,
    breaker: Mutex<Breaker>,
}

impl State {
    fn new(generation: Option<i64>, spec: &ConnectedSystemSpec) -> Self {
        let limits = spec.limits.clone().unwrap_or_default();
        let concurrency = limits.concurrency.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let timeout = limits.call_timeout.and_then(|t| u64::try_from(t.as_secs()).ok()).filter(|n| *n > 0);
        let ca = spec.http.as_ref().and_then(|http| http.ca_bundle.as_deref());
        let ca = ca.or(spec.vault.as_ref().and_then(|vault| vault.ca_bundle.as_deref()));
        Self {
            generation,
            places: Semaphore::new(concurrency.unwrap_or(CONCURRENCY)),
            timeout: timeout.map_or(CALL_TIMEOUT, Duration::from_secs),
            tls: trust::client(ca),
            proof: tokio::sync::Mutex::default(),
            pace: Mutex::new(Pace::per_minute(limits.requests_per_minute)),
            breaker: Mutex::default(),
        }
    }

    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        lock(&self.pace)
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }
}

/// What is kept of all systems, by their UID.
#[derive(Default)]
pub(super) struct States(Mutex<HashMap<String, Arc<State>>>);

impl States {
    /// What is kept of this system; a new spec begins anew.
    pub(super) fn of(&self, system: &ConnectedSystem) -> Arc<State> {
        let generation = system.metadata.generation;
        let mut states = lock(&self.0);
        let kept = states.get(key(system)).filter(|state| state.generation == generation).cloned();
        kept.unwrap_or_else(|| {
            let state = Arc::new(State::new(generation, &system.spec));
            states.insert(key(system).to_owned(), state.clone());
            state
        })
    }

    /// Forgets all other systems.
    pub(super) fn retain(&self, systems: &[Arc<ConnectedSystem>]) {
        let there: HashSet<&str> = systems.iter().map(|system| key(system)).collect();
        lock(&self.0).retain(|uid, _| there.contains(uid.as_str()));
    }

    /// How many systems do not answer.
    pub(super) fn shut(&self) -> usize {
        let now = Instant::now();
        lock(&self.0).values().filter(|state| state.breaker().is_shut(now)).count()
    }
}

fn key(system: &ConnectedSystem) -> &str {
    system.metadata.uid.as_deref().unwrap_or_default()
}

/// Every use is one call, so a panic elsewhere cannot leave anything half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
