//! The one type that holds a token, and the place where tokens are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    exchange::{Ask, Exchange},
    paths, render,
};
use crate::{
    api::{Time, names::LeaseUid},
    domain::{
        call::{Class, Failure},
        observed::{Child, ObjectId},
    },
};

/// A bearer token. It cannot be printed, compared or cloned, and is wiped when it is dropped.
///
/// Best effort: the buffers of the HTTP and JSON libraries it passes through are beyond wiping.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes a token over.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token itself: for the two requests of the operator that carry it, a Secret's creation and a TokenReview, and for
    /// the standard output of the plugin's commands `token` and `credential`.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `JTI=…`, as audit logs name this token, read from its claims.
    #[must_use]
    pub fn credential_id(&self) -> Option<String> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let claims = URL_SAFE_NO_PAD.decode(self.0.split('.').nth(1)?).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        Some(format!("JTI={}", claims.get("jti")?.as_str()?))
    }
}

/// The part of a TokenRequest's answer that matters. No `Debug`: it holds a token.
#[derive(Deserialize)]
struct Minted {
    status: MintedStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MintedStatus {
    token: String,
    expiration_timestamp: Time,
}

/// Mints a token for an account, pinned to its UID; with its expiry as the API server set it. `left_seconds`: for how long it is
/// wanted. The API server gives no token a shorter life than ten minutes, and may give a shorter one than was asked.
///
/// # Errors
/// [`Class::Conflict`] if the account is gone.
pub async fn mint(
    exchange: &Exchange,
    account: &ObjectId,
    audiences: Vec<String>,
    left_seconds: i64,
) -> Result<(Token, Time), Failure> {
    let path = format!("{}/token", paths::child_path(&Child::Account, &account.namespace, Some(&account.name)));
    let body = render::token_request(account, audiences, left_seconds);
    let reply = exchange.send(Ask::new(Method::POST, path).json(&body)?).await?;
    if reply.code == StatusCode::NOT_FOUND {
        return Err(Failure { class: Class::Conflict, ..reply.failure() });
    }
    let minted: Minted = reply.decode()?;
    Ok((Token::new(minted.status.token), minted.status.expiration_timestamp))
}

/// The tokens of this process, one a lease. A token leaves with the proof that it is dead.
#[derive(Default)]
pub struct Vault(Mutex<HashMap<LeaseUid, Arc<Token>>>);

impl Vault {
    /// Keeps a token; one that was there before is wiped.
    pub fn keep(&self, lease: &LeaseUid, token: Token) {
        self.tokens().insert(*lease, Arc::new(token));
    }

    /// The token of a lease.
    #[must_use]
    pub fn get(&self, lease: &LeaseUid) -> Option<Arc<Token>> {
        self.tokens().get(lease).cloned()
    }

    /// Wipes the token of a lease.
    pub fn wipe(&self, lease: &LeaseUid) {
        self.tokens().remove(lease);
    }

    /// How many tokens are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens().len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<LeaseUid, Arc<Token>>> {
        // A panic elsewhere cannot leave the map half changed: every use is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_id_and_nothing_else() {
        let token = Token::new("aaa.eyJqdGkiOiIxMjMifQ.bbb".into());
        assert_eq!(token.credential_id().as_deref(), Some("JTI=123"));
        for odd in ["", "a.b", "a.!!.c", "a.e30.c"] {
            assert_eq!(Token::new(odd.into()).credential_id(), None, "{odd}");
        }
    }

    #[test]
    fn a_wiped_token_is_gone() {
        let vault = Vault::default();
        let lease = LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap();
        vault.keep(&lease, Token::new("x".into()));
        assert_eq!(vault.len(), 1);
        vault.wipe(&lease);
        assert!(vault.is_empty() && vault.get(&lease).is_none());
    }
}
