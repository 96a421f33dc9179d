//! What the platform says: policies, the labels of namespaces that select them, and what is held because an answer is missing.

use std::{collections::BTreeMap, sync::Arc};

use super::{Index, Inner, Source, Wishes, rows::NamespaceRow};
use crate::{
    api::{CredentialLeasePolicy, ServiceAccountLifecycle, Time},
    domain::{
        guards::{GrantSeen, Labels, PolicySeen, Scope},
        observed::{Enforcement, Held},
    },
};

/// What is kept of one policy.
struct PolicyRow {
    seen: Arc<PolicySeen>,
    object: Arc<CredentialLeasePolicy>,
    epoch: u32,
}

/// The policies as one list that visits share.
#[derive(Default)]
pub(super) struct Policies {
    rows: BTreeMap<String, PolicyRow>,
    /// Policies that cannot be decoded, and of which list each was seen last: what they forbid is not known.
    unreadable: BTreeMap<String, u32>,
    list: Arc<[Arc<PolicySeen>]>,
}

impl Policies {
    pub(super) fn list(&self) -> Arc<[Arc<PolicySeen>]> {
        self.list.clone()
    }

    fn refresh(&mut self) {
        self.list = self.rows.values().map(|row| row.seen.clone()).collect();
    }
}

impl Index {
    /// A policy was created or changed.
    pub fn policy_applied(&self, policy: CredentialLeasePolicy) -> Wishes {
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Policies);
        let name = policy.metadata.name.clone().unwrap_or_default();
        let new = Arc::new(PolicySeen { name: name.clone(), spec: policy.spec.clone() });
        let mended = inner.policies.unreadable.remove(&name).is_some();
        let row = PolicyRow { seen: new.clone(), object: Arc::new(policy), epoch };
        let old = inner.policies.rows.insert(name, row);
        if !mended && old.is_some_and(|old| old.seen == new) {
            return Wishes::default();
        }
        inner.policies.refresh();
        inner.wake_all_moving()
    }

    /// A policy is there that cannot be decoded: what it forbids is not known, so nothing is issued. What is known of it from
    /// before goes on to guard what is live.
    pub fn policy_unreadable(&self, name: &str) -> Wishes {
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Policies);
        if let Some(row) = inner.policies.rows.get_mut(name) {
            row.epoch = epoch;
        }
        inner.policies.unreadable.insert(name.to_owned(), epoch);
        Wishes { visits: inner.wake_pending(), lifecycles: inner.lifecycles.keys().cloned().collect() }
    }

    /// A policy was deleted.
    pub fn policy_deleted(&self, name: &str) -> Wishes {
        let mut inner = self.inner();
        inner.policies.unreadable.remove(name);
        inner.policies.rows.remove(name);
        inner.policies.refresh();
        inner.wake_all_moving()
    }

    /// A namespace was seen. One that is being deleted ends what is leased in it: the cluster itself waits for seconds before it
    /// removes anything there. Other labels mean other policies.
    pub fn namespace_seen(&self, name: &str, labels: Labels, terminating: bool) -> Wishes {
        let mut inner = self.inner();
        let epoch = inner.epoch(Source::Namespaces);
        let old = inner.namespaces.insert(name.to_owned(), NamespaceRow { terminating, epoch });
        let relabelled = inner.labels.insert(name.to_owned(), labels.clone()).is_none_or(|old| old != labels);
        if relabelled || old.is_none_or(|old| old.terminating != terminating) {
            return inner.wake_namespace(name);
        }
        Wishes::default()
    }

    /// A namespace is gone.
    pub fn namespace_deleted(&self, name: &str) -> Wishes {
        let mut inner = self.inner();
        inner.namespaces.remove(name);
        inner.labels.remove(name);
        inner.wake_namespace(name)
    }

    /// Every policy.
    #[must_use]
    pub fn policies(&self) -> Arc<[Arc<PolicySeen>]> {
        self.inner().policies.list()
    }

    /// Every policy as it was read, for its own status.
    #[must_use]
    pub fn policy_objects(&self) -> Vec<Arc<CredentialLeasePolicy>> {
        self.inner().policies.rows.values().map(|row| row.object.clone()).collect()
    }

    /// Every lifecycle, with what guardrails need to judge it.
    pub fn each_lifecycle(&self, mut look: impl FnMut(&ServiceAccountLifecycle, &Scope)) {
        let inner = self.inner();
        for ((namespace, _), row) in &inner.lifecycles {
            look(&row.object, &inner.scope_of(namespace, &row.object));
        }
    }

    /// Judges one lifecycle with what guardrails need; `None` if it is not there.
    pub fn with_scope<T>(&self, namespace: &str, name: &str, judge: impl FnOnce(&Scope) -> T) -> Option<T> {
        let inner = self.inner();
        let row = inner.lifecycles.get(&(namespace.to_owned(), name.to_owned()))?;
        Some(judge(&inner.scope_of(namespace, &row.object)))
    }

    /// The lease that holds this lifecycle, or will: it was issued before anybody agreed, and nobody has answered for it.
    #[must_use]
    pub fn held_by(&self, namespace: &str, name: &str) -> Option<Held> {
        self.inner().held_by(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whatever was created up to then was created while it is not known that the admission policies were in force.
    pub fn unproven_until(&self, at: Option<Time>) {
        self.inner().unproven_until = at;
    }
}

impl Inner {
    fn scope_of<'a>(&'a self, namespace: &'a str, object: &'a ServiceAccountLifecycle) -> Scope<'a> {
        let seen = |g: &'a crate::api::lifecycle::Grant| {
            let into = g.namespace.as_deref().unwrap_or(namespace);
            let rules = self.role(into, &g.role_ref).map(|role| role.rules.as_slice());
            GrantSeen { name: &g.name, namespace: into, role: &g.role_ref, rules }
        };
        Scope { home: namespace, grants: object.spec.grants.iter().map(seen).collect(), namespaces: &self.labels }
    }

    pub(super) fn held_by(&self, key: &(String, String)) -> Option<Held> {
        let rows = self.by_lifecycle.get(key).into_iter().flatten().filter_map(|uid| self.leases.get(uid));
        let owing = rows.filter(|row| row.is_there()).filter_map(|row| Some((row.owed?, row.name.clone())));
        owing.min().map(|(since, lease)| Held { lease, since })
    }

    /// What is known of the policies of admission, and whether every policy of ours can be read.
    pub(super) fn enforcement(&self) -> Enforcement {
        match (&self.enforcement, self.policies.unreadable.keys().next()) {
            (Some(Enforcement::Enforced), Some(name)) => Enforcement::Missing(format!(
                "CredentialLeasePolicy {name} cannot be decoded, so what it forbids is not known: apply it again, or delete it"
            )),
            (known, _) => known.clone().unwrap_or(Enforcement::Unknown),
        }
    }

    pub(super) fn sweep_policies(&mut self, epoch: u32) -> Wishes {
        let before = self.policies.rows.len() + self.policies.unreadable.len();
        self.policies.rows.retain(|_, row| row.epoch >= epoch);
        self.policies.unreadable.retain(|_, seen| *seen >= epoch);
        if self.policies.rows.len() + self.policies.unreadable.len() == before {
            return Wishes::default();
        }
        self.policies.refresh();
        self.wake_all_moving()
    }

    pub(super) fn sweep_namespaces(&mut self, epoch: u32) -> Wishes {
        let lost: Vec<String> =
            self.namespaces.iter().filter(|(_, row)| row.epoch < epoch).map(|(name, _)| name.clone()).collect();
        let mut wishes = Wishes::default();
        for name in lost {
            self.namespaces.remove(&name);
            self.labels.remove(&name);
            wishes.extend(self.wake_namespace(&name));
        }
        wishes
    }
}
