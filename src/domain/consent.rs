//! How the owner of a namespace lets Leasehold work in it: what messages tell people to apply.

use std::fmt::Write as _;

use crate::api::{
    lifecycle::{RoleKind, RoleRef},
    names,
};

/// The manifest that lets the operator bind exactly these roles in a namespace. Each role has a Role of its own, so that two
/// such manifests, applied one after the other, both hold.
#[must_use]
pub fn to_bind(namespace: &str, roles: &[RoleRef]) -> String {
    let mut manifest = binding(namespace, "leasehold-granter", "ClusterRole", "leasehold-granter");
    for role in roles {
        let (resource, word) = match role.kind {
            RoleKind::Role => ("roles", "role"),
            RoleKind::ClusterRole => ("clusterroles", "clusterrole"),
        };
        // Names of roles may hold characters that names of other objects may not, but RBAC's own kinds take them all.
        let name = format!("leasehold-bind-{word}-{}", role.name);
        // Writing to a `String` cannot fail.
        _ = write!(
            manifest,
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name:?}, namespace: {namespace}}}\n\
             rules: [{{apiGroups: [rbac.authorization.k8s.io], resources: [{resource}], verbs: [bind], resourceNames: [{:?}]}}]\n---\n",
            role.name
        );
        manifest.push_str(&binding(namespace, &name, "Role", &name));
    }
    manifest
}

fn binding(namespace: &str, name: &str, kind: &str, role: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name:?}, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {role:?}}}\n\
         subjects: [{{kind: ServiceAccount, name: {}, namespace: {}}}]\n",
        names::OPERATOR_ACCOUNT,
        names::OPERATOR_NAMESPACE
    )
}

/// The manifest that lets the operator read exactly this Secret in its own namespace.
#[must_use]
pub fn to_read_secret(secret: &str) -> String {
    let (namespace, name) = (names::OPERATOR_NAMESPACE, format!("leasehold-system-{secret}"));
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name:?}, namespace: {namespace}}}\n\
         rules: [{{apiGroups: [\"\"], resources: [secrets], verbs: [get], resourceNames: [{secret:?}]}}]\n---\n{}",
        binding(namespace, &name, "Role", &name)
    )
}

/// The command that lets the operator deliver Secrets in a namespace.
#[must_use]
pub fn to_deliver(namespace: &str) -> String {
    format!(
        "kubectl create rolebinding leasehold-delivery -n {namespace} --clusterrole=leasehold-delivery --serviceaccount={}:{}",
        names::OPERATOR_NAMESPACE,
        names::OPERATOR_ACCOUNT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gives_only_what_it_names_and_takes_nothing_back() {
        let role = |kind, name: &str| RoleRef { kind, name: name.into() };
        let (first, second) =
            (to_bind("ns", &[role(RoleKind::Role, "a")]), to_bind("ns", &[role(RoleKind::ClusterRole, "a")]));
        let documents = |text: &str| serde_saphyr::from_multiple::<serde_json::Value>(text).unwrap();
        let named = |text: &str| documents(text).iter().map(|d| d["metadata"]["name"].to_string()).collect::<Vec<_>>();
        assert_eq!(named(&first)[1..], ["\"leasehold-bind-role-a\"", "\"leasehold-bind-role-a\""]);
        assert_eq!(named(&second)[1..], ["\"leasehold-bind-clusterrole-a\"", "\"leasehold-bind-clusterrole-a\""]);
        assert_eq!(documents(&first)[1]["rules"][0]["resources"], serde_json::json!(["roles"]));
        assert_eq!(documents(&second)[1]["rules"][0]["resources"], serde_json::json!(["clusterroles"]));
    }
}
