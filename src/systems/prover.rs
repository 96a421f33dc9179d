//! Fetches what proves who the operator is: a value from a Secret, or a short-lived token of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, StatusCode, header};
use k8s_openapi::{
    ByteString,
    api::{authentication::v1::SelfSubjectReview, core::v1::Secret},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, OnceCell};
use zeroize::Zeroizing;

use super::proof::{Kept, Proof, Unproven, sensitive};
use crate::{
    api::{
        names::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE},
        system::HttpAuth,
    },
    cluster::{
        exchange::{Ask, Exchange},
        paths,
        probe::Probe,
        token::Token,
    },
    domain::call::Class,
};

/// How long what a Secret held is taken for what it holds.
const SECRET_KEPT: Duration = Duration::from_secs(30);
/// The life of a token of the operator's own, in seconds: the shortest that API servers give.
const TOKEN_SECONDS: u64 = 600;
/// How long the API server's own audiences are taken for known: they change with its flags.
const AUDIENCES_KEPT: Duration = Duration::from_secs(300);

/// Fetches proofs from the API server.
pub(super) struct Prover {
    exchange: Exchange,
    probe: Probe,
    audiences: Mutex<Option<(Vec<String>, Instant)>>,
    /// The pod that this process's own token is bound to; `None` inside: it is bound to none.
    pod: OnceCell<Option<Pod>>,
}

/// A pod, as a token is bound to it.
struct Pod {
    name: String,
    uid: String,
}

/// The part of a TokenRequest's answer that matters. No `Debug`: it holds a token.
#[derive(Deserialize)]
struct Minted {
    status: MintedStatus,
}

#[derive(Deserialize)]
struct MintedStatus {
    token: String,
}

impl Prover {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { probe: Probe::new(exchange.clone()), exchange, audiences: Mutex::default(), pod: OnceCell::new() }
    }

    /// What an HTTP system is shown.
    pub(super) async fn http(&self, auth: &HttpAuth) -> Result<Kept, Unproven> {
        if let Some(token) = &auth.service_account_token {
            let minted = self.own_token(&token.audience).await?;
            let text = Zeroizing::new(format!("Bearer {}", minted.expose()));
            let value = sensitive(text.as_bytes()).ok_or(Unproven::ApiServer)?;
            let life = Duration::from_secs(TOKEN_SECONDS * 2 / 3);
            return Ok(Kept { proof: Proof { name: header::AUTHORIZATION, value }, until: Instant::now() + life });
        }
        let proof = if let Some(by) = &auth.header {
            let (name, key) = (&by.secret_ref.name, &by.secret_ref.key);
            let unusable = || Unproven::SecretKey(name.clone(), key.clone());
            let value = self.secret(name, [key.as_str()]).await?;
            let mut text = Zeroizing::new(by.prefix.clone().unwrap_or_default().into_bytes());
            text.extend_from_slice(value.first().ok_or_else(unusable)?.trim_ascii_end());
            let header = by.name.parse().map_err(|_| unusable())?;
            Proof { name: header, value: sensitive(&text).ok_or_else(unusable)? }
        } else if let Some(by) = &auth.basic {
            let name = &by.secret_ref.name;
            let values = self.secret(name, ["username", "password"]).await?;
            let joined = Zeroizing::new(values.iter().map(|v| v.as_slice()).collect::<Vec<_>>().join(&b':'));
            let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*joined)));
            let unusable = || Unproven::SecretKey(name.clone(), "password".to_owned());
            Proof { name: header::AUTHORIZATION, value: sensitive(text.as_bytes()).ok_or_else(unusable)? }
        } else {
            // The schema has one of the three; an object from before it would have none.
            return Err(Unproven::LoginAnswer);
        };
        Ok(Kept { proof, until: Instant::now() + SECRET_KEPT })
    }

    /// Values of a Secret in the operator's namespace, by its keys.
    async fn secret<const N: usize>(&self, name: &str, keys: [&str; N]) -> Result<Vec<Zeroizing<Vec<u8>>>, Unproven> {
        let ask = Ask::new(Method::GET, paths::path::<Secret>(OPERATOR_NAMESPACE, name));
        let reply = self.exchange.send(ask).await.map_err(|_| Unproven::ApiServer)?;
        match reply.code {
            StatusCode::FORBIDDEN => return Err(Unproven::SecretForbidden(name.to_owned())),
            StatusCode::NOT_FOUND => return Err(Unproven::SecretMissing(name.to_owned())),
            _ => {}
        }
        let secret: Secret = reply.decode().map_err(|_| Unproven::ApiServer)?;
        let mut data: BTreeMap<String, ByteString> = secret.data.unwrap_or_default();
        let mut values = Vec::new();
        for key in keys {
            let value = data.remove(key).ok_or_else(|| Unproven::SecretKey(name.to_owned(), key.to_owned()))?;
            values.push(Zeroizing::new(value.0));
        }
        Ok(values)
    }

    /// A token of the operator's own, for others than the API server. If it is not known what the API server takes for its
    /// own audiences, there is none.
    pub(super) async fn own_token(&self, audience: &str) -> Result<Token, Unproven> {
        if self.api_audiences().await?.iter().any(|own| own == audience) {
            return Err(Unproven::Audience);
        }
        let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/{OPERATOR_ACCOUNT}/token");
        let mut spec = json!({"audiences": [audience], "expirationSeconds": TOKEN_SECONDS});
        if let Some(pod) = self.pod.get_or_try_init(|| self.own_pod()).await? {
            // Gone with the pod, as our own token is. Policy leasehold-own-token wants it so.
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid});
        }
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let ask = Ask::new(Method::POST, path).json(&body).map_err(|_| Unproven::ApiServer)?;
        let reply = self.exchange.send(ask).await.map_err(|_| Unproven::ApiServer)?;
        match reply.decode::<Minted>() {
            Ok(minted) => Ok(Token::new(minted.status.token)),
            Err(failure) if failure.class == Class::Forbidden => Err(Unproven::TokenForbidden),
            Err(_) => Err(Unproven::ApiServer),
        }
    }

    /// The pod that our own token is bound to, as the API server reads it from the token.
    async fn own_pod(&self) -> Result<Option<Pod>, Unproven> {
        let ask = Ask::new(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .json(&SelfSubjectReview::default())
            .map_err(|_| Unproven::ApiServer)?;
        let reply = self.exchange.send(ask).await.map_err(|_| Unproven::ApiServer)?;
        let review: SelfSubjectReview = reply.decode().map_err(|_| Unproven::ApiServer)?;
        let mut extra = review.status.and_then(|s| s.user_info).and_then(|u| u.extra).unwrap_or_default();
        let mut claim = |key: &str| extra.remove(key).and_then(|values| values.into_iter().next());
        let (name, uid) =
            (claim("authentication.kubernetes.io/pod-name"), claim("authentication.kubernetes.io/pod-uid"));
        Ok(name.zip(uid).map(|(name, uid)| Pod { name, uid }))
    }

    async fn api_audiences(&self) -> Result<Vec<String>, Unproven> {
        let mut kept = self.audiences.lock().await;
        if let Some((audiences, until)) = kept.as_ref()
            && Instant::now() < *until
        {
            return Ok(audiences.clone());
        }
        let audiences = self.probe.api_audiences().await.map_err(|_| Unproven::ApiServer)?;
        if audiences.is_empty() {
            return Err(Unproven::ApiServer);
        }
        *kept = Some((audiences.clone(), Instant::now() + AUDIENCES_KEPT));
        Ok(audiences)
    }
}
