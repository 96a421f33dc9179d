//! The calls of one lease, no more and no fewer than the floor: what the yardsticks make.

use anyhow::{Context, Result};
use futures::{future::try_join_all, try_join};
use leasehold::api::names::{self, ISSUING_NAMESPACE};
use serde_json::{Value, json};

use crate::{
    template::{GRANT, Own, ROLE, Templates},
    wire::{Wire, core, jobs, leases, rbac, text},
};

/// A lease, as one that acts for it knows it.
#[derive(Debug, Clone)]
pub struct Live {
    pub own: Own,
    pub version: String,
    /// As it was created: a status is written with the whole object.
    pub spec: Value,
    pub token: Option<String>,
}

/// Makes the calls.
#[derive(Clone)]
pub struct Replay {
    pub wire: Wire,
    pub templates: std::sync::Arc<Templates>,
}

impl Live {
    fn status_body(&self, status: Value) -> Value {
        let own = &self.own;
        json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"namespace": own.namespace, "name": own.name, "uid": *own.uid.text(), "resourceVersion": self.version},
            "spec": self.spec, "status": status,
        })
    }
}

impl Replay {
    pub async fn status(&self, live: &mut Live, template: &str) -> Result<()> {
        let status = self.templates.fill(template, &live.own)?;
        let path = format!("{}/{}", leases(&live.own.namespace), live.own.name);
        live.version = self.wire.put_status(&path, &live.status_body(status)).await?;
        Ok(())
    }

    /// May the requester lease?
    pub async fn check_access(&self, live: &Live) -> Result<()> {
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": live.spec["requestedBy"]["username"], "groups": ["system:authenticated"],
            "resourceAttributes": {"group": "leasehold.dev", "resource": "serviceaccountlifecycles", "verb": "lease",
                "namespace": live.own.namespace, "name": live.spec["lifecycleRef"]["name"]}}});
        self.wire.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &body).await.map(drop)
    }

    pub async fn job(&self, live: &mut Live, grace: i64) -> Result<()> {
        let mut body = self.templates.fill("job", &live.own)?;
        body["spec"]["activeDeadlineSeconds"] = json!((live.own.deadline - now()).max(0) + 1 + grace);
        live.own.job = self.wire.create(&jobs(ISSUING_NAMESPACE), &body).await?.0;
        Ok(())
    }

    pub async fn account(&self, live: &Live) -> Result<String> {
        let body = self.templates.fill("account", &live.own)?;
        Ok(self.wire.create(&core(ISSUING_NAMESPACE, "serviceaccounts"), &body).await?.0)
    }

    pub async fn binding(&self, live: &Live) -> Result<String> {
        let body = self.templates.fill("binding", &live.own)?;
        Ok(self.wire.create(&rbac(&live.own.namespace, "rolebindings"), &body).await?.0)
    }

    pub async fn read_role(&self) -> Result<()> {
        self.wire.get(&format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{ROLE}")).await.map(drop)
    }

    pub async fn mint(&self, live: &Live) -> Result<String> {
        let path = format!("{}/{}/token", core(ISSUING_NAMESPACE, "serviceaccounts"), live.own.account_name());
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {"name": live.own.account_name(), "namespace": ISSUING_NAMESPACE, "uid": live.own.account},
            "spec": {"audiences": [], "expirationSeconds": (live.own.deadline - now()).max(600)}});
        Ok(text(&self.wire.post(&path, &body).await?["status"]["token"]))
    }

    pub async fn secret(&self, live: &Live, token: &str) -> Result<String> {
        let body = self.templates.secret(&live.own, token)?;
        Ok(self.wire.create(&core(&live.own.namespace, "secrets"), &body).await?.0)
    }

    /// Does the API server know the token?
    pub async fn review(&self, live: &Live) -> Result<bool> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": live.token, "audiences": ["https://kubernetes.default.svc"]}});
        let answer = self.wire.post("/apis/authentication.k8s.io/v1/tokenreviews", &body).await?;
        Ok(answer["status"]["authenticated"] == true)
    }

    /// Everything that issuing costs, side by side where nothing needs another's answer.
    pub async fn issue(&self, live: &mut Live) -> Result<()> {
        self.check_access(live).await?;
        self.job(live, 5).await?;
        let (account, binding) = try_join!(self.account(live), self.binding(live))?;
        (live.own.account, live.own.binding) = (account, binding);
        let (token, ()) = try_join!(self.mint(live), self.read_role())?;
        live.own.secret = self.secret(live, &token).await?;
        live.token = Some(token);
        self.status(live, "active").await?;
        // The positive control.
        self.review(live).await.map(drop)
    }

    /// Takes everything down, what gives authority first.
    pub async fn end(&self, live: &mut Live) -> Result<()> {
        let own = &live.own;
        let issuing = names::issuing(&own.uid);
        let bindings = [
            (format!("{}/{}", rbac(&own.namespace, "rolebindings"), names::binding(&own.uid, GRANT)), &own.binding),
            (format!("{}/{issuing}", rbac(ISSUING_NAMESPACE, "rolebindings")), &own.mint_binding),
        ];
        self.delete_all(&bindings).await?;
        let rest = [
            (format!("{}/{}", core(ISSUING_NAMESPACE, "serviceaccounts"), own.account_name()), &own.account),
            (format!("{}/{}", core(&own.namespace, "secrets"), names::default_secret(&own.name)), &own.secret),
            (format!("{}/{issuing}", rbac(ISSUING_NAMESPACE, "roles")), &own.mint_role),
            (format!("{}/{issuing}", jobs(ISSUING_NAMESPACE)), &own.job),
        ];
        self.delete_all(&rest).await?;
        self.status(live, "ended").await
    }

    async fn delete_all(&self, objects: &[(String, &String)]) -> Result<()> {
        let there = objects.iter().filter(|(_, uid)| !uid.is_empty());
        try_join_all(there.map(|(path, uid)| self.wire.delete(path, uid))).await.map(drop)
    }

    /// Proves that it is dead, as soon as no API server may remember the token.
    pub async fn prove(&self, live: &mut Live) -> Result<()> {
        if live.token.is_some() && self.review(live).await? {
            anyhow::bail!("the token of {} is still known", live.own.name);
        }
        self.status(live, "proven").await
    }

    /// A lease that is active without having been issued by anybody, minted by its requester: created as he would, the rest as
    /// the operator. Its backstop waits two minutes longer than usual: what ends it is whom we measure.
    pub async fn plant(&self, requester: &Wire, lease: &Value, deadline: i64) -> Result<Live> {
        let namespace = text(&lease["metadata"]["namespace"]);
        let (uid, version) = requester.create(&leases(&namespace), lease).await?;
        let uid = names::LeaseUid::parse(&uid).context("a UID that is none")?;
        let own = Own::new(&namespace, &text(&lease["metadata"]["name"]), &uid, deadline, &self.templates);
        let mut live = Live { own, version, spec: lease["spec"].clone(), token: None };
        self.job(&mut live, 120).await?;
        let (account, binding) = try_join!(self.account(&live), self.binding(&live))?;
        (live.own.account, live.own.binding) = (account, binding);
        let role = self.templates.fill("mint-role", &live.own)?;
        let mint = self.templates.fill("mint-binding", &live.own)?;
        live.own.mint_role = self.wire.create(&rbac(ISSUING_NAMESPACE, "roles"), &role).await?.0;
        live.own.mint_binding = self.wire.create(&rbac(ISSUING_NAMESPACE, "rolebindings"), &mint).await?.0;
        self.status(&mut live, "minted").await?;
        Ok(live)
    }
}

/// Unix seconds.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
