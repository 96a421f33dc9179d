//! From a replica that stands by to the one that leads.
//!
//! Who stands by takes in what the watches tell, and nothing follows from it. A takeover is a start with warm caches: ends that a
//! lease's own status tells are begun at once, everything else waits until what the leader before has written is listed again.

use std::time::{Duration, Instant};

use super::{Index, Inner, WRITTEN, Wish, Wishes};
use crate::{
    api::{Time, names::LeaseUid},
    domain::{agenda::Lane, observed::Presence},
};

/// How long a replica that stands by keeps a lease that was deleted: for as long as records are told again by whoever leads next.
const DEPARTED: Duration = Duration::from_hours(1);

impl Index {
    /// This replica leads from now on; what is to be done at once. The lists of [`WRITTEN`] have to be read again after this.
    #[must_use]
    pub fn lead(&self, now: Time) -> Wishes {
        let mut inner = self.inner();
        inner.led = Some(now);
        for source in WRITTEN {
            inner.synced.remove(&source);
        }
        let ends = inner.leases.iter().filter(|(_, row)| !row.is_final()).filter_map(|(uid, row)| {
            let at = row.end.or(row.expires)?;
            Some(Wish { lease: *uid, namespace: row.namespace.clone(), lane: Lane::End, at: Some(at) })
        });
        let (visits, lifecycles) = (ends.collect(), inner.lifecycles.keys().cloned().collect());
        inner.departed.clear();
        Wishes { visits, lifecycles }
    }

    /// How long this replica has led, in milliseconds: since it began to, everything that is written is read anew.
    #[must_use]
    pub fn has_led(&self, now: Time) -> i64 {
        self.inner().led.map_or(0, |at| now.since(at))
    }

    /// Whether this replica leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.inner().led.is_some()
    }
}

impl Inner {
    /// A lease was deleted. Who leads visits it, until its end is proven; who stands by forgets it once whoever leads has had the
    /// time to do so, and once there is nothing left of it.
    pub(super) fn departs(&mut self, uid: LeaseUid, now: Instant) {
        if self.led.is_some() {
            return;
        }
        self.departed.push_back((now, uid));
        while let Some((at, uid)) = self.departed.front().copied()
            && now.duration_since(at) >= DEPARTED
        {
            self.departed.pop_front();
            let is_gone = self.leases.get(&uid).is_some_and(|row| row.presence == Presence::Gone);
            if is_gone && self.children.get(&uid).is_none_or(Vec::is_empty) {
                self.forget(&uid);
            } else if is_gone {
                self.departed.push_back((now, uid));
            }
        }
    }
}
