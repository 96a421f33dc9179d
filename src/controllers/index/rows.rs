//! What is kept of each lease, object and lifecycle, and how a lease's row takes in what is newer than itself.

use std::sync::Arc;

use super::{Doubt, Inner, Source, Wish};
use crate::{
    api::{
        CredentialLease, ServiceAccountLifecycle, Time, condition,
        names::LeaseUid,
        reasons::{ConditionType, LeaseReason, Phase},
        status::CredentialLeaseStatus,
    },
    controllers::packed::{Packed, PackedId},
    domain::{
        agenda::Lane,
        agreement,
        observed::{Child, Memory, ObjectId, Presence},
    },
};

/// What is kept of one lease.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) lifecycle: String,
    pub(super) requester: String,
    /// The standing credential it was made for.
    pub(super) standing: Option<String>,
    pub(super) presence: Presence,
    /// Not there for a lease of which only its objects are known, or that cannot be decoded.
    pub(super) packed: Option<Packed>,
    /// What was recorded of a lease of which nobody has seen more than its objects.
    pub(super) recorded: Option<Box<CredentialLeaseStatus>>,
    pub(super) version: u64,
    pub(super) issued: bool,
    pub(super) ended: bool,
    pub(super) phase: Option<Phase>,
    pub(super) created: Time,
    pub(super) expires: Option<Time>,
    /// When it ended, if it has.
    pub(super) end: Option<Time>,
    /// Until when an answer was due, if it was issued before anybody agreed and nobody has answered for it yet.
    pub(super) owed: Option<Time>,
    /// A step in another system could not be taken back yet.
    pub(super) undo_fails: bool,
    /// It is live, and its token is in a Secret.
    pub(super) delivers: bool,
    /// The last record that went into the audit stream.
    pub(super) told: i64,
    /// What the process knows beyond the API server. Hardly anything of a lease at rest: nothing is kept then.
    pub(super) memory: Option<Box<Memory>>,
    /// Of which list it was seen last.
    pub(super) epoch: u32,
}

#[derive(Debug, Clone)]
pub(super) struct ChildRow {
    pub(super) child: Child,
    id: PackedId,
    /// It was looked at, and is nobody's of ours.
    pub(super) foreign: bool,
    /// Nobody else can have made it: only the operator writes in the issuing namespace; elsewhere our own call said so.
    pub(super) ours: bool,
    pub(super) epoch: u32,
}

impl ChildRow {
    pub(super) fn new(lease: &LeaseUid, child: Child, id: &ObjectId, ours: bool, epoch: u32) -> Self {
        Self { id: PackedId::of(lease, &child, id), child, foreign: false, ours, epoch }
    }

    /// The object's identity.
    pub(super) fn id(&self, lease: &LeaseUid) -> ObjectId {
        self.id.unpack(lease, &self.child)
    }

    /// Whether it is the object with this UID.
    pub(super) fn is(&self, uid: &str) -> bool {
        self.id.has(uid)
    }

    /// Whether both are the same object.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.id.same(&other.id)
    }

    /// The object's namespace.
    pub(super) fn namespace(&self) -> &str {
        self.id.namespace()
    }
}

/// What is kept of one namespace besides its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceRow {
    pub(super) terminating: bool,
    pub(super) epoch: u32,
}

/// What is kept of one lifecycle.
#[derive(Clone, Debug)]
pub(super) struct LifecycleRow {
    pub(super) object: Arc<ServiceAccountLifecycle>,
    pub(super) epoch: u32,
}

impl Row {
    pub(super) fn unknown(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            lifecycle: String::new(),
            requester: String::new(),
            standing: None,
            presence: Presence::Unconfirmed,
            packed: None,
            recorded: None,
            version: 0,
            issued: false,
            ended: false,
            phase: None,
            created: Time::from_millis(0),
            expires: None,
            end: None,
            owed: None,
            undo_fails: false,
            delivers: false,
            told: 0,
            memory: None,
            epoch: 0,
        }
    }

    /// Whether its object is there, as far as is known.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.presence, Presence::Exists | Presence::Deleting | Presence::Unreadable)
    }

    /// Whether it was seen as it is in this version, or later.
    fn knows(&self, version: u64) -> bool {
        self.packed.is_some() && self.presence == Presence::Exists && version <= self.version
    }

    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        self.memory.get_or_insert_default()
    }

    /// Keeps this, if it is anything.
    pub(super) fn keep(&mut self, memory: Memory) {
        self.memory = (memory != Memory::default()).then(|| memory.into());
    }

    /// Whether a place in the quotas is held.
    pub(super) fn is_reserved(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.reserved)
    }

    pub(super) fn is_final(&self) -> bool {
        self.phase.is_some_and(Phase::is_final)
    }

    /// In which lane the lease has to be visited now.
    pub(super) fn lane(&self) -> Lane {
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
    pub(super) fn due(&self) -> Option<Time> {
        if self.lane() == Lane::End { self.end } else { None }
    }

    /// By how much it changes the number of leases with a delivered Secret.
    fn learn(&mut self, status: Option<&CredentialLeaseStatus>) -> isize {
        let Some(status) = status else { return 0 };
        let delivers = status.end_time.is_none() && status.credential.as_ref().is_some_and(|c| c.secret.is_some());
        let more = isize::from(delivers) - isize::from(std::mem::replace(&mut self.delivers, delivers));
        self.issued = status.issue_time.is_some();
        self.ended = status.end_time.is_some();
        self.end = status.end_time;
        self.phase = status.phase;
        // Whoever takes an approval back takes the deadline with it; what was issued keeps its own.
        self.expires = status.expiration_time.or(self.expires.filter(|_| self.issued));
        let undone = condition::find(&status.conditions, ConditionType::RolledBack.as_str());
        self.undo_fails = undone.is_some_and(|c| c.reason == LeaseReason::UndoFailing.as_str());
        self.owed = agreement::owed(status, &self.requester);
        more
    }
}

/// The key of a lease in the index of names. A slash is in neither.
pub(super) fn named(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into()
}

/// The version of a lease: those of one kind of object grow (kubernetes.io, API concepts). One that is no number is older than all.
fn version(lease: &CredentialLease) -> u64 {
    lease.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

impl Inner {
    /// Whether [`Inner::admit`] would take it in.
    pub(super) fn is_news(&self, lease: &CredentialLease) -> bool {
        let uid = lease.metadata.uid.as_deref().and_then(LeaseUid::parse);
        !uid.and_then(|uid| self.leases.get(&uid)).is_some_and(|row| row.knows(version(lease)))
    }

    /// Takes a lease in; `None` if it is not newer than what is known. `packed`: the same lease, if somebody has packed it already.
    pub(super) fn admit(&mut self, lease: &CredentialLease, packed: Option<Packed>) -> Option<(LeaseUid, &Row)> {
        let metadata = &lease.metadata;
        let uid = LeaseUid::parse(metadata.uid.as_deref()?)?;
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let version = version(lease);
        self.newest = self.newest.max(version);
        let epoch = self.epoch(Source::Leases);
        let lifecycle = (namespace.clone(), lease.spec.lifecycle_ref.name.clone());
        self.by_name.insert(named(&namespace, &name), uid);
        self.by_lifecycle.entry(lifecycle.clone()).or_default().insert(uid);
        let row = self.leases.entry(uid).or_insert_with(|| Row::unknown(&namespace, &name).into());
        row.epoch = epoch;
        if row.knows(version) {
            if version < row.version && self.listing.contains(&Source::Leases) {
                let uid = uid.to_string();
                self.doubt = Some(Doubt { namespace, name, uid, version: row.version });
            }
            return None;
        }
        row.namespace = namespace;
        row.name = name;
        row.lifecycle = lifecycle.1;
        row.requester.clone_from(&lease.spec.requested_by.username);
        row.standing = lease.spec.standing_ref.as_ref().map(|standing| standing.name.clone());
        row.version = version;
        row.created = metadata.creation_timestamp.as_ref().map_or(Time::from_millis(0), Time::from);
        row.presence = if metadata.deletion_timestamp.is_some() { Presence::Deleting } else { Presence::Exists };
        row.packed = Some(packed.unwrap_or_else(|| Packed::of(lease)));
        let more = row.learn(lease.status.as_ref());
        self.delivered = self.delivered.saturating_add_signed(more);
        let row = self.leases.get(&uid)?;
        let key = (row.namespace.clone(), row.lifecycle.clone());
        self.issued(key, lease.status.as_ref().and_then(|s| s.issue_time));
        let over = lease.status.as_ref().is_some_and(|s| s.end_time.is_some());
        self.tasks.wants(&uid, lease, over);
        self.leases.get(&uid).map(|row| (uid, &**row))
    }

    /// A lease of the same name that must have been deleted before this one was created, unless this is told of from the past: it
    /// has to be asked for, and ended if it is gone.
    pub(super) fn former(&mut self, lease: &CredentialLease) -> Option<Wish> {
        let metadata = &lease.metadata;
        let namespace = metadata.namespace.clone()?;
        let key = named(&namespace, metadata.name.as_deref()?);
        let uid = metadata.uid.as_deref().and_then(LeaseUid::parse);
        let former = *self.by_name.get(&key).filter(|known| uid.as_ref() != Some(known))?;
        let row = self.leases.get_mut(&former).filter(|row| row.is_there())?;
        row.presence = Presence::Unconfirmed;
        Some(Wish { lease: former, namespace, lane: Lane::End, at: None })
    }

    pub(super) fn mark(&mut self, uid: &LeaseUid, presence: Presence) -> Option<String> {
        let row = self.leases.get_mut(uid)?;
        row.presence = presence;
        Some(row.namespace.clone())
    }

    pub(super) fn wrote(&mut self, uid: &LeaseUid, status: &CredentialLeaseStatus, version: Option<u64>) {
        if status.end_time.is_some() {
            self.tasks.forget(uid);
        }
        self.newest = self.newest.max(version.unwrap_or_default());
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
        } else {
            row.recorded = Some(Box::new(status.clone()));
        }
        let more = row.learn(Some(status));
        let key = (row.namespace.clone(), row.lifecycle.clone());
        self.delivered = self.delivered.saturating_add_signed(more);
        self.issued(key, status.issue_time);
    }

    /// A lease of this lifecycle was issued then. The watch may tell of it before our own answer does, and again later.
    fn issued(&mut self, lifecycle: (String, String), at: Option<Time>) {
        if let Some(at) = at {
            let last = self.last_lease.entry(lifecycle).or_insert(at);
            *last = at.max(*last);
        }
    }
}
