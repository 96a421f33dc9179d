//! The records of a lease go into the audit stream from here, each once in a process, whoever tells of it first.

use super::{Index, Inner};
use crate::{
    api::{
        names::LeaseUid,
        status::{CredentialLeaseStatus, Record},
    },
    domain::digest,
    runtime::audit::Entry,
};

/// How far back records are told again at a start, in milliseconds: the last lines of a crashed process may be missing.
const REPLAY_MILLIS: i64 = 3_600_000;

impl Index {
    /// Records go into the audit stream as they become known: by our own answer, or by the watch if that was lost.
    pub(super) fn tell(&self, inner: &mut Inner, uid: &LeaseUid, status: Option<&CredentialLeaseStatus>) {
        let (Some(history), Some(row)) = (status.and_then(|s| s.history.as_ref()), inner.leases.get_mut(uid)) else {
            return;
        };
        let mut previous = history.seed.clone();
        for record in &history.records {
            let hash = digest::link(&previous, record);
            if record.seq > row.told {
                let fresh = self.worth_telling(record);
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

    fn worth_telling(&self, record: &Record) -> Fresh {
        let age = self.started.since(record.time);
        Fresh { tell: age <= REPLAY_MILLIS, replayed: age > 0 }
    }
}

struct Fresh {
    tell: bool,
    replayed: bool,
}
