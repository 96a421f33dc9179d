//! One request as an attacker would write it, byte by byte if need be, and what came back.

use anyhow::{Context, Result};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// A request to the API server.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    body: Value,
    content_type: &'static str,
    accept: &'static str,
    act_as: Vec<(&'static str, String)>,
}

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Under which the API server noted the request down.
    pub audit_id: String,
    pub body: Value,
}

impl Call {
    fn new(method: Method, path: impl Into<String>, body: Value) -> Self {
        let (content_type, accept, act_as) = ("application/json", "application/json", vec![]);
        Self { method, path: path.into(), body, content_type, accept, act_as }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path, body)
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Value::Null)
    }

    pub fn put(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PUT, path, body)
    }

    /// A JSON merge patch.
    pub fn patch(path: impl Into<String>, body: Value) -> Self {
        Self { content_type: "application/merge-patch+json", ..Self::new(Method::PATCH, path, body) }
    }

    pub fn json_patch(path: impl Into<String>, body: Value) -> Self {
        Self { content_type: "application/json-patch+json", ..Self::new(Method::PATCH, path, body) }
    }

    /// A patch that knows lists of containers.
    pub fn strategic(path: impl Into<String>, body: Value) -> Self {
        Self { content_type: "application/strategic-merge-patch+json", ..Self::new(Method::PATCH, path, body) }
    }

    pub fn apply(path: impl AsRef<str>, body: Value) -> Self {
        let path = format!("{}?fieldManager=attacker", path.as_ref());
        Self { content_type: "application/apply-patch+yaml", ..Self::new(Method::PATCH, path, body) }
    }

    /// Without a body: with one, the API server does not look at the options in the query.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, Value::Null)
    }

    /// Deletes with a propagation policy.
    pub fn delete_by(path: impl Into<String>, propagation: &str) -> Self {
        Self::new(Method::DELETE, path, json!({"propagationPolicy": propagation}))
    }

    /// Only the metadata of the object, as the operator asks for it.
    pub fn metadata_only(self) -> Self {
        Self { accept: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", ..self }
    }

    /// As somebody else, by impersonation: for what no credential of one's own can say.
    pub fn acting_as(mut self, user: &str, groups: &[String]) -> Self {
        self.act_as = vec![("Impersonate-User", user.to_owned())];
        self.act_as.extend(groups.iter().map(|group| ("Impersonate-Group", group.clone())));
        self
    }

    /// Sends it.
    pub async fn send(&self, client: &Client) -> Result<Answer> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::ACCEPT, self.accept)
            .header(header::CONTENT_TYPE, self.content_type);
        for (name, value) in &self.act_as {
            request = request.header(*name, value);
        }
        let body = if self.body.is_null() { Body::empty() } else { Body::from(serde_json::to_vec(&self.body)?) };
        let response =
            client.send(request.body(body)?).await.with_context(|| format!("{} {}", self.method, self.path))?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        let audit_id = parts.headers.get("audit-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Answer { code: parts.status.as_u16(), audit_id, body })
    }
}

impl Answer {
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The API server's words, if it refused.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Whether exactly this policy refused it.
    pub fn is_refused_by(&self, policy: &str) -> bool {
        self.code == 403 && self.message().contains(&format!("ValidatingAdmissionPolicy '{policy}'"))
    }

    /// Refused by RBAC, not by a policy: the right itself is missing.
    pub fn lacks_the_right(&self) -> bool {
        self.code == 403 && !self.message().contains("ValidatingAdmissionPolicy")
    }

    /// The body of a success.
    pub fn ok(self) -> Result<Value> {
        anyhow::ensure!(self.succeeded(), "{}: {}", self.code, self.message());
        Ok(self.body)
    }

    pub fn brief(&self) -> String {
        format!("{} {}", self.code, self.message())
    }
}
