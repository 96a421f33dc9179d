//! Between the operator and the API server: passes everything on, and does what the plans say to the calls they name.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::{Client, Config, client::Body};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    call::Call,
    plan::{DELAY, Fault, Moment, Trap, Weather},
};

/// A connection that is cut: hyper closes it without an answer, and with no lingering that is a reset.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub struct Cut;

type Answer = Response<BoxBody<Bytes, Cut>>;

/// Longer than the operator waits for any call.
const FOR_EVER: Duration = Duration::from_secs(40);
/// What a 429 asks to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

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
    End,
}

/// A call as it went by.
#[derive(Debug, Clone)]
pub struct Made {
    pub key: String,
    pub at: Timestamp,
    /// The API server's code, or ours; 0 if the operator got none.
    pub code: u16,
    pub fault: Option<Fault>,
}

/// One lease at a time, told from others by its namespace and UID.
#[derive(Default)]
struct Slot {
    namespace: String,
    uid: String,
    hex: String,
    /// How often each call was made since the start, or since the trap before.
    counts: BTreeMap<String, u32>,
    total: u32,
    traps: Vec<Trap>,
    /// A trap has asked for a kill that has not come yet.
    dying: bool,
    calls: Vec<Made>,
}

pub struct Proxy {
    upstream: Client,
    slots: Mutex<Vec<Slot>>,
    hits: mpsc::UnboundedSender<Hit>,
    weather: Mutex<Weather>,
    /// Counts the cuts: every open watch ends when it changes.
    cuts: watch::Sender<u64>,
    /// Per watched path, the cut after which it was last answered 410.
    gone: Mutex<BTreeMap<String, u64>>,
    trace: AtomicBool,
    pub address: String,
}

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
            slots: Mutex::new(namespaces.into_iter().map(|namespace| Slot { namespace, ..Slot::default() }).collect()),
            hits,
            weather: Mutex::new(Weather::Fair),
            cuts: watch::Sender::new(0),
            gone: Mutex::default(),
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

    pub fn trace(&self) {
        self.trace.store(true, Ordering::Relaxed);
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lease begins in this slot.
    pub fn arm(&self, slot: usize, traps: Vec<Trap>) {
        let mut slots = self.slots();
        let namespace = slots[slot].namespace.clone();
        slots[slot] = Slot { namespace, traps, ..Slot::default() };
    }

    /// The UID of the lease in this slot.
    pub fn name(&self, slot: usize, uid: &str) {
        let mut slots = self.slots();
        slots[slot].uid = uid.to_owned();
        slots[slot].hex = uid.replace('-', "");
    }

    /// What was called for the lease in this slot.
    pub fn calls(&self, slot: usize) -> Vec<Made> {
        self.slots()[slot].calls.clone()
    }

    /// How many traps have not been sprung.
    pub fn left(&self, slot: usize) -> usize {
        self.slots()[slot].traps.len()
    }

    /// Whether a kill was asked for that has not come yet.
    pub fn is_dying(&self, slot: usize) -> bool {
        self.slots()[slot].dying
    }

    /// How many slots would kill next.
    pub fn killers(&self) -> usize {
        self.slots().iter().filter(|s| !s.dying && s.traps.first().is_some_and(|t| t.fault.crashes())).count()
    }

    /// The operator is dead: what comes now is its successor's.
    pub fn revive(&self) {
        for slot in self.slots().iter_mut() {
            if slot.dying {
                slot.dying = false;
                slot.counts.clear();
                slot.total = 0;
            }
        }
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

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Cut> {
        let call = Call::of(request.method(), request.uri());
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        if call.verb == "watch" {
            return self.watch(parts, body).await;
        }
        let found = if call.is_of_a_lease() { self.count(&call, parts.uri.path(), &body) } else { None };
        let Some((slot, index, fault)) = found else {
            return self.forward(&parts, body).await.map(whole);
        };
        let answer = self.meet(slot, fault, &parts, body).await;
        let code = answer.as_ref().map_or(0, |(code, _, _)| code.as_u16());
        if self.trace.load(Ordering::Relaxed) {
            println!(
                "    {} slot {slot} {} {:?} -> {code}",
                Timestamp::now(),
                call.key(&self.slots()[slot].namespace),
                fault
            );
        }
        if let Some(made) = self.slots()[slot].calls.get_mut(index) {
            made.code = code;
        }
        answer.map(whole)
    }

    /// Notes the call down, and says what is to be done to it.
    fn count(&self, call: &Call, path: &str, body: &Bytes) -> Option<(usize, usize, Option<Fault>)> {
        let text = String::from_utf8_lossy(body);
        let claims = claims(call, &text);
        let mut slots = self.slots();
        let is_of = |s: &Slot| {
            [path, &text, &claims]
                .iter()
                .any(|t| t.contains(&s.namespace) || (!s.uid.is_empty() && (t.contains(&s.uid) || t.contains(&s.hex))))
        };
        let number = slots.iter().position(is_of)?;
        let slot = &mut slots[number];
        let key = call.key(&slot.namespace);
        let count = slot.counts.entry(key.clone()).or_default();
        *count += 1;
        slot.total += 1;
        let sprung = slot.traps.first().is_some_and(|trap| match &trap.at {
            Moment::Call(name, n) => *name == key && n == count,
            Moment::Nth(n) => *n == slot.total,
        });
        let fault = (sprung && !slot.dying).then(|| slot.traps.remove(0).fault);
        slot.dying |= fault.is_some_and(Fault::crashes);
        slot.calls.push(Made { key, at: Timestamp::now(), code: 0, fault });
        Some((number, slot.calls.len() - 1, fault))
    }

    async fn meet(
        &self,
        slot: usize,
        fault: Option<Fault>,
        parts: &http::request::Parts,
        body: Bytes,
    ) -> Result<Whole, Cut> {
        match fault {
            None => self.forward(parts, body).await,
            Some(Fault::CrashBefore) => {
                self.hold(slot, What::Kill).await;
                Err(Cut)
            }
            Some(Fault::CrashAfter) => {
                self.forward(parts, body).await?;
                self.hold(slot, What::Kill).await;
                Err(Cut)
            }
            Some(Fault::DropBefore) => Err(Cut),
            Some(Fault::DropAfter) => {
                self.forward(parts, body).await?;
                Err(Cut)
            }
            Some(Fault::Hang) => {
                sleep(FOR_EVER).await;
                Err(Cut)
            }
            Some(Fault::Mute) => {
                self.forward(parts, body).await?;
                sleep(FOR_EVER).await;
                Err(Cut)
            }
            Some(Fault::Delay) => {
                sleep(DELAY).await;
                self.forward(parts, body).await
            }
            Some(Fault::Answer(code)) => Ok(refusal(code)),
            Some(Fault::EndBefore) => {
                self.hold(slot, What::End).await;
                self.forward(parts, body).await
            }
            Some(Fault::EndAfter) => {
                let answer = self.forward(parts, body).await;
                self.hold(slot, What::End).await;
                answer
            }
        }
    }

    async fn hold(&self, slot: usize, what: What) {
        let (go, gone_on) = oneshot::channel();
        if self.hits.send(Hit { slot, what, go }).is_ok() {
            // Whether it was answered or dropped: the driver has done its part.
            tokio::time::timeout(FOR_EVER, gone_on).await.ok();
        }
    }

    fn upstream(&self, parts: &http::request::Parts, body: Bytes) -> Result<Request<Body>, Cut> {
        let mut request =
            Request::builder().method(&parts.method).uri(parts.uri.path_and_query().map_or("/", |p| p.as_str()));
        for (name, value) in &parts.headers {
            if ![header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
                request = request.header(name, value);
            }
        }
        request.body(Body::from(body.to_vec())).map_err(|_| Cut)
    }

    async fn forward(&self, parts: &http::request::Parts, body: Bytes) -> Result<Whole, Cut> {
        let answer = self.upstream.send(self.upstream(parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok((parts.status, passed_on(&parts.headers), body))
    }

    async fn watch(&self, parts: http::request::Parts, body: Bytes) -> Result<Answer, Cut> {
        let mut cuts = self.cuts.subscribe();
        let cut = *cuts.borrow_and_update();
        if self.weather() == Weather::Gone && cut > 0 {
            let path = parts.uri.path().to_owned();
            let last = self.gone.lock().unwrap_or_else(PoisonError::into_inner).insert(path, cut);
            if last != Some(cut) {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"});
                let event = json!({"type": "ERROR", "object": status});
                return Ok(whole((StatusCode::OK, json_header(), Bytes::from(format!("{event}\n")))));
            }
        }
        let answer = self.upstream.send(self.upstream(&parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let late = match self.weather() {
            Weather::Late(millis) => Duration::from_millis(millis),
            _ => Duration::ZERO,
        };
        let (pass, mut passed) = mpsc::unbounded_channel::<(Instant, Bytes)>();
        tokio::spawn(async move {
            let mut frames = body.into_data_stream();
            while let Some(Ok(bytes)) = frames.next().await {
                if pass.send((Instant::now() + late, bytes)).is_err() {
                    return;
                }
            }
        });
        let stream = futures::stream::poll_fn(move |cx| passed.poll_recv(cx)).then(|(due, bytes)| async move {
            sleep_until(due).await;
            Ok::<_, Cut>(Frame::data(bytes))
        });
        let ended = futures::stream::once(async move {
            cuts.changed().await.ok();
            Err::<Frame<Bytes>, Cut>(Cut)
        });
        let both =
            futures::stream::select(stream.map(Some).chain(futures::stream::once(async { None })), ended.map(Some))
                .take_while(|item| std::future::ready(item.is_some()))
                .filter_map(std::future::ready);
        let mut answer = Response::new(BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(both))))));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = passed_on(&parts.headers);
        Ok(answer)
    }
}

type Whole = (StatusCode, http::HeaderMap, Bytes);

fn whole((status, headers, body): Whole) -> Answer {
    let mut answer = Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// A stream that may be shared between threads, as a boxed body must be; it never is.
struct SyncStream(Mutex<BoxStream<'static, Result<Frame<Bytes>, Cut>>>);

impl futures::Stream for SyncStream {
    type Item = Result<Frame<Bytes>, Cut>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
    }
}

fn passed_on(headers: &http::HeaderMap) -> http::HeaderMap {
    let mut out = headers.clone();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        out.remove(name);
    }
    out
}

fn json_header() -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers
}

fn refusal(code: u16) -> Whole {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "injected"});
    let mut headers = json_header();
    if code == 429 {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
    }
    (StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), headers, Bytes::from(body.to_string()))
}

/// What a token under review says of itself: it names the account, and that the lease.
fn claims(call: &Call, body: &str) -> String {
    if call.resource != "tokenreviews" {
        return String::new();
    }
    let review: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let payload = review["spec"]["token"].as_str().and_then(|t| t.split('.').nth(1)).unwrap_or_default();
    URL_SAFE_NO_PAD.decode(payload).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
