//! A request of the operator, named so that the same request of another run has the same name.

use http::{Method, Uri};

use crate::flow::OWN_LIFECYCLE;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub verb: &'static str,
    /// Plural name; `resource/subresource` for a subresource.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub dry: bool,
}

const LIFECYCLE_STATUS: &str = "serviceaccountlifecycles/status";
/// Those that are about the operator itself or about a lifecycle: they belong to no lease.
const APART: &[&str] = &[
    LIFECYCLE_STATUS,
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "credentialleasepolicies/status",
    "connectedsystems/status",
];

impl Call {
    /// Reads it off the request line.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let words: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let rest = match words.as_slice() {
            ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
            rest => rest,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, name, sub) = match rest {
            [resource, name, sub, ..] => (*resource, *name, *sub),
            [resource, name] => (*resource, *name, ""),
            [resource] => (*resource, "", ""),
            [] => ("", "", ""),
        };
        let verb = match *method {
            Method::GET if query.contains("watch=") => "watch",
            Method::GET if name.is_empty() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "other",
        };
        let resource = if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { verb, resource, namespace, name, dry: query.contains("dryRun=") }
    }

    /// Whether it may belong to a lease; with `standing`, also to the lifecycle that holds one lease after another.
    pub fn is_of_a_lease(&self, standing: bool) -> bool {
        let holds = standing && self.resource == LIFECYCLE_STATUS && self.name.starts_with(OWN_LIFECYCLE);
        let apart = APART.contains(&self.resource.as_str()) && !holds;
        !matches!(self.verb, "watch" | "list" | "other") && !apart
    }

    /// Its name: the same in every run, whatever the tenant and the lease are called.
    pub fn key(&self, home: &str) -> String {
        let place = match self.namespace.as_str() {
            "" => "",
            "leasehold-leases" => "@leases",
            namespace if namespace == home => "@home",
            _ => "@far",
        };
        let dry = if self.dry { "?dry" } else { "" };
        format!("{} {}{place}{dry}", self.verb, self.resource)
    }
}

/// The name of a call of another system.
pub fn of_a_system(method_and_path: &str) -> String {
    method_and_path.replacen(" /", " system/", 1)
}

pub fn is_of_a_system(key: &str) -> bool {
    key.contains(" system/")
}
