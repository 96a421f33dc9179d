//! A lease as Kubernetes objects. Kubernetes' own types stop here.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec},
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        batch::v1::{Job, JobSpec},
        core::v1::{ConfigMap, Container, PodSpec, PodTemplateSpec, Secret, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::token::Token;
use crate::{
    api::{CredentialLeaseSpec, GROUP, Time, lease::Identity, names},
    domain::{
        independence::Way,
        observed::{Child, ObjectId, Observed},
        steps,
    },
};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Seconds the backstop waits beyond the deadline: its clock starts with the Job, and was measured up to a second early.
const BACKSTOP_GRACE_SECONDS: i64 = 5;
/// A token of exactly this life is silently made to live for a year (`WarnOnlyBoundTokenExpirationPeriod`, pkg/serviceaccount/claims.go).
const EXTENDED_SECONDS: i64 = 3607;
/// The shortest token the API server mints, in seconds.
const MIN_TOKEN_SECONDS: i64 = 600;

/// The namespace and name that an object of the lease has.
#[must_use]
pub fn place(child: &Child, seen: &Observed) -> Option<(String, String)> {
    let (lease, uid) = (&seen.lease, &seen.lease.uid);
    let issuing = |name: String| Some((names::ISSUING_NAMESPACE.to_owned(), name));
    match child {
        Child::Job | Child::MintRole | Child::MintBinding | Child::Ledger => issuing(names::issuing(uid)),
        Child::Account => issuing(account_name(seen)?),
        Child::Binding(grant) => Some((seen.namespace_of(grant), names::binding(uid, grant))),
        Child::Secret => {
            let recorded = lease.status.credential.as_ref().and_then(|c| c.secret.as_ref()).map(|s| s.name.clone());
            Some((lease.namespace.clone(), recorded.or_else(|| seen.secret_name())?))
        }
    }
}

/// The name of the lease's account: the one that is there, or the one it will have.
fn account_name(seen: &Observed) -> Option<String> {
    if let Some(id) = seen.present(&Child::Account) {
        return Some(id.name.clone());
    }
    let lifecycle = &seen.lease.spec.as_ref()?.lifecycle_ref.name;
    Some(names::account(
        &seen.lease.namespace,
        lifecycle,
        &seen.lease.uid,
        seen.deadline()?.as_millis().div_euclid(1000),
    ))
}

fn metadata(child: &Child, seen: &Observed, spec: &CredentialLeaseSpec) -> Option<ObjectMeta> {
    let (namespace, name) = place(child, seen)?;
    let mut labels: BTreeMap<String, String> = [
        (names::LABEL_LEASE_UID, &*seen.lease.uid.text()),
        (names::LABEL_LIFECYCLE, &spec.lifecycle_ref.name),
        (names::LABEL_NAMESPACE, &seen.lease.namespace),
        (names::LABEL_MANAGED_BY, names::MANAGER),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    if let Child::Binding(grant) = child {
        labels.insert(names::LABEL_GRANT.to_owned(), grant.clone());
    }
    let annotations =
        [(names::ANNOTATION_LEASE.to_owned(), format!("{}/{}", seen.lease.namespace, seen.lease.name))].into();
    Some(ObjectMeta {
        name: Some(name),
        namespace: Some(namespace),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    })
}

pub(super) fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> Vec<OwnerReference> {
    vec![OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        ..OwnerReference::default()
    }]
}

/// How the steps of the workflow are taken back. Nobody owns it: it outlives the account, and the lease itself if need be.
#[must_use]
pub fn ledger(seen: &Observed, undos: &[(String, String)]) -> Option<ConfigMap> {
    let mut metadata = metadata(&Child::Ledger, seen, seen.lease.spec.as_ref()?)?;
    let names: Vec<&str> = undos.iter().map(|(name, _)| name.as_str()).collect();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(names::ANNOTATION_STEPS.to_owned(), names.join(","));
    annotations.insert(names::ANNOTATION_WORKFLOW.to_owned(), steps::workflow_digest(seen)?);
    Some(ConfigMap {
        metadata,
        data: Some(undos.iter().cloned().collect()),
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// The Job without pods that the cluster's own controllers end at the deadline, and with it the account it owns.
#[must_use]
pub fn job(seen: &Observed, now: Time) -> Option<Job> {
    let metadata = metadata(&Child::Job, seen, seen.lease.spec.as_ref()?)?;
    let left = seen.deadline()?.since(now).max(0) / 1000 + 1 + BACKSTOP_GRACE_SECONDS;
    let never =
        Container { name: "never".into(), image: Some("leasehold.invalid/never".into()), ..Container::default() };
    let pod = PodSpec {
        containers: vec![never],
        restart_policy: Some("Never".into()),
        automount_service_account_token: Some(false),
        ..PodSpec::default()
    };
    let spec = JobSpec {
        parallelism: Some(0),
        completions: Some(1),
        active_deadline_seconds: Some(left),
        ttl_seconds_after_finished: Some(0),
        template: PodTemplateSpec { metadata: None, spec: Some(pod) },
        ..JobSpec::default()
    };
    Some(Job { metadata, spec: Some(spec), status: None })
}

/// The Job as owner of what ends with it: with nobody left to delete them, account, Role and RoleBinding go with the Job.
fn backstop(seen: &Observed) -> Option<Vec<OwnerReference>> {
    seen.present(&Child::Job).map(|job| owner("batch/v1", "Job", &job.name, &job.uid))
}

/// The lease's own account.
#[must_use]
pub fn account(seen: &Observed) -> Option<ServiceAccount> {
    let mut metadata = metadata(&Child::Account, seen, seen.lease.spec.as_ref()?)?;
    metadata.owner_references = backstop(seen);
    Some(ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() })
}

/// The RoleBinding of one grant.
#[must_use]
pub fn binding(seen: &Observed, grant: &str) -> Option<RoleBinding> {
    let metadata = metadata(&Child::Binding(grant.to_owned()), seen, seen.lease.spec.as_ref()?)?;
    let role = seen.role_of(grant)?;
    let subject = Subject {
        kind: "ServiceAccount".into(),
        name: account_name(seen)?,
        namespace: Some(names::ISSUING_NAMESPACE.into()),
        ..Subject::default()
    };
    let role_ref = RoleRef { api_group: RBAC.into(), kind: role.kind.as_str().into(), name: role.name.clone() };
    Some(RoleBinding { metadata, role_ref, subjects: Some(vec![subject]) })
}

/// The Role that allows minting for the lease's account, and for the lease's audiences only.
#[must_use]
pub fn mint_role(seen: &Observed) -> Option<Role> {
    let mut metadata = metadata(&Child::MintRole, seen, seen.lease.spec.as_ref()?)?;
    metadata.owner_references = backstop(seen);
    let account = account_name(seen)?;
    let audiences = seen.audiences().iter().map(|a| format!("{account}/{a}")).collect();
    let rule = |group: &str, resource: &str, verb: &str, names: Vec<String>| PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(vec![resource.into()]),
        verbs: vec![verb.into()],
        resource_names: Some(names),
        non_resource_urls: None,
    };
    let rules = vec![
        rule("", "serviceaccounts/token", "create", vec![account]),
        rule(GROUP, "tokenaudiences", "mint", audiences),
    ];
    Some(Role { metadata, rules: Some(rules) })
}

/// Gives it to the requester, and to nobody else.
#[must_use]
pub fn mint_binding(seen: &Observed) -> Option<RoleBinding> {
    let spec = seen.lease.spec.as_ref()?;
    let mut metadata = metadata(&Child::MintBinding, seen, spec)?;
    metadata.owner_references = backstop(seen);
    let subject = Subject {
        kind: "User".into(),
        name: spec.requested_by.username.clone(),
        api_group: Some(RBAC.into()),
        namespace: None,
    };
    let role_ref = RoleRef { api_group: RBAC.into(), kind: "Role".into(), name: names::issuing(&seen.lease.uid) };
    Some(RoleBinding { metadata, role_ref, subjects: Some(vec![subject]) })
}

/// What a delivered kubeconfig says about the cluster.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub server: String,
    pub ca_pem: String,
}

/// The Secret that delivers a token.
#[must_use]
pub fn secret(seen: &Observed, token: &Token, endpoint: &Endpoint) -> Option<Secret> {
    let mut metadata = metadata(&Child::Secret, seen, seen.lease.spec.as_ref()?)?;
    metadata.owner_references =
        Some(owner("leasehold.dev/v1alpha1", "CredentialLease", &seen.lease.name, &seen.lease.uid.text()));
    Some(Secret {
        metadata,
        type_: Some(names::SECRET_TYPE.into()),
        data: Some(secret_data(seen, token, endpoint)?),
        ..Secret::default()
    })
}

/// The keys of a delivered Secret.
#[must_use]
pub fn secret_data(seen: &Observed, token: &Token, endpoint: &Endpoint) -> Option<BTreeMap<String, ByteString>> {
    let facts = seen.memory.token.as_ref()?;
    Some(credential(&working_namespace(seen), token, seen.deadline()?.min(facts.expires), endpoint))
}

/// The keys of every Secret with a token that is good until `end`; its holder works in this namespace.
#[must_use]
pub fn credential(namespace: &str, token: &Token, end: Time, endpoint: &Endpoint) -> BTreeMap<String, ByteString> {
    let kubeconfig = kubeconfig(namespace, token, endpoint);
    let data = [
        ("token", token.expose().to_owned()),
        ("ca.crt", endpoint.ca_pem.clone()),
        ("namespace", namespace.to_owned()),
        ("kubeconfig", kubeconfig),
        ("expirationTime", end.to_string()),
    ];
    data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).into()
}

/// Where the holder works: the namespace that is granted into, if it is one; else the lease's.
fn working_namespace(seen: &Observed) -> String {
    let mut namespaces: Vec<String> = seen.grants().iter().map(|grant| seen.namespace_of(grant)).collect();
    namespaces.sort();
    namespaces.dedup();
    match namespaces.as_slice() {
        [one] => one.clone(),
        _ => seen.lease.namespace.clone(),
    }
}

/// A kubeconfig with this token. JSON is YAML, and every kubectl reads it.
fn kubeconfig(namespace: &str, token: &Token, endpoint: &Endpoint) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lease",
        "clusters": [{"name": "cluster", "cluster": {"server": endpoint.server, "certificate-authority-data": STANDARD.encode(&endpoint.ca_pem)}}],
        "users": [{"name": "lease", "user": {"token": token.expose()}}],
        "contexts": [{"name": "lease", "context": {"cluster": "cluster", "user": "lease", "namespace": namespace}}],
    })
    .to_string()
}

/// The request for a token, pinned to the account's UID: a recreated namesake gets none (409).
#[must_use]
pub fn token_request(account: &ObjectId, audiences: Vec<String>, left_seconds: i64) -> TokenRequest {
    let wanted = left_seconds.max(MIN_TOKEN_SECONDS);
    let expiration_seconds = if wanted == EXTENDED_SECONDS { wanted + 1 } else { wanted };
    TokenRequest {
        metadata: ObjectMeta {
            name: Some(account.name.clone()),
            namespace: Some(account.namespace.clone()),
            uid: Some(account.uid.clone()),
            ..ObjectMeta::default()
        },
        spec: TokenRequestSpec { audiences, expiration_seconds: Some(expiration_seconds), bound_object_ref: None },
        status: None,
    }
}

/// The question whether an API server knows the token, with the token's own audiences: without them a live one reads as unknown.
#[must_use]
pub fn token_review(token: &Token, audiences: Vec<String>) -> TokenReview {
    TokenReview {
        spec: TokenReviewSpec { token: Some(token.expose().to_owned()), audiences: Some(audiences) },
        ..TokenReview::default()
    }
}

/// The right to do something with a lifecycle that only Leasehold knows: the custom verbs `lease`, `approve` and `revoke`.
#[must_use]
pub fn custom_verb(verb: &str, namespace: &str, lifecycle: &str) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.into()),
        resource: Some("serviceaccountlifecycles".into()),
        verb: Some(verb.into()),
        namespace: Some(namespace.to_owned()),
        name: Some(lifecycle.to_owned()),
        ..ResourceAttributes::default()
    }
}

/// A right that would let its holder act as somebody else.
#[must_use]
pub fn way(way: &Way) -> ResourceAttributes {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ResourceAttributes {
        group: given(way.group),
        resource: given(way.resource),
        subresource: given(way.subresource),
        verb: given(way.verb),
        namespace: given(&way.namespace),
        name: given(&way.name),
        ..ResourceAttributes::default()
    }
}

/// The question whether somebody, as he was recorded, may do something.
#[must_use]
pub fn access_review(by: &Identity, attributes: ResourceAttributes) -> SubjectAccessReview {
    let groups = groups_of(by);
    let review = SubjectAccessReviewSpec {
        user: Some(by.username.clone()),
        groups: Some(groups),
        uid: by.uid.clone(),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec: review, ..SubjectAccessReview::default() }
}

/// The groups of whoever asked. Those of the system follow from the name: one that is recorded was written while no policy looked.
fn groups_of(by: &Identity) -> Vec<String> {
    let mut groups: Vec<String> = by.groups.iter().filter(|g| !g.starts_with("system:")).cloned().collect();
    groups.push("system:authenticated".into());
    if let Some(account) = by.username.strip_prefix("system:serviceaccount:") {
        groups.push("system:serviceaccounts".into());
        groups.extend(account.split(':').next().map(|namespace| format!("system:serviceaccounts:{namespace}")));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_system_come_from_the_name_only() {
        let by = |username: &str| Identity {
            username: username.into(),
            groups: vec!["ci".into(), "system:masters".into()],
            ..Identity::default()
        };
        assert_eq!(groups_of(&by("alice")), ["ci", "system:authenticated"]);
        assert_eq!(
            groups_of(&by("system:serviceaccount:ns:x")),
            ["ci", "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:ns"]
        );
    }
}
