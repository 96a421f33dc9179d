//! An OpenID Connect issuer on loopback, as CI systems have one: discovery and keys over https, tokens signed with ES256.
//!
//! One server is several issuers, told apart by the first part of the path. It also hands out tokens as GitHub's runners get
//! them: to whoever shows the job's request token.

use std::sync::Arc;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// What a job shows to get a token of its own.
pub const REQUEST_TOKEN: &str = "the-jobs-request-token";

/// A running issuer. It ends with the runtime it was started in.
pub struct Issuer {
    state: Arc<State>,
    /// Its certificate, which is its own authority.
    pub authority: String,
}

struct State {
    url: String,
    key: EcdsaKeyPair,
}

impl Issuer {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], private)?;
        let random = SystemRandom::new();
        let broken = |_| anyhow::anyhow!("no key can be made");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(broken)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .map_err(|e| anyhow::anyhow!("no key: {e}"))?;
        let state = Arc::new(State { url, key });
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), state.clone()));
        Ok(Self { state, authority: certified.cert.pem() })
    }

    /// One of the issuers.
    pub fn url(&self, realm: &str) -> String {
        format!("{}/{realm}", self.state.url)
    }

    /// A token of that issuer with these claims, which lives so many seconds from now; below none it has expired.
    pub fn token(&self, realm: &str, claims: &Value, seconds: i64) -> Result<String> {
        self.state.token(realm, claims, seconds)
    }

    /// Where a job asks for tokens with these claims, each for the audience it names. They live for `seconds`.
    pub fn request_url(&self, realm: &str, claims: &Value, seconds: i64) -> String {
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("{}/{realm}/request?seconds={seconds}&claims={claims}", self.state.url)
    }
}

impl State {
    fn token(&self, realm: &str, claims: &Value, seconds: i64) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = claims.clone();
        claims["iss"] = json!(format!("{}/{realm}", self.url));
        claims["iat"] = json!(now.min(now + seconds) - 1);
        claims["nbf"] = claims["iat"].clone();
        claims["exp"] = json!(now + seconds);
        let header = json!({"alg": "ES256", "kid": "only", "typ": "JWT"});
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| anyhow::anyhow!("the token cannot be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// RFC 7517; the public key is an uncompressed point: 4, x, y.
    fn keys(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "only", "x": x, "y": y}]})
    }

    fn answer(&self, request: &Request<Incoming>) -> Result<Option<Value>> {
        let (realm, path) = request.uri().path().trim_start_matches('/').split_once('/').context("no issuer")?;
        let issuer = format!("{}/{realm}", self.url);
        Ok(match path {
            ".well-known/openid-configuration" => Some(json!({
                "issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
            })),
            "keys" => Some(self.keys()),
            "request" if is_the_job(request) => Some(json!({"value": self.requested(realm, request)?})),
            _ => None,
        })
    }

    fn requested(&self, realm: &str, request: &Request<Incoming>) -> Result<String> {
        let query = request.uri().query().context("no query")?;
        let given = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            value.with_context(|| format!("no {name}"))
        };
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(given("claims")?)?)?;
        claims["aud"] = json!(given("audience")?);
        self.token(realm, &claims, given("seconds")?.parse()?)
    }
}

fn is_the_job(request: &Request<Incoming>) -> bool {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shown.is_some_and(|shown| shown.eq_ignore_ascii_case(&format!("bearer {REQUEST_TOKEN}")))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(one(stream, acceptor.clone(), state.clone()));
    }
}

/// One connection; whoever breaks it off asks again.
async fn one(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) -> Result<()> {
    let stream = TokioIo::new(acceptor.accept(stream).await?);
    let answer = |request: Request<Incoming>| {
        let answer = state.answer(&request);
        async move {
            let (code, body) = match answer {
                Ok(Some(body)) => (StatusCode::OK, body.to_string()),
                Ok(None) => (StatusCode::NOT_FOUND, String::new()),
                Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            };
            Response::builder().status(code).header(header::CONTENT_TYPE, "application/json").body(body)
        }
    };
    Ok(http1::Builder::new().serve_connection(stream, service_fn(answer)).await?)
}
