//! What leases are made for: the Jobs and Pods that completionRefs name, in the namespaces where some lease names one.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::Notify;

use super::{Index, Inner, Wish, Wishes};
use crate::{
    api::{CredentialLease, names::LeaseUid, workflow::CompletionKind},
    domain::{
        agenda::Lane,
        observed::LeaseSeen,
        task::{TaskEnd, TaskSeen},
    },
};

/// Where a watch is needed: a kind, in a namespace.
pub type Place = (CompletionKind, String);

/// A Job or a Pod, as far as leases need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    pub uid: String,
    pub end: Option<TaskEnd>,
    pub deleting: bool,
}

/// What one watch has told.
#[derive(Default)]
struct Watched {
    rows: HashMap<String, (TaskRow, u32)>,
    epoch: u32,
    synced: bool,
}

/// Every Job and Pod that is watched, and which leases wait for which.
#[derive(Default)]
pub(super) struct Tasks {
    watched: HashMap<Place, Watched>,
    waiting: HashMap<Place, HashMap<String, HashSet<LeaseUid>>>,
    of: HashMap<LeaseUid, (Place, String)>,
    changed: Arc<Notify>,
}

impl Tasks {
    /// What the lease is made for.
    pub(super) fn seen(&self, lease: &LeaseSeen) -> TaskSeen {
        let Some(what) = lease.spec.as_ref().and_then(|s| s.completion_ref.as_ref()) else { return TaskSeen::None };
        let Some(watched) = self.watched.get(&(what.kind, lease.namespace.clone())).filter(|w| w.synced) else {
            return TaskSeen::Unknown;
        };
        match watched.rows.get(&what.name) {
            None => TaskSeen::Absent,
            Some((row, _)) => TaskSeen::Present { uid: row.uid.clone(), end: row.end, deleting: row.deleting },
        }
    }

    /// A lease waits for what it is made for, as long as it has not ended.
    pub(super) fn wants(&mut self, uid: &LeaseUid, lease: &CredentialLease, over: bool) {
        let what = lease.spec.completion_ref.as_ref().filter(|_| !over);
        let namespace = lease.metadata.namespace.clone().unwrap_or_default();
        let Some(what) = what else { return self.forget(uid) };
        let place = (what.kind, namespace);
        if self.of.contains_key(uid) {
            return;
        }
        self.of.insert(*uid, (place.clone(), what.name.clone()));
        let known = self.waiting.contains_key(&place);
        self.waiting.entry(place).or_default().entry(what.name.clone()).or_default().insert(*uid);
        if !known {
            self.changed.notify_one();
        }
    }

    pub(super) fn forget(&mut self, uid: &LeaseUid) {
        let Some((place, name)) = self.of.remove(uid) else { return };
        let Some(names) = self.waiting.get_mut(&place) else { return };
        if let Some(leases) = names.get_mut(&name) {
            leases.remove(uid);
            if leases.is_empty() {
                names.remove(&name);
            }
        }
        if names.is_empty() {
            self.waiting.remove(&place);
            self.changed.notify_one();
        }
    }

    fn waiting_for(&self, place: &Place, name: &str) -> Vec<LeaseUid> {
        self.waiting.get(place).and_then(|names| names.get(name)).into_iter().flatten().cloned().collect()
    }
}

impl Index {
    /// Told whenever another place has to be watched, or one no longer.
    #[must_use]
    pub fn task_places_changed(&self) -> Arc<Notify> {
        self.inner().tasks.changed.clone()
    }

    /// Where something is that a lease is made for.
    #[must_use]
    pub fn task_places(&self) -> BTreeSet<Place> {
        self.inner().tasks.waiting.keys().cloned().collect()
    }

    /// A list of a place begins: what it does not name is gone.
    pub fn tasks_begin(&self, place: &Place) {
        self.inner().tasks.watched.entry(place.clone()).or_default().epoch += 1;
    }

    /// A Job or Pod was created or changed.
    pub fn task_applied(&self, place: &Place, name: &str, mut row: TaskRow) -> Wishes {
        let mut inner = self.inner();
        let watched = inner.tasks.watched.entry(place.clone()).or_default();
        let epoch = watched.epoch;
        // What has ended never runs again under the same UID: whatever says so comes late.
        if let Some((known, _)) = watched.rows.get(name).filter(|(known, _)| known.uid == row.uid) {
            row.end = known.end.or(row.end);
            row.deleting |= known.deleting;
        }
        let old = watched.rows.insert(name.to_owned(), (row.clone(), epoch));
        if old.is_some_and(|(old, _)| old == row) { Wishes::default() } else { inner.wake_task(place, name) }
    }

    /// A Job or Pod is gone.
    pub fn task_deleted(&self, place: &Place, name: &str) -> Wishes {
        let mut inner = self.inner();
        if let Some(watched) = inner.tasks.watched.get_mut(place) {
            watched.rows.remove(name);
        }
        inner.wake_task(place, name)
    }

    /// A list of a place is complete.
    pub fn tasks_end(&self, place: &Place) -> Wishes {
        let mut inner = self.inner();
        let watched = inner.tasks.watched.entry(place.clone()).or_default();
        watched.synced = true;
        let epoch = watched.epoch;
        watched.rows.retain(|_, (_, seen)| *seen >= epoch);
        let names: Vec<String> = inner.tasks.waiting.get(place).into_iter().flat_map(|n| n.keys().cloned()).collect();
        let mut wishes = Wishes::default();
        for name in names {
            wishes.extend(inner.wake_task(place, &name));
        }
        wishes
    }

    /// A place is no longer watched.
    pub fn tasks_dropped(&self, place: &Place) {
        self.inner().tasks.watched.remove(place);
    }
}

impl Inner {
    fn wake_task(&self, place: &Place, name: &str) -> Wishes {
        let visit = |lease: LeaseUid| {
            let row = self.leases.get(&lease)?;
            Some(Wish { namespace: row.namespace.clone(), lease, lane: Lane::End, at: None })
        };
        Wishes {
            visits: self.tasks.waiting_for(place, name).into_iter().filter_map(visit).collect(),
            lifecycles: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Time, domain::observed::Settings, runtime::audit::Audit};

    #[test]
    fn a_task_that_has_ended_stays_so_whatever_comes_late() {
        let (audit, _) = Audit::to(std::io::sink()).unwrap();
        let index = Index::new(audit, Settings { retention_millis: 1, require_policy: false });
        let place: Place = (CompletionKind::Job, "ns".to_owned());
        let has_ended = |uid: &str, ended: bool| {
            let end = ended.then(|| TaskEnd { completed: true, at: Time::from_millis(1) });
            _ = index.task_applied(&place, "job", TaskRow { uid: uid.into(), end, deleting: false });
            index.inner().tasks.watched[&place].rows["job"].0.end.is_some()
        };
        assert!(!has_ended("one", false));
        assert!(has_ended("one", true));
        assert!(has_ended("one", false), "an older event came late");
        assert!(!has_ended("two", false), "another Job of the same name has not ended");
    }
}
