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

/// Leases that are told of before others have their turn.
pub(super) const TOLD_IN_A_TURN: usize = 16;

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

    /// Tells what was seen so far, and from now on what comes; once, by who leads. Whoever asks for it again goes on with what the
    /// one before has not told.
    ///
    /// Visits go on meanwhile. It needs no thread of its own: where memory is short there is none to be had.
    pub async fn tell_everything(&self) {
        self.begin_to_tell();
        while self.tell_some() {
            tokio::task::yield_now().await;
        }
    }

    fn begin_to_tell(&self) {
        let mut inner = self.inner();
        if !inner.tells && inner.led.is_some() {
            inner.tells = true;
            inner.untold = inner.leases.keys().copied().collect();
        }
    }

    /// Whether there may be more.
    fn tell_some(&self) -> bool {
        for _ in 0..TOLD_IN_A_TURN {
            let mut inner = self.inner();
            let Some(uid) = inner.untold.pop() else {
                inner.untold = vec![];
                return false;
            };
            self.tell_kept(&mut inner, &uid);
        }
        true
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
