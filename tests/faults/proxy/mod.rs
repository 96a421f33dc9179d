//! Between the operator and the API server: passes everything on, and does what the plans say to the calls they name.

mod answer;
mod events;
mod meet;
mod slots;
mod watch;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use base64::Engine;
use bytes::Bytes;
use http::{Request, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::{Client, Config, client::Body};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch as signal},
    time::Instant,
};

use crate::{call::Call, fault::Weather};
pub use answer::{Answer, Cut, Whole, whole};
pub use slots::Made;
use slots::Slots;

/// A call that was held until the driver has done something.
pub struct Hit {
    pub slot: usize,
    pub what: What,
    /// Dropped or answered: the call goes on.
    pub go: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Kill,
    /// Stop the operator for longer than it waits for any answer.
    Stop,
    End,
}

pub struct Proxy {
    upstream: Client,
    slots: Slots,
    hits: mpsc::UnboundedSender<Hit>,
    weather: Mutex<Weather>,
    /// Counts the cuts: every open watch ends when it changes.
    cuts: signal::Sender<u64>,
    /// Per watched path, the cut after which it was last answered 410.
    gone: Mutex<BTreeMap<String, u64>>,
    /// What the store's version was lately.
    versions: Mutex<VecDeque<(Instant, String)>>,
    trace: AtomicBool,
    pub address: String,
}

/// How old is what a watch that is behind begins with.
const BEHIND: Duration = Duration::from_secs(3);

impl Proxy {
    /// Starts one in front of the API server at `url`. The operator's own token goes through as it comes.
    pub async fn start(
        url: &str,
        ca_pem: &str,
        namespaces: Vec<String>,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Hit>)> {
        let mut config = Config::new(url.parse()?);
        let der: String = ca_pem.lines().filter(|line| !line.starts_with("-----")).collect();
        config.root_cert = Some(vec![base64::engine::general_purpose::STANDARD.decode(der)?]);
        config.default_retry = false;
        config.read_timeout = None;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (hits, held) = mpsc::unbounded_channel();
        let proxy = Arc::new(Self {
            upstream: Client::try_from(config).context("a client of the API server")?,
            slots: Slots::new(namespaces),
            hits,
            weather: Mutex::new(Weather::Fair),
            cuts: signal::Sender::new(0),
            gone: Mutex::default(),
            versions: Mutex::default(),
            trace: AtomicBool::new(false),
            address: listener.local_addr()?.to_string(),
        });
        let serving = proxy.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                // Best effort: without it a cut is a close, which the operator takes for the same.
                stream.set_zero_linger().ok();
                stream.set_nodelay(true).ok();
                let proxy = serving.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| proxy.clone().serve(request));
                    // An error is a connection that was cut, by us or by the operator's end.
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Ok((proxy, held))
    }

    /// Prints every call of a lease.
    pub fn trace(&self) {
        self.trace.store(true, Ordering::Relaxed);
    }

    /// What each slot's lease has called, and what awaits it.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every open watch.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// What the store's version is now.
    pub fn note_version(&self, version: String) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.push_back((Instant::now(), version));
        while versions.len() > 64 {
            versions.pop_front();
        }
    }

    /// What it was a while ago.
    fn old_version(&self) -> Option<String> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.iter().rev().find(|(at, _)| at.elapsed() >= BEHIND).map(|(_, version)| version.clone())
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Cut> {
        let call = Call::of(request.method(), request.uri());
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        if call.verb == "watch" {
            return self.watch(&call, parts, body).await;
        }
        let found = self.slots.count(&call, parts.uri.path(), &body);
        let carry_out = self.forward(&parts, body);
        let Some(counted) = found else { return carry_out.await.map(whole) };
        self.meet(counted, carry_out).await
    }

    fn upstream(&self, parts: &Parts, body: Bytes) -> Result<Request<Body>, Cut> {
        let mut request =
            Request::builder().method(&parts.method).uri(parts.uri.path_and_query().map_or("/", |p| p.as_str()));
        for (name, value) in &parts.headers {
            if ![header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
                request = request.header(name, value);
            }
        }
        request.body(Body::from(body.to_vec())).map_err(|_| Cut)
    }

    async fn forward(&self, parts: &Parts, body: Bytes) -> Result<Whole, Cut> {
        let answer = self.upstream.send(self.upstream(parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok((parts.status, answer::passed_on(&parts.headers), body))
    }

    fn told(&self, slot: usize, key: &str, fault: Option<crate::fault::Fault>, code: u16) {
        if self.trace.load(Ordering::Relaxed) {
            println!("    {} slot {slot} {key} {fault:?} -> {code}", Timestamp::now());
        }
    }
}
