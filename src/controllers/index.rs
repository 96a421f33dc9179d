//! What the watches have seen, and what our own answers have taught since: the one place that visits are made from.
//!
//! Own answers enter at once, so a lagging watch cannot make a visit repeat what is done. An event with an older
//! resourceVersion than what is known, or for an object that we deleted, is ignored.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::packed::Packed;
use crate::{
    api::{
        CredentialLease, ServiceAccountLifecycle, Time,
        lifecycle::{RoleKind, RoleRef},
        names::{self, LeaseUid},
        reasons::Phase,
        status::{CredentialLeaseStatus, Record},
    },
    cluster::fence::Kind,
    domain::{
        agenda::Lane,
        call::{Answer, Call},
        digest,
        observed::{
            self, Child, Enforcement, Known, Learned, LeaseSeen, LifecycleFacts, LifecycleSeen, Memory, ObjectId,
            Observed, Presence, RoleSeen, Settings,
        },
        terms::{self, Refusal},
    },
    runtime::audit::{Audit, Entry},
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

/// The watches whose first list has to be there before anything is concluded from an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Leases,
    Lifecycles,
    Roles(RoleKind),
    Children(Kind),
    Namespaces,
}

/// Every source there is.
pub const SOURCES: [Source; 9] = [
    Source::Namespaces,
    Source::Leases,
    Source::Lifecycles,
    Source::Roles(RoleKind::Role),
    Source::Roles(RoleKind::ClusterRole),
    Source::Children(Kind::Account),
    Source::Children(Kind::Job),
    Source::Children(Kind::Role),
    Source::Children(Kind::Binding),
];

/// How far back records are told again at a start, in milliseconds: the last lines of a crashed process may be missing.
const REPLAY_MILLIS: i64 = 3_600_000;

/// What is kept of one lease.
#[derive(Debug)]
struct Row {
    namespace: String,
    name: String,
    lifecycle: String,
    requester: String,
    presence: Presence,
    /// Not there for a lease of which only its objects are known, or that cannot be decoded.
    packed: Option<Packed>,
    version: u64,
    issued: bool,
    ended: bool,
    phase: Option<Phase>,
    created: Time,
    expires: Option<Time>,
    /// When it ended, if it has.
    end: Option<Time>,
    /// The last record that went into the audit stream.
    told: i64,
    memory: Memory,
    /// Of which list it was seen last.
    epoch: u64,
}

#[derive(Debug, Clone)]
struct ChildRow {
    kind: Kind,
    child: Child,
    id: ObjectId,
    /// Nobody else can have made it: only the operator writes in the issuing namespace; elsewhere our own call said so.
    ours: bool,
    epoch: u64,
}

/// What is kept of one lifecycle.
#[derive(Clone, Debug)]
pub struct LifecycleRow {
    pub object: Arc<ServiceAccountLifecycle>,
    epoch: u64,
}

type RoleKey = (RoleKind, String, String);

#[derive(Default)]
struct Inner {
    leases: HashMap<LeaseUid, Row>,
    by_name: HashMap<(String, String), LeaseUid>,
    by_lifecycle: HashMap<(String, String), HashSet<LeaseUid>>,
    lifecycles: HashMap<(String, String), LifecycleRow>,
    roles: HashMap<RoleKey, (RoleSeen, u64)>,
    children: HashMap<LeaseUid, Vec<ChildRow>>,
    /// UIDs of objects that we deleted and whose deletion the watch has not told yet.
    deleted: HashMap<String, Kind>,
    /// Namespaces that are being deleted.
    terminating: HashSet<String>,
    synced: HashSet<Source>,
    epochs: HashMap<Source, u64>,
    enforcement: Option<Enforcement>,
    api_audiences: Vec<String>,
    last_lease: HashMap<(String, String), Time>,
}

/// The index. Cheap to share; no lock is held across an await.
pub struct Index {
    inner: Mutex<Inner>,
    audit: Audit,
    settings: Settings,
    started: Time,
}

impl Index {
    /// An empty index; `started` is when the process began.
    #[must_use]
    pub fn new(audit: Audit, settings: Settings, started: Time) -> Self {
        Self { inner: Mutex::default(), audit, settings, started }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in a visit cannot leave a row half changed in a way that the next event does not mend.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list begins: what it does not name is gone.
    pub fn list_begins(&self, source: Source) {
        *self.inner().epochs.entry(source).or_default() += 1;
    }

    /// A list is complete.
    pub fn list_ends(&self, source: Source) -> Wishes {
        let mut inner = self.inner();
        let epoch = inner.epoch(source);
        let wishes = match source {
            Source::Leases => inner.sweep_leases(epoch),
            Source::Lifecycles => inner.sweep_lifecycles(epoch),
            Source::Roles(kind) => inner.sweep_roles(kind, epoch),
            Source::Children(kind) => inner.sweep_children(kind, epoch),
            // One that is gone has nothing left in it to be ended.
            Source::Namespaces => Wishes::default(),
        };
        let mut wishes = wishes;
        // Only the first time: later lists wake what they change.
        if inner.synced.insert(source) && inner.all_synced() {
            wishes.extend(inner.wake_everything());
        }
        wishes
    }

    /// The watches whose first list is missing.
    #[must_use]
    pub fn unsynced(&self) -> Vec<Source> {
        let inner = self.inner();
        SOURCES.into_iter().filter(|s| !inner.synced.contains(s)).collect()
    }

    /// A lease was created or changed.
    pub fn lease_applied(&self, lease: &CredentialLease) -> Wishes {
        let mut inner = self.inner();
        let Some((uid, row)) = inner.admit(lease) else { return Wishes::default() };
        let (namespace, lane, at) = (row.namespace.clone(), row.lane(), row.due());
        let lifecycle = (row.namespace.clone(), row.lifecycle.clone());
        self.tell(&mut inner, &uid, lease.status.as_ref());
        inner.count(&uid);
        let synced = inner.all_synced();
        let own_end = inner.leases.get(&uid).and_then(|row| row.end.or(row.expires).filter(|_| !row.is_final()));
        // Before every first list is there, only ends by the lease's own evidence may run.
        let (lane, at) = match (synced, own_end) {
            (true, _) => (lane, at),
            (false, Some(end)) => (Lane::End, Some(end)),
            (false, None) => return Wishes::default(),
        };
        Wishes { visits: vec![Wish { lease: uid, namespace, lane, at }], lifecycles: vec![lifecycle] }
    }

    /// A lease is there that cannot be decoded: nothing is issued for it, and its account's own deadline ends it.
    pub fn lease_unreadable(&self, namespace: &str, name: &str, uid: &str) -> Wishes {
        let Some(uid) = LeaseUid::parse(uid) else { return Wishes::default() };
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Leases);
        let row = inner.leases.entry(uid.clone()).or_insert_with(|| Row::unknown(namespace, name));
        (row.namespace, row.name) = (namespace.to_owned(), name.to_owned());
        row.presence = Presence::Unreadable;
        row.epoch = epoch;
        Wishes::visit(uid, namespace, Lane::End)
    }

    /// A lease was deleted.
    pub fn lease_deleted(&self, uid: &str) -> Wishes {
        let Some(uid) = LeaseUid::parse(uid) else { return Wishes::default() };
        let mut inner = self.inner();
        inner
            .mark(&uid, Presence::Gone)
            .map_or_else(Wishes::default, |namespace| Wishes::visit(uid, &namespace, Lane::End))
    }

    /// A namespace was seen. One that is being deleted ends what is leased in it: the cluster itself waits for seconds before it
    /// removes anything there.
    pub fn namespace_seen(&self, name: &str, terminating: bool) -> Wishes {
        let mut inner = self.inner();
        if !terminating {
            inner.terminating.remove(name);
            return Wishes::default();
        }
        if !inner.terminating.insert(name.to_owned()) {
            return Wishes::default();
        }
        let lifecycles: Vec<_> =
            inner.by_lifecycle.keys().filter(|(namespace, _)| namespace == name).cloned().collect();
        Wishes { visits: lifecycles.iter().flat_map(|key| inner.wake_lifecycle(key)).collect(), lifecycles: vec![] }
    }

    /// A lifecycle was created or changed.
    pub fn lifecycle_applied(&self, object: ServiceAccountLifecycle) -> Wishes {
        let mut inner = self.inner();
        let (namespace, name) =
            (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default());
        let (key, epoch) = ((namespace, name), inner.epoch(Source::Lifecycles));
        let new = LifecycleRow { object: Arc::new(object), epoch };
        let old = inner.lifecycles.insert(key.clone(), new.clone());
        let same = old.is_some_and(|old| {
            let identity = |r: &LifecycleRow| {
                (
                    r.object.metadata.uid.clone(),
                    r.object.metadata.generation,
                    r.object.metadata.deletion_timestamp.is_some(),
                )
            };
            identity(&old) == identity(&new)
        });
        let visits = if same { vec![] } else { inner.wake_lifecycle(&key) };
        Wishes { visits, lifecycles: vec![key] }
    }

    /// A lifecycle was deleted.
    pub fn lifecycle_deleted(&self, namespace: &str, name: &str) -> Wishes {
        let mut inner = self.inner();
        let key = (namespace.to_owned(), name.to_owned());
        inner.lifecycles.remove(&key);
        inner.last_lease.remove(&key);
        Wishes { visits: inner.wake_lifecycle(&key), lifecycles: vec![key] }
    }

    /// A role was created or changed (`None`: deleted). The namespace of a ClusterRole is empty.
    pub fn role_changed(&self, kind: RoleKind, namespace: &str, name: &str, role: Option<RoleSeen>) -> Wishes {
        let mut inner = self.inner();
        let key = (kind, namespace.to_owned(), name.to_owned());
        let epoch = inner.epoch(Source::Roles(kind));
        let old = match role.clone() {
            Some(role) => inner.roles.insert(key.clone(), (role, epoch)),
            None => inner.roles.remove(&key),
        };
        if old.map(|(role, _)| role) == role { Wishes::default() } else { inner.wake_role(&key) }
    }

    /// An object of a lease was created or changed.
    pub fn child_applied(
        &self,
        kind: Kind,
        lease: LeaseUid,
        child: Child,
        id: ObjectId,
        annotation: Option<&str>,
    ) -> Wishes {
        let mut inner = self.inner();
        let known = inner.leases.get(&lease).filter(|row| row.packed.is_some());
        // Whoever may write RoleBindings in some namespace can give one the label and the name of any lease's.
        let forgeable = matches!(child, Child::Binding(_));
        let astray = forgeable && known.is_some_and(|row| row.namespace != id.namespace);
        if astray || inner.deleted.contains_key(&id.uid) {
            return Wishes::default();
        }
        let epoch = inner.epoch(Source::Children(kind));
        let place =
            annotation.and_then(names::lease_in).filter(|(namespace, _)| !forgeable || *namespace == id.namespace);
        inner.keep_child(&lease, ChildRow { kind, child, id, ours: !forgeable, epoch });
        inner.count(&lease);
        if !inner.leases.contains_key(&lease) && (place.is_some() || !forgeable) {
            // An object of a lease that nobody has seen: its lease may be gone, or its watch may lag. The visit asks.
            let (namespace, name) = place.unwrap_or_default();
            inner.leases.insert(lease.clone(), Row::unknown(namespace, name));
        }
        let synced = inner.all_synced();
        match inner.leases.get(&lease) {
            Some(row) if synced && (row.ended || row.presence != Presence::Exists) => {
                Wishes::visit(lease, &row.namespace.clone(), Lane::End)
            }
            _ => Wishes::default(),
        }
    }

    /// An object of a lease was deleted.
    pub fn child_deleted(&self, lease: &LeaseUid, uid: &str) -> Wishes {
        let mut inner = self.inner();
        inner.deleted.remove(uid);
        if !inner.drop_child(lease, uid) {
            return Wishes::default();
        }
        inner.count(lease);
        inner
            .leases
            .get(lease)
            .map_or_else(Wishes::default, |row| Wishes::visit(lease.clone(), &row.namespace.clone(), Lane::End))
    }

    /// Whether the policies are in force has changed, or been looked at.
    pub fn enforcement_is(&self, enforcement: Enforcement) -> Wishes {
        let mut inner = self.inner();
        if inner.enforcement.as_ref() == Some(&enforcement) {
            return Wishes::default();
        }
        inner.enforcement = Some(enforcement);
        Wishes { visits: inner.wake_pending(), lifecycles: inner.lifecycles.keys().cloned().collect() }
    }

    /// Whether the policies are in force.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        self.inner().enforcement.clone().unwrap_or(Enforcement::Unknown)
    }

    /// The audiences of a token that asks for none.
    pub fn api_audiences_are(&self, audiences: Vec<String>) {
        self.inner().api_audiences = audiences;
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

    /// Every lifecycle, to be looked at.
    #[must_use]
    pub fn every_lifecycle(&self) -> Wishes {
        Wishes { visits: vec![], lifecycles: self.inner().lifecycles.keys().cloned().collect() }
    }

    /// Live leases of a lifecycle, and when one was last issued.
    #[must_use]
    pub fn counters(&self, namespace: &str, name: &str) -> (usize, Option<Time>) {
        let inner = self.inner();
        let key = (namespace.to_owned(), name.to_owned());
        // Leases of a lifecycle that was deleted and created again may still be there: their times are not the new one's.
        let created = inner.lifecycles.get(&key).and_then(|row| row.object.metadata.creation_timestamp.as_ref());
        let created = created.map_or(Time::from_millis(0), Time::from);
        (inner.live(&key, None).0, inner.last_lease.get(&key).copied().filter(|at| *at >= created))
    }

    /// How many leases are in each phase; those without a status count as Pending.
    #[must_use]
    pub fn phases(&self) -> BTreeMap<Phase, usize> {
        let mut counts: BTreeMap<Phase, usize> = Phase::ALL.iter().map(|phase| (*phase, 0)).collect();
        for row in self.inner().leases.values().filter(|row| row.packed.is_some()) {
            *counts.entry(row.phase.unwrap_or(Phase::Pending)).or_default() += 1;
        }
        counts
    }

    /// All that is known about a lease.
    #[must_use]
    pub fn observe(&self, uid: &LeaseUid) -> Option<Observed> {
        self.inner().observe(uid, self.settings)
    }

    /// Takes a place in the quotas of the lease's lifecycle, if there is one: counting and taking are one step.
    #[must_use]
    pub fn reserve(&self, uid: &LeaseUid) -> Option<Refusal> {
        let mut inner = self.inner();
        let row = inner.leases.get(uid)?;
        let (key, requester) = ((row.namespace.clone(), row.lifecycle.clone()), row.requester.clone());
        let lifecycle = inner.lifecycles.get(&key)?.object.clone();
        let refusal = terms::quota(inner.live(&key, Some((uid, &requester))), &lifecycle.spec, &requester);
        if refusal.is_none()
            && let Some(row) = inner.leases.get_mut(uid)
        {
            row.memory.reserved = true;
        }
        refusal
    }

    /// Folds in what a call of ours did.
    pub fn note(&self, seen: &Observed, call: &Call, answer: &Answer) {
        let (mut inner, uid) = (self.inner(), &seen.lease.uid);
        match (call, answer) {
            (Call::Create(child) | Call::Find(child), Answer::Present(id)) if *child != Child::Secret => {
                let kind = kind_of(child);
                let epoch = inner.epoch(Source::Children(kind));
                inner.keep_child(uid, ChildRow { kind, child: child.clone(), id: id.clone(), ours: true, epoch });
            }
            (Call::Delete { id, child }, Answer::Done) => {
                if inner.drop_child(uid, &id.uid) && *child != Child::Secret {
                    inner.deleted.insert(id.uid.clone(), kind_of(child));
                }
            }
            (Call::WriteStatus(status), Answer::Written(version)) => inner.wrote(uid, status, version.parse().ok()),
            (Call::Record(status), Answer::Done) => inner.wrote(uid, status, None),
            (Call::ConfirmGone, Answer::Absent) => _ = inner.mark(uid, Presence::Gone),
            _ => return,
        }
        if let (Call::WriteStatus(status) | Call::Record(status), Answer::Written(_) | Answer::Done) = (call, answer) {
            self.tell(&mut inner, uid, Some(status));
        }
        inner.count(uid);
    }

    /// A visit has ended: what it knows beyond the API server is kept. A place in the quotas is given back with the account.
    pub fn remember(&self, seen: &Observed) {
        let mut inner = self.inner();
        let has_account = inner.has_account(&seen.lease.uid);
        let Some(row) = inner.leases.get_mut(&seen.lease.uid) else { return };
        // A watch may have told of the account while the visit ran: its death has to be proven all the same.
        let account = seen.memory.account.clone().or_else(|| row.memory.account.take());
        row.memory = Memory { account, ..seen.memory.clone() };
        if row.ended && !has_account {
            row.memory.reserved = false;
        }
    }

    /// Drops what is kept of a lease.
    pub fn forget(&self, uid: &LeaseUid) {
        let mut inner = self.inner();
        if let Some(row) = inner.leases.remove(uid) {
            let key = (row.namespace.clone(), row.name.clone());
            if inner.by_name.get(&key) == Some(uid) {
                inner.by_name.remove(&key);
            }
            let lifecycle = (row.namespace, row.lifecycle);
            if let Some(leases) = inner.by_lifecycle.get_mut(&lifecycle) {
                leases.remove(uid);
                if leases.is_empty() {
                    inner.by_lifecycle.remove(&lifecycle);
                    if !inner.lifecycles.contains_key(&lifecycle) {
                        inner.last_lease.remove(&lifecycle);
                    }
                }
            }
        }
        inner.children.remove(uid);
    }

    /// Records go into the audit stream as they become known: by our own answer, or by the watch if that was lost.
    fn tell(&self, inner: &mut Inner, uid: &LeaseUid, status: Option<&CredentialLeaseStatus>) {
        let (Some(history), Some(row)) = (status.and_then(|s| s.history.as_ref()), inner.leases.get_mut(uid)) else {
            return;
        };
        let mut previous = history.seed.clone();
        for record in &history.records {
            let hash = digest::link(&previous, record);
            if record.seq > row.told {
                let fresh = self.worth_telling(record);
                if fresh.tell {
                    let entry = Entry {
                        uid,
                        namespace: &row.namespace,
                        name: &row.name,
                        lifecycle: &row.lifecycle,
                        record,
                        hash: &hash,
                        replayed: fresh.replayed,
                    };
                    self.audit.tell(&entry);
                }
                row.told = record.seq;
            }
            previous = hash;
        }
    }

    fn worth_telling(&self, record: &Record) -> Fresh {
        let age = self.started.since(record.time);
        Fresh { tell: age <= REPLAY_MILLIS, replayed: age > 0 }
    }
}

struct Fresh {
    tell: bool,
    replayed: bool,
}

fn kind_of(child: &Child) -> Kind {
    match child {
        Child::Job => Kind::Job,
        Child::Account | Child::Secret => Kind::Account,
        Child::MintRole => Kind::Role,
        Child::MintBinding | Child::Binding(_) => Kind::Binding,
    }
}

/// What an object tells of its lease; `None`: nothing. A RoleBinding that only a watch has told of may be anybody's: before it is
/// used or deleted it is looked at, as one whose creation was not answered.
fn known(row: &ChildRow, lease: &LeaseSeen) -> Option<Known> {
    let Child::Binding(grant) = &row.child else { return Some(Known::Present(row.id.clone())) };
    if row.id.namespace != lease.namespace {
        return None;
    }
    let recorded = lease.status.bindings.iter().find(|b| b.grant == *grant);
    if row.ours || recorded.is_some_and(|b| b.uid == row.id.uid) {
        return Some(Known::Present(row.id.clone()));
    }
    // In the place of one that was recorded: that one is gone.
    let replaced = recorded.is_some() && lease.status.end_time.is_none();
    (!replaced).then_some(Known::Unknown)
}

impl Wishes {
    fn extend(&mut self, more: Self) {
        self.visits.extend(more.visits);
        self.lifecycles.extend(more.lifecycles);
    }

    fn visit(lease: LeaseUid, namespace: &str, lane: Lane) -> Self {
        Self { visits: vec![Wish { lease, namespace: namespace.to_owned(), lane, at: None }], lifecycles: vec![] }
    }
}

impl Row {
    fn unknown(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            lifecycle: String::new(),
            requester: String::new(),
            presence: Presence::Unconfirmed,
            packed: None,
            version: 0,
            issued: false,
            ended: false,
            phase: None,
            created: Time::from_millis(0),
            expires: None,
            end: None,
            told: 0,
            memory: Memory::default(),
            epoch: 0,
        }
    }

    fn is_final(&self) -> bool {
        self.phase.is_some_and(Phase::is_final)
    }

    /// In which lane the lease has to be visited now.
    fn lane(&self) -> Lane {
        if self.is_final() {
            Lane::Retry
        } else if self.ended || self.presence != Presence::Exists {
            Lane::End
        } else {
            Lane::Issue
        }
    }

    /// Since when the lease has to be visited; `None`: now. Ends are served in the order in which they came, also those that a
    /// starting process finds. An end from another cause than the deadline has come already: it never waits for the deadline.
    fn due(&self) -> Option<Time> {
        if self.lane() == Lane::End { self.end } else { None }
    }

    fn learn(&mut self, status: Option<&CredentialLeaseStatus>) {
        let Some(status) = status else { return };
        self.issued = status.issue_time.is_some();
        self.ended = status.end_time.is_some();
        self.end = status.end_time;
        self.phase = status.phase;
        self.expires = status.expiration_time.or(self.expires);
    }
}

impl Inner {
    fn epoch(&self, source: Source) -> u64 {
        self.epochs.get(&source).copied().unwrap_or_default()
    }

    fn all_synced(&self) -> bool {
        SOURCES.iter().all(|source| self.synced.contains(source))
    }

    /// Takes a lease in; `None` if it is older than what is known.
    fn admit(&mut self, lease: &CredentialLease) -> Option<(LeaseUid, &Row)> {
        let metadata = &lease.metadata;
        let uid = LeaseUid::parse(metadata.uid.as_deref()?)?;
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let version: u64 = metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or_default();
        let epoch = self.epoch(Source::Leases);
        let lifecycle = (namespace.clone(), lease.spec.lifecycle_ref.name.clone());
        if let Some(former) =
            self.by_name.insert((namespace.clone(), name.clone()), uid.clone()).filter(|former| *former != uid)
        {
            // Deleted and created again between two events.
            self.mark(&former, Presence::Gone);
        }
        self.by_lifecycle.entry(lifecycle.clone()).or_default().insert(uid.clone());
        let row = self.leases.entry(uid.clone()).or_insert_with(|| Row::unknown(&namespace, &name));
        row.epoch = epoch;
        if row.packed.is_some() && row.presence == Presence::Exists && version <= row.version {
            return None;
        }
        row.namespace = namespace;
        row.name = name;
        row.lifecycle = lifecycle.1;
        row.requester.clone_from(&lease.spec.requested_by.username);
        row.version = version;
        row.created = metadata.creation_timestamp.as_ref().map_or(Time::from_millis(0), Time::from);
        row.presence = if metadata.deletion_timestamp.is_some() { Presence::Deleting } else { Presence::Exists };
        row.packed = Some(Packed::of(lease));
        row.learn(lease.status.as_ref());
        let key = (row.namespace.clone(), row.lifecycle.clone());
        self.issued(key, lease.status.as_ref().and_then(|s| s.issue_time));
        self.leases.get(&uid).map(|row| (uid, row))
    }

    fn mark(&mut self, uid: &LeaseUid, presence: Presence) -> Option<String> {
        let row = self.leases.get_mut(uid)?;
        row.presence = presence;
        Some(row.namespace.clone())
    }

    fn wrote(&mut self, uid: &LeaseUid, status: &CredentialLeaseStatus, version: Option<u64>) {
        let Some(row) = self.leases.get_mut(uid) else { return };
        if version.is_some_and(|v| v < row.version) {
            return;
        }
        if let Some(mut lease) = row.packed.as_ref().and_then(Packed::unpack) {
            lease.status = Some(status.clone());
            if let Some(version) = version {
                row.version = version;
                lease.metadata.resource_version = Some(version.to_string());
            }
            row.packed = Some(Packed::of(&lease));
        }
        row.learn(Some(status));
        let key = (row.namespace.clone(), row.lifecycle.clone());
        self.issued(key, status.issue_time);
    }

    /// A lease of this lifecycle was issued then. The watch may tell of it before our own answer does, and again later.
    fn issued(&mut self, lifecycle: (String, String), at: Option<Time>) {
        if let Some(at) = at {
            let last = self.last_lease.entry(lifecycle).or_insert(at);
            *last = at.max(*last);
        }
    }

    fn keep_child(&mut self, lease: &LeaseUid, mut row: ChildRow) {
        let rows = self.children.entry(lease.clone()).or_default();
        match rows.iter_mut().find(|r| r.id.uid == row.id.uid) {
            Some(known) => {
                row.ours |= known.ours;
                *known = row;
            }
            None => rows.push(row),
        }
    }

    fn drop_child(&mut self, lease: &LeaseUid, uid: &str) -> bool {
        let Some(rows) = self.children.get_mut(lease) else { return false };
        let before = rows.len();
        rows.retain(|row| row.id.uid != uid);
        let dropped = rows.len() < before;
        if rows.is_empty() {
            self.children.remove(lease);
        }
        dropped
    }

    fn has_account(&self, lease: &LeaseUid) -> bool {
        self.children.get(lease).is_some_and(|rows| rows.iter().any(|row| row.child == Child::Account))
    }

    /// Remembers the account, also after it is gone.
    fn count(&mut self, lease: &LeaseUid) {
        let account = self
            .children
            .get(lease)
            .into_iter()
            .flatten()
            .find(|row| row.child == Child::Account)
            .map(|row| row.id.clone());
        if let (Some(row), Some(id)) = (self.leases.get_mut(lease), account) {
            row.memory.account = Some(id);
        }
    }

    /// Live leases of a lifecycle: all, and those of the requester; one lease may be left out.
    fn live(&self, key: &(String, String), without: Option<(&LeaseUid, &str)>) -> (usize, usize) {
        let Some(leases) = self.by_lifecycle.get(key) else { return (0, 0) };
        let mut counts = (0, 0);
        for uid in leases.iter().filter(|uid| without.is_none_or(|(own, _)| own != *uid)) {
            let Some(row) = self.leases.get(uid) else { continue };
            if row.memory.reserved || self.has_account(uid) || (row.issued && !row.ended) {
                counts.0 += 1;
                counts.1 += usize::from(without.is_some_and(|(_, requester)| requester == row.requester));
            }
        }
        counts
    }

    fn role(&self, namespace: &str, role: &RoleRef) -> Option<&RoleSeen> {
        let namespace = if role.kind == RoleKind::ClusterRole { "" } else { namespace };
        self.roles.get(&(role.kind, namespace.to_owned(), role.name.clone())).map(|(role, _)| role)
    }

    fn observe(&self, uid: &LeaseUid, settings: Settings) -> Option<Observed> {
        let row = self.leases.get(uid)?;
        let lease = row.packed.as_ref().and_then(Packed::unpack);
        let (spec, status, resource_version, generation) = match lease {
            Some(lease) => (
                Some(lease.spec),
                lease.status.unwrap_or_default(),
                lease.metadata.resource_version.unwrap_or_default(),
                lease.metadata.generation,
            ),
            None => (None, CredentialLeaseStatus::default(), String::new(), None),
        };
        let unreadable = spec.is_none() && row.presence == Presence::Exists;
        let lease = LeaseSeen {
            uid: uid.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            resource_version,
            generation: generation.unwrap_or_default(),
            created: row.created,
            presence: if unreadable { Presence::Unreadable } else { row.presence },
            spec,
            status,
        };
        let lifecycle_key = (row.namespace.clone(), row.lifecycle.clone());
        let lifecycle = self.lifecycle_seen(&lifecycle_key);
        let (children, strays) = self.children_seen(uid, &lease, &row.memory);
        let roles = self.roles_seen(&lease, &lifecycle);
        Some(Observed {
            live: self.live(&lifecycle_key, Some((uid, &row.requester))),
            enforcement: if self.all_synced() && !self.api_audiences.is_empty() {
                self.enforcement.clone().unwrap_or(Enforcement::Unknown)
            } else {
                Enforcement::Unknown
            },
            api_audiences: self.api_audiences.clone(),
            memory: row.memory.clone(),
            learned: Learned::default(),
            lease,
            lifecycle,
            roles,
            children,
            strays,
            settings,
        })
    }

    fn lifecycle_seen(&self, key: &(String, String)) -> LifecycleSeen {
        match self.lifecycles.get(key) {
            Some(row) => LifecycleSeen::Present(Box::new(LifecycleFacts {
                uid: row.object.metadata.uid.clone().unwrap_or_default(),
                deleting: row.object.metadata.deletion_timestamp.is_some() || self.terminating.contains(&key.0),
                spec: row.object.spec.clone(),
                confirmed: false,
            })),
            None if self.synced.contains(&Source::Lifecycles) => LifecycleSeen::Absent { confirmed: false },
            None => LifecycleSeen::Unknown,
        }
    }

    fn roles_seen(&self, lease: &LeaseSeen, lifecycle: &LifecycleSeen) -> BTreeMap<String, RoleSeen> {
        let (Some(spec), LifecycleSeen::Present(lifecycle)) = (&lease.spec, lifecycle) else { return BTreeMap::new() };
        let grants = spec.grants.iter().filter_map(|name| lifecycle.spec.grant(name));
        grants
            .filter_map(|grant| Some((grant.name.clone(), self.role(&lease.namespace, &grant.role_ref)?.clone())))
            .collect()
    }

    /// Before the first lists, only what a status recorded is known to be there; nothing is known to be absent.
    fn children_seen(
        &self,
        uid: &LeaseUid,
        lease: &LeaseSeen,
        memory: &Memory,
    ) -> (BTreeMap<Child, Known>, Vec<(Child, ObjectId)>) {
        let (mut children, mut strays) = (BTreeMap::new(), vec![]);
        for row in self.children.get(uid).into_iter().flatten() {
            let Some(known) = known(row, lease) else { continue };
            match (children.get(&row.child), &known) {
                (Some(Known::Present(_)), Known::Present(id)) => strays.push((row.child.clone(), id.clone())),
                (Some(Known::Present(_)), _) => {}
                _ => _ = children.insert(row.child.clone(), known),
            }
        }
        if !self.all_synced() {
            self.recorded_children(lease, &mut children);
        }
        if let Some(secret) = observed::secret_known(lease, memory, children.contains_key(&Child::Account)) {
            children.insert(Child::Secret, secret);
        }
        (children, strays)
    }

    fn recorded_children(&self, lease: &LeaseSeen, children: &mut BTreeMap<Child, Known>) {
        let gone = |id: &ObjectId| self.deleted.contains_key(&id.uid);
        let recorded = lease
            .status
            .credential
            .as_ref()
            .filter(|c| c.revocation_time.is_none())
            .and_then(|c| c.service_account.as_ref());
        let account =
            recorded.map(|a| ObjectId { namespace: a.namespace.clone(), name: a.name.clone(), uid: a.uid.clone() });
        let bindings = lease.status.bindings.iter().map(|b| {
            (
                Child::Binding(b.grant.clone()),
                ObjectId { namespace: b.namespace.clone(), name: b.name.clone(), uid: b.uid.clone() },
            )
        });
        for (child, id) in account.map(|id| (Child::Account, id)).into_iter().chain(bindings) {
            if !gone(&id) {
                children.entry(child).or_insert(Known::Present(id));
            }
        }
        let nameable = lease.spec.is_some();
        for child in [Child::Job, Child::Account, Child::MintRole, Child::MintBinding] {
            if nameable {
                children.entry(child).or_insert(Known::Unknown);
            }
        }
    }

    fn sweep_leases(&mut self, epoch: u64) -> Wishes {
        let mut wishes = Wishes::default();
        for (uid, row) in self.leases.iter_mut().filter(|(_, row)| {
            let there = matches!(row.presence, Presence::Exists | Presence::Deleting | Presence::Unreadable);
            row.epoch < epoch && there
        }) {
            // A list may come from an API server that lags: whether the lease is gone is asked before anything is concluded.
            row.presence = Presence::Unconfirmed;
            wishes.visits.push(Wish {
                lease: uid.clone(),
                namespace: row.namespace.clone(),
                lane: Lane::End,
                at: None,
            });
        }
        wishes
    }

    fn sweep_lifecycles(&mut self, epoch: u64) -> Wishes {
        let lost: Vec<_> =
            self.lifecycles.iter().filter(|(_, row)| row.epoch < epoch).map(|(key, _)| key.clone()).collect();
        self.lifecycles.retain(|_, row| row.epoch >= epoch);
        Wishes { visits: lost.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles: vec![] }
    }

    fn sweep_roles(&mut self, kind: RoleKind, epoch: u64) -> Wishes {
        let lost: Vec<RoleKey> = self
            .roles
            .iter()
            .filter(|((k, _, _), (_, seen))| *k == kind && *seen < epoch)
            .map(|(key, _)| key.clone())
            .collect();
        let mut wishes = Wishes::default();
        for key in lost {
            self.roles.remove(&key);
            wishes.extend(self.wake_role(&key));
        }
        wishes
    }

    fn sweep_children(&mut self, kind: Kind, epoch: u64) -> Wishes {
        self.deleted.retain(|_, deleted| *deleted != kind);
        let lost: Vec<(LeaseUid, String)> = self
            .children
            .iter()
            .flat_map(|(lease, rows)| {
                rows.iter()
                    .filter(|row| row.kind == kind && row.epoch < epoch)
                    .map(move |row| (lease.clone(), row.id.uid.clone()))
            })
            .collect();
        let mut wishes = Wishes::default();
        for (lease, uid) in lost {
            self.drop_child(&lease, &uid);
            if let Some(row) = self.leases.get(&lease) {
                wishes.visits.push(Wish { namespace: row.namespace.clone(), lease, lane: Lane::End, at: None });
            }
        }
        wishes
    }

    /// Every first list is there: each lease is looked at once, the overdue ones first.
    fn wake_everything(&self) -> Wishes {
        let visits = self.leases.iter().flat_map(|(uid, row)| {
            let wish = |lane, at| Wish { lease: uid.clone(), namespace: row.namespace.clone(), lane, at };
            let end = row.expires.filter(|_| !row.is_final()).map(|at| wish(Lane::End, Some(at)));
            end.into_iter().chain([wish(row.lane(), row.due())])
        });
        Wishes { visits: visits.collect(), lifecycles: self.lifecycles.keys().cloned().collect() }
    }

    fn wake_pending(&self) -> Vec<Wish> {
        let pending = self.leases.iter().filter(|(_, row)| row.lane() == Lane::Issue && !row.issued);
        pending
            .map(|(uid, row)| Wish {
                lease: uid.clone(),
                namespace: row.namespace.clone(),
                lane: Lane::Issue,
                at: None,
            })
            .collect()
    }

    fn wake_lifecycle(&self, key: &(String, String)) -> Vec<Wish> {
        let leases =
            self.by_lifecycle.get(key).into_iter().flatten().filter_map(|uid| Some((uid, self.leases.get(uid)?)));
        let moving = leases.filter(|(_, row)| !row.is_final());
        let lane = |row: &Row| if row.issued || row.ended { Lane::End } else { Lane::Issue };
        moving
            .map(|(uid, row)| Wish { lease: uid.clone(), namespace: row.namespace.clone(), lane: lane(row), at: None })
            .collect()
    }

    fn wake_role(&self, (kind, namespace, name): &RoleKey) -> Wishes {
        let refers = |(ns, _): &(String, String), row: &LifecycleRow| {
            (namespace.is_empty() || ns == namespace)
                && row.object.spec.grants.iter().any(|g| g.role_ref.kind == *kind && g.role_ref.name == *name)
        };
        let lifecycles: Vec<_> =
            self.lifecycles.iter().filter(|(key, row)| refers(key, row)).map(|(key, _)| key.clone()).collect();
        Wishes { visits: lifecycles.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles }
    }
}

#[cfg(test)]
mod tests;
