//! Another system: a store of values over TLS, which keeps what it is told and does what a test scripts.
//!
//! `GET /gate/<key>` answers whether a change is approved; `PUT /values/<key>` keeps its body, `DELETE` forgets it (and is content
//! where there is nothing); `POST /told/<key>` is told something. An effect is applied once per Idempotency-Key.

mod answer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

pub use answer::{CarryOut, Closed, Front, Sent};
use answer::{answer, passed_on};

/// How a request is met instead of well.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Answered with this status, nothing done.
    Status(u16),
    /// Never answered, nothing done.
    Hang,
    /// Done, and the connection closed without an answer.
    Reset,
    /// Done, and answered with what is no JSON.
    Garbage,
    /// Done, and answered with ten megabytes.
    Huge,
    /// Answered with a redirect, nothing done.
    Redirect,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Method and path.
    pub what: String,
    /// Its Idempotency-Key.
    pub key: String,
    /// Its body.
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, String>,
    /// Idempotency-Keys whose effect was applied.
    applied: BTreeSet<String>,
    /// What was applied, in order.
    effects: Vec<Call>,
    calls: Vec<Call>,
    /// By `METHOD /path`: how the next ones are met; the last one for ever if `for_ever`.
    script: BTreeMap<String, VecDeque<Act>>,
    for_ever: BTreeMap<String, Act>,
}

/// Another system.
#[derive(Debug)]
pub struct Other {
    port: u16,
    ca: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Other {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Other {
    /// Starts one.
    ///
    /// # Errors
    /// If it cannot listen, or make its certificates.
    pub async fn start() -> Result<Self> {
        Self::with(false, passed_on()).await
    }

    /// Starts one behind `front`.
    ///
    /// # Errors
    /// If it cannot listen, or make its certificates.
    pub async fn behind(front: Front) -> Result<Self> {
        Self::with(false, front).await
    }

    /// One whose certificate has expired.
    ///
    /// # Errors
    /// If it cannot listen, or make its certificates.
    pub async fn expired() -> Result<Self> {
        Self::with(true, passed_on()).await
    }

    async fn with(expired: bool, front: Front) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(["localhost".to_owned()])?;
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &ca)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let state: Arc<Mutex<State>> = Arc::default();
        let served = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, state, front) = (acceptor.clone(), served.clone(), front.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| answer(state.clone(), front.clone(), request));
                    // A connection that ends early is what some tests want.
                    _ = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Ok(Self { port, ca: ca.pem(), state, task })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every use is a few inserts or reads.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Meets the next requests of this kind so; then well.
    pub fn script(&self, what: &str, acts: &[Act]) {
        self.state().script.insert(what.to_owned(), acts.iter().cloned().collect());
    }

    /// Meets every request of this kind so, until `mend`.
    pub fn always(&self, what: &str, act: Act) {
        self.state().for_ever.insert(what.to_owned(), act);
    }

    /// Meets requests of this kind well again.
    pub fn mend(&self, what: &str) {
        self.state().for_ever.remove(what);
    }

    /// What it keeps under a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        self.state().values.get(key).cloned()
    }

    /// Everything it keeps.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        self.state().values.clone()
    }

    /// What was applied, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Call> {
        self.state().effects.clone()
    }

    /// Forgets everything that it keeps, was asked and did.
    pub fn forget(&self) {
        *self.state() = State::default();
    }

    /// What it was asked about a key, in order.
    #[must_use]
    pub fn calls(&self, key: &str) -> Vec<Call> {
        let about = |call: &&Call| call.what.rsplit('/').next() == Some(key);
        self.state().calls.iter().filter(about).cloned().collect()
    }

    /// The Idempotency-Keys under which requests of this method about a key came.
    #[must_use]
    pub fn keys(&self, method: &str, key: &str) -> BTreeSet<String> {
        self.calls(key).into_iter().filter(|call| call.what.starts_with(method)).map(|call| call.key).collect()
    }

    /// It as a ConnectedSystem of this name.
    #[must_use]
    pub fn system(&self, name: &str) -> Value {
        let operation = |name: &str, method: &str, path: &str, body: Option<&str>| {
            let mut operation = json!({"name": name, "params": ["key"], "method": method, "path": format!("'/{path}/' + urlquery(params.key)"), "success": "response.status == 200 && response.body.ok"});
            if let Some(body) = body {
                operation["body"] = json!(body);
            }
            operation
        };
        let mut gate = operation("gate", "GET", "gate", None);
        gate["access"] = json!("ReadOnly");
        gate["success"] = json!("response.status == 200 && response.body.approved");
        gate["retryable"] = json!(
            "response.status in [408, 425, 429] || response.status >= 500 || (response.status == 200 && response.body.pending)"
        );
        let token = operation(
            "set-token",
            "PUT",
            "values",
            Some("{'value': credential.token, 'until': credential.expirationTime}"),
        );
        let fact = operation("set", "PUT", "values", Some("{'value': lease.name, 'ticket': lease.ticket}"));
        let unset = operation("unset", "DELETE", "values", None);
        let told = operation(
            "tell",
            "POST",
            "told",
            Some("{'ended': lease.endReason, 'evidence': lease.evidence, 'by': requester.username}"),
        );
        json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "ConnectedSystem", "metadata": {"name": name},
            "spec": {
                "type": "HTTP", "http": {"url": format!("https://localhost:{}", self.port), "caBundle": self.ca},
                "namespaces": {"from": "All"}, "limits": {"callTimeout": "2s", "concurrency": 16},
                "operations": [gate, token, fact, unset, told],
            },
        })
    }
}
