//! The objects of a lease: which are kept, and what they tell a visit. Not each one is the operator's: whoever may write
//! RoleBindings can make one look like a lease's.

use std::collections::BTreeMap;

use super::{
    Inner, Source,
    rows::{ChildRow, Row},
};
use crate::{
    api::{lifecycle::Grant, names::LeaseUid},
    cluster::fence::Kind,
    controllers::packed::Packed,
    domain::observed::{self, Child, Known, LeaseSeen, Memory, ObjectId},
};

/// The most RoleBindings of one namespace that are kept of a lease without knowing whose they are.
const MOST_CLAIMS: usize = 32;

pub(super) fn kind_of(child: &Child) -> Kind {
    match child {
        Child::Job => Kind::Job,
        Child::Account | Child::Secret => Kind::Account,
        Child::MintRole => Kind::Role,
        Child::MintBinding | Child::Binding(_) => Kind::Binding,
        Child::Ledger => Kind::Ledger,
    }
}

/// The objects of a lease, as a visit sees them.
#[derive(Default)]
pub(super) struct Children {
    pub(super) known: BTreeMap<Child, Known>,
    pub(super) strays: Vec<(Child, ObjectId)>,
    pub(super) claims: Vec<(Child, ObjectId)>,
}

/// What an object tells of its lease.
enum Tells {
    Known(Known),
    /// It is where the lease would have none: it is looked at before it is deleted.
    Claim,
    /// Nothing.
    Nothing,
}

/// A RoleBinding that only a watch has told of may be anybody's: before it is used or deleted it is looked at, as one whose
/// creation was not answered. `granted`: where each grant goes, as far as anything tells.
fn tells(row: &ChildRow, lease: &LeaseSeen, granted: &BTreeMap<String, String>) -> Tells {
    let Child::Binding(grant) = &row.child else { return Tells::Known(Known::Present(row.id(&lease.uid))) };
    if row.foreign {
        return Tells::Nothing;
    }
    let recorded = lease.status.bindings.iter().find(|b| b.grant == *grant);
    if recorded.is_some_and(|b| row.is(&b.uid)) {
        return Tells::Known(Known::Present(row.id(&lease.uid)));
    }
    let elsewhere = granted.get(grant).is_none_or(|namespace| namespace != row.namespace());
    if row.ours && !(elsewhere && recorded.is_some()) {
        return Tells::Known(Known::Present(row.id(&lease.uid)));
    }
    if granted.get(grant).is_none_or(|namespace| namespace != row.namespace()) {
        return Tells::Claim;
    }
    // In the place of one that was recorded: that one is gone.
    let replaced = recorded.is_some() && lease.status.end_time.is_none();
    if replaced { Tells::Nothing } else { Tells::Known(Known::Unknown) }
}

impl Inner {
    /// Whether a lease of one namespace could have bindings in another. While lifecycles are still being listed: perhaps.
    pub(super) fn may_grant_into(&self, home: &str, namespace: &str) -> bool {
        let grants = |g: &Grant| g.namespace.as_deref() == Some(namespace);
        home == namespace
            || !self.synced.contains(&Source::Lifecycles)
            || self.lifecycles.iter().any(|(key, l)| key.0 == home && l.object.spec.grants.iter().any(grants))
    }

    pub(super) fn keep_child(&mut self, lease: &LeaseUid, mut row: ChildRow) {
        let recorded = self.recorded_bindings(lease, &row);
        let rows = self.children.entry(*lease).or_default();
        let here = rows.iter().filter(|r| !r.ours && r.namespace() == row.namespace()).count();
        let full = !row.ours && here >= MOST_CLAIMS && !recorded.iter().any(|uid| row.is(uid));
        match rows.iter_mut().find(|r| r.same(&row)) {
            Some(known) => {
                row.ours |= known.ours;
                row.foreign |= known.foreign;
                *known = row;
            }
            None if full => {}
            None => {
                // There will hardly be another one: a vector would keep room for as many again.
                rows.reserve_exact(1);
                rows.push(row);
            }
        }
    }

    /// UIDs of the bindings that the lease's status tells of; only looked up where a row could have to be left out.
    fn recorded_bindings(&self, lease: &LeaseUid, row: &ChildRow) -> Vec<String> {
        let many = self.children.get(lease).is_some_and(|rows| rows.len() >= MOST_CLAIMS);
        let packed = self.leases.get(lease).filter(|_| many && !row.ours).and_then(|row| row.packed.as_ref());
        let status = packed.and_then(Packed::unpack).and_then(|lease| lease.status);
        status.into_iter().flat_map(|s| s.bindings).map(|b| b.uid).collect()
    }

    /// Whether nobody knows yet whose this object is.
    pub(super) fn is_claim(&self, lease: &LeaseUid, uid: &str) -> bool {
        let mut rows = self.children.get(lease).into_iter().flatten();
        rows.any(|row| row.is(uid) && !row.ours && !row.foreign)
    }

    pub(super) fn is_foreign(&mut self, lease: &LeaseUid, uid: &str) {
        let rows = self.children.get_mut(lease).into_iter().flatten();
        rows.filter(|row| row.is(uid)).for_each(|row| row.foreign = true);
    }

    pub(super) fn drop_child(&mut self, lease: &LeaseUid, uid: &str) -> bool {
        let Some(rows) = self.children.get_mut(lease) else { return false };
        let Some(place) = rows.iter().position(|row| row.is(uid)) else { return false };
        let dropped = rows.remove(place);
        if rows.is_empty() {
            self.children.remove(lease);
        }
        // Its death has to be proven, and it may be that nothing else tells which it was.
        if let Some(row) = self.leases.get_mut(lease).filter(|_| dropped.child == Child::Account) {
            row.memory_mut().account = Some(dropped.id(lease));
        }
        true
    }

    pub(super) fn has_account(&self, lease: &LeaseUid) -> bool {
        self.children.get(lease).is_some_and(|rows| rows.iter().any(|row| row.child == Child::Account))
    }

    /// What the process knows beyond the API server, with the account that it knows, there or gone.
    pub(super) fn memory_of(&self, lease: &LeaseUid, row: &Row) -> Memory {
        let mut memory = row.memory.as_deref().cloned().unwrap_or_default();
        let mut rows = self.children.get(lease).into_iter().flatten();
        if let Some(account) = rows.find(|row| row.child == Child::Account) {
            memory.account = Some(account.id(lease));
        }
        memory
    }

    /// Before the first lists, only what a status recorded is known to be there; nothing is known to be absent.
    pub(super) fn children_seen(
        &self,
        uid: &LeaseUid,
        lease: &LeaseSeen,
        memory: &Memory,
        granted: &BTreeMap<String, String>,
    ) -> Children {
        let mut all = Children::default();
        for row in self.children.get(uid).into_iter().flatten() {
            let known = match tells(row, lease, granted) {
                Tells::Nothing => continue,
                Tells::Claim => {
                    all.claims.push((row.child.clone(), row.id(uid)));
                    continue;
                }
                Tells::Known(known) => known,
            };
            match (all.known.get(&row.child), &known) {
                (Some(Known::Present(_)), Known::Present(id)) => all.strays.push((row.child.clone(), id.clone())),
                (Some(Known::Present(_)), _) => {}
                _ => _ = all.known.insert(row.child.clone(), known),
            }
        }
        if !self.all_synced() {
            self.recorded_children(lease, &mut all.known);
        }
        if let Some(secret) = observed::secret_known(lease, memory, all.known.contains_key(&Child::Account)) {
            all.known.insert(Child::Secret, secret);
        }
        all
    }

    fn recorded_children(&self, lease: &LeaseSeen, children: &mut BTreeMap<Child, Known>) {
        let gone = |id: &ObjectId| self.deleted.contains_key(&id.uid);
        let recorded = lease
            .status
            .credential
            .as_ref()
            .filter(|c| c.revocation_time.is_none())
            .and_then(|c| c.service_account.as_ref());
        let account =
            recorded.map(|a| ObjectId { namespace: a.namespace.clone(), name: a.name.clone(), uid: a.uid.clone() });
        let bindings = lease.status.bindings.iter().map(|b| {
            (
                Child::Binding(b.grant.clone()),
                ObjectId { namespace: b.namespace.clone(), name: b.name.clone(), uid: b.uid.clone() },
            )
        });
        for (child, id) in account.map(|id| (Child::Account, id)).into_iter().chain(bindings) {
            if !gone(&id) {
                children.entry(child).or_insert(Known::Present(id));
            }
        }
        let nameable = lease.spec.is_some();
        for child in [Child::Job, Child::Account, Child::MintRole, Child::MintBinding, Child::Ledger] {
            if nameable {
                children.entry(child).or_insert(Known::Unknown);
            }
        }
    }
}
