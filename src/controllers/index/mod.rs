//! What the watches have seen, and what our own answers have taught since: the one place that visits are made from.
//!
//! Own answers enter at once, so a lagging watch cannot make a visit repeat what is done. An event with an older
//! resourceVersion than what is known, or for an object that we deleted, is ignored.
//!
//! What goes in: `changes` (events), `sources` (lists), `answers` (our own calls). What is kept: `rows`,
//! `children`, `decisions`, `guardrails`, `systems`. What comes out: `wake` (who is visited), `observe` (what a visit sees), `standing`, `quota`, `records`, `census`.
//! What comes out of it only while this replica leads: `leading`.

mod answers;
mod census;
mod changes;
mod children;
mod decisions;
mod guardrails;
mod leading;
mod observe;
mod quota;
mod records;
mod rows;
mod sources;
mod standing;
mod systems;
mod tasks;
mod wake;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

pub use census::{Census, Waits};
use decisions::Decisions;
use guardrails::Policies;
use rows::{ChildRow, LifecycleRow, NamespaceRow, Row};
pub use sources::{SOURCES, Source, WRITTEN};
use systems::{Ledger, Systems};
use tasks::Tasks;
pub use tasks::{Place, TaskRow};

use crate::{
    api::{
        ServiceAccountLifecycle, Time,
        lifecycle::{RoleKind, RoleRef},
        names::LeaseUid,
    },
    cluster::fence::Kind,
    domain::{
        agenda::Lane,
        guards::Labels,
        observed::{Enforcement, RoleSeen, Settings},
    },
    runtime::audit::Audit,
};

/// A wish to be visited.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub lease: LeaseUid,
    pub namespace: String,
    pub lane: Lane,
    /// `None`: now.
    pub at: Option<Time>,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    pub visits: Vec<Wish>,
    /// Lifecycles whose own status should be looked at.
    pub lifecycles: Vec<(String, String)>,
}

impl Wishes {
    /// Adds what follows from another event.
    pub fn extend(&mut self, more: Self) {
        self.visits.extend(more.visits);
        self.lifecycles.extend(more.lifecycles);
    }

    fn visit(lease: LeaseUid, namespace: &str, lane: Lane) -> Self {
        Self { visits: vec![Wish { lease, namespace: namespace.to_owned(), lane, at: None }], lifecycles: vec![] }
    }
}

type RoleKey = (RoleKind, String, String);

#[derive(Default)]
struct Inner {
    /// Boxed: a map keeps room for twice as many as there are.
    leases: HashMap<LeaseUid, Box<Row>>,
    /// How many of them deliver a Secret.
    delivered: usize,
    /// By namespace and name, as one text.
    by_name: HashMap<Box<str>, LeaseUid>,
    by_lifecycle: HashMap<(String, String), HashSet<LeaseUid>>,
    lifecycles: HashMap<(String, String), LifecycleRow>,
    roles: HashMap<RoleKey, (RoleSeen, u32)>,
    children: HashMap<LeaseUid, Vec<ChildRow>>,
    /// UIDs of objects that we deleted and whose deletion the watch has not told yet.
    deleted: HashMap<String, Kind>,
    namespaces: HashMap<String, NamespaceRow>,
    /// Labels of every namespace.
    labels: BTreeMap<String, Labels>,
    policies: Policies,
    decisions: Decisions,
    systems: Systems,
    tasks: Tasks,
    /// What ledgers tell.
    ledgers: HashMap<LeaseUid, Ledger>,
    synced: HashSet<Source>,
    epochs: HashMap<Source, u32>,
    enforcement: Option<Enforcement>,
    unproven_until: Option<Time>,
    api_audiences: Vec<String>,
    last_lease: HashMap<(String, String), Time>,
    /// Since when this replica leads.
    led: Option<Time>,
    /// What a watch tells of a lease goes into the audit stream: not before everything is listed, since ends go first.
    tells: bool,
    /// Leases whose records from before that are still to be told.
    untold: Vec<LeaseUid>,
    /// Leases that were deleted while this replica stood by, and when it was told.
    departed: VecDeque<(Instant, LeaseUid)>,
    /// The newest version of a lease that was seen or written.
    newest: u64,
    /// The sources that are being listed.
    listing: HashSet<Source>,
    doubt: Option<Doubt>,
}

/// A lease that a list named in an older version than was known: the list may have been read before our own last write, or the
/// store has gone back in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The version that was known.
    pub version: u64,
}

/// The index. Cheap to share; no lock is held across an await.
pub struct Index {
    inner: Mutex<Inner>,
    audit: Audit,
    settings: Settings,
}

impl Index {
    /// An empty index of a replica that does not lead yet.
    #[must_use]
    pub fn new(audit: Audit, settings: Settings) -> Self {
        Self { inner: Mutex::default(), audit, settings }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in a visit cannot leave a row half changed in a way that the next event does not mend.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is issued: the admission policies are in force, and every policy of ours can be read.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        self.inner().enforcement()
    }

    /// Whether the admission policies are in force, whatever else keeps leases from being issued.
    #[must_use]
    pub fn admission(&self) -> Enforcement {
        self.inner().enforcement.clone().unwrap_or(Enforcement::Unknown)
    }

    /// The newest version of a lease that was seen or written; the store's own is never older.
    #[must_use]
    pub fn newest_version(&self) -> u64 {
        self.inner().newest
    }

    /// The last doubt, once.
    #[must_use]
    pub fn take_doubt(&self) -> Option<Doubt> {
        self.inner().doubt.take()
    }

    /// A lifecycle as it was last seen.
    #[must_use]
    pub fn lifecycle(&self, namespace: &str, name: &str) -> Option<Arc<ServiceAccountLifecycle>> {
        self.inner().lifecycles.get(&(namespace.to_owned(), name.to_owned())).map(|row| row.object.clone())
    }

    /// Whether a role is known; `None` before the first list.
    #[must_use]
    pub fn role_exists(&self, namespace: &str, role: &RoleRef) -> Option<bool> {
        let inner = self.inner();
        inner.synced.contains(&Source::Roles(role.kind)).then(|| inner.role(namespace, role).is_some())
    }

    /// The lifecycles in these namespaces, to be looked at; `None`: every one.
    #[must_use]
    pub fn lifecycles_in(&self, namespaces: Option<&BTreeSet<String>>) -> Wishes {
        let inner = self.inner();
        let is_meant = |key: &&(String, String)| namespaces.is_none_or(|some| some.contains(&key.0));
        Wishes { visits: vec![], lifecycles: inner.lifecycles.keys().filter(is_meant).cloned().collect() }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod weight;
