//! From a ServiceAccount and its bindings to the lifecycle that could replace them. Pure: text in a manifest's order, with what
//! a person has to fill in or decide marked.

use std::{collections::BTreeSet, fmt::Write as _};

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, RoleBinding, Subject},
};
use kube::ResourceExt;

use crate::{
    api::{lifecycle::RoleKind, status::PolicyRule},
    cli::view::{request, text::safe},
    domain::outlives,
};

/// What a manifest is made from.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub account: ServiceAccount,
    /// RoleBindings of all namespaces that could be read.
    pub bindings: Vec<RoleBinding>,
    /// ClusterRoleBindings; `None` if they cannot be read.
    pub cluster: Option<Vec<ClusterRoleBinding>>,
    /// Whether only the account's own namespace could be read.
    pub own_only: bool,
}

/// A grant that the account has today.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The name the grant gets.
    pub name: String,
    pub namespace: String,
    pub kind: RoleKind,
    pub role: String,
}

/// Through what a subject is the account.
fn reaches(subjects: Option<&Vec<Subject>>, namespace: &str, name: &str) -> Option<Option<String>> {
    let all = [
        "system:authenticated".to_owned(),
        "system:serviceaccounts".into(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    subjects.into_iter().flatten().find_map(|s| match s.kind.as_str() {
        "ServiceAccount" if s.name == name && s.namespace.as_deref() == Some(namespace) => Some(None),
        "User" if s.name == format!("system:serviceaccount:{namespace}:{name}") => Some(None),
        "Group" if all.contains(&s.name) => Some(Some(s.name.clone())),
        _ => None,
    })
}

/// What the account holds by name, each under a name of its own.
#[must_use]
pub fn held(found: &Found) -> Vec<Held> {
    let (namespace, name) = (found.account.namespace().unwrap_or_default(), found.account.name_any());
    // RBAC has no third kind.
    let kind = |kind: &str| if kind == "Role" { RoleKind::Role } else { RoleKind::ClusterRole };
    let roles: BTreeSet<(String, RoleKind, String)> = found
        .bindings
        .iter()
        .filter(|b| reaches(b.subjects.as_ref(), &namespace, &name) == Some(None))
        .map(|b| (b.namespace().unwrap_or_default(), kind(&b.role_ref.kind), b.role_ref.name.clone()))
        .collect();
    let mut taken = BTreeSet::new();
    let mut out = vec![];
    for (target, kind, role) in roles {
        let base = if target == namespace { label(&role) } else { label(&format!("{target}-{role}")) };
        let free = |n: &String| !taken.contains(n);
        let numbered = (2..).map(|n| format!("{}-{n}", base.chars().take(58).collect::<String>()));
        let Some(name) = std::iter::once(base.clone()).chain(numbered).find(free) else { continue };
        taken.insert(name.clone());
        out.push(Held { name, namespace: target, kind, role });
    }
    out
}

/// A text as a DNS label.
#[must_use]
pub fn label(text: &str) -> String {
    let dashed: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let cut: String = dashed.trim_matches('-').chars().take(63).collect();
    let cut = cut.trim_end_matches('-');
    if cut.is_empty() { "grant".into() } else { cut.to_owned() }
}

/// The manifest. `rules` are those of a role that could be read.
#[must_use]
pub fn manifest(found: &Found, name: Option<&str>, rules: impl Fn(&Held) -> Option<Vec<PolicyRule>>) -> String {
    let (namespace, account) = (found.account.namespace().unwrap_or_default(), found.account.name_any());
    let labels = found.account.labels();
    let team =
        ["example.com/team", "team", "owner", "app.kubernetes.io/part-of"].iter().find_map(|key| labels.get(*key));
    let mut out = format!(
        "# A lifecycle in place of ServiceAccount {namespace}/{account}. Nothing was changed in the cluster.\n\
         # Fill in what is marked FILL IN; take out every grant that nobody can give a reason for.\n"
    );
    comments(&mut out, found, &namespace, &account);
    let held = held(found);
    _ = write!(
        out,
        "apiVersion: leasehold.dev/v1alpha1\nkind: ServiceAccountLifecycle\nmetadata:\n  name: {}\n  namespace: {namespace}\nspec:\n  owner:\n    team: {}\n    contact: {}\n  purpose: {}\n  class: Workload # FILL IN: Workload, Pipeline, Agent, ThirdParty or BreakGlass\n",
        label(name.unwrap_or(&account)),
        team.map_or_else(|| "\"FILL IN: the team that answers for it\"".to_owned(), |team| quoted(team)),
        quoted("FILL IN: where the team is reached"),
        quoted("FILL IN: what it does, in a sentence"),
    );
    if held.is_empty() {
        out.push_str("  grants: [] # nothing is bound to it by name in the namespaces that could be read\n");
    } else {
        out.push_str("  grants:\n");
    }
    for (n, grant) in held.iter().enumerate() {
        if n == 16 {
            _ = writeln!(out, "  # A lifecycle has at most 16 grants: the rest belongs into another one.");
        }
        let mark = if n < 16 { "" } else { "# " };
        for rule in rules(grant).iter().flat_map(|rules| outlives::of(rules)) {
            _ = writeln!(out, "  # {}: {}", grant.name, request::outlives(rule));
        }
        _ = writeln!(out, "  {mark}- name: {}", grant.name);
        if grant.namespace != namespace {
            _ = writeln!(
                out,
                "  {mark}  namespace: {} # another namespace: needs a CredentialLeasePolicy that opens it",
                grant.namespace
            );
        }
        _ = writeln!(out, "  {mark}  roleRef: {{kind: {}, name: {}}}", grant.kind.as_str(), quoted(&grant.role));
    }
    out.push_str(
        "  terms:\n    ttl: {default: 15m, max: 1h} # FILL IN: how long one task takes\n    delivery: [TokenRequest]\n    approval: {type: Required, count: 1}\n",
    );
    out
}

/// What the account holds and no lifecycle gives.
fn comments(out: &mut String, found: &Found, namespace: &str, account: &str) {
    if found.own_only {
        _ = writeln!(
            out,
            "# Only RoleBindings of namespace {namespace} could be read: what it holds elsewhere is missing here."
        );
    }
    match &found.cluster {
        None => out.push_str("# ClusterRoleBindings could not be read: what it holds cluster-wide is not told here.\n"),
        Some(bindings) => {
            for binding in bindings {
                match reaches(binding.subjects.as_ref(), namespace, account) {
                    Some(None) => {
                        _ = writeln!(
                            out,
                            "# NOT TAKEN OVER: ClusterRoleBinding {} gives it ClusterRole {} in the whole cluster; a lease never holds a role cluster-wide. Grant it in the namespaces that need it.",
                            safe(&binding.name_any()),
                            safe(&binding.role_ref.name)
                        )
                    }
                    Some(Some(group)) if !binding.role_ref.name.starts_with("system:") => {
                        _ = writeln!(
                            out,
                            "# Through group {group} it also holds ClusterRole {} (ClusterRoleBinding {}).",
                            safe(&binding.role_ref.name),
                            safe(&binding.name_any())
                        )
                    }
                    _ => {}
                }
            }
        }
    }
    for binding in &found.bindings {
        if let Some(Some(group)) = reaches(binding.subjects.as_ref(), namespace, account) {
            _ = writeln!(
                out,
                "# Through group {group} it also holds {} {} in namespace {} (RoleBinding {}).",
                binding.role_ref.kind,
                safe(&binding.role_ref.name),
                binding.namespace().unwrap_or_default(),
                safe(&binding.name_any())
            );
        }
    }
}

/// A text as YAML takes it: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::ServiceAccountLifecycle;

    fn binding(name: &str, namespace: &str, kind: &str, role: &str, subject: Value) -> RoleBinding {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": [subject]})).unwrap()
    }

    fn found() -> Found {
        let own = json!({"kind": "ServiceAccount", "name": "ci", "namespace": "payments"});
        let group = json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"});
        let cluster = json!({"metadata": {"name": "ci-admin"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [own]});
        Found {
            account: serde_json::from_value(
                json!({"metadata": {"name": "ci", "namespace": "payments", "labels": {"team": "payments: \"a\""}}}),
            )
            .unwrap(),
            bindings: vec![
                binding("a", "payments", "Role", "reader", own.clone()),
                binding("b", "payments-prod", "ClusterRole", "Edit:all", own.clone()),
                binding("b2", "payments-prod", "ClusterRole", "Edit:all", own.clone()),
                binding(
                    "c",
                    "payments",
                    "ClusterRole",
                    "view",
                    json!({"kind": "ServiceAccount", "name": "ci", "namespace": "other"}),
                ),
                binding("d", "payments", "ClusterRole", "view", group),
            ],
            cluster: Some(vec![serde_json::from_value(cluster).unwrap()]),
            own_only: false,
        }
    }

    #[test]
    fn a_manifest_is_a_lifecycle_that_waits_for_people() {
        let text = manifest(&found(), None, |_| None);
        let object: ServiceAccountLifecycle = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some("ci"));
        assert_eq!(object.spec.owner.team, "payments: \"a\"");
        let grants: Vec<_> = object
            .spec
            .grants
            .iter()
            .map(|g| (g.name.as_str(), g.namespace.as_deref(), g.role_ref.name.as_str()))
            .collect();
        assert_eq!(grants, [("reader", None, "reader"), ("payments-prod-edit-all", Some("payments-prod"), "Edit:all")]);
        assert_eq!(object.spec.terms.approval.unwrap().kind, Some(crate::api::lifecycle::ApprovalType::Required));
        assert!(text.contains("FILL IN: what it does"), "{text}");
    }

    #[test]
    fn what_is_held_cluster_wide_or_through_a_group_is_told_and_not_taken_over() {
        let text = manifest(&found(), Some("My Name"), |_| None);
        assert!(
            text.contains("NOT TAKEN OVER: ClusterRoleBinding ci-admin gives it ClusterRole cluster-admin"),
            "{text}"
        );
        assert!(
            text.contains(
                "# Through group system:serviceaccounts it also holds ClusterRole view in namespace payments"
            ),
            "{text}"
        );
        assert!(text.contains("name: my-name"), "{text}");
        let unread = manifest(&Found { cluster: None, own_only: true, ..found() }, None, |_| None);
        assert!(
            unread.contains("ClusterRoleBindings could not be read")
                && unread.contains("Only RoleBindings of namespace payments"),
            "{unread}"
        );
    }

    #[test]
    fn what_outlives_a_lease_is_a_comment_of_its_grant() {
        let exec = PolicyRule {
            verbs: vec!["create".into()],
            api_groups: vec![String::new()],
            resources: vec!["pods/exec".into()],
            ..PolicyRule::default()
        };
        let text = manifest(&found(), None, |held| (held.role == "reader").then(|| vec![exec.clone()]));
        assert!(text.contains("  # reader: a holder can leave something behind: exec"), "{text}");
        assert!(serde_saphyr::from_str::<ServiceAccountLifecycle>(&text).is_ok());
    }

    #[test]
    fn too_many_grants_are_told_and_left_out() {
        let own = json!({"kind": "ServiceAccount", "name": "ci", "namespace": "payments"});
        let bindings =
            (0..20).map(|n| binding("x", "payments", "Role", &format!("role-{n:02}"), own.clone())).collect();
        let text = manifest(&Found { bindings, ..found() }, None, |_| None);
        let object: ServiceAccountLifecycle = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(object.spec.grants.len(), 16);
        assert!(text.contains("at most 16 grants") && text.contains("# - name: role-19"), "{text}");
    }

    #[test]
    fn any_role_has_a_name_that_leases_can_ask_for() {
        assert_eq!(label("system:aggregate-to-Edit"), "system-aggregate-to-edit");
        assert_eq!(label("___"), "grant");
        assert_eq!(label(&"x".repeat(80)).len(), 63);
    }
}
