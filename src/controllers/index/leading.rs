//! From a replica that stands by to the one that leads.
//!
//! Who stands by takes in what the watches tell, and nothing follows from it. A takeover is a start with warm caches: ends that a
//! lease's own status tells are begun at once, everything else waits until what the leader before has written is listed again.

use super::{Index, WRITTEN, Wish, Wishes};
use crate::{api::Time, domain::agenda::Lane};

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
        Wishes { visits: ends.collect(), lifecycles: vec![] }
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
