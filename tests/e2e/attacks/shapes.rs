//! Objects and paths as an attacker writes them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

pub const ISSUING: &str = "leasehold-leases";
pub const SYSTEM: &str = "leasehold-system";
pub const RBAC: &str = "rbac.authorization.k8s.io";
pub const CREDENTIAL: &str = "leasehold.dev/credential";

/// A name that nothing has yet.
pub fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// 32 hexadecimal digits, as of a lease's UID.
pub fn fresh_uid() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub fn core(namespace: &str, resource: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{resource}")
}

pub fn apps(namespace: &str, resource: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/{resource}")
}

pub fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

/// Roles or RoleBindings of a namespace.
pub fn rbac(namespace: &str, resource: &str) -> String {
    format!("/apis/{RBAC}/v1/namespaces/{namespace}/{resource}")
}

pub fn cluster_rbac(resource: &str) -> String {
    format!("/apis/{RBAC}/v1/{resource}")
}

pub fn leases(namespace: &str) -> String {
    format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/credentialleases")
}

pub fn decisions(namespace: &str) -> String {
    format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/credentialleasedecisions")
}

pub fn policies() -> String {
    "/apis/leasehold.dev/v1alpha1/credentialleasepolicies".to_owned()
}

pub fn lifecycles(namespace: &str) -> String {
    format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/serviceaccountlifecycles")
}

pub fn account(name: &str, namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
}

pub fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name, "apiGroup": RBAC})
}

pub fn group(name: &str) -> Value {
    json!({"kind": "Group", "name": name, "apiGroup": RBAC})
}

pub fn rule(group: &str, resource: &str, verb: &str, names: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names})
}

pub fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules})
}

pub fn binding(name: &str, (kind, role): (&str, &str), subjects: Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}, "subjects": subjects})
}

pub fn cluster_binding(name: &str, role: &str, subjects: Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// The Role through which a requester mints: for these accounts, for these `<account>/<audience>`.
pub fn mint_role(uid: &str, accounts: &[&str], audiences: &[&str]) -> Value {
    let rules = [
        rule("", "serviceaccounts/token", "create", accounts),
        rule("leasehold.dev", "tokenaudiences", "mint", audiences),
    ];
    role(&format!("lease-{uid}"), json!(rules))
}

/// A Secret as the operator delivers it.
pub fn delivered(name: &str) -> Value {
    json!({"metadata": {"name": name}, "type": CREDENTIAL, "stringData": {"token": "t"}})
}

pub fn opaque(name: &str) -> Value {
    json!({"metadata": {"name": name}, "type": "Opaque", "stringData": {"k": "v"}})
}

/// A token Secret that the cluster fills for good.
pub fn token_secret(account: &str) -> Value {
    json!({"metadata": {"name": fresh("token"), "annotations": {"kubernetes.io/service-account.name": account}},
        "type": "kubernetes.io/service-account-token"})
}

/// A Job as a backstop; `parallelism` null leaves the API server's default, 1.
pub fn job(name: &str, parallelism: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"parallelism": parallelism, "activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

/// A pod that Pod Security lets pass at level restricted.
pub fn pod(name: &str, account: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "serviceAccountName": account,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }})
}

/// A workload without replicas.
pub fn workload(name: &str, kind: &str) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
    match kind {
        "daemonsets" => {}
        "statefulsets" => {
            spec["replicas"] = json!(0);
            spec["serviceName"] = json!(name);
        }
        _ => spec["replicas"] = json!(0),
    }
    json!({"metadata": {"name": name, "annotations": {"leasehold.dev/restart": "Allow"}}, "spec": spec})
}

pub fn grant(name: &str, kind: &str, role: &str) -> Value {
    json!({"name": name, "roleRef": {"kind": kind, "name": role}})
}

pub fn grant_into(namespace: &str, name: &str, kind: &str, role: &str) -> Value {
    json!({"name": name, "namespace": namespace, "roleRef": {"kind": kind, "name": role}})
}

pub fn lifecycle(name: &str, grants: Value) -> Value {
    json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": name}, "spec": {
        "owner": {"team": "a", "contact": "b"}, "purpose": "x", "class": "Workload", "grants": grants,
        "terms": {"ttl": {"max": "20m"}, "delivery": ["TokenRequest"], "approval": {"type": "NotRequired"}},
    }})
}

/// A lease of lifecycle `nightly`.
pub fn lease(name: &str, requested_by: Value) -> Value {
    json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": name}, "spec": {
        "lifecycleRef": {"name": "nightly"}, "grants": ["read"], "ttl": "10m", "reason": "an attack",
        "delivery": {"type": "TokenRequest"}, "requestedBy": requested_by,
    }})
}

/// A lease of a standing credential of lifecycle `nightly`, as the operator asks for it.
pub fn standing_lease(requested_by: Value) -> Value {
    let mut lease = lease(&fresh("standing-agent"), requested_by);
    lease["spec"]["standingRef"] = json!({"name": "agent"});
    lease["spec"]["delivery"] = json!({"type": "Secret", "secret": {"name": "agent"}});
    lease
}

/// A decision about a lease of lifecycle `nightly`.
pub fn decision(name: &str, decision: &str, requester: &str, decided_by: Value) -> Value {
    let mut spec = json!({
        "leaseRef": {"name": "some-lease", "uid": "5f2c8a8e-0000-4000-8000-000000000000"},
        "lifecycleRef": {"name": "nightly"}, "requester": requester, "decision": decision,
        "reason": "an attack", "decidedBy": decided_by,
    });
    if decision == "Approved" {
        spec["requestDigest"] = json!(format!("sha256:{}", "0".repeat(64)));
    }
    json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision", "metadata": {"name": name}, "spec": spec})
}

/// A guardrail that says nothing.
pub fn policy(name: &str) -> Value {
    json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy", "metadata": {"name": name}, "spec": {}})
}

/// A request for a token, for one that is bound to a pod.
pub fn bound(mut ask: Value, pod: &str, uid: &str) -> Value {
    ask["spec"]["boundObjectRef"] = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid});
    ask
}

pub fn token_request(seconds: i64, audiences: &[&str]) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds, "audiences": audiences}})
}
