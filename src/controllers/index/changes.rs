//! What an event of a watch does to the index, and which visits follow from it.

use std::{sync::Arc, time::Instant};

use super::{
    Index, Inner, Source, Wish, Wishes,
    rows::{ChildRow, LifecycleRow, Row},
};
use crate::{
    api::{
        CredentialLease, ServiceAccountLifecycle,
        lifecycle::RoleKind,
        names::{self, LeaseUid},
    },
    cluster::fence::Kind,
    controllers::packed::Packed,
    domain::{
        agenda::Lane,
        observed::{Child, Enforcement, ObjectId, Presence, RoleSeen},
    },
};

impl Index {
    /// A lease was created or changed.
    pub fn lease_applied(&self, lease: &CredentialLease) -> Wishes {
        // Packed before the lock is taken: everybody else would wait for it.
        let is_news = self.inner().is_news(lease);
        let packed = is_news.then(|| Packed::of(lease));
        let mut inner = self.inner();
        let former = inner.former(lease);
        let mut wishes = self.applied(&mut inner, lease, packed);
        wishes.visits.extend(former);
        wishes
    }

    fn applied(&self, inner: &mut Inner, lease: &CredentialLease, packed: Option<Packed>) -> Wishes {
        let synced = inner.all_synced();
        // Once every first list is there, every lifecycle is looked at; until then each look would count what is there so far.
        let looked_at = |lifecycle| if synced { vec![lifecycle] } else { vec![] };
        let Some((uid, row)) = inner.admit(lease, packed) else {
            // Our own write: only what is counted over leases may be different.
            let key = (lease.metadata.namespace.clone().unwrap_or_default(), lease.spec.lifecycle_ref.name.clone());
            return Wishes { visits: vec![], lifecycles: looked_at(key) };
        };
        let (namespace, lane, at) = (row.namespace.clone(), row.lane(), row.due());
        let lifecycle = (row.namespace.clone(), row.lifecycle.clone());
        if inner.tells {
            self.tell(inner, &uid, lease.status.as_ref());
        }
        let own_end = inner.leases.get(&uid).and_then(|row| row.end.or(row.expires).filter(|_| !row.is_final()));
        // Before every first list is there, only ends by the lease's own evidence may run.
        let (lane, at) = match (synced, own_end) {
            (true, _) => (lane, at),
            (false, Some(end)) => (Lane::End, Some(end)),
            (false, None) => return Wishes::default(),
        };
        Wishes { visits: vec![Wish { lease: uid, namespace, lane, at }], lifecycles: looked_at(lifecycle) }
    }

    /// A lease is there that cannot be decoded: nothing is issued for it, and its account's own deadline ends it.
    pub fn lease_unreadable(&self, namespace: &str, name: &str, uid: &str) -> Wishes {
        let Some(uid) = LeaseUid::parse(uid) else { return Wishes::default() };
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Leases);
        let row = inner.leases.entry(uid).or_insert_with(|| Row::unknown(namespace, name).into());
        (row.namespace, row.name) = (namespace.to_owned(), name.to_owned());
        row.presence = Presence::Unreadable;
        row.epoch = epoch;
        Wishes::visit(uid, namespace, Lane::End)
    }

    /// A lease was deleted.
    pub fn lease_deleted(&self, uid: &str) -> Wishes {
        let Some(uid) = LeaseUid::parse(uid) else { return Wishes::default() };
        let mut inner = self.inner();
        let Some(namespace) = inner.mark(&uid, Presence::Gone) else { return Wishes::default() };
        inner.departs(uid, Instant::now());
        // Its successor is asked for by its lifecycle.
        let standing = inner.leases.get(&uid).filter(|row| row.standing.is_some());
        let lifecycles = standing.map(|row| (row.namespace.clone(), row.lifecycle.clone())).into_iter().collect();
        Wishes { lifecycles, ..Wishes::visit(uid, &namespace, Lane::End) }
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
                    r.object.status.as_ref().map(|status| status.standing.clone()).unwrap_or_default(),
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
        // Whoever may write RoleBindings in some namespace can give one the label and the name of any lease's.
        let forgeable = matches!(child, Child::Binding(_));
        if inner.deleted.contains_key(&id.uid) {
            return Wishes::default();
        }
        let (epoch, object) = (inner.epoch(Source::Children(kind)), id.uid.clone());
        let place = annotation.and_then(names::lease_in);
        let place = place.filter(|(namespace, _)| !forgeable || inner.may_grant_into(namespace, &id.namespace));
        let row = ChildRow::new(&lease, child, &id, !forgeable, epoch);
        inner.keep_child(&lease, row);
        if !inner.leases.contains_key(&lease) && (place.is_some() || !forgeable) {
            // An object of a lease that nobody has seen: its lease may be gone, or its watch may lag. The visit asks.
            let (namespace, name) = place.unwrap_or_default();
            inner.leases.insert(lease, Row::unknown(namespace, name).into());
        }
        let synced = inner.all_synced();
        match inner.leases.get(&lease) {
            Some(row) if synced && (row.ended || row.presence != Presence::Exists) => {
                Wishes::visit(lease, &row.namespace.clone(), Lane::End)
            }
            // One that is not where an active lease has its own is looked at.
            Some(row) if synced && forgeable && row.issued && inner.is_claim(&lease, &object) => {
                Wishes::visit(lease, &row.namespace.clone(), Lane::Issue)
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
        inner
            .leases
            .get(lease)
            .map_or_else(Wishes::default, |row| Wishes::visit(*lease, &row.namespace.clone(), Lane::End))
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

    /// The audiences of a token that asks for none.
    pub fn api_audiences_are(&self, audiences: Vec<String>) {
        self.inner().api_audiences = audiences;
    }
}
