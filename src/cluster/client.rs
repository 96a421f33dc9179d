//! The HTTP client: no retries of its own, every response counted and its Date read, nothing changed by who does not lead, no watch
//! that begins with the past or brings what nobody reads.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Layer, Service};

use super::{
    exchange::METADATA,
    lead::{self, Lead, NotLeading},
    watches,
};
use crate::runtime::{clock::Clock, metrics::Metrics};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no cluster is configured: set KUBECONFIG, or run in a pod with a service account ({0})")]
    Config(#[source] Box<kube::config::InferConfigError>),
    #[error("the cluster's configuration cannot be used: {0}")]
    Client(#[source] Box<kube::Error>),
    #[error("the cluster's CA certificate {path} cannot be read: {source}")]
    Ca { path: String, source: std::io::Error },
}

/// A client and what delivered kubeconfigs say about the cluster.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// The API server's URL as this process knows it.
    pub server: String,
    /// The API server's CA certificates, PEM.
    pub ca_pem: String,
}

/// Connects as `KUBECONFIG`, `~/.kube/config` or the pod's service account say. What would change something is sent only as long
/// as `lead` holds.
///
/// # Errors
/// If none of them is usable. Nothing is sent yet.
pub async fn connect(clock: &Clock, metrics: &Arc<Metrics>, lead: &Lead) -> Result<Cluster, Error> {
    let mut config = Config::infer().await.map_err(|e| Error::Config(Box::new(e)))?;
    // Retries are the controllers' business: they know what an unanswered call means for the next one.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config
        .headers
        .push((header::USER_AGENT, HeaderValue::from_static(concat!("leasehold/", env!("CARGO_PKG_VERSION")))));
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let ca_pem = ca(&config)?;
    let layer = Observe { clock: clock.clone(), metrics: metrics.clone(), lead: lead.clone() };
    let client = ClientBuilder::try_from(config).map_err(|e| Error::Client(Box::new(e)))?.with_layer(&layer).build();
    Ok(Cluster { client, server, ca_pem })
}

fn ca(config: &Config) -> Result<String, Error> {
    if let Some(path) = &config.root_cert_file {
        return std::fs::read_to_string(path).map_err(|source| Error::Ca { path: path.display().to_string(), source });
    }
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut pem = String::new();
    for der in config.root_cert.iter().flatten() {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(der);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(pem)
}

/// The one way out: refuses what only the leader may send, counts each call, and tells the clock what time the API server has.
#[derive(Clone)]
struct Observe {
    clock: Clock,
    metrics: Arc<Metrics>,
    lead: Lead,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

#[derive(Clone)]
struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(fresh) = watches::fresh(request.uri()) {
            if watches::is_of_metadata(&fresh) {
                request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(METADATA));
            }
            *request.uri_mut() = fresh;
        }
        if lead::changes(request.method(), request.uri()) && !self.observe.lead.holds() {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let what = crate::runtime::metrics::ApiCall::of(request.method(), request.uri());
        let (sent, observe) = (std::time::Instant::now(), self.observe.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |r| r.status().as_u16());
            observe.metrics.api_call(what, code);
            if let Some(date) = answer.as_ref().ok().and_then(|r| r.headers().get(header::DATE)?.to_str().ok()) {
                observe.clock.observe_date(sent, std::time::Instant::now(), date);
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for, and as what.
    async fn sent(path: &str) -> (String, Option<HeaderValue>) {
        let clock = Clock::system();
        let observe = Observe { clock: clock.clone(), metrics: Metrics::new(), lead: Lead::always(clock) };
        let mut service = observe.layer(tower::service_fn(async |request: Request<Body>| {
            let accept = request.headers().get(header::ACCEPT).cloned();
            Ok::<_, BoxError>(Response::new((request.uri().to_string(), accept)))
        }));
        service.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().into_body()
    }

    #[tokio::test]
    async fn of_what_is_made_for_leases_only_metadata_is_streamed() {
        let stream = |path: &str| format!("{path}?watch=true&sendInitialEvents=true&resourceVersion=0");
        let issuing =
            ["/api/v1/namespaces/leasehold-leases/configmaps", "/apis/batch/v1/namespaces/leasehold-leases/jobs"];
        for path in issuing {
            let (uri, accept) = sent(&stream(path)).await;
            assert_eq!(
                (uri, accept.unwrap()),
                (format!("{path}?watch=true&sendInitialEvents=true"), METADATA.parse().unwrap())
            );
            assert_eq!(sent(path).await, (path.to_owned(), None), "a list");
        }
        for path in ["/apis/rbac.authorization.k8s.io/v1/rolebindings", "/api/v1/namespaces/payments/leasehold-leases"]
        {
            assert_eq!(sent(&stream(path)).await.1, None, "{path}");
        }
    }
}
