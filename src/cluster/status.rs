//! Writes a status: whole, and on the resourceVersion that it was decided on. A merge patch or an apply would ignore the UID,
//! and land on a namesake.

use http::{Method, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use super::{
    exchange::{Ask, Exchange},
    paths::path,
};
use crate::{
    api::names,
    domain::call::{Class, Failure},
};

/// An object as it is written to its status subresource.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, Spec, Status> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Option<&'a Spec>,
    status: &'a Status,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// The object whose status is written.
#[derive(Clone, Debug)]
pub struct Target<'a, Spec> {
    /// Empty: cluster-scoped.
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub resource_version: &'a str,
    /// As it was read: a status is written with the whole object.
    pub spec: Option<&'a Spec>,
}

/// Writes the status of an object of kind `K`; answers with its new resourceVersion.
///
/// # Errors
/// [`Class::Conflict`] if the object is another one by now, or gone.
pub async fn put<K, Spec, Status>(
    exchange: &Exchange,
    target: &Target<'_, Spec>,
    status: &Status,
) -> Result<String, Failure>
where
    K: Resource<DynamicType = ()>,
    Spec: Serialize,
    Status: Serialize,
{
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let body = Body {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        metadata: ObjectMeta {
            namespace: given(target.namespace),
            name: given(target.name),
            uid: given(target.uid),
            resource_version: given(target.resource_version),
            ..ObjectMeta::default()
        },
        spec: target.spec,
        status,
    };
    let path = format!("{}/status?fieldManager={}", path::<K>(target.namespace, target.name), names::MANAGER);
    let reply = exchange.send(Ask::new(Method::PUT, path).json(&body)?.metadata()).await?;
    if reply.code == StatusCode::NOT_FOUND {
        return Err(Failure { class: Class::Conflict, ..reply.failure() });
    }
    Ok(reply.decode::<Written>()?.metadata.resource_version.unwrap_or_default())
}
