//! The leases of standing credentials.

use std::sync::Arc;

use super::{Index, Inner};
use crate::{
    api::{
        ServiceAccountLifecycle, condition, lifecycle::ServiceAccountLifecycleStatus, names::LeaseUid,
        reasons::ConditionType,
    },
    controllers::packed::Packed,
    domain::{
        observed::Presence,
        standing::seen::{LeaseFacts, State},
    },
};

impl Index {
    /// Whether the lifecycle declares a standing credential, or something of one is left; with the lifecycle as the watch has
    /// it. `None` before every first list is there: until then nobody knows which leases live.
    #[must_use]
    pub fn with_standing(&self, namespace: &str, name: &str) -> Option<Option<Arc<ServiceAccountLifecycle>>> {
        let inner = self.inner();
        if !inner.all_synced() {
            return None;
        }
        let row = inner.lifecycles.get(&(namespace.to_owned(), name.to_owned()));
        Some(row.map(|row| row.object.clone()).filter(|object| {
            let says = |status: &ServiceAccountLifecycleStatus| {
                condition::find(&status.conditions, ConditionType::StandingReady.as_str()).is_some()
            };
            let left = object.status.as_ref().is_some_and(|status| !status.standing.is_empty() || says(status));
            left || !object.spec.standing.is_empty()
        }))
    }

    /// The leases of the lifecycle that were made for this standing credential.
    #[must_use]
    pub fn standing_leases(&self, namespace: &str, lifecycle: &str, standing: &str) -> Vec<LeaseFacts> {
        let inner = self.inner();
        let Some(leases) = inner.by_lifecycle.get(&(namespace.to_owned(), lifecycle.to_owned())) else { return vec![] };
        leases.iter().filter_map(|uid| inner.standing_lease(uid, standing)).collect()
    }
}

impl Inner {
    fn standing_lease(&self, uid: &LeaseUid, standing: &str) -> Option<LeaseFacts> {
        let row = self.leases.get(uid).filter(|row| row.standing.as_deref() == Some(standing))?;
        let lease = row.packed.as_ref().and_then(Packed::unpack)?;
        let live = row.is_reserved() || self.has_account(uid) || (row.issued && !row.ended);
        let mut facts = LeaseFacts::of(&lease, live);
        if row.presence != Presence::Exists {
            facts.state = State::Ended;
        }
        Some(facts)
    }
}
