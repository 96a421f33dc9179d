//! How many leases of a lifecycle are live. A place is taken where it is counted: two visits cannot take the same one.

use super::{Index, Inner};
use crate::{
    api::{Time, names::LeaseUid},
    domain::{observed::Presence, refusal::Refusal, terms},
};

impl Index {
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

    /// Takes a place in the quotas of the lease's lifecycle, if there is one: counting and taking are one step.
    #[must_use]
    pub fn reserve(&self, uid: &LeaseUid) -> Option<Refusal> {
        let mut inner = self.inner();
        let seen = inner.observe(uid, self.settings)?;
        let spec = seen.lease.spec.as_ref()?;
        let key = (seen.lease.namespace.clone(), spec.lifecycle_ref.name.clone());
        let requester = &spec.requested_by.username;
        let live = inner.live(&key, Some((uid, requester)));
        let refusal = terms::quota(live, &seen.terms()?, requester);
        if refusal.is_none()
            && let Some(row) = inner.leases.get_mut(uid)
        {
            row.memory_mut().reserved = true;
        }
        refusal
    }
}

impl Inner {
    /// Live leases of a lifecycle: all, and those of the requester; one lease may be left out.
    pub(super) fn live(&self, key: &(String, String), without: Option<(&LeaseUid, &str)>) -> (usize, usize) {
        let Some(leases) = self.by_lifecycle.get(key) else { return (0, 0) };
        let mut counts = (0, 0);
        for uid in leases.iter().filter(|uid| without.is_none_or(|(own, _)| own != *uid)) {
            let Some(row) = self.leases.get(uid) else { continue };
            // Of one that was deleted the account is all there is: its place is given back with it.
            let is_issued = row.issued && !row.ended && row.presence != Presence::Gone;
            if row.is_reserved() || self.has_account(uid) || is_issued {
                counts.0 += 1;
                counts.1 += usize::from(without.is_some_and(|(_, requester)| requester == row.requester));
            }
        }
        counts
    }
}
