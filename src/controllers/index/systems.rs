//! The connected systems that workflows call.

use std::{collections::BTreeMap, sync::Arc};

use super::{Index, Inner, Wishes};
use crate::{
    api::{ConnectedSystem, ServiceAccountLifecycleSpec, names::LeaseUid, status::CredentialLeaseStatus},
    domain::{
        guards::Labels,
        observed::LifecycleSeen,
        workflow::{self, SystemSeen},
    },
    systems::seen::seen,
};

/// What is kept of one system.
struct SystemRow {
    object: Arc<ConnectedSystem>,
    seen: Arc<SystemSeen>,
    epoch: u32,
}

/// What the ledger of a lease tells.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The names of the steps that can be taken back, in their order.
    pub steps: Vec<String>,
    /// The digest of the workflow that it was written for.
    pub workflow: Option<String>,
}

/// Every system by its name.
#[derive(Default)]
pub(super) struct Systems(BTreeMap<String, SystemRow>);

impl Systems {
    pub(super) fn get(&self, name: &str) -> Option<Arc<ConnectedSystem>> {
        self.0.get(name).map(|row| row.object.clone())
    }
}

impl Index {
    /// A system was created or changed.
    pub fn system_applied(&self, object: ConnectedSystem) -> Wishes {
        let name = object.metadata.name.clone().unwrap_or_default();
        let identity = |o: &ConnectedSystem| (o.metadata.uid.clone(), o.metadata.generation);
        // Its expressions are looked at once for each generation, and without the lock: that may take a while.
        let known = self
            .inner()
            .systems
            .0
            .get(&name)
            .filter(|row| identity(&row.object) == identity(&object))
            .map(|row| row.seen.clone());
        let same = known.is_some();
        let looked_at = known.unwrap_or_else(|| Arc::new(seen(&object)));
        let mut inner = self.inner();
        let epoch = inner.epoch(super::Source::Systems);
        inner.systems.0.insert(name.clone(), SystemRow { object: Arc::new(object), seen: looked_at, epoch });
        if same { Wishes::default() } else { inner.wake_system(&name) }
    }

    /// A system is gone.
    pub fn system_deleted(&self, name: &str) -> Wishes {
        let mut inner = self.inner();
        inner.systems.0.remove(name);
        inner.wake_system(name)
    }

    /// A system as it was last seen.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<Arc<ConnectedSystem>> {
        self.inner().systems.get(name)
    }

    /// Why steps of a lifecycle's workflow cannot run, whatever the delivery of a lease.
    #[must_use]
    pub fn workflow_problems(&self, namespace: &str, spec: &ServiceAccountLifecycleSpec) -> Vec<workflow::Problem> {
        let inner = self.inner();
        let none = Labels::new();
        let labels = inner.labels.get(namespace).unwrap_or(&none);
        let named = spec.workflow.iter().map(|step| step.system.as_str());
        let systems = named.filter_map(|n| Some((n.to_owned(), inner.systems.0.get(n)?.seen.clone()))).collect();
        // Where only one delivery is possible, what it rules out shows before anybody asks.
        let delivery = match spec.terms.delivery.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        workflow::problems(&spec.workflow, &systems, labels, delivery)
    }

    /// Every system.
    #[must_use]
    pub fn systems(&self) -> Vec<Arc<ConnectedSystem>> {
        self.inner().systems.0.values().map(|row| row.object.clone()).collect()
    }
}

impl Index {
    /// What the ledger of a lease tells.
    pub fn ledger_tells(&self, lease: &LeaseUid, steps: &str, workflow: Option<&str>) {
        let names = steps.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let ledger = Ledger { steps: names, workflow: workflow.map(str::to_owned) };
        self.inner().ledgers.insert(*lease, ledger);
    }

    /// What the ledger of a lease has told; nothing where none was seen.
    #[must_use]
    pub fn ledger(&self, lease: &LeaseUid) -> Ledger {
        self.inner().ledgers.get(lease).cloned().unwrap_or_default()
    }
}

impl Inner {
    /// The systems that the workflow of a lease names: as it is now, and as it was agreed to.
    pub(super) fn systems_of(&self, lifecycle: &LifecycleSeen, status: &CredentialLeaseStatus) -> workflow::Systems {
        let now = match lifecycle {
            LifecycleSeen::Present(facts) => facts.spec.workflow.as_slice(),
            _ => &[],
        };
        let agreed = status.request.iter().flat_map(|r| &r.workflow).map(|step| step.system.name.as_str());
        let names = now.iter().map(|step| step.system.as_str()).chain(agreed);
        names.filter_map(|name| Some((name.to_owned(), self.systems.0.get(name)?.seen.clone()))).collect()
    }

    pub(super) fn sweep_systems(&mut self, epoch: u32) -> Wishes {
        let lost: Vec<String> =
            self.systems.0.iter().filter(|(_, row)| row.epoch < epoch).map(|(name, _)| name.clone()).collect();
        let mut wishes = Wishes::default();
        for name in lost {
            self.systems.0.remove(&name);
            wishes.extend(self.wake_system(&name));
        }
        wishes
    }
}
