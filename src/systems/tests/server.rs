//! Another system in this process, which does what a test tells it, and an API server that knows what a test tells it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::cluster::exchange::Exchange;

/// What the server does with a request.
#[derive(Clone)]
pub enum Act {
    /// Answers so, as it is.
    Raw(String),
    /// Answers with this status, these headers and body.
    Answer(u16, &'static str, String),
    /// Never answers.
    Hang,
    /// Answers a byte at a time, for ever.
    Drip,
    /// Takes the request and closes the connection.
    Reset,
    /// Answers with so many bytes.
    Huge(usize),
}

pub struct Server {
    pub port: u16,
    pub ca: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// With TLS, by a certificate for `localhost` of a CA of its own; `act` is asked by each request's number and text.
    pub async fn start(act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        Self::with("localhost", false, act).await
    }

    pub async fn always(act: Act) -> Self {
        Self::start(move |_, _| act.clone()).await
    }

    pub async fn with(name: &str, expired: bool, act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, act) = (seen.clone(), Arc::new(act));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, noted, act) = (acceptor.clone(), noted.clone(), act.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                    let Some(request) = read(&mut stream).await else { return };
                    let act = {
                        let mut seen = noted.lock().unwrap();
                        seen.push(request.clone());
                        act(seen.len() - 1, &request)
                    };
                    perform(act, &mut stream).await;
                });
            }
        });
        Self { port, ca: ca.pem(), seen, task }
    }

    /// Where it is, as a system's `http`.
    pub fn http(&self) -> Value {
        json!({"url": format!("https://localhost:{}", self.port), "caBundle": self.ca})
    }

    /// Every request so far, as it came.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A request, whole.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&chunk[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(so_far);
        }
    }
}

async fn perform(act: Act, stream: &mut (impl AsyncWrite + Unpin)) {
    // A client that is gone is what some tests are about.
    match act {
        Act::Raw(text) => _ = stream.write_all(text.as_bytes()).await,
        Act::Answer(status, headers, body) => {
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
            _ = stream.write_all((head + &body).as_bytes()).await;
        }
        Act::Hang => tokio::time::sleep(Duration::from_secs(600)).await,
        Act::Drip => {
            _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                _ = stream.flush().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Act::Reset => return,
        Act::Huge(bytes) => {
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {bytes}\r\n\r\n");
            _ = stream.write_all(head.as_bytes()).await;
            _ = stream.write_all(&vec![b'x'; bytes]).await;
        }
    }
    _ = stream.flush().await;
    _ = stream.shutdown().await;
}

/// An API server: answers by `METHOD path`, and otherwise 404; remembers what it was asked.
#[derive(Clone, Default)]
pub struct ApiServer {
    answers: Vec<(String, u16, Value)>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl ApiServer {
    pub fn answering(mut self, what: &str, status: u16, body: Value) -> Self {
        self.answers.push((what.to_owned(), status, body));
        self
    }

    /// One that mints this token for the operator, and whose own audience is `api`.
    pub fn minting(self, token: &str) -> Self {
        self.answering(
            "POST /api/v1/namespaces/leasehold-leases/serviceaccounts/default/token",
            201,
            json!({"spec": {"audiences": ["api"]}}),
        )
        .answering(
            "POST /api/v1/namespaces/leasehold-system/serviceaccounts/leasehold/token",
            201,
            json!({"status": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}}),
        )
    }

    pub fn times_asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(what)).count()
    }

    pub fn exchange(self) -> Exchange {
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = self.clone();
            async move {
                let what = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                api.asked.lock().unwrap().push(format!("{what} {}", String::from_utf8_lossy(&body)));
                let found = api.answers.iter().find(|(of, ..)| *of == what);
                let (status, body) = found.map_or((404, json!({"kind": "Status"})), |(_, s, b)| (*s, b.clone()));
                let body = kube::client::Body::from(body.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Exchange::new(kube::Client::new(service, "default"), Duration::from_secs(5))
    }
}
