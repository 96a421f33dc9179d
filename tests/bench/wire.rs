//! Requests as the operator itself sends them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use kube::{Client, Config};
use leasehold::cluster::{
    exchange::{Ask, Exchange},
    paths::gone,
};
use leasehold_harness::ControlPlane;
use serde_json::Value;

/// How long a yardstick waits for an answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends requests and wants them to succeed.
#[derive(Clone)]
pub struct Wire(Exchange);

impl Wire {
    pub fn new(client: Client) -> Self {
        Self(Exchange::new(client, DEADLINE))
    }

    /// As `KUBECONFIG` says, as an executable of ours finds its cluster; `retries`: whether calls are repeated as kube does by default.
    pub async fn infer(retries: bool) -> Result<(Self, Client)> {
        let mut config = Config::infer().await?;
        config.default_retry = retries;
        let client = Client::try_from(config)?;
        Ok((Self::new(client.clone()), client))
    }

    /// Sends one request; the answer as JSON.
    pub async fn send(&self, ask: Ask) -> Result<Value> {
        self.0
            .send(ask)
            .await
            .and_then(|reply| reply.decode::<Value>())
            .map_err(|failure| anyhow!("{}: {}", failure.class.as_str(), failure.message))
    }

    /// Creates an object and asks for its metadata only; its UID and resourceVersion.
    pub async fn create(&self, collection: &str, body: &Value) -> Result<(String, String)> {
        let path = format!("{collection}?fieldManager=leasehold");
        let answer =
            self.send(ask(Method::POST, path, body)?.metadata()).await.with_context(|| collection.to_owned())?;
        Ok((text(&answer["metadata"]["uid"]), text(&answer["metadata"]["resourceVersion"])))
    }

    /// Deletes the object with this UID; one that is gone already is what was wanted.
    pub async fn delete(&self, path: &str, uid: &str) -> Result<()> {
        let body = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}, "propagationPolicy": "Background"});
        let reply = self.0.send(ask(Method::DELETE, path, &body)?).await;
        let gone = reply.and_then(|reply| if reply.code.is_success() { Ok(()) } else { gone(&reply).map(drop) });
        gone.map_err(|failure| anyhow!("delete {path}: {}", failure.message))
    }

    /// Writes a status on this resourceVersion; the new one.
    pub async fn put_status(&self, path: &str, body: &Value) -> Result<String> {
        let path = format!("{path}/status?fieldManager=leasehold");
        let answer =
            self.send(ask(Method::PUT, &path, body)?.metadata()).await.with_context(|| format!("put {path}"))?;
        Ok(text(&answer["metadata"]["resourceVersion"]))
    }

    /// Creates what answers a question.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(ask(Method::POST, path, body)?).await.with_context(|| path.to_owned())
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Ask::new(Method::GET, path)).await.with_context(|| path.to_owned())
    }
}

fn ask(method: Method, path: impl Into<String>, body: &Value) -> Result<Ask> {
    Ask::new(method, path).json(body).map_err(|failure| anyhow!("{}", failure.message))
}

/// How to reach the API server as nobody: whoever sends brings a token along.
pub fn nobody(plane: &ControlPlane) -> Result<Config> {
    let mut config = Config::new(plane.url().parse()?);
    let der: String = plane.ca_pem().lines().filter(|line| !line.starts_with("-----")).collect();
    config.root_cert = Some(vec![STANDARD.decode(der)?]);
    config.default_retry = false;
    Ok(config)
}

/// A JSON string; empty if it is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn leases(namespace: &str) -> String {
    format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/credentialleases")
}

pub fn rbac(namespace: &str, resource: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{resource}")
}

pub fn core(namespace: &str, resource: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{resource}")
}

pub fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}
