//! The operator, as the plugin sees it: its Deployment, and the version that its image names.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::connect::Cluster;
use crate::api::names;

/// The operator's Deployment, if it has one.
///
/// # Errors
/// What the API server says; few may read this namespace.
pub async fn deployment(cluster: &Cluster) -> Result<Option<Deployment>, kube::Error> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), names::OPERATOR_NAMESPACE);
    api.get_opt(names::OPERATOR_ACCOUNT).await
}

/// The image that the operator's container runs.
#[must_use]
pub fn image(deployment: &Deployment) -> Option<&str> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    containers.iter().find(|c| c.name == names::OPERATOR_ACCOUNT)?.image.as_deref()
}

/// The version that an image's tag names, without a leading `v`; none of an image that has a digest alone.
#[must_use]
pub fn version(image: &str) -> Option<&str> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    let (_, tag) = name.split_once(':')?;
    Some(tag.strip_prefix('v').unwrap_or(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_and_never_the_port_of_the_registry() {
        let table = [
            ("leasehold:0.1.0", Some("0.1.0")),
            ("registry:5000/team/leasehold:v0.1.0@sha256:1", Some("0.1.0")),
            ("registry:5000/leasehold", None),
            ("leasehold@sha256:1", None),
        ];
        for (given, expected) in table {
            assert_eq!(version(given), expected, "{given}");
        }
    }
}
