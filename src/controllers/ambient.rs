//! What the cluster gives to every service account, and with it to every lease.
//!
//! Bindings are listed every few minutes, but for those that carry a lease's label: there is at least one for each lease, and the
//! watch of what was made for leases brings them anyway. They are looked at there, since whoever binds a role may write that label.

use std::{
    collections::{BTreeMap, BTreeSet},
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
/// How soon it is looked again when a look failed or a labelled binding has changed, which may have lost its label. Twice as long
/// each time in a row: whoever may bind roles in one namespace could have everything looked at again and again.
const SOON: Duration = Duration::from_secs(5);
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
    /// `None` before the first list of the watch.
    labelled: Option<Labelled>,
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

type Known = (Found, Labelled);

/// The namespaces of which something else is said than before; `None`: it may be all.
fn moved(before: Option<&Known>, now: Option<&Known>) -> Option<BTreeSet<String>> {
    let ((listed, labelled), (lists, labels)) = (before?, now?);
    if listed.cluster != lists.cluster {
        return None;
    }
    let names = [listed, lists].into_iter().flat_map(|found| found.namespaces.keys());
    let listed = names.filter(|name| listed.namespaces.get(*name) != lists.namespaces.get(*name));
    let places = [labelled, labels].into_iter().flat_map(Labelled::keys);
    let labelled = places.filter(|place| labelled.get(*place) != labels.get(*place)).map(|(namespace, _)| namespace);
    Some(listed.chain(labelled).cloned().collect())
}

impl Ambient {
    /// What every lease of a namespace also holds; `None` before everything was seen once.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<Vec<String>> {
        let seen = self.seen();
        let (listed, labelled) = (seen.listed.as_ref()?, seen.labelled.as_ref()?);
        let own: &[String] = listed.namespaces.get(namespace).map_or(&[], Vec::as_slice);
        let labelled = labelled.iter().filter(|((of, _), _)| of == namespace).map(|(_, text)| text);
        // Listed before it had the label.
        let labelled = labelled.filter(|text| !own.contains(text));
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
                seen.labelled.replace(whole) != seen.labelled
            }
            Event::Apply(binding) => note(seen.labelled.get_or_insert_default(), binding),
            Event::Delete(binding) => {
                let was = seen.labelled.as_mut().and_then(|labelled| labelled.remove(&place(binding)));
                // It may only have lost its label: then the next look finds it, and until then it is still said.
                if let (Some(text), Some(listed)) = (&was, &mut seen.listed) {
                    listed.namespaces.entry(binding.namespace().unwrap_or_default()).or_default().push(text.clone());
                }
                was.is_some()
            }
        };
        drop(guard);
        if moved {
            self.moved.notify_one();
        }
    }

    /// Looks for ever; `changed` is called with the namespaces in which something is different, `None` if that may be all.
    pub async fn run(self, client: Client, changed: impl Fn(Option<&BTreeSet<String>>) + Send) {
        let (mut told, mut pause) = (None, SOON);
        loop {
            let mut failed = true;
            match tokio::time::timeout(PATIENCE, look(&client)).await {
                Ok(Ok(found)) => {
                    self.seen().listed = Some(found);
                    failed = false;
                }
                Err(_) => {
                    tracing::warn!("the bindings of all service accounts could not be read in time; it is tried again")
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the bindings of all service accounts could not be read; it is tried again")
                }
            }
            self.tell(&mut told, &changed);
            if failed || tokio::time::timeout(EVERY, self.moved.notified()).await.is_ok() {
                self.tell(&mut told, &changed);
                tokio::time::sleep(pause).await;
                pause = EVERY.min(pause * 2);
            } else {
                pause = SOON;
            }
        }
    }

    fn tell(&self, told: &mut Option<Known>, changed: &impl Fn(Option<&BTreeSet<String>>)) {
        let known = self.known();
        if *told != known {
            changed(moved(told.as_ref(), known.as_ref()).as_ref());
            *told = known;
        }
    }

    /// Everything; `None` before it was seen once.
    fn known(&self) -> Option<Known> {
        let seen = self.seen();
        Some((seen.listed.clone()?, seen.labelled.clone()?))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps it or drops it; whether what is said of it has changed.
fn note(labelled: &mut Labelled, binding: &Binding) -> bool {
    if reaches_every_account(binding.subjects.as_deref()) {
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
        let mut seen = ambient.seen();
        (seen.listed, seen.labelled) = (Some(Found::default()), Some(Labelled::new()));
        drop(seen);
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
        assert!(has_moved(&ambient).await, "it is looked again soon");
        assert_eq!(ambient.of("payments").unwrap().len(), 1, "it may only have lost its label");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_before_everything_was_seen_once() {
        let ambient = Ambient::default();
        ambient.seen().listed = Some(Found::default());
        assert_eq!(ambient.of("payments"), None);
        ambient.take_in(&Event::Init);
        ambient.take_in(&Event::InitDone);
        assert!(has_moved(&ambient).await && ambient.of("payments").unwrap().is_empty());
    }

    #[test]
    fn what_changes_in_one_namespace_concerns_that_one() {
        let place = ("payments".to_owned(), "b".to_owned());
        let (none, one) = ((Found::default(), Labelled::new()), (Found::default(), [(place, "b".to_owned())].into()));
        assert_eq!(moved(Some(&none), Some(&one)), Some(["payments".to_owned()].into()));
        assert_eq!(moved(Some(&one), Some(&one)), Some(BTreeSet::new()));
        let cluster = (Found { cluster: vec!["c".into()], ..Found::default() }, Labelled::new());
        assert_eq!((moved(None, Some(&none)), moved(Some(&none), Some(&cluster))), (None, None));
        let listed = Found { namespaces: [("teams".to_owned(), vec!["t".to_owned()])].into(), ..Found::default() };
        assert_eq!(moved(Some(&none), Some(&(listed, Labelled::new()))), Some(["teams".to_owned()].into()));
    }

    #[test]
    fn one_that_was_listed_before_it_had_the_label_is_named_once() {
        let ambient = looked();
        let listed = vec!["RoleBinding both (Role admin)".to_owned()];
        ambient.seen().listed =
            Some(Found { namespaces: [("payments".to_owned(), listed)].into(), ..Found::default() });
        ambient.take_in(&Event::Apply(binding("both", "system:authenticated")));
        assert_eq!(ambient.of("payments").unwrap().len(), 1);
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
