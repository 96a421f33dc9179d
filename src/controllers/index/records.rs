//! The records of a lease go into the audit stream from here, each once in a process, whoever tells of it first; and only from
//! the replica that leads.

use super::{Index, Inner};
use crate::{
    api::{
        Time,
        names::LeaseUid,
        status::{CredentialLeaseStatus, Record},
    },
    domain::digest,
    runtime::audit::Entry,
};

/// How far back records are told again when a replica begins to lead, in milliseconds: the last lines of the one before
/// may be missing.
const REPLAY_MILLIS: i64 = 3_600_000;

impl Index {
    /// Records go into the audit stream as they become known: by our own answer, or by the watch if that was lost.
    pub(super) fn tell(&self, inner: &mut Inner, uid: &LeaseUid, status: Option<&CredentialLeaseStatus>) {
        let Some(led) = inner.led else { return };
        let (Some(history), Some(row)) = (status.and_then(|s| s.history.as_ref()), inner.leases.get_mut(uid)) else {
            return;
        };
        // Each hash takes all before it: for nothing, if nothing is to be told.
        if !history.records.iter().any(|record| record.seq > row.told && worth_telling(record, led).tell) {
            row.told = history.records.last().map_or(row.told, |record| record.seq.max(row.told));
            return;
        }
        let mut previous = history.seed.clone();
        for record in &history.records {
            let hash = digest::link(&previous, record);
            if record.seq > row.told {
                let fresh = worth_telling(record, led);
                if fresh.tell {
                    let entry = Entry {
                        uid,
                        namespace: &row.namespace,
                        name: &row.name,
                        lifecycle: &row.lifecycle,
                        record,
                        hash: &hash,
                        replayed: fresh.replayed,
                    };
                    self.audit.tell(&entry);
                }
                row.told = record.seq;
            }
            previous = hash;
        }
    }

    /// Tells what was seen so far, and from now on what comes; once, by who leads.
    pub fn tell_everything(&self) {
        let leases: Vec<LeaseUid> = {
            let mut inner = self.inner();
            if inner.tells || inner.led.is_none() {
                return;
            }
            inner.tells = true;
            inner.leases.keys().copied().collect()
        };
        for uid in leases {
            // One at a time: visits go on meanwhile.
            self.tell_kept(&mut self.inner(), &uid);
        }
    }

    /// Tells what was not told yet of a lease that is kept.
    pub(super) fn tell_kept(&self, inner: &mut Inner, uid: &LeaseUid) {
        let lease = inner.leases.get(uid).and_then(|row| row.packed.as_ref()?.unpack());
        self.tell(inner, uid, lease.and_then(|lease| lease.status).as_ref());
    }
}

fn worth_telling(record: &Record, led: Time) -> Fresh {
    let age = led.since(record.time);
    Fresh { tell: age <= REPLAY_MILLIS, replayed: age > 0 }
}

struct Fresh {
    tell: bool,
    replayed: bool,
}
