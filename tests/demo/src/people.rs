//! Who takes part: real identities, each with rights of its own and no other.

use std::path::PathBuf;

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::{cluster::Cluster, story::NAMESPACE};

/// Somebody the API server knows.
pub struct Person {
    /// As RBAC has it.
    pub name: String,
    /// Without `system:*`.
    pub groups: Vec<String>,
    /// As RoleBindings name it.
    pub subject: Value,
    pub kubeconfig: PathBuf,
    pub client: Client,
}

impl Person {
    /// In our own control plane a user with a client certificate; elsewhere, where we sign none, a ServiceAccount.
    pub async fn named(cluster: &Cluster, name: &str, groups: &[&str]) -> Result<Self> {
        if let Some(plane) = &cluster.plane {
            let user = plane.user(name, groups)?;
            let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
            return Ok(Self {
                name: user.name,
                groups: user.groups,
                subject,
                kubeconfig: user.kubeconfig,
                client: user.client,
            });
        }
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}});
        cluster.admin(&["apply", "-f", "-"], Some(&account.to_string())).await?;
        let token = cluster.admin(&["create", "token", name, "-n", NAMESPACE, "--duration=1h"], None).await?;
        let (kubeconfig, client) = cluster.by_token(name, token.trim()).await?;
        Ok(Self {
            name: format!("system:serviceaccount:{NAMESPACE}:{name}"),
            groups: vec![],
            subject: json!({"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}),
            kubeconfig,
            client,
        })
    }
}
