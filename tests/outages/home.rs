//! A namespace that leases, by clients of its own: they go on while the control plane under them is broken.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Secret, ServiceAccount},
};
use kube::{Api, Client, Config, api::PostParams, config::AuthInfo};
use leasehold::api::{CredentialLease, CredentialLeaseDecision, reasons::Phase, status::CredentialLeaseStatus};
use leasehold_harness::{Look, User, eventually_seeing};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    holder::Holder,
    support::{Lab, Person},
};

/// How long a lease may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a request is made that gets no answer.
const TRIES: usize = 300;

/// Where leases are asked for.
#[derive(Clone)]
pub struct Home {
    pub namespace: String,
    pub admin: Client,
    requester: User,
    url: String,
    authority: Vec<u8>,
}

impl Home {
    /// A namespace with lifecycles `nightly`, which nobody has to agree to, and `agreed`, which one person has to.
    pub async fn create(lab: &Lab, label: &str) -> Result<Self> {
        let tenant = lab.tenant(label).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lifecycle("agreed", |spec| spec["terms"]["approval"] = json!({})).await?;
        Person::requester(&tenant).await?;
        let pem: String = lab.plane.ca_pem().lines().filter(|line| !line.starts_with("-----")).collect();
        Ok(Self {
            namespace: tenant.namespace.clone(),
            admin: tenant.admin.clone(),
            requester: tenant.requester,
            url: lab.plane.url().to_owned(),
            authority: STANDARD.decode(pem)?,
        })
    }

    /// Whoever has this token, at the API server.
    pub fn client_of(&self, token: &str) -> Result<Client> {
        let mut config = Config::new(self.url.parse()?);
        config.root_cert = Some(vec![self.authority.clone()]);
        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        Ok(Client::try_from(config)?)
    }

    /// Somebody who takes the token of this active lease and tries it from now on.
    pub async fn holder(&self, lease: &CredentialLease) -> Result<Holder> {
        let token = self.token(lease).await?;
        let holder = Holder::new(self, lease, self.client_of(&token)?);
        holder.until(200, Duration::from_secs(10)).await?;
        Ok(holder)
    }

    pub fn leases(&self) -> Api<CredentialLease> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    fn own(&self) -> Api<CredentialLease> {
        Api::namespaced(self.requester.client.clone(), &self.namespace)
    }

    /// Whoever asks for leases.
    pub fn requester_client(&self) -> Client {
        self.requester.client.clone()
    }

    /// The lease as it is asked for.
    pub fn lease_json(&self, name: &str, lifecycle: &str, ttl: &str, delivery: &str) -> Value {
        json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"lifecycleRef": {"name": lifecycle}, "grants": ["read"], "ttl": ttl, "reason": "an outage",
                "delivery": {"type": delivery},
                "requestedBy": {"username": self.requester.name, "groups": self.requester.groups}}})
    }

    /// Asks once for a lease of `nightly`.
    pub async fn ask(&self, name: &str, ttl: &str, delivery: &str) -> Result<CredentialLease> {
        self.ask_of("nightly", name, ttl, delivery).await
    }

    /// Asks once for a lease of this lifecycle.
    pub async fn ask_of(&self, lifecycle: &str, name: &str, ttl: &str, delivery: &str) -> Result<CredentialLease> {
        let object = serde_json::from_value(self.lease_json(name, lifecycle, ttl, delivery))?;
        self.own().create(&PostParams::default(), &object).await.with_context(|| format!("ask for {name}"))
    }

    /// Asks again and again until there is an answer, as a pipeline does. A lease of that name that is there is its own earlier try.
    pub async fn insist(&self, name: &str, ttl: &str, delivery: &str) -> Result<()> {
        let object = serde_json::from_value(self.lease_json(name, "nightly", ttl, delivery))?;
        for _ in 0..TRIES {
            match self.own().create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 && status.code != 403 => {
                    return Err(kube::Error::Api(status)).with_context(|| format!("ask for {name}"));
                }
                Ok(_) => return Ok(()),
                Err(_) => sleep(Duration::from_millis(300)).await,
            }
        }
        anyhow::bail!("{name} could not be asked for")
    }

    /// Ends a lease by its requester's word.
    pub async fn revoke(&self, lease: &CredentialLease) -> Result<()> {
        let (name, uid) = (lease.metadata.name.clone().context("no name")?, lease.metadata.uid.clone());
        let word = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision",
            "metadata": {"generateName": format!("{name}-"), "namespace": self.namespace},
            "spec": {"leaseRef": {"name": name, "uid": uid}, "lifecycleRef": {"name": lease.spec.lifecycle_ref.name},
                "requester": self.requester.name, "decision": "Revoked", "reason": "an outage",
                "decidedBy": {"username": self.requester.name, "groups": self.requester.groups}}});
        let api: Api<CredentialLeaseDecision> = Api::namespaced(self.requester.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(word)?).await.map(drop).context("revoke")
    }

    /// Waits until a lease is so.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&CredentialLeaseStatus) -> bool,
    ) -> Result<CredentialLease> {
        let api = self.leases();
        eventually_seeing(&format!("lease {}/{name} to be {what}", self.namespace), PATIENCE, || async {
            let lease = api.get(name).await?;
            let status = lease.status.clone().unwrap_or_default();
            let seen = serde_json::to_string(&status)?;
            Ok::<_, anyhow::Error>(if is(&status) { Look::Done(lease) } else { Look::NotYet(seen) })
        })
        .await
    }

    /// Waits until a lease is in this phase.
    pub async fn until_in(&self, name: &str, phase: Phase) -> Result<CredentialLease> {
        self.until(name, phase.as_str(), |status| status.phase == Some(phase)).await
    }

    /// The token of an active lease: delivered, or minted by its requester.
    pub async fn token(&self, lease: &CredentialLease) -> Result<String> {
        let credential = lease.status.as_ref().and_then(|s| s.credential.as_ref()).context("no credential")?;
        if let Some(secret) = &credential.secret {
            let secret: Secret = Api::namespaced(self.admin.clone(), &self.namespace).get(&secret.name).await?;
            let token = secret.data.and_then(|data| data.get("token").cloned()).context("the Secret has no token")?;
            return Ok(String::from_utf8(token.0)?);
        }
        let account = credential.service_account.as_ref().context("no account")?;
        let spec = TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.requester.client.clone(), "leasehold-leases");
        let mut tried = 0;
        loop {
            match api.create_token_request(&account.name, &PostParams::default(), &request).await {
                Ok(minted) => return Ok(minted.status.context("no token")?.token),
                // The authorizer's own watch may be behind the binding.
                Err(_) if tried < 20 => sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error.into()),
            }
            tried += 1;
        }
    }
}
