//! The watches and their lists: nothing is concluded from an absence before every first list is there, and what a later
//! list no longer names is swept.

use super::{Index, Inner, RoleKey, Wish, Wishes, children::kind_of};
use crate::{
    api::{lifecycle::RoleKind, names::LeaseUid},
    cluster::fence::Kind,
    domain::{agenda::Lane, observed::Presence},
};

/// The watches whose first list has to be there before anything is concluded from an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Leases,
    Lifecycles,
    Roles(RoleKind),
    Children(Kind),
    Namespaces,
    Decisions,
    Policies,
    Systems,
}

/// Every source there is.
pub const SOURCES: [Source; 13] = [
    Source::Namespaces,
    Source::Policies,
    Source::Systems,
    Source::Decisions,
    Source::Leases,
    Source::Lifecycles,
    Source::Roles(RoleKind::Role),
    Source::Roles(RoleKind::ClusterRole),
    Source::Children(Kind::Account),
    Source::Children(Kind::Job),
    Source::Children(Kind::Role),
    Source::Children(Kind::Binding),
    Source::Children(Kind::Ledger),
];

/// What the leader itself writes and decides on. What a replica that stood by has seen of it may be older than the last word of
/// the leader before it: it is listed again before anything is issued.
pub const WRITTEN: [Source; 2] = [Source::Leases, Source::Children(Kind::Account)];

impl Index {
    /// A list begins: what it does not name is gone.
    pub fn list_begins(&self, source: Source) {
        let mut inner = self.inner();
        *inner.epochs.entry(source).or_default() += 1;
        inner.listing.insert(source);
    }

    /// A list is complete.
    pub fn list_ends(&self, source: Source) -> Wishes {
        let mut inner = self.inner();
        inner.listing.remove(&source);
        let epoch = inner.epoch(source);
        let wishes = match source {
            Source::Leases => inner.sweep_leases(epoch),
            Source::Lifecycles => inner.sweep_lifecycles(epoch),
            Source::Roles(kind) => inner.sweep_roles(kind, epoch),
            Source::Children(kind) => inner.sweep_children(kind, epoch),
            Source::Namespaces => inner.sweep_namespaces(epoch),
            Source::Decisions => inner.sweep_decisions(epoch),
            Source::Policies => inner.sweep_policies(epoch),
            Source::Systems => inner.sweep_systems(epoch),
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
}

impl Inner {
    pub(super) fn epoch(&self, source: Source) -> u32 {
        self.epochs.get(&source).copied().unwrap_or_default()
    }

    pub(super) fn all_synced(&self) -> bool {
        SOURCES.iter().all(|source| self.synced.contains(source))
    }

    fn sweep_leases(&mut self, epoch: u32) -> Wishes {
        let mut wishes = Wishes::default();
        for (uid, row) in self.leases.iter_mut().filter(|(_, row)| {
            let there = matches!(row.presence, Presence::Exists | Presence::Deleting | Presence::Unreadable);
            row.epoch < epoch && there
        }) {
            // A list may come from an API server that lags: whether the lease is gone is asked before anything is concluded.
            row.presence = Presence::Unconfirmed;
            wishes.visits.push(Wish { lease: *uid, namespace: row.namespace.clone(), lane: Lane::End, at: None });
        }
        wishes
    }

    fn sweep_lifecycles(&mut self, epoch: u32) -> Wishes {
        let lost: Vec<_> =
            self.lifecycles.iter().filter(|(_, row)| row.epoch < epoch).map(|(key, _)| key.clone()).collect();
        self.lifecycles.retain(|_, row| row.epoch >= epoch);
        Wishes { visits: lost.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles: vec![] }
    }

    fn sweep_roles(&mut self, kind: RoleKind, epoch: u32) -> Wishes {
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

    fn sweep_children(&mut self, kind: Kind, epoch: u32) -> Wishes {
        self.deleted.retain(|_, deleted| *deleted != kind);
        let lost: Vec<(LeaseUid, String)> = self
            .children
            .iter()
            .flat_map(|(lease, rows)| {
                rows.iter()
                    .filter(|row| kind_of(&row.child) == kind && row.epoch < epoch)
                    .map(move |row| (*lease, row.id(lease).uid))
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
}
