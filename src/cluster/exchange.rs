//! One request and its answer, under a deadline. Every call that Leasehold itself makes goes through here.
//!
//! kube's own typed calls are not used for writes: they log bodies that they cannot decode, and an answer to a TokenRequest
//! would be one; and they lose `Retry-After`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::call::{Class, Failure};

/// The longest answer that is read, in bytes: the API server's own limit for an object is 1.5 MiB.
const MAX_ANSWER: usize = 8 << 20;
/// Asks for an object's metadata only: nothing else of it is sent.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The same of each object of a list.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Sends requests.
#[derive(Clone)]
pub struct Exchange {
    client: Client,
    deadline: Duration,
}

/// A request, before it is sent.
pub struct Ask {
    method: Method,
    path: String,
    accept: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

/// What came back: a status code, and the body as it came.
pub struct Reply {
    pub code: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Ask {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), accept: "application/json", content_type: "application/json", body: vec![] }
    }

    /// With this body as JSON.
    ///
    /// # Errors
    /// If the body has no JSON form; no type of ours is like that.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, Failure> {
        self.body =
            serde_json::to_vec(body).map_err(|e| failure(Class::Invalid, format!("cannot be written as JSON: {e}")))?;
        Ok(self)
    }

    /// The body is a patch of this kind.
    #[must_use]
    pub fn patch(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Only the metadata of the object is wanted.
    #[must_use]
    pub fn metadata(mut self) -> Self {
        self.accept = METADATA;
        self
    }

    /// Only the metadata of a list, and of what is in it, is wanted.
    #[must_use]
    pub fn metadata_list(mut self) -> Self {
        self.accept = METADATA_LIST;
        self
    }
}

impl Exchange {
    /// Sends through `client`; what is not answered within `deadline` has failed.
    #[must_use]
    pub fn new(client: Client, deadline: Duration) -> Self {
        Self { client, deadline }
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// [`Class::Transient`] if no answer came in time: the request may or may not have been carried out.
    pub async fn send(&self, ask: Ask) -> Result<Reply, Failure> {
        let request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(header::ACCEPT, ask.accept)
            .header(header::CONTENT_TYPE, ask.content_type)
            .body(Body::from(ask.body))
            .map_err(|e| failure(Class::Invalid, format!("cannot be sent: {e}")))?;
        match tokio::time::timeout(self.deadline, self.carry(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(failure(Class::Transient, format!("no answer within {} s", self.deadline.as_secs()))),
        }
    }

    async fn carry(&self, request: Request<Body>) -> Result<Reply, Failure> {
        let response = self
            .client
            .send(request)
            .await
            .map_err(|e| failure(Class::Transient, format!("no answer: {}", root(&e))))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|_| failure(Class::Transient, "the answer broke off".into()))?;
        Ok(Reply { code: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

/// The innermost cause: the outer ones say little more than that there is one.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn failure(class: Class, message: String) -> Failure {
    Failure { class, message, retry_after: None }
}

impl Reply {
    /// The body as a typed value. The body itself is never quoted in the error: it may hold a token.
    ///
    /// # Errors
    /// If the answer is not a success, or not what was expected.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if !self.code.is_success() {
            return Err(self.failure());
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| failure(Class::Transient, "the answer is not what this call is answered with".into()))
    }

    /// What went wrong, from the API server's `Status`.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let class = match self.code {
            StatusCode::CONFLICT => Class::Conflict,
            StatusCode::FORBIDDEN => Class::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => Class::Throttled,
            StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Class::Invalid,
            _ => Class::Transient,
        };
        Failure { class, message: self.message(), retry_after: self.retry_after() }
    }

    /// The message of a `Status`; a plain-text answer (as API Priority and Fairness gives) is not quoted.
    fn message(&self) -> String {
        let status: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let message = status
            .filter(|s| s.get("kind").and_then(|k| k.as_str()) == Some("Status"))
            .and_then(|s| s.get("message")?.as_str().map(str::to_owned));
        let mut message = message.unwrap_or_else(|| format!("the API server answered {}", self.code));
        crate::api::condition::bound(&mut message, 512);
        message
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(120)))
    }
}
