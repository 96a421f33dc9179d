//! Between whoever acts and the API server: passes everything on, or lets one call in ten go wrong; counts what goes by.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use leasehold_harness::ControlPlane;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use crate::wire::nobody;

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub struct Cut;

type Answer = Response<UnsyncBoxBody<Bytes, Cut>>;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// One call in ten is answered 429 or 500, or is two seconds late.
    Foul,
}

/// How late a late call is.
const LATE: Duration = Duration::from_secs(2);

pub struct Proxy {
    upstream: Client,
    server: String,
    address: String,
    weather: Weather,
    /// Requests so far, watches left out.
    calls: AtomicU64,
    /// Counts the cuts: every open watch ends when it changes.
    cuts: watch::Sender<u64>,
    /// Watches that were answered 410 since the last cut.
    told: Mutex<HashSet<String>>,
}

impl Proxy {
    /// Starts one in front of the API server. Whoever comes keeps his own token.
    pub async fn with(plane: &ControlPlane, weather: Weather) -> Result<Arc<Self>> {
        let mut config = nobody(plane)?;
        config.read_timeout = None;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Arc::new(Self {
            upstream: Client::try_from(config).context("a client of the API server")?,
            server: plane.url().to_owned(),
            address: listener.local_addr()?.to_string(),
            weather,
            calls: AtomicU64::default(),
            cuts: watch::Sender::new(0),
            told: Mutex::default(),
        });
        let serving = Arc::downgrade(&proxy);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let Some(proxy) = serving.upgrade() else { return };
                stream.set_nodelay(true).ok();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| proxy.clone().serve(request));
                    // An error is a connection that has ended, which is the other end's business.
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Ok(proxy)
    }

    /// The same kubeconfig by way of the proxy.
    pub fn kubeconfig(&self, direct: &Path) -> Result<PathBuf> {
        let text = std::fs::read_to_string(direct)?.replace(&self.server, &format!("http://{}", self.address));
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let path = direct.with_extension(format!("proxied-{port}"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// How many requests have come, watches left out.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Ends every watch, and tells each that what it knew is too old: everything is listed again.
    pub fn gone(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Cut> {
        let query = request.uri().query().unwrap_or_default();
        let watches = query.contains("watch=");
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        if watches {
            return self.watch(&parts, body).await;
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        // Every tenth call, in turn: which one it hits is as good as drawn, and the same number in every run.
        let fault = (self.weather == Weather::Foul && number % 10 == 9).then_some(number / 10 % 3);
        match fault {
            Some(0) => return Ok(refused(StatusCode::TOO_MANY_REQUESTS)),
            Some(1) => return Ok(refused(StatusCode::INTERNAL_SERVER_ERROR)),
            Some(_) => tokio::time::sleep(LATE).await,
            None => {}
        }
        let answer = self.upstream.send(forward(&parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok(whole(parts.status, passed_on(&parts.headers), body))
    }

    async fn watch(&self, parts: &request::Parts, body: Bytes) -> Result<Answer, Cut> {
        let mut cuts = self.cuts.subscribe();
        let cut = *cuts.borrow_and_update();
        if cut > 0 && self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(parts.uri.path().to_owned()) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"});
            let event = json!({"type": "ERROR", "object": status});
            return Ok(whole(StatusCode::OK, json_header(), Bytes::from(format!("{event}\n"))));
        }
        let answer = self.upstream.send(forward(parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let frames = body.into_data_stream().map(|part| part.map(Frame::data).map_err(|_| Cut));
        let frames = frames.take_until(async move {
            // A sender that is gone cuts nothing, and ends with the process.
            cuts.changed().await.ok();
        });
        let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = passed_on(&parts.headers);
        Ok(answer)
    }
}

fn forward(parts: &request::Parts, body: Bytes) -> Result<Request<Body>, Cut> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(&parts.method).uri(path);
    for (name, value) in &parts.headers {
        if !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(body)).map_err(|_| Cut)
}

/// Headers that say how a body travels are the next connection's own.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONNECTION] {
        headers.remove(name);
    }
    headers
}

fn json_header() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn refused(code: StatusCode) -> Answer {
    let reason = if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { "InternalError" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16(), "message": "the weather"});
    let mut headers = json_header();
    if code == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    whole(code, headers, Bytes::from(status.to_string()))
}
