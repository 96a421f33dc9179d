//! Who could act as somebody else: such a person's word about that somebody's request is not a second opinion.
//!
//! The admission policy `leasehold-decision-independence` asks exactly this when a decision is created (a test compares the
//! two); it is asked again when one is counted.

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

/// Which object of the requester a right is asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The name that signs client certificates of users, cluster-wide.
    Signer,
    /// The user of the requester's name.
    User,
    /// The requester's service account.
    Account,
    /// Anything of that kind in the service account's namespace.
    Namespace,
}

type Right = (About, &'static str, &'static str, &'static str, &'static str);

/// Verb, group, resource and subresource of each right.
const RIGHTS: &[Right] = &[
    (About::Signer, "approve", "certificates.k8s.io", "signers", ""),
    (About::User, "impersonate", "", "users", ""),
    // Constrained impersonation, Kubernetes 1.36 (KEP-5284).
    (About::User, "impersonate:user-info", "authentication.k8s.io", "users", ""),
    (About::Account, "impersonate", "", "serviceaccounts", ""),
    (About::Account, "impersonate:serviceaccount", "authentication.k8s.io", "serviceaccounts", ""),
    (About::Account, "create", "", "serviceaccounts", "token"),
    // A token Secret is filled for whoever makes it.
    (About::Namespace, "create", "", "secrets", ""),
    (About::Namespace, "create", "", "pods", "exec"),
    (About::Namespace, "patch", "", "pods", "ephemeralcontainers"),
    // Whatever makes pods runs as any account of its namespace.
    (About::Namespace, "create", "", "pods", ""),
    (About::Namespace, "create", "apps", "deployments", ""),
    (About::Namespace, "create", "apps", "replicasets", ""),
    (About::Namespace, "create", "apps", "statefulsets", ""),
    (About::Namespace, "create", "apps", "daemonsets", ""),
    (About::Namespace, "create", "batch", "jobs", ""),
    (About::Namespace, "create", "batch", "cronjobs", ""),
    (About::Namespace, "create", "", "replicationcontrollers", ""),
    (About::Namespace, "patch", "apps", "deployments", ""),
    (About::Namespace, "patch", "apps", "replicasets", ""),
    (About::Namespace, "patch", "apps", "statefulsets", ""),
    (About::Namespace, "patch", "apps", "daemonsets", ""),
    (About::Namespace, "patch", "batch", "cronjobs", ""),
    (About::Namespace, "patch", "", "replicationcontrollers", ""),
    (About::Namespace, "update", "apps", "deployments", ""),
    (About::Namespace, "update", "apps", "replicasets", ""),
    (About::Namespace, "update", "apps", "statefulsets", ""),
    (About::Namespace, "update", "apps", "daemonsets", ""),
    (About::Namespace, "update", "batch", "cronjobs", ""),
    (About::Namespace, "update", "", "replicationcontrollers", ""),
];

/// The signer of the certificates by which API servers know their users.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// What the user name of every service account begins with.
const ACCOUNT: &str = "system:serviceaccount:";

/// Every way to act as the requester of this name.
#[must_use]
pub fn ways(requester: &str) -> Vec<Way> {
    let account = requester.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':'));
    let place = |about: About| match (about, account) {
        (About::Signer, _) => Some((String::new(), SIGNER.to_owned())),
        (About::User, None) => Some((String::new(), requester.to_owned())),
        (About::Account, Some((namespace, name))) => Some((namespace.to_owned(), name.to_owned())),
        (About::Namespace, Some((namespace, _))) => Some((namespace.to_owned(), String::new())),
        _ => None,
    };
    let way = |(about, verb, group, resource, subresource): &Right| {
        let (namespace, name) = place(*about)?;
        Some(Way { verb, group, resource, subresource, namespace, name })
    };
    RIGHTS.iter().filter_map(way).collect()
}

/// Whether this is a service account: whoever mints for it speaks as it, so that it is nobody's second opinion.
#[must_use]
pub fn is_account(username: &str) -> bool {
    username.starts_with(ACCOUNT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_service_account_is_told_by_its_name() {
        let names = ["system:serviceaccount:ns:ci", "ci", "system:node:n", "oidc:system:serviceaccount:ns:ci"];
        assert_eq!(names.map(is_account), [true, false, false, false]);
    }

    /// What the policy asks, right by right.
    fn asked_by_policy() -> BTreeSet<(String, String, String, String)> {
        let text = include_str!("../../config/policies/leasehold-decision-independence.yaml");
        let argument = |call: &str, of: &str| {
            let rest = call.split_once(&format!(".{of}('")).map(|(_, rest)| rest)?;
            rest.split_once('\'').map(|(word, _)| word.to_owned())
        };
        let calls = text.lines().filter(|line| line.contains("authorizer.group("));
        calls
            .map(|call| {
                let word = |of: &str| argument(call, of).unwrap_or_default();
                (word("check"), word("group"), word("resource"), word("subresource"))
            })
            .collect()
    }

    #[test]
    fn what_is_asked_when_a_decision_counts_is_what_admission_asked() {
        let own: BTreeSet<_> = RIGHTS
            .iter()
            .map(|(_, verb, group, resource, sub)| {
                ((*verb).to_owned(), (*group).to_owned(), (*resource).to_owned(), (*sub).to_owned())
            })
            .collect();
        assert_eq!(own.len(), RIGHTS.len());
        assert_eq!(own, asked_by_policy());
    }

    #[test]
    fn a_person_is_impersonated_an_account_is_also_minted_for_and_run_as() {
        let names = |requester: &str| ways(requester).iter().map(|w| w.resource).collect::<BTreeSet<_>>();
        assert_eq!(names("alice"), BTreeSet::from(["signers", "users"]));
        let all = ways("system:serviceaccount:ci:builder");
        assert!(all.iter().any(|w| w.subresource == "token" && w.namespace == "ci" && w.name == "builder"));
        assert!(all.iter().any(|w| w.resource == "pods" && w.verb == "create" && w.name.is_empty()));
        assert!(all.iter().all(|w| w.resource != "users"));
    }
}
