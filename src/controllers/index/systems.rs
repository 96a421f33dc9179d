//! The connected systems that workflows call.

use std::{collections::BTreeMap, sync::Arc};

use super::{Index, Inner, Wishes};
use crate::api::ConnectedSystem;

/// What is kept of one system.
struct SystemRow {
    object: Arc<ConnectedSystem>,
    epoch: u64,
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
        let mut inner = self.inner();
        let epoch = inner.epoch(super::Source::Systems);
        let name = object.metadata.name.clone().unwrap_or_default();
        let identity = |o: &ConnectedSystem| (o.metadata.uid.clone(), o.metadata.generation);
        let new = identity(&object);
        let old = inner.systems.0.insert(name.clone(), SystemRow { object: Arc::new(object), epoch });
        if old.is_some_and(|old| identity(&old.object) == new) {
            return Wishes::default();
        }
        inner.wake_system(&name)
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

    /// Every system.
    #[must_use]
    pub fn systems(&self) -> Vec<Arc<ConnectedSystem>> {
        self.inner().systems.0.values().map(|row| row.object.clone()).collect()
    }
}

impl Inner {
    pub(super) fn sweep_systems(&mut self, epoch: u64) -> Wishes {
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
