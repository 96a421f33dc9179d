//! Calls of the API server by closed labels.

use http::{Method, Uri};
use prometheus_client::encoding::EncodeLabelSet;

/// Which call of the API server it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiCall {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
}

/// Resources by the segment of a path; everything else is `other`, so that no path can make a new time series.
const RESOURCES: &[&str] = &[
    "credentialleases",
    "connectedsystems",
    "serviceaccountlifecycles",
    "serviceaccounts",
    "secrets",
    "configmaps",
    "deployments",
    "statefulsets",
    "daemonsets",
    "jobs",
    "roles",
    "clusterroles",
    "rolebindings",
    "clusterrolebindings",
    "events",
    "leases",
    "subjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectreviews",
    "selfsubjectrulesreviews",
    "tokenreviews",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];

impl ApiCall {
    /// Reads verb and resource off a request, by where they stand: tenants choose names of namespaces and leases, and may choose
    /// one that is also a resource's.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let segments: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
        let below = match segments.as_slice() {
            ["api", _, below @ ..] | ["apis", _, _, below @ ..] => below,
            _ => &[],
        };
        let below = match below {
            ["namespaces", _, below @ ..] if !below.is_empty() => below,
            _ => below,
        };
        let resource = below.first().and_then(|plural| RESOURCES.iter().find(|known| *known == plural)).copied();
        let resource = match (resource.unwrap_or("other"), below.get(2).copied()) {
            ("serviceaccounts", Some("token")) => "serviceaccounts/token",
            ("credentialleases", Some("status")) => "credentialleases/status",
            ("serviceaccountlifecycles", Some("status")) => "serviceaccountlifecycles/status",
            (resource, _) => resource,
        };
        let named = below.len() > 1;
        let watch = uri.query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
        let verb = match (method.as_str(), named, watch) {
            ("GET", _, true) => "watch",
            ("GET", true, false) => "get",
            ("GET", false, false) => "list",
            ("POST", _, _) => "create",
            ("PUT", _, _) => "update",
            ("PATCH", _, _) => "patch",
            ("DELETE", _, _) => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_closed_labels() {
        let table = [
            ("POST", "/api/v1/namespaces/i/serviceaccounts/a.b/token", "create", "serviceaccounts/token"),
            (
                "PUT",
                "/apis/leasehold.dev/v1alpha1/namespaces/secrets/credentialleases/x/status",
                "update",
                "credentialleases/status",
            ),
            ("GET", "/api/v1/namespaces/i/serviceaccounts?watch=true&x=1", "watch", "serviceaccounts"),
            ("GET", "/api/v1/namespaces/i/serviceaccounts?labelSelector=x", "list", "serviceaccounts"),
            ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/x", "get", "clusterroles"),
            ("DELETE", "/api/v1/namespaces/i/pods/x", "delete", "other"),
            ("GET", "/api/v1/namespaces/secrets/pods", "list", "other"),
            ("GET", "/api/v1/namespaces/secrets", "get", "other"),
            (
                "PUT",
                "/apis/leasehold.dev/v1alpha1/namespaces/n/credentialleases/secrets/status",
                "update",
                "credentialleases/status",
            ),
            ("GET", "/apis/leasehold.dev/v1alpha1/namespaces/n/credentialleases/events", "get", "credentialleases"),
            ("GET", "/version", "list", "other"),
        ];
        for (method, uri, verb, resource) in table {
            let call = ApiCall::of(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(call, ApiCall { verb, resource }, "{method} {uri}");
        }
    }
}
