//! Who could act as somebody else: such a person's word about that somebody's request is not a second opinion.
//!
//! The admission policy `leasehold-decision` asks the same when a decision is created; it is asked again when one is counted.

/// A right that would let its holder act as a requester, as the authorizer is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    /// Empty: cluster-scoped.
    pub namespace: String,
    /// Empty: any.
    pub name: String,
}

/// What makes pods, and with them can run as any account of its namespace.
const MAKES_PODS: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("apps", "deployments"),
    ("apps", "daemonsets"),
    ("apps", "statefulsets"),
    ("apps", "replicasets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// Every way to act as the requester of this name.
#[must_use]
pub fn ways(requester: &str) -> Vec<Way> {
    let way = |verb, group, resource, subresource, namespace: &str, name: &str| Way {
        verb,
        group,
        resource,
        subresource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let account = requester.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, name)) = account else { return vec![way("impersonate", "", "users", "", "", requester)] };
    let direct = [
        way("impersonate", "", "serviceaccounts", "", namespace, name),
        way("create", "", "serviceaccounts", "token", namespace, name),
        way("impersonate", "", "users", "", "", requester),
    ];
    let pods = MAKES_PODS.iter().map(|(group, resource)| way("create", group, resource, "", namespace, ""));
    direct.into_iter().chain(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_impersonated_an_account_is_also_minted_for_and_run_as() {
        assert_eq!(ways("alice").len(), 1);
        let all = ways("system:serviceaccount:ci:builder");
        assert!(all.iter().any(|w| w.subresource == "token" && w.namespace == "ci" && w.name == "builder"));
        assert!(all.iter().any(|w| w.resource == "pods" && w.verb == "create" && w.name.is_empty()));
        assert_eq!(all.len(), 3 + MAKES_PODS.len());
    }
}
