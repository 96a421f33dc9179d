//! From rows to what a visit sees. What no list has told yet is unknown there, never absent.

use std::collections::BTreeMap;

use super::{Index, Inner, Source, children::Children, decisions::About};
use crate::{
    api::{
        lifecycle::{RoleKind, RoleRef},
        names::LeaseUid,
    },
    controllers::packed::Packed,
    domain::observed::{
        Enforcement, Learned, LeaseSeen, LifecycleFacts, LifecycleSeen, Observed, Presence, RoleSeen, Settings,
    },
    domain::steps::Works,
};

impl Index {
    /// All that is known about a lease.
    #[must_use]
    pub fn observe(&self, uid: &LeaseUid) -> Option<Observed> {
        self.inner().observe(uid, self.settings)
    }
}

impl Inner {
    pub(super) fn observe(&self, uid: &LeaseUid, settings: Settings) -> Option<Observed> {
        let row = self.leases.get(uid)?;
        let lease = row.packed.as_ref().and_then(Packed::unpack);
        let (spec, status, resource_version, generation) = match lease {
            Some(lease) => (
                Some(lease.spec),
                lease.status.unwrap_or_default(),
                lease.metadata.resource_version.unwrap_or_default(),
                lease.metadata.generation,
            ),
            None => (None, row.recorded.as_deref().cloned().unwrap_or_default(), String::new(), None),
        };
        let unreadable = spec.is_none() && row.presence == Presence::Exists;
        let lease = LeaseSeen {
            uid: *uid,
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
        let granted = granted(&lease, &lifecycle);
        let memory = self.memory_of(uid, row);
        let Children { known: children, strays, claims } = self.children_seen(uid, &lease, &memory, &granted);
        let roles = self.roles_seen(&lease, &lifecycle);
        let involved = granted.values().chain([&lease.namespace]);
        // Both look at every lease of the lifecycle.
        let live = lease.is_new().then(|| self.live(&lifecycle_key, Some((uid, &row.requester))));
        let held_by = if lease.is_asked_for() { self.held_by(&lifecycle_key) } else { None };
        let namespaces = involved.filter_map(|n| Some((n.clone(), self.labels.get(n)?.clone()))).collect();
        Some(Observed {
            live,
            enforcement: if self.all_synced() && !self.api_audiences.is_empty() {
                self.enforcement()
            } else {
                Enforcement::Unknown
            },
            synced: self.all_synced(),
            unproven_until: self.unproven_until,
            policies: self.policies.list(),
            namespaces,
            decisions: self.decisions.about(&About {
                lease: uid,
                lifecycle: &lifecycle_key,
                requester: &row.requester,
                created: row.created,
            }),
            held_by,
            api_audiences: self.api_audiences.clone(),
            delivered: self.delivered,
            systems: self.systems_of(&lifecycle, &lease.status),
            works: Works::new(),
            task: self.tasks.seen(&lease),
            memory,
            learned: Learned::default(),
            failed_before: false,
            lease,
            lifecycle,
            roles,
            children,
            strays,
            claims,
            settings,
        })
    }

    fn lifecycle_seen(&self, key: &(String, String)) -> LifecycleSeen {
        match self.lifecycles.get(key) {
            Some(row) => LifecycleSeen::Present(Box::new(LifecycleFacts {
                uid: row.object.metadata.uid.clone().unwrap_or_default(),
                deleting: row.object.metadata.deletion_timestamp.is_some()
                    || self.namespaces.get(&key.0).is_some_and(|n| n.terminating),
                spec: row.object.spec.clone(),
                standing: row.object.status.as_ref().map(|status| status.standing.clone()).unwrap_or_default(),
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
            .filter_map(|grant| {
                let namespace = grant.namespace.as_deref().unwrap_or(&lease.namespace);
                Some((grant.name.clone(), self.role(namespace, &grant.role_ref)?.clone()))
            })
            .collect()
    }

    pub(super) fn role(&self, namespace: &str, role: &RoleRef) -> Option<&RoleSeen> {
        let namespace = if role.kind == RoleKind::ClusterRole { "" } else { namespace };
        self.roles.get(&(role.kind, namespace.to_owned(), role.name.clone())).map(|(role, _)| role)
    }
}

/// Into which namespace each grant of the lease goes: as it was resolved, else as the lifecycle says.
fn granted(lease: &LeaseSeen, lifecycle: &LifecycleSeen) -> BTreeMap<String, String> {
    let mut granted: BTreeMap<String, String> = BTreeMap::new();
    if let (Some(spec), LifecycleSeen::Present(lifecycle)) = (&lease.spec, lifecycle) {
        for grant in spec.grants.iter().filter_map(|name| lifecycle.spec.grant(name)) {
            let namespace = grant.namespace.clone().unwrap_or_else(|| lease.namespace.clone());
            granted.insert(grant.name.clone(), namespace);
        }
    }
    let resolved = lease.status.request.iter().flat_map(|r| &r.grants);
    for grant in resolved.filter(|_| lease.status.issue_time.is_some()) {
        granted.insert(grant.name.clone(), grant.namespace.clone());
    }
    granted
}
