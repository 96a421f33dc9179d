//! A namespace whose owner has opted in, with an author of lifecycles and a requester of leases.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Secret, ServiceAccount},
    rbac::v1::Role,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use leasehold::api::{
    CredentialLease, CredentialLeasePolicy, ServiceAccountLifecycle,
    condition::{self, ConditionStatus},
    reasons::{EndReason, Evidence, Phase},
    status::CredentialLeaseStatus,
};
use leasehold_harness::{Look, User, eventually_seeing};
use serde_json::{Value, json};

use super::Lab;

/// A namespace with everything that leasing in it needs: Role `reader` (get and list ConfigMaps) that the operator may bind and
/// lifecycles may grant, Secret delivery opted in, ConfigMap `ledger` to read, a user `<namespace>-author` who may write
/// lifecycles and bind `reader`, and a user `<namespace>-ci` who may lease every lifecycle.
pub struct Tenant<'a> {
    pub lab: &'a Lab,
    pub namespace: String,
    /// The cluster's administrator.
    pub admin: Client,
    /// Who asks for leases.
    pub requester: User,
    /// Who writes lifecycles.
    pub author: User,
}

impl<'a> Tenant<'a> {
    pub(super) async fn create(lab: &'a Lab, namespace: &str) -> Result<Self> {
        let (requester, author) = (
            lab.plane.user(&format!("{namespace}-ci"), &["ci"])?,
            lab.plane.user(&format!("{namespace}-author"), &[])?,
        );
        let tenant = Self { lab, namespace: namespace.to_owned(), admin: lab.plane.admin(), requester, author };
        lab.kubectl(&["apply", "-f", "-"], Some(&tenant.manifest())).await?;
        Ok(tenant)
    }

    fn manifest(&self) -> String {
        let namespace = &self.namespace;
        let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": rules});
        let bind = |name: &str, kind: &str, role: &str, subject: Value| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": [subject]})
        };
        let user = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
        let operator = json!({"kind": "ServiceAccount", "name": "leasehold", "namespace": "leasehold-system"});
        let items = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ledger", "namespace": namespace}, "data": {"balance": "7"}}),
            role("reader", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}])),
            role(
                "operator-bind",
                json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["reader"]}]),
            ),
            bind("leasehold-granter", "ClusterRole", "leasehold-granter", operator.clone()),
            bind("leasehold-bind", "Role", "operator-bind", operator.clone()),
            bind("leasehold-delivery", "ClusterRole", "leasehold-delivery", operator),
            role(
                "author",
                json!([
                    {"apiGroups": ["leasehold.dev"], "resources": ["serviceaccountlifecycles"], "verbs": ["*"]},
                    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["reader"]},
                ]),
            ),
            role(
                "requester",
                json!([
                    {"apiGroups": ["leasehold.dev"], "resources": ["serviceaccountlifecycles"], "verbs": ["lease"]},
                    {"apiGroups": ["leasehold.dev"], "resources": ["credentialleases"], "verbs": ["create", "get", "list", "watch", "delete"]},
                ]),
            ),
            bind("author", "Role", "author", user(&self.author.name)),
            bind("requester", "Role", "requester", user(&self.requester.name)),
        ];
        items.map(|item| item.to_string()).join("\n---\n")
    }

    /// Leases, as the administrator sees them.
    pub fn leases(&self) -> Api<CredentialLease> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Lifecycles, as the administrator sees them.
    pub fn lifecycles(&self) -> Api<ServiceAccountLifecycle> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// A lifecycle as JSON: grant `read` of Role `reader`, both deliveries, ttl up to an hour. `change` edits its spec.
    pub fn lifecycle_json(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut spec = json!({
            "owner": {"team": "payments", "contact": "payments-oncall@example.com"},
            "purpose": "Reads the ledger", "class": "Pipeline",
            "grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "reader"}}],
            "terms": {"ttl": {"max": "1h"}, "delivery": ["TokenRequest", "Secret"], "approval": {"type": "NotRequired"}},
        });
        change(&mut spec);
        json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec})
    }

    /// Creates a lifecycle as its author.
    pub async fn lifecycle(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<ServiceAccountLifecycle> {
        let object = serde_json::from_value(self.lifecycle_json(name, change))?;
        let api: Api<ServiceAccountLifecycle> = Api::namespaced(self.author.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &object).await.context("create a lifecycle")
    }

    /// A lease as JSON: 30 s of grant `read`, minted by the requester. `change` edits its spec.
    pub fn lease_json(&self, name: &str, lifecycle: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut spec = json!({
            "lifecycleRef": {"name": lifecycle}, "grants": ["read"], "ttl": "30s", "reason": "a test", "delivery": {"type": "TokenRequest"},
            "requestedBy": {"username": self.requester.name, "groups": self.requester.groups},
        });
        change(&mut spec);
        json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec})
    }

    /// Creates a lease as the requester.
    pub async fn lease(&self, name: &str, lifecycle: &str, change: impl FnOnce(&mut Value)) -> Result<CredentialLease> {
        let object = serde_json::from_value(self.lease_json(name, lifecycle, change))?;
        let api: Api<CredentialLease> = Api::namespaced(self.requester.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &object).await.context("create a lease")
    }

    /// Guardrails of the cluster, as the administrator sees them.
    pub fn policies(&self) -> Api<CredentialLeasePolicy> {
        Api::all(self.admin.clone())
    }

    /// Creates guardrail `<namespace>-<name>`; its name. Without a `match` it guards only what is granted into this namespace,
    /// so that other tests notice nothing.
    pub async fn policy(&self, name: &str, mut spec: Value) -> Result<String> {
        let name = format!("{}-{name}", self.namespace);
        if spec["match"].is_null() {
            spec["match"] =
                json!({"grantNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}});
        }
        let object = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy", "metadata": {"name": name}, "spec": spec});
        self.policies().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(name)
    }

    /// Waits until a lease is as it should be.
    pub async fn lease_is(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&CredentialLease) -> bool,
    ) -> Result<CredentialLease> {
        let api = self.leases();
        eventually_seeing(&format!("lease {}/{name} to be {what}", self.namespace), Duration::from_secs(90), || async {
            let lease = api.get(name).await?;
            let seen = serde_json::to_string(&lease.status)?;
            Ok::<_, anyhow::Error>(if is(&lease) { Look::Done(lease) } else { Look::NotYet(seen) })
        })
        .await
    }

    /// Waits until a lease is in this phase.
    pub async fn lease_in(&self, name: &str, phase: Phase) -> Result<CredentialLease> {
        self.lease_is(name, phase.as_str(), |lease| lease.status.as_ref().and_then(|s| s.phase) == Some(phase)).await
    }

    /// Waits until a lifecycle's condition is so.
    pub async fn lifecycle_says(
        &self,
        name: &str,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
    ) -> Result<ServiceAccountLifecycle> {
        let api = self.lifecycles();
        eventually_seeing(
            &format!("lifecycle {}/{name} to say {kind} {status:?} {reason}", self.namespace),
            Duration::from_secs(60),
            || async {
                let object = api.get(name).await?;
                let said = object
                    .status
                    .as_ref()
                    .and_then(|s| condition::find(&s.conditions, kind))
                    .is_some_and(|c| c.status == status && c.reason == reason);
                let seen = serde_json::to_string(&object.status)?;
                Ok::<_, anyhow::Error>(if said { Look::Done(object) } else { Look::NotYet(seen) })
            },
        )
        .await
    }

    /// Waits until a lease has ended for this reason and its death is proven; its last status.
    pub async fn lease_ended(
        &self,
        name: &str,
        reason: EndReason,
        evidence: Evidence,
    ) -> Result<CredentialLeaseStatus> {
        let lease = self.lease_in(name, reason.phase()).await?;
        let status = lease.status.context("no status")?;
        ensure!(status.end_reason == Some(reason), "ended by {:?}, not {reason}", status.end_reason);
        let revoked = condition::find(&status.conditions, "Revoked").context("no condition Revoked")?;
        ensure!(revoked.status == ConditionStatus::True && revoked.reason == evidence.as_str(), "{revoked:?}");
        ensure!(status.credential.as_ref().and_then(|c| c.evidence) == Some(evidence), "{:?}", status.credential);
        Ok(status)
    }

    /// Changes a lifecycle as its author: a merge patch.
    pub async fn change_lifecycle(&self, name: &str, patch: Value) -> Result<()> {
        let api: Api<ServiceAccountLifecycle> = Api::namespaced(self.author.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).context("change a lifecycle")
    }

    /// Gives the granted role `reader` one verb more: delete.
    pub async fn widen_role(&self) -> Result<()> {
        let roles: Api<Role> = Api::namespaced(self.admin.clone(), &self.namespace);
        let rules = [json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "delete"]})];
        let patch = Patch::Merge(json!({"rules": rules}));
        roles.patch("reader", &PatchParams::default(), &patch).await.map(drop).context("widen the role")
    }

    /// Deletes a lease as its requester.
    pub async fn delete_lease(&self, name: &str) -> Result<()> {
        let api: Api<CredentialLease> = Api::namespaced(self.requester.client.clone(), &self.namespace);
        api.delete(name, &DeleteParams::default()).await.map(drop).context("delete a lease")
    }

    /// The same namespace with another user who may lease.
    pub async fn another_requester(&self, name: &str) -> Result<Tenant<'a>> {
        let name = format!("{}-{name}", self.namespace);
        let requester = self.lab.plane.user(&name, &[])?;
        let args = ["create", "rolebinding", &name, "-n", &self.namespace, "--role=requester", "--user", &name];
        self.lab.kubectl(&args, None).await?;
        let tenant = Tenant {
            lab: self.lab,
            namespace: self.namespace.clone(),
            admin: self.admin.clone(),
            requester,
            author: self.author.clone(),
        };
        Ok(tenant)
    }

    /// Changes a lifecycle as the administrator.
    pub async fn stop(&self, lifecycle: &str, patch: &Value) -> Result<()> {
        let patch = kube::api::Patch::Merge(patch);
        self.lifecycles().patch(lifecycle, &kube::api::PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The token that an active lease gives, as its requester gets it.
    pub async fn token(&self, lease: &CredentialLease) -> Result<String> {
        let credential =
            lease.status.as_ref().and_then(|s| s.credential.as_ref()).context("the lease has no credential")?;
        if let Some(secret) = &credential.secret {
            let secret: Secret = Api::namespaced(self.admin.clone(), &self.namespace).get(&secret.name).await?;
            let token = secret.data.and_then(|d| d.get("token").cloned()).context("the Secret has no token")?;
            return Ok(String::from_utf8(token.0)?);
        }
        let account = &credential.service_account.as_ref().context("the lease has no account")?.name;
        let args = ["create", "token", account, "-n", "leasehold-leases", "--duration=600s"];
        Ok(self.lab.plane.kubectl(&self.requester.kubeconfig, &args, None).await?.ok()?.trim().to_owned())
    }

    /// A token for an account, as the requester mints it.
    pub async fn mint(&self, account: &str) -> Result<String> {
        let spec = TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.requester.client.clone(), "leasehold-leases");
        let minted = api.create_token_request(account, &PostParams::default(), &request).await?;
        Ok(minted.status.context("the API server gave no token")?.token)
    }

    /// ConfigMaps of the namespace, as somebody sees them.
    pub fn configmaps(&self, client: Client) -> Api<ConfigMap> {
        Api::namespaced(client, &self.namespace)
    }
}
