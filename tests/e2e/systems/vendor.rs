//! The other side of a call: a server on loopback that answers as a [`Contract`] says.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::Value;

/// What a vendor documents: the answer to a call, or in what the call breaks the contract.
pub trait Contract: Send + 'static {
    fn answer(&mut self, call: &Call) -> Result<Answer, String>;
}

/// One call, taken apart.
pub struct Call {
    pub method: String,
    /// Percent-encoded, as it came.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body, if the header says that it is JSON, and it is.
    pub fn json(&self) -> Result<Value, String> {
        let kind = self.header("content-type");
        if !kind.starts_with("application/json") {
            return Err(format!("content type {kind:?}"));
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("a body that is no JSON: {error}"))
    }

    pub fn nobody(&self) -> Result<(), String> {
        if self.body.is_empty() { Ok(()) } else { Err("a body where none belongs".to_owned()) }
    }
}

/// A JSON object with exactly these members, or some of them.
pub fn only(object: &Value, required: &[&str], optional: &[&str]) -> Result<(), String> {
    let members = object.as_object().ok_or_else(|| format!("no object: {object}"))?;
    let unknown = members.keys().find(|key| !required.contains(&key.as_str()) && !optional.contains(&key.as_str()));
    let missing = required.iter().find(|key| !members.contains_key(**key));
    match (unknown, missing) {
        (Some(key), _) => Err(format!("member {key}, which is not documented")),
        (_, Some(key)) => Err(format!("no member {key}")),
        (None, None) => Ok(()),
    }
}

/// What is answered.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = match self.body {
            None => Body::empty(),
            Some(json) => {
                response = response.header("content-type", "application/json");
                Body::from(json.to_string())
            }
        };
        response.body(body).expect("status and headers are written out in the tests")
    }
}

struct Desk<C> {
    contract: C,
    breaches: Vec<String>,
    instead: Option<Answer>,
}

/// A running vendor.
pub struct Vendor<C> {
    url: String,
    desk: Arc<Mutex<Desk<C>>>,
    server: tokio::task::JoinHandle<()>,
}

impl<C: Contract> Vendor<C> {
    pub async fn open(contract: C) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let desk = Arc::new(Mutex::new(Desk { contract, breaches: Vec::new(), instead: None }));
        let router = Router::new().fallback(serve::<C>).with_state(Arc::clone(&desk));
        let server = tokio::spawn(async move {
            // It ends with the test.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { url, desk, server })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn desk(&self) -> MutexGuard<'_, Desk<C>> {
        self.desk.lock().expect("no contract panics")
    }

    /// Looks at, or changes, what the vendor knows.
    pub fn with<T>(&self, look: impl FnOnce(&mut C) -> T) -> T {
        look(&mut self.desk().contract)
    }

    /// From now on every call is answered so, whatever it says.
    pub fn instead(&self, answer: Answer) {
        self.desk().instead = Some(answer);
    }

    /// Calls are answered by the contract again.
    pub fn as_before(&self) {
        self.desk().instead = None;
    }

    /// Whether every call so far kept the contract.
    pub fn was_kept(&self) -> Result<()> {
        let breaches = &self.desk().breaches;
        ensure!(breaches.is_empty(), "the contract was broken: {}", breaches.join("; "));
        Ok(())
    }
}

impl<C> Drop for Vendor<C> {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve<C: Contract>(State(desk): State<Arc<Mutex<Desk<C>>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect(),
        headers: parts.headers,
        body,
    };
    let mut desk = desk.lock().expect("no contract panics");
    if let Some(answer) = desk.instead.clone() {
        return answer.response();
    }
    match common(&call).and_then(|()| desk.contract.answer(&call)) {
        Ok(answer) => answer.response(),
        Err(breach) => {
            desk.breaches.push(format!("{} {}: {breach}", call.method, call.path));
            Answer::empty(400).response()
        }
    }
}

/// What every call of the operator has.
fn common(call: &Call) -> Result<(), String> {
    if !call.header("user-agent").starts_with("leasehold/") {
        return Err("no User-Agent".to_owned());
    }
    if call.header("idempotency-key") != super::stage::KEY {
        return Err("no Idempotency-Key".to_owned());
    }
    if call.method == "GET" { call.nobody() } else { Ok(()) }
}

fn pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decoded(name), decoded(value))
}

/// Without percent-encoding (RFC 3986); what is wrongly encoded stays as it is.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        plain.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}
