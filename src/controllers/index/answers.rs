//! What our own visits teach the index: it must not wait for a watch to tell what a call of ours has done.

use super::{
    Index, Inner, Source,
    children::kind_of,
    rows::{ChildRow, named},
};
use crate::{
    api::names::LeaseUid,
    domain::{
        call::{Answer, Call},
        observed::{Child, Memory, Observed, Presence},
    },
};

impl Index {
    /// Folds in what a call of ours did.
    pub fn note(&self, seen: &Observed, call: &Call, answer: &Answer) {
        let (mut inner, uid) = (self.inner(), &seen.lease.uid);
        match (call, answer) {
            (Call::Create(child) | Call::Find(child), Answer::Present(id))
            | (Call::Confirm { child, .. }, Answer::Present(id) | Answer::Deleting(id))
                if *child != Child::Secret =>
            {
                let kind = kind_of(child);
                let epoch = inner.epoch(Source::Children(kind));
                inner.keep_child(uid, ChildRow::new(uid, child.clone(), id, true, epoch));
            }
            (Call::Delete { id, child }, Answer::Done) => {
                if inner.drop_child(uid, &id.uid) && *child != Child::Secret {
                    inner.deleted.insert(id.uid.clone(), kind_of(child));
                }
            }
            (Call::Inspect { id, .. }, Answer::Stranger) => inner.is_foreign(uid, &id.uid),
            (Call::WriteStatus(status), Answer::Written(version)) => inner.wrote(uid, status, version.parse().ok()),
            (Call::Record(status), Answer::Done) => inner.wrote(uid, status, None),
            (Call::ConfirmGone, Answer::Absent) => _ = inner.mark(uid, Presence::Gone),
            _ => return,
        }
        if let (Call::WriteStatus(status) | Call::Record(status), Answer::Written(_) | Answer::Done) = (call, answer) {
            self.tell(&mut inner, uid, Some(status));
        }
    }

    /// A visit has ended: what it knows beyond the API server is kept. A place in the quotas is given back with the account.
    pub fn remember(&self, seen: &Observed) {
        let mut inner = self.inner();
        let has_account = inner.has_account(&seen.lease.uid);
        let Some(row) = inner.leases.get_mut(&seen.lease.uid) else { return };
        // A watch may have told of the account while the visit ran: its death has to be proven all the same.
        let account = seen.memory.account.clone().or_else(|| row.memory.as_mut()?.account.take());
        let mut memory = Memory { account: account.filter(|_| !has_account), ..seen.memory.clone() };
        if row.is_final() {
            memory.gone.clear();
            memory.dying.clear();
        }
        memory.reserved &= !row.ended || has_account;
        row.keep(memory);
    }

    /// Drops what is kept of a lease.
    pub fn forget(&self, uid: &LeaseUid) {
        let mut inner = self.inner();
        // Nobody could tell it later, also if everything is being told just now.
        self.tell_kept(&mut inner, uid);
        inner.forget(uid);
    }
}

impl Inner {
    pub(super) fn forget(&mut self, uid: &LeaseUid) {
        if let Some(row) = self.leases.remove(uid) {
            self.delivered -= usize::from(row.delivers);
            let key = named(&row.namespace, &row.name);
            if self.by_name.get(&key) == Some(uid) {
                self.by_name.remove(&key);
            }
            let lifecycle = (row.namespace, row.lifecycle);
            if let Some(leases) = self.by_lifecycle.get_mut(&lifecycle) {
                leases.remove(uid);
                if leases.is_empty() {
                    self.by_lifecycle.remove(&lifecycle);
                    if !self.lifecycles.contains_key(&lifecycle) {
                        self.last_lease.remove(&lifecycle);
                    }
                }
            }
        }
        self.children.remove(uid);
        self.ledgers.remove(uid);
        self.tasks.forget(uid);
    }
}
