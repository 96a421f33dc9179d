//! What proves to a system who the operator is: a header of a call.

use std::time::Instant;

use http::{HeaderName, HeaderValue};

use crate::api::names::OPERATOR_NAMESPACE;

/// Why the operator cannot prove who it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproven {
    #[error("it may not read Secret {0} in {OPERATOR_NAMESPACE}")]
    SecretForbidden(String),
    #[error("there is no Secret {0} in {OPERATOR_NAMESPACE}")]
    SecretMissing(String),
    #[error("Secret {0} in {OPERATOR_NAMESPACE} has no key {1}, or one that a header cannot hold")]
    SecretKey(String, String),
    #[error("its audience is one of the API server's own: a token for it would be the operator's whole power")]
    Audience,
    #[error("it may not mint tokens of its own account")]
    TokenForbidden,
    #[error("the API server does not answer")]
    ApiServer,
    #[error("the login was answered {0}")]
    Login(u16),
    #[error("the login was answered by something else than a login")]
    LoginAnswer,
}

/// A header that proves who we are.
#[derive(Clone)]
pub(super) struct Proof {
    pub(super) name: HeaderName,
    /// Marked as sensitive: it is not printed.
    pub(super) value: HeaderValue,
}

/// A proof, and until when it is used.
pub(super) struct Kept {
    pub(super) proof: Proof,
    pub(super) until: Instant,
}

/// A header's value that is never printed; `None` if a header cannot hold it.
pub(super) fn sensitive(text: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
