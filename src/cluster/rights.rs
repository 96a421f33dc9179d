//! What the operator itself may do.

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};

use super::exchange::{Ask, Exchange};
use crate::{
    api::lifecycle::{RoleKind, RoleRef},
    domain::call::Failure,
};

/// Whether the operator may make and remove RoleBindings in a namespace.
///
/// # Errors
/// If the API server cannot be asked.
pub async fn may_grant_into(exchange: &Exchange, namespace: &str) -> Result<bool, Failure> {
    let may = |verb| may(exchange, namespace, verb, "rolebindings", None);
    let (create, delete) = futures::try_join!(may("create"), may("delete"))?;
    Ok(create && delete)
}

/// Whether the operator may bind a role in a namespace.
///
/// # Errors
/// If the API server cannot be asked.
pub async fn may_bind(exchange: &Exchange, namespace: &str, role: &RoleRef) -> Result<bool, Failure> {
    let resource = if role.kind == RoleKind::Role { "roles" } else { "clusterroles" };
    may(exchange, namespace, "bind", resource, Some(&role.name)).await
}

async fn may(
    exchange: &Exchange,
    namespace: &str,
    verb: &str,
    resource: &str,
    name: Option<&str>,
) -> Result<bool, Failure> {
    let attributes = ResourceAttributes {
        group: Some("rbac.authorization.k8s.io".into()),
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.into()),
        resource: Some(resource.into()),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..Default::default()
    };
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let reply = exchange.send(Ask::new(Method::POST, path).json(&review)?).await?;
    Ok(reply.decode::<SelfSubjectAccessReview>()?.status.is_some_and(|s| s.allowed))
}
