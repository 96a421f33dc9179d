//! What the cluster gives to every service account, and with it to every lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::domain::ambient::{is_usual, reaches_every_account};

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
pub struct Ambient(Arc<Mutex<Option<Found>>>);

/// Cluster-wide bindings, and those of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    cluster: Vec<String>,
    namespaces: BTreeMap<String, Vec<String>>,
}

impl Ambient {
    /// What every lease of a namespace also holds; `None` before the first look.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<Vec<String>> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let own = found.namespaces.get(namespace).cloned().unwrap_or_default();
        Some(found.cluster.into_iter().chain(own).take(MOST).collect())
    }

    /// Looks for ever; `changed` is called when something is different.
    pub async fn run(self, client: Client, changed: impl Fn() + Send) {
        loop {
            match tokio::time::timeout(PATIENCE, look(&client)).await {
                Ok(Ok(found)) => {
                    let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(found.clone());
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
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn look(client: &Client) -> Result<Found, kube::Error> {
    let mut found = Found::default();
    let mut cluster = pages::<ClusterRoleBinding>(client);
    while let Some(binding) = cluster.try_next().await? {
        if reaches_every_account(binding.subjects.as_deref()) && !is_usual(&binding.role_ref.name) {
            found.cluster.push(format!(
                "ClusterRoleBinding {} (ClusterRole {})",
                binding.name_any(),
                binding.role_ref.name
            ));
        }
    }
    let mut namespaced = pages::<RoleBinding>(client);
    while let Some(binding) = namespaced.try_next().await? {
        if reaches_every_account(binding.subjects.as_deref()) {
            let text =
                format!("RoleBinding {} ({} {})", binding.name_any(), binding.role_ref.kind, binding.role_ref.name);
            found.namespaces.entry(binding.namespace().unwrap_or_default()).or_default().push(text);
        }
    }
    Ok(found)
}

fn pages<K>(client: &Client) -> std::pin::Pin<Box<dyn futures::Stream<Item = Result<K, kube::Error>> + Send>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    let first = Some(ListParams::default().limit(PAGE));
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
