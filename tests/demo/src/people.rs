//! Who takes part: real identities, each with rights of its own and no other.

use std::path::PathBuf;

use anyhow::Result;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::{cluster::Cluster, story::NAMESPACE};

/// Somebody the API server knows.
pub struct Person {
    /// How the story calls them; their kubeconfig is named so.
    pub label: &'static str,
    /// As RBAC has it.
    pub name: String,
    /// Without `system:*`.
    pub groups: Vec<String>,
    /// As RoleBindings name it.
    pub subject: Value,
    pub kubeconfig: PathBuf,
}

impl Person {
    /// In our own control plane a user with a client certificate; elsewhere, where we sign none, a ServiceAccount.
    pub async fn named(cluster: &Cluster, name: &'static str, groups: &[&str]) -> Result<Self> {
        if let Some(plane) = &cluster.plane {
            let user = plane.user(name, groups)?;
            let kubeconfig = cluster.keep(name, Kubeconfig::read_from(&user.kubeconfig)?)?;
            let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
            let (label, name, groups) = (name, user.name, user.groups);
            return Ok(Self { label, name, groups, subject, kubeconfig });
        }
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}});
        cluster.admin(&["apply", "-f", "-"], Some(&account.to_string())).await?;
        let token = cluster.admin(&["create", "token", name, "-n", NAMESPACE, "--duration=1h"], None).await?;
        let (kubeconfig, _) = cluster.by_token(name, token.trim()).await?;
        Ok(Self {
            label: name,
            name: format!("system:serviceaccount:{NAMESPACE}:{name}"),
            groups: vec![],
            subject: json!({"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}),
            kubeconfig,
        })
    }
}

/// Everybody in the story.
pub struct People {
    pub author: Person,
    pub pipeline: Person,
    pub oncall: Person,
    pub lead: Person,
    pub platform: Person,
}

impl People {
    pub async fn gather(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            author: Person::named(cluster, "payments-author", &[]).await?,
            pipeline: Person::named(cluster, "payments-ci", &["ci"]).await?,
            oncall: Person::named(cluster, "payments-oncall", &["payments"]).await?,
            lead: Person::named(cluster, "payments-lead", &["payments"]).await?,
            platform: Person::named(cluster, "platform", &[]).await?,
        })
    }

    /// A manifest with everybody in the place that is kept for them.
    pub fn fill(&self, manifest: &str) -> String {
        let places = [
            ("[AUTHOR]", &self.author),
            ("[PIPELINE]", &self.pipeline),
            ("[ONCALL]", &self.oncall),
            ("[LEAD]", &self.lead),
            ("[PLATFORM]", &self.platform),
        ];
        places
            .into_iter()
            .fold(manifest.to_owned(), |text, (place, person)| text.replace(place, &format!("[{}]", person.subject)))
    }

    /// Elsewhere everybody is a ServiceAccount, and one of those is nobody's independent second opinion.
    pub fn independence(&self, cluster: &Cluster) -> &'static str {
        if cluster.plane.is_some() { "Required" } else { "Recorded" }
    }

    /// Everybody, and what they do.
    pub fn all(&self) -> [(&Person, &'static str); 5] {
        [
            (&self.oncall, "asks for fixer"),
            (&self.lead, "approves, denies and revokes"),
            (&self.pipeline, "asks for deployer"),
            (&self.author, "writes lifecycles"),
            (&self.platform, "stops, resumes, sees everything but Secrets"),
        ]
    }
}
