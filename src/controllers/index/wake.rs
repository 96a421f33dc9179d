//! Who is visited because something changed that is not the lease itself.

use super::{
    Inner, RoleKey, Wish, Wishes,
    rows::{LifecycleRow, Row},
};
use crate::domain::agenda::Lane;

impl Inner {
    /// Every first list is there: each lease is looked at once. Deadlines are armed already, by what told of them.
    pub(super) fn wake_everything(&self) -> Wishes {
        let visits = self.leases.iter().map(|(uid, row)| Wish {
            lease: *uid,
            namespace: row.namespace.clone(),
            lane: row.lane(),
            at: row.due(),
        });
        Wishes { visits: visits.collect(), lifecycles: self.lifecycles.keys().cloned().collect() }
    }

    pub(super) fn wake_pending(&self) -> Vec<Wish> {
        let pending = self.leases.iter().filter(|(_, row)| row.lane() == Lane::Issue && !row.issued);
        pending
            .map(|(uid, row)| Wish { lease: *uid, namespace: row.namespace.clone(), lane: Lane::Issue, at: None })
            .collect()
    }

    /// Nobody before every first list is there: then everybody is woken.
    pub(super) fn wake_lifecycle(&self, key: &(String, String)) -> Vec<Wish> {
        if !self.all_synced() {
            return vec![];
        }
        let leases =
            self.by_lifecycle.get(key).into_iter().flatten().filter_map(|uid| Some((uid, self.leases.get(uid)?)));
        let moving = leases.filter(|(_, row)| !row.is_final());
        let lane = |row: &Row| if row.issued || row.ended { Lane::End } else { Lane::Issue };
        moving
            .map(|(uid, row)| Wish { lease: *uid, namespace: row.namespace.clone(), lane: lane(row), at: None })
            .collect()
    }

    pub(super) fn wake_role(&self, (kind, namespace, name): &RoleKey) -> Wishes {
        let refers = |(ns, _): &(String, String), row: &LifecycleRow| {
            row.object.spec.grants.iter().any(|g| {
                g.role_ref.kind == *kind
                    && g.role_ref.name == *name
                    && (namespace.is_empty() || g.namespace.as_ref().unwrap_or(ns) == namespace)
            })
        };
        let lifecycles: Vec<_> =
            self.lifecycles.iter().filter(|(key, row)| refers(key, row)).map(|(key, _)| key.clone()).collect();
        Wishes { visits: lifecycles.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles }
    }

    /// A namespace was created, relabelled or is going: lifecycles in it, and those that grant into it.
    pub(super) fn wake_namespace(&self, name: &str) -> Wishes {
        let concerned = |(namespace, _): &(String, String), row: &LifecycleRow| {
            namespace == name || row.object.spec.grants.iter().any(|g| g.namespace.as_deref() == Some(name))
        };
        let mut lifecycles: Vec<_> =
            self.lifecycles.iter().filter(|(key, row)| concerned(key, row)).map(|(key, _)| key.clone()).collect();
        // Leases may be there whose lifecycle is not.
        let orphans = self.by_lifecycle.keys().filter(|key| key.0 == name && !self.lifecycles.contains_key(*key));
        lifecycles.extend(orphans.cloned());
        Wishes { visits: lifecycles.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles }
    }

    /// A connected system was created, changed or is gone: lifecycles whose workflow calls it.
    pub(super) fn wake_system(&self, name: &str) -> Wishes {
        let calls = |row: &LifecycleRow| row.object.spec.workflow.iter().any(|step| step.system == name);
        let lifecycles: Vec<_> =
            self.lifecycles.iter().filter(|(_, row)| calls(row)).map(|(key, _)| key.clone()).collect();
        Wishes { visits: lifecycles.iter().flat_map(|key| self.wake_lifecycle(key)).collect(), lifecycles }
    }

    /// Something that may concern every lease has changed.
    pub(super) fn wake_all_moving(&self) -> Wishes {
        let visits = self.by_lifecycle.keys().flat_map(|key| self.wake_lifecycle(key)).collect();
        Wishes { visits, lifecycles: self.lifecycles.keys().cloned().collect() }
    }
}
