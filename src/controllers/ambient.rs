//! What the cluster gives to every service account, and with it to every lease.
//!
//! Bindings are listed every few minutes, but for those that carry a lease's label: there are two of them for each lease, and the
//! watch of what was made for leases brings them anyway. They are not left out, since whoever binds a role may write that label.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef};
use kube::{Api, Client, ResourceExt, api::ListParams, runtime::watcher::Event};
use tokio::sync::Notify;

use crate::{
    api::names,
    cluster::read::Binding,
    domain::ambient::{is_usual, reaches_every_account},
};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(300);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bindings read at once.
const PAGE: u32 = 500;
/// The most bindings that are named.
const MOST: usize = 20;

/// The bindings, as they were last seen.
#[derive(Clone, Default)]
pub struct Ambient {
    seen: Arc<Mutex<Seen>>,
    /// Told when a labelled binding begins or ceases to reach every account.
    moved: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    /// `None` before the first look.
    listed: Option<Found>,
    labelled: Labelled,
    /// What a list has brought so far that is not complete.
    relisted: Option<Labelled>,
}

/// Cluster-wide bindings, and those of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    cluster: Vec<String>,
    namespaces: BTreeMap<String, Vec<String>>,
}

/// Labelled bindings that reach every account: where they are, and what is said of them. A sane cluster has none.
type Labelled = BTreeMap<(String, String), String>;

impl Ambient {
    /// What every lease of a namespace also holds; `None` before the first look.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<Vec<String>> {
        let seen = self.seen();
        let listed = seen.listed.as_ref()?;
        let own = listed.namespaces.get(namespace).into_iter().flatten();
        let labelled = seen.labelled.iter().filter(|((of, _), _)| of == namespace).map(|(_, text)| text);
        Some(listed.cluster.iter().chain(own).chain(labelled).take(MOST).cloned().collect())
    }

    /// Takes in what the watch tells of bindings that carry a lease's label.
    pub fn take_in(&self, event: &Event<Binding>) {
        let mut guard = self.seen();
        let seen = &mut *guard;
        let moved = match event {
            Event::Init => {
                seen.relisted = Some(Labelled::new());
                false
            }
            Event::InitApply(binding) => {
                note(seen.relisted.get_or_insert_default(), binding);
                false
            }
            Event::InitDone => {
                let whole = seen.relisted.take().unwrap_or_default();
                mem::replace(&mut seen.labelled, whole) != seen.labelled
            }
            Event::Apply(binding) => note(&mut seen.labelled, binding),
            Event::Delete(binding) => seen.labelled.remove(&place(binding)).is_some(),
        };
        drop(guard);
        if moved {
            self.moved.notify_one();
        }
    }

    /// Looks for ever; `changed` is called when something is different.
    pub async fn run(self, client: Client, changed: impl Fn() + Send) {
        loop {
            match tokio::time::timeout(PATIENCE, look(&client)).await {
                Ok(Ok(found)) => {
                    let before = self.seen().listed.replace(found.clone());
                    if before.as_ref() != Some(&found) {
                        changed();
                    }
                }
                Err(_) => {
                    tracing::warn!("the bindings of all service accounts could not be read in time; it is tried again")
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the bindings of all service accounts could not be read; it is tried again")
                }
            }
            let next = tokio::time::Instant::now() + EVERY;
            while tokio::time::timeout_at(next, self.moved.notified()).await.is_ok() {
                changed();
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is said of it is different from before.
fn note(labelled: &mut Labelled, binding: &Binding) -> bool {
    if reaches_every_account(Some(&binding.subjects)) {
        let told = text(&binding.name_any(), &binding.role_ref);
        labelled.insert(place(binding), told.clone()) != Some(told)
    } else {
        !labelled.is_empty() && labelled.remove(&place(binding)).is_some()
    }
}

fn place(binding: &Binding) -> (String, String) {
    (binding.namespace().unwrap_or_default(), binding.name_any())
}

fn text(name: &str, role: &RoleRef) -> String {
    format!("RoleBinding {name} ({} {})", role.kind, role.name)
}

async fn look(client: &Client) -> Result<Found, kube::Error> {
    let mut found = Found::default();
    let mut cluster = pages::<ClusterRoleBinding>(client, ListParams::default());
    while let Some(binding) = cluster.try_next().await? {
        if reaches_every_account(binding.subjects.as_deref()) && !is_usual(&binding.role_ref.name) {
            found.cluster.push(format!(
                "ClusterRoleBinding {} (ClusterRole {})",
                binding.name_any(),
                binding.role_ref.name
            ));
        }
    }
    let unlabelled = ListParams::default().labels(&format!("!{}", names::LABEL_LEASE_UID));
    let mut namespaced = pages::<RoleBinding>(client, unlabelled);
    while let Some(binding) = namespaced.try_next().await? {
        if reaches_every_account(binding.subjects.as_deref()) {
            let told = text(&binding.name_any(), &binding.role_ref);
            found.namespaces.entry(binding.namespace().unwrap_or_default()).or_default().push(told);
        }
    }
    Ok(found)
}

fn pages<K>(
    client: &Client,
    params: ListParams,
) -> std::pin::Pin<Box<dyn futures::Stream<Item = Result<K, kube::Error>> + Send>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    let first = Some(params.limit(PAGE));
    let pages = futures::stream::try_unfold((api, first), |(api, params)| async move {
        let Some(params) = params else { return Ok(None) };
        let page = api.list(&params).await?;
        let next = page
            .metadata
            .continue_
            .clone()
            .filter(|token| !token.is_empty())
            .map(|token| params.continue_token(&token));
        Ok::<_, kube::Error>(Some((futures::stream::iter(page.items.into_iter().map(Ok)), (api, next))))
    });
    Box::pin(pages.try_flatten())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binding(name: &str, group: &str) -> Binding {
        let told = json!({
            "metadata": {"namespace": "payments", "name": name}, "roleRef": {"kind": "Role", "name": "admin"},
            "subjects": [{"kind": "Group", "name": group}],
        });
        serde_json::from_value(told).unwrap()
    }

    fn looked() -> Ambient {
        let ambient = Ambient::default();
        ambient.seen().listed = Some(Found::default());
        ambient
    }

    async fn has_moved(ambient: &Ambient) -> bool {
        tokio::time::timeout(Duration::from_millis(1), ambient.moved.notified()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_label_hides_no_binding_that_reaches_every_account() {
        let ambient = looked();
        ambient.take_in(&Event::Apply(binding("ours", "a-team")));
        assert!(!has_moved(&ambient).await);
        ambient.take_in(&Event::Apply(binding("hidden", "system:serviceaccounts")));
        assert!(has_moved(&ambient).await);
        assert_eq!(ambient.of("payments").unwrap(), ["RoleBinding hidden (Role admin)"]);
        assert!(ambient.of("elsewhere").unwrap().is_empty());
        ambient.take_in(&Event::Apply(binding("hidden", "system:serviceaccounts")));
        assert!(!has_moved(&ambient).await);
        ambient.take_in(&Event::Delete(binding("hidden", "system:serviceaccounts")));
        assert!(has_moved(&ambient).await && ambient.of("payments").unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn while_everything_is_listed_again_nothing_is_forgotten() {
        let ambient = looked();
        ambient.take_in(&Event::Apply(binding("old", "system:authenticated")));
        assert!(has_moved(&ambient).await);
        ambient.take_in(&Event::Init);
        assert_eq!(ambient.of("payments").unwrap().len(), 1);
        ambient.take_in(&Event::InitApply(binding("new", "system:authenticated")));
        ambient.take_in(&Event::InitDone);
        assert!(has_moved(&ambient).await);
        assert_eq!(ambient.of("payments").unwrap(), ["RoleBinding new (Role admin)"]);
    }
}
