//! What commands read, and whose errors say what to do.

use std::{collections::BTreeMap, fmt::Debug};

use futures::future::join_all;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, Role},
};
use kube::{
    Api, Resource,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;

use super::{
    connect::Cluster,
    exit::Failure,
    view::lease::{self, Filter},
};
use crate::{
    api::{CredentialLease, GROUP, ServiceAccountLifecycle, Time, lifecycle::RoleKind, status::PolicyRule},
    domain::rbac,
};

/// Objects read at once.
const PAGE: u32 = 500;

/// What time it is here.
#[must_use]
pub fn now() -> Time {
    jiff::Timestamp::now().into()
}

/// Everything that a collection has, page by page.
///
/// # Errors
/// What the API server says.
pub async fn all<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let (mut out, mut params) = (vec![], params.clone().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        out.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(out),
        }
    }
}

/// Leases that a filter selects, of the command's namespace or of all, by namespace and name.
///
/// # Errors
/// If they cannot be listed.
pub async fn leases(cluster: &Cluster, everywhere: bool, filter: &Filter) -> Result<Vec<CredentialLease>, Failure> {
    let api: Api<CredentialLease> = scope(cluster, everywhere);
    let fields = filter.fields();
    let params = if fields.is_empty() { ListParams::default() } else { ListParams::default().fields(&fields) };
    let mut leases = all(&api, &params).await.map_err(|e| installed(e, "credentialleases"))?;
    leases.retain(|lease| filter.selects(lease));
    leases.sort_by_key(|lease| (lease::namespace(lease).to_owned(), lease::name(lease).to_owned()));
    Ok(leases)
}

/// The collection of the command's namespace, or of all.
#[must_use]
pub fn scope<K>(cluster: &Cluster, everywhere: bool) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    if everywhere {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    }
}

/// One lease of the command's namespace.
///
/// # Errors
/// If it is not there, or cannot be read.
pub async fn lease(cluster: &Cluster, name: &str) -> Result<CredentialLease, Failure> {
    let api: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = optional(api.get(name).await).map_err(|e| installed(e, "credentialleases"))?;
    found.ok_or_else(|| {
        Failure::Other(format!(
            "there is no lease {name} in namespace {}: see kubectl lease list -A, and name its namespace with -n",
            cluster.namespace
        ))
    })
}

/// One lifecycle of the command's namespace, if it is there.
///
/// # Errors
/// If it cannot be read.
pub async fn lifecycle(cluster: &Cluster, name: &str) -> Result<Option<ServiceAccountLifecycle>, Failure> {
    let api: Api<ServiceAccountLifecycle> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    optional(api.get(name).await).map_err(|e| installed(e, "serviceaccountlifecycles"))
}

/// The rules of a role, if it is there; `namespace` is that of a Role.
///
/// # Errors
/// If it cannot be read.
pub async fn role(
    cluster: &Cluster,
    kind: RoleKind,
    namespace: &str,
    name: &str,
) -> Result<Option<Vec<PolicyRule>>, kube::Error> {
    let client = cluster.client.clone();
    Ok(match kind {
        RoleKind::Role => {
            let role = Api::<Role>::namespaced(client, namespace).get_opt(name).await?;
            role.map(|role| rbac::rules(role.rules.as_ref()))
        }
        RoleKind::ClusterRole => {
            let role = Api::<ClusterRole>::all(client).get_opt(name).await?;
            role.map(|role| rbac::rules(role.rules.as_ref()))
        }
    })
}

/// An answer in which "not found" is an answer. A path that the server does not know is none: there the kind is missing.
///
/// # Errors
/// Whatever else the API server said.
pub fn optional<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 && !kind_is_missing(&status.message) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kind_is_missing(message: &str) -> bool {
    message.contains("page not found") || message.contains("could not find the requested resource")
}

/// A failed read of one of Leasehold's kinds.
#[must_use]
pub fn installed(error: kube::Error, resource: &str) -> Failure {
    match &error {
        kube::Error::Api(status) if status.code == 404 && kind_is_missing(&status.message) => Failure::Other(format!(
            "the cluster has no {resource}.{GROUP}: install Leasehold, or name another cluster with --context"
        )),
        _ => error.into(),
    }
}

/// Whether the caller may do something with a lifecycle of a namespace.
///
/// # Errors
/// If the API server does not say.
pub async fn may(cluster: &Cluster, verb: &str, namespace: &str, lifecycle: &str) -> Result<bool, Failure> {
    let attributes = ResourceAttributes {
        group: Some(GROUP.into()),
        resource: Some("serviceaccountlifecycles".into()),
        verb: Some(verb.into()),
        namespace: Some(namespace.into()),
        name: Some(lifecycle.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    Ok(api.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed))
}

/// On which of these leases' lifecycles the caller has a verb, asked once a lifecycle.
///
/// # Errors
/// If the API server does not say.
pub async fn may_on(
    cluster: &Cluster,
    verb: &str,
    leases: &[CredentialLease],
) -> Result<BTreeMap<(String, String), bool>, Failure> {
    let mut pairs: Vec<_> = leases.iter().map(lifecycle_of).collect();
    pairs.sort();
    pairs.dedup();
    let answers = join_all(pairs.iter().map(|(namespace, name)| may(cluster, verb, namespace, name))).await;
    pairs.into_iter().zip(answers).map(|(pair, answer)| Ok((pair, answer?))).collect()
}

/// Namespace and name of a lease's lifecycle.
#[must_use]
pub fn lifecycle_of(lease: &CredentialLease) -> (String, String) {
    (lease::namespace(lease).to_owned(), lease.spec.lifecycle_ref.name.clone())
}
