//! The watches: each feeds the index, and what follows goes to the engine.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, Role},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};

use super::{
    ambient::Ambient,
    index::{Index, Source, Wish, Wishes},
};
use crate::{
    api::{
        ConnectedSystem, CredentialLease, CredentialLeaseDecision, CredentialLeasePolicy, ServiceAccountLifecycle,
        lifecycle::RoleKind, names,
    },
    cluster::{
        fence::{self, Kind},
        read::{Binding, Readable, Sparse},
        watches::Pauses,
    },
    domain::{observed::RoleSeen, rbac},
};

/// How many objects a list brings at once. A page is there as a whole, as text and decoded, in each watch, and a process keeps most
/// of the memory that it has once needed.
const PAGE: u32 = 100;

/// The most events of a watch that are taken in together: as many decoded objects are in memory at once.
const MOST_TOGETHER: usize = 16;

/// Watches that begin with a list, in small pages: of what there are few of, or where an absence refuses a lease.
pub(super) fn everything() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// Watches that begin with what there is, one object after the other: of leases and their objects, of which there may be very many.
/// No page of them is ever in memory, and the API server has their text ready. [`crate::cluster::watches`] sees to it that it is not
/// old, and that of what is in the issuing namespace only metadata comes.
fn streamed() -> watcher::Config {
    watcher::Config::default().streaming_lists()
}

/// Where what follows from an event goes.
#[derive(Clone)]
pub struct Outlet {
    pub index: Arc<Index>,
    pub visits: mpsc::UnboundedSender<Wish>,
    pub lifecycles: mpsc::UnboundedSender<(String, String)>,
    /// The same again, for their standing credentials.
    pub standing: mpsc::UnboundedSender<(String, String)>,
    /// Told whenever a watch fails, and when it has listed anew.
    pub disturbed: Arc<Notify>,
}

impl Outlet {
    /// Passes wishes on, if this replica leads. A receiver that is gone means that the process is stopping.
    pub fn pass(&self, wishes: Wishes) {
        if !self.index.leads() {
            return;
        }
        for wish in wishes.visits {
            _ = self.visits.send(wish);
        }
        for lifecycle in wishes.lifecycles {
            _ = self.standing.send(lifecycle.clone());
            _ = self.lifecycles.send(lifecycle);
        }
    }
}

/// The watches of [`super::index::WRITTEN`], as tasks to be spawned: what the leader itself writes.
#[must_use]
pub fn written(client: &Client, outlet: &Outlet) -> Vec<futures::future::BoxFuture<'static, ()>> {
    let ours = streamed().labels(names::LABEL_LEASE_UID);
    vec![
        Box::pin(leases(watcher(Api::all(client.clone()), streamed()), outlet.clone())),
        Box::pin(children(
            watcher(Api::<Sparse<ServiceAccount>>::namespaced(client.clone(), names::ISSUING_NAMESPACE), ours),
            Kind::Account,
            outlet.clone(),
        )),
    ]
}

/// All other watches, as tasks to be spawned. `policies_changed` is told of every event of a policy, also of those that change
/// nothing for leases: its own status may have to be written. So is `systems_changed` of every event of a connected system, and
/// `ambient` of every binding that carries a lease's label.
#[must_use]
pub fn watches(
    client: &Client,
    outlet: &Outlet,
    ambient: &Ambient,
    policies_changed: &Arc<Notify>,
    systems_changed: &Arc<Notify>,
) -> Vec<futures::future::BoxFuture<'static, ()>> {
    let all = everything;
    let ours = || streamed().labels(names::LABEL_LEASE_UID);
    let issuing = names::ISSUING_NAMESPACE;
    // No lifecycle grants a Role of the issuing namespace, and there is one for each lease that is minted by its requester.
    let elsewhere = all().fields(&format!("metadata.namespace!={issuing}"));
    vec![
        Box::pin(lifecycles(watcher(Api::all(client.clone()), all()), outlet.clone())),
        Box::pin(decisions(watcher(Api::all(client.clone()), all()), outlet.clone())),
        Box::pin(policies(watcher(Api::all(client.clone()), all()), outlet.clone(), policies_changed.clone())),
        Box::pin(systems(watcher(Api::all(client.clone()), all()), outlet.clone(), systems_changed.clone())),
        Box::pin(namespaces(watcher(Api::all(client.clone()), all()), outlet.clone())),
        Box::pin(roles::<Role>(watcher(Api::all(client.clone()), elsewhere), RoleKind::Role, outlet.clone())),
        Box::pin(roles::<ClusterRole>(watcher(Api::all(client.clone()), all()), RoleKind::ClusterRole, outlet.clone())),
        Box::pin(children(
            watcher(Api::<Sparse<Job>>::namespaced(client.clone(), issuing), ours()),
            Kind::Job,
            outlet.clone(),
        )),
        Box::pin(children(
            watcher(Api::<Sparse<Role>>::namespaced(client.clone(), issuing), ours()),
            Kind::Role,
            outlet.clone(),
        )),
        Box::pin(children(bindings(client, ours(), ambient.clone()), Kind::Binding, outlet.clone())),
        Box::pin(children(
            watcher(Api::<Sparse<ConfigMap>>::namespaced(client.clone(), issuing), ours()),
            Kind::Ledger,
            outlet.clone(),
        )),
    ]
}

/// Runs a watch for ever, with back-off; a stream that fails is reported, and what it had delivered stays.
async fn follow<K, F>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    source: Source,
    outlet: Outlet,
    mut on: F,
) where
    K: Debug + Clone + Send + 'static,
    F: FnMut(&Index, Change<K>) -> Wishes,
{
    // What has come already is taken in together: who works on it is woken once for all of it.
    let mut events = std::pin::pin!(events.backoff(Pauses::new()).ready_chunks(MOST_TOGETHER));
    // A stream that ends before it has told everything is no error for kube, which begins another at once.
    let (mut begun, mut pauses) = (false, Pauses::new());
    while let Some(chunk) = events.next().await {
        let mut wishes = Wishes::default();
        for event in chunk {
            match event {
                Ok(Event::Init) => {
                    outlet.index.list_begins(source);
                    if std::mem::replace(&mut begun, true) {
                        tracing::warn!(?source, "a watch broke off before it had told everything, and is opened again");
                        outlet.disturbed.notify_one();
                        outlet.pass(std::mem::take(&mut wishes));
                        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
                    }
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    wishes.extend(on(&outlet.index, Change::Applied(object)));
                }
                Ok(Event::Delete(object)) => wishes.extend(on(&outlet.index, Change::Deleted(object))),
                Ok(Event::InitDone) => {
                    begun = false;
                    outlet.disturbed.notify_one();
                    wishes.extend(outlet.index.list_ends(source));
                }
                Err(error) => {
                    begun = false;
                    tracing::warn!(?source, %error, "a watch failed and is opened again");
                    outlet.disturbed.notify_one();
                }
            }
        }
        outlet.pass(wishes);
    }
}

enum Change<K> {
    Applied(K),
    Deleted(K),
}

async fn leases(events: impl Stream<Item = watcher::Result<Event<Readable<CredentialLease>>>> + Send, outlet: Outlet) {
    follow(events, Source::Leases, outlet, |index, change| match change {
        Change::Deleted(object) => index.lease_deleted(object.metadata.uid.as_deref().unwrap_or_default()),
        Change::Applied(object) => match object.object {
            Ok(lease) => index.lease_applied(&lease),
            Err(error) => {
                let (namespace, name) = place(&object.metadata);
                tracing::error!(lease = %format!("{namespace}/{name}"), %error, "a stored lease cannot be decoded: nothing is issued for it, and its account ends at its deadline; delete it");
                index.lease_unreadable(&namespace, &name, object.metadata.uid.as_deref().unwrap_or_default())
            }
        },
    })
    .await;
}

async fn lifecycles(
    events: impl Stream<Item = watcher::Result<Event<Readable<ServiceAccountLifecycle>>>> + Send,
    outlet: Outlet,
) {
    follow(events, Source::Lifecycles, outlet, |index, change| match change {
        Change::Deleted(object) => index.lifecycle_deleted(object.metadata.namespace.as_deref().unwrap_or_default(), object.metadata.name.as_deref().unwrap_or_default()),
        Change::Applied(object) => match object.object {
            Ok(mut lifecycle) => {
                lifecycle.metadata.annotations = None;
                index.lifecycle_applied(lifecycle)
            }
            Err(error) => {
                let (namespace, name) = place(&object.metadata);
                tracing::error!(lifecycle = %format!("{namespace}/{name}"), %error, "a stored lifecycle cannot be decoded: nothing is leased from it; apply it again");
                index.lifecycle_deleted(&namespace, &name)
            }
        },
    })
    .await;
}

async fn namespaces(events: impl Stream<Item = watcher::Result<Event<Sparse<Namespace>>>> + Send, outlet: Outlet) {
    follow(events, Source::Namespaces, outlet, |index, change| match change {
        Change::Applied(object) => {
            let metadata = &object.metadata;
            let labels = metadata.labels.clone().unwrap_or_default();
            index.namespace_seen(
                metadata.name.as_deref().unwrap_or_default(),
                labels,
                metadata.deletion_timestamp.is_some(),
            )
        }
        Change::Deleted(object) => index.namespace_deleted(object.metadata.name.as_deref().unwrap_or_default()),
    })
    .await;
}

async fn decisions(
    events: impl Stream<Item = watcher::Result<Event<Readable<CredentialLeaseDecision>>>> + Send,
    outlet: Outlet,
) {
    follow(events, Source::Decisions, outlet, |index, change| match change {
        Change::Deleted(object) => index.decision_deleted(object.metadata.uid.as_deref().unwrap_or_default()),
        Change::Applied(object) => match object.object {
            Ok(decision) => index.decision_applied(&decision),
            Err(error) => {
                let (namespace, name) = place(&object.metadata);
                tracing::error!(decision = %format!("{namespace}/{name}"), %error, "a stored decision cannot be decoded and does not count; create another one");
                Wishes::default()
            }
        },
    })
    .await;
}

async fn policies(
    events: impl Stream<Item = watcher::Result<Event<Readable<CredentialLeasePolicy>>>> + Send,
    outlet: Outlet,
    changed: Arc<Notify>,
) {
    follow(events, Source::Policies, outlet, move |index, change| {
        changed.notify_one();
        match change {
            Change::Deleted(object) => index.policy_deleted(object.metadata.name.as_deref().unwrap_or_default()),
            Change::Applied(object) => match object.object {
                Ok(mut policy) => {
                    policy.metadata.annotations = None;
                    index.policy_applied(policy)
                }
                Err(error) => {
                    let (_, name) = place(&object.metadata);
                    tracing::error!(policy = %name, %error, "a stored policy cannot be decoded: nothing is issued until it is applied again or deleted");
                    index.policy_unreadable(&name)
                }
            },
        }
    })
    .await;
}

async fn systems(
    events: impl Stream<Item = watcher::Result<Event<Readable<ConnectedSystem>>>> + Send,
    outlet: Outlet,
    changed: Arc<Notify>,
) {
    follow(events, Source::Systems, outlet, move |index, change| {
        changed.notify_one();
        match change {
            Change::Deleted(object) => index.system_deleted(object.metadata.name.as_deref().unwrap_or_default()),
            Change::Applied(object) => match object.object {
                Ok(mut system) => {
                    system.metadata.annotations = None;
                    index.system_applied(system)
                }
                Err(error) => {
                    let (_, name) = place(&object.metadata);
                    tracing::error!(system = %name, %error, "a stored connected system cannot be decoded and is not called; apply it again");
                    index.system_deleted(&name)
                }
            },
        }
    })
    .await;
}

/// Namespace and name of an object.
fn place(metadata: &ObjectMeta) -> (String, String) {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// Both kinds of role, as far as they are alike.
trait AnyRole: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {
    fn seen(&self) -> RoleSeen;
}

impl AnyRole for Role {
    fn seen(&self) -> RoleSeen {
        RoleSeen { uid: self.uid().unwrap_or_default(), rules: rbac::rules(self.rules.as_ref()) }
    }
}

impl AnyRole for ClusterRole {
    fn seen(&self) -> RoleSeen {
        RoleSeen { uid: self.uid().unwrap_or_default(), rules: rbac::rules(self.rules.as_ref()) }
    }
}

async fn roles<R: AnyRole>(
    events: impl Stream<Item = watcher::Result<Event<R>>> + Send,
    kind: RoleKind,
    outlet: Outlet,
) {
    follow(events, Source::Roles(kind), outlet, move |index, change| {
        let (role, seen) = match &change {
            Change::Applied(role) => (role, Some(role.seen())),
            Change::Deleted(role) => (role, None),
        };
        index.role_changed(
            kind,
            role.meta().namespace.as_deref().unwrap_or_default(),
            role.meta().name.as_deref().unwrap_or_default(),
            seen,
        )
    })
    .await;
}

/// The RoleBindings that carry a lease's label. Anybody may write that label, so what they give is looked at as well.
fn bindings(
    client: &Client,
    ours: watcher::Config,
    ambient: Ambient,
) -> impl Stream<Item = watcher::Result<Event<Binding>>> + Send + use<> {
    watcher(Api::<Binding>::all(client.clone()), ours).inspect_ok(move |event| ambient.take_in(event))
}

async fn children<K>(events: impl Stream<Item = watcher::Result<Event<K>>> + Send, kind: Kind, outlet: Outlet)
where
    K: Resource + Debug + Clone + Send + 'static,
{
    follow(events, Source::Children(kind), outlet, move |index, change| {
        let metadata: &ObjectMeta = match &change {
            Change::Applied(object) | Change::Deleted(object) => object.meta(),
        };
        let (Some((lease, child)), Some(id)) = (fence::child_of(kind, metadata), fence::identity(metadata)) else {
            return Wishes::default();
        };
        match change {
            Change::Applied(_) => {
                let annotation =
                    |name: &str| metadata.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str);
                if let Some(steps) = annotation(names::ANNOTATION_STEPS).filter(|_| kind == Kind::Ledger) {
                    index.ledger_tells(&lease, steps, annotation(names::ANNOTATION_WORKFLOW));
                }
                index.child_applied(kind, lease, child, id, annotation(names::ANNOTATION_LEASE))
            }
            Change::Deleted(_) => index.child_deleted(&lease, &id.uid),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use tokio::time::Instant;

    use super::*;
    use crate::{domain::observed::Settings, runtime::audit::Audit};

    /// How long it takes to follow these events, and whether the list is complete then.
    async fn followed(events: Vec<Event<Sparse<Job>>>) -> (Duration, bool) {
        let (audit, _) = Audit::to(std::io::sink()).unwrap();
        let index = Index::new(audit, Settings { retention_millis: 1, require_policy: false });
        let source = Source::Children(Kind::Job);
        let (visits, lifecycles, standing) =
            (mpsc::unbounded_channel().0, mpsc::unbounded_channel().0, mpsc::unbounded_channel().0);
        let outlet = Outlet { index: Arc::new(index), visits, lifecycles, standing, disturbed: Arc::default() };
        let (index, begun) = (outlet.index.clone(), Instant::now());
        follow(stream::iter(events.into_iter().map(Ok)), source, outlet, |_, _| Wishes::default()).await;
        (begun.elapsed(), !index.unsynced().contains(&source))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_breaks_off_before_it_has_told_everything_is_begun_again_after_a_pause() {
        let (took, complete) = followed(vec![Event::Init, Event::InitDone, Event::Init, Event::InitDone]).await;
        assert!(complete && took < Duration::from_millis(100), "{took:?}");
        let (took, complete) = followed((0..20).map(|_| Event::Init).collect()).await;
        assert!(!complete && took > Duration::from_secs(15), "{took:?}");
    }
}
