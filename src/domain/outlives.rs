//! By what the holder of a role could leave something behind that outlives the lease: what an approver should know.

use super::rbac;
use crate::api::{reasons::Outlives, status::PolicyRule};

/// What gives each kind away: verbs, API group, resources; `*` stands for all.
const SIGNS: &[(Outlives, &[&str], &str, &[&str])] = &[
    (Outlives::Watch, &["watch"], "*", &["*"]),
    (Outlives::Exec, &["create", "get"], "", &["pods/exec", "pods/attach", "pods/portforward"]),
    (
        Outlives::Workloads,
        &["create", "update", "patch"],
        "",
        &["pods", "pods/ephemeralcontainers", "replicationcontrollers"],
    ),
    (
        Outlives::Workloads,
        &["create", "update", "patch"],
        "apps",
        &["deployments", "daemonsets", "statefulsets", "replicasets"],
    ),
    (Outlives::Workloads, &["create", "update", "patch"], "batch", &["jobs", "cronjobs"]),
    (Outlives::Secrets, &["get", "list", "watch", "create", "update", "patch"], "", &["secrets"]),
    (Outlives::Tokens, &["create"], "", &["serviceaccounts/token"]),
    (
        Outlives::Rbac,
        &["create", "update", "patch", "bind", "escalate"],
        "rbac.authorization.k8s.io",
        &["roles", "clusterroles", "rolebindings", "clusterrolebindings"],
    ),
    // Also constrained, Kubernetes 1.36 (KEP-5284).
    (Outlives::Impersonate, &["impersonate", "impersonate:user-info", "impersonate:serviceaccount"], "*", &["*"]),
    (
        Outlives::Certificates,
        &["create", "update", "patch", "approve", "sign"],
        "certificates.k8s.io",
        &["certificatesigningrequests", "certificatesigningrequests/approval", "signers"],
    ),
];

/// The kinds that these rules give, each once, in the order of the documentation.
#[must_use]
pub fn of(rules: &[PolicyRule]) -> Vec<Outlives> {
    let given = |(_, verbs, group, resources): &(Outlives, &[&str], &str, &[&str])| {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let sign = PolicyRule {
            verbs: list(verbs),
            api_groups: vec![(*group).to_owned()],
            resources: list(resources),
            ..PolicyRule::default()
        };
        !rbac::overlap(rules, &[sign]).is_empty()
    };
    let mut kinds: Vec<Outlives> = SIGNS.iter().filter(|sign| given(sign)).map(|(kind, ..)| *kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, group: &str, resources: &str) -> PolicyRule {
        let list = |words: &str| words.split_whitespace().map(str::to_owned).collect();
        PolicyRule {
            verbs: list(verbs),
            api_groups: vec![group.into()],
            resources: list(resources),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn each_kind_is_told_by_its_signs() {
        let table = [
            (rule("get list", "", "pods configmaps"), vec![]),
            (rule("get list watch", "", "pods"), vec![Outlives::Watch]),
            (rule("create", "", "pods/exec"), vec![Outlives::Exec]),
            (rule("get", "", "pods/log"), vec![]),
            (rule("patch", "apps", "deployments"), vec![Outlives::Workloads]),
            (rule("patch", "apps", "deployments/scale"), vec![]),
            (rule("get", "", "secrets"), vec![Outlives::Secrets]),
            (rule("create", "", "serviceaccounts/token"), vec![Outlives::Tokens]),
            (rule("bind", "rbac.authorization.k8s.io", "clusterroles"), vec![Outlives::Rbac]),
            (rule("impersonate", "", "serviceaccounts"), vec![Outlives::Impersonate]),
            (rule("create", "certificates.k8s.io", "certificatesigningrequests"), vec![Outlives::Certificates]),
        ];
        for (rule, expected) in table {
            assert_eq!(of(std::slice::from_ref(&rule)), expected, "{rule:?}");
        }
        assert_eq!(of(&[rule("*", "*", "*")]), Outlives::ALL);
    }
}
