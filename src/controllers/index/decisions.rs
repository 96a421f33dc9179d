//! The decisions, by the lease they name, and those that cover equal requests.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Index, Inner, Source, Wish, Wishes};
use crate::{
    api::{CredentialLeaseDecision, Time, decision::DecisionType, names::LeaseUid},
    domain::{
        agenda::Lane,
        observed::{DecisionSeen, ObjectId},
        terms,
    },
};

/// The most approvals of one lease that are looked at, the newest; and the most that are only there to be told why they do not
/// count. What is against a lease is never crowded out: the first of it is enough.
const MOST: usize = 64;
const MOST_MISTAKEN: usize = 8;

/// The lease that decisions are looked up for.
pub(super) struct About<'a> {
    pub(super) lease: &'a LeaseUid,
    /// Namespace and name.
    pub(super) lifecycle: &'a (String, String),
    pub(super) requester: &'a str,
    pub(super) created: Time,
}

/// Namespace, lifecycle and requester: whose requests a decision may cover.
type Covers = (String, String, String);

struct Row {
    namespace: String,
    seen: Arc<DecisionSeen>,
    epoch: u32,
}

/// Every decision there is.
#[derive(Default)]
pub(super) struct Decisions {
    rows: HashMap<String, Row>,
    by_lease: HashMap<String, BTreeSet<String>>,
    repeating: HashMap<Covers, BTreeSet<String>>,
}

impl Decisions {
    /// The decisions that name a lease, and those that may cover it.
    pub(super) fn about(&self, about: &About) -> Vec<DecisionSeen> {
        let (namespace, lifecycle) = about.lifecycle;
        let covers = (namespace.clone(), lifecycle.clone(), about.requester.to_owned());
        let (own, repeating) = (self.by_lease.get(&*about.lease.text()), self.repeating.get(&covers));
        if own.is_none() && repeating.is_none() {
            return vec![];
        }
        let rows = |uids: Option<&BTreeSet<String>>| -> Vec<&DecisionSeen> {
            let here = uids.into_iter().flatten().filter_map(|uid| self.rows.get(uid));
            let mut all: Vec<&DecisionSeen> =
                here.filter(|row| row.namespace == *namespace).map(|row| &*row.seen).collect();
            all.sort_by(|a, b| (b.created, &b.uid).cmp(&(a.created, &a.uid)));
            all
        };
        let names = |d: &&DecisionSeen| d.spec.lifecycle_ref.name == *lifecycle && d.spec.requester == about.requester;
        let (own, mistaken): (Vec<_>, Vec<_>) = rows(own).into_iter().partition(names);
        let (own, against): (Vec<_>, Vec<_>) = own.into_iter().partition(|d| d.spec.decision == DecisionType::Approved);
        let covers = |d: &&DecisionSeen| {
            let until = d.spec.repeat_for.map(|repeat| d.created.plus(repeat));
            until.is_some_and(|until| about.created <= until)
                && *about.lease != *d.spec.lease_ref.uid
                && !self.is_taken_back(namespace, d)
        };
        let approvals = own.into_iter().chain(rows(repeating).into_iter().filter(covers)).take(MOST);
        // What ends a lease is the first word against it that counts; the newest are looked at for an answer that came late.
        let earliest = |counts: fn(&DecisionSeen) -> bool| against.iter().rev().copied().find(|d| counts(d));
        let first = [
            earliest(|d| d.spec.decision == DecisionType::Revoked),
            earliest(|d| d.spec.decision == DecisionType::Denied && d.spec.decided_by.username != d.spec.requester),
        ];
        let newest = against.iter().copied().take(MOST_MISTAKEN);
        let mistaken = mistaken.into_iter().take(MOST_MISTAKEN);
        let mut found: Vec<DecisionSeen> = vec![];
        for decision in first.into_iter().flatten().chain(newest).chain(approvals).chain(mistaken) {
            if !found.iter().any(|d| d.uid == decision.uid) {
                found.push(decision.clone());
            }
        }
        found
    }

    /// Whether an approval of the same lease is still kept: as long as that may cover something, a word against it has to be too.
    fn has_approval_for(&self, word: &DecisionSeen) -> bool {
        self.of_lease(&word.spec.lease_ref.uid).any(|row| row.seen.spec.decision == DecisionType::Approved)
    }

    fn of_lease(&self, lease: &str) -> impl Iterator<Item = &Row> {
        self.by_lease.get(lease).into_iter().flatten().filter_map(|uid| self.rows.get(uid))
    }

    /// Whether somebody else has denied or revoked the lease that an approval was made for: then it covers nothing more.
    fn is_taken_back(&self, namespace: &str, approval: &DecisionSeen) -> bool {
        self.of_lease(&approval.spec.lease_ref.uid).any(|row| {
            let d = &row.seen;
            row.namespace == namespace
                && d.spec.decision != DecisionType::Approved
                && d.spec.lifecycle_ref.name == approval.spec.lifecycle_ref.name
                && d.spec.requester == approval.spec.requester
                && d.spec.decided_by.username != d.spec.requester
        })
    }

    fn insert(&mut self, namespace: &str, seen: DecisionSeen, epoch: u32) {
        let uid = seen.uid.clone();
        self.by_lease.entry(seen.spec.lease_ref.uid.clone()).or_default().insert(uid.clone());
        if seen.spec.repeat_for.is_some() {
            self.repeating.entry(covers(namespace, &seen)).or_default().insert(uid.clone());
        }
        self.rows.insert(uid, Row { namespace: namespace.to_owned(), seen: Arc::new(seen), epoch });
    }

    fn remove(&mut self, uid: &str) -> Option<Row> {
        let row = self.rows.remove(uid)?;
        without(&mut self.by_lease, &row.seen.spec.lease_ref.uid, uid);
        without(&mut self.repeating, &covers(&row.namespace, &row.seen), uid);
        Some(row)
    }
}

fn covers(namespace: &str, seen: &DecisionSeen) -> Covers {
    (namespace.to_owned(), seen.spec.lifecycle_ref.name.clone(), seen.spec.requester.clone())
}

fn without<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<String>>, key: &K, uid: &str) {
    if let Some(uids) = map.get_mut(key) {
        uids.remove(uid);
        if uids.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    /// A decision was created. It is immutable, so later events tell nothing new.
    pub fn decision_applied(&self, decision: &CredentialLeaseDecision) -> Wishes {
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Decisions);
        let metadata = &decision.metadata;
        let (Some(namespace), Some(uid)) = (metadata.namespace.as_deref(), metadata.uid.clone()) else {
            return Wishes::default();
        };
        if let Some(row) = inner.decisions.rows.get_mut(&uid) {
            row.epoch = epoch;
            return Wishes::default();
        }
        let seen = DecisionSeen {
            uid,
            name: metadata.name.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map_or(Time::from_millis(0), Time::from),
            spec: decision.spec.clone(),
        };
        let wishes = inner.wake_decided(namespace, &seen);
        inner.decisions.insert(namespace, seen, epoch);
        wishes
    }

    /// A decision was deleted: an approval that is not used yet no longer counts.
    pub fn decision_deleted(&self, uid: &str) -> Wishes {
        let mut inner = self.inner();
        let Some(row) = inner.decisions.remove(uid) else { return Wishes::default() };
        inner.wake_decided(&row.namespace, &row.seen)
    }

    /// Decisions of leases that are long gone, and that cover no further request.
    #[must_use]
    pub fn stale_decisions(&self, now: Time) -> Vec<ObjectId> {
        let inner = self.inner();
        if !inner.all_synced() {
            return vec![];
        }
        let retention = self.settings.retention_millis;
        let over = |row: &&Row| {
            let lease = LeaseUid::parse(&row.seen.spec.lease_ref.uid);
            let gone = lease.is_none_or(|uid| !inner.leases.contains_key(&uid));
            // An approval may cover a request that is scheduled for long after it.
            let covers =
                row.seen.spec.repeat_for.map_or(0, |d| d.as_secs().saturating_mul(1000) + terms::MAX_AHEAD_MILLIS);
            gone && now.since(row.seen.created) > retention.saturating_add(covers)
                && (row.seen.spec.decision == DecisionType::Approved || !inner.decisions.has_approval_for(&row.seen))
        };
        let rows = inner.decisions.rows.values().filter(over);
        rows.map(|row| ObjectId {
            namespace: row.namespace.clone(),
            name: row.seen.name.clone(),
            uid: row.seen.uid.clone(),
        })
        .collect()
    }
}

impl Inner {
    /// The lease that is decided on, and those that wait and may be covered. What is against a lease is for the ending lane.
    fn wake_decided(&self, namespace: &str, seen: &DecisionSeen) -> Wishes {
        if !self.all_synced() {
            return Wishes::default();
        }
        let uid = LeaseUid::parse(&seen.spec.lease_ref.uid);
        let named =
            uid.and_then(|uid| Some((self.leases.get(&uid)?, uid))).filter(|(row, _)| row.namespace == namespace);
        let mut visits: Vec<Wish> = named
            .into_iter()
            .map(|(row, lease)| {
                let named = seen.spec.lifecycle_ref.name == row.lifecycle && seen.spec.requester == row.requester;
                let against = named && seen.spec.decision != DecisionType::Approved && !row.is_final() && !row.ended;
                let lane = if against { Lane::End } else { row.lane() };
                Wish { lease, namespace: namespace.to_owned(), lane, at: None }
            })
            .collect();
        if seen.spec.repeat_for.is_some() {
            let waiting = self.wake_lifecycle(&(namespace.to_owned(), seen.spec.lifecycle_ref.name.clone()));
            visits.extend(waiting.into_iter().filter(|wish| wish.lane == Lane::Issue));
        }
        Wishes { visits, lifecycles: vec![] }
    }

    pub(super) fn sweep_decisions(&mut self, epoch: u32) -> Wishes {
        let lost: Vec<String> =
            self.decisions.rows.iter().filter(|(_, row)| row.epoch < epoch).map(|(uid, _)| uid.clone()).collect();
        let mut wishes = Wishes::default();
        for uid in lost {
            if let Some(row) = self.decisions.remove(&uid) {
                wishes.extend(self.wake_decided(&row.namespace, &row.seen));
            }
        }
        wishes
    }
}

#[cfg(test)]
mod tests;
