//! A call as it would be sent.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::known::Known;
use crate::api::system::Method;

/// A call as it would be sent, without what proves who the operator is. Undo requests are stored like this; they never hold the
/// token.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The method.
    pub method: Method,
    /// What comes after the system's url; of a Vault, the secret's path.
    pub path: String,
    /// Headers besides the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// What says that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// What says that another try may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<String>,
    /// What `success` and `retryable` use besides the answer.
    #[serde(default, skip_serializing_if = "Known::is_empty")]
    pub(super) known: Known,
}

/// The body of a call. Wiped when it is dropped, as far as this process's own copy goes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Sent as `application/json`.
    Json(Zeroizing<String>),
    /// Sent as `text/plain`, unless a header says otherwise.
    Text(Zeroizing<String>),
}

impl Body {
    /// As it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json(text) | Self::Text(text) => text,
        }
    }

    /// What it is, for the header.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Text(_) => "text/plain; charset=utf-8",
        }
    }
}

/// Neither headers nor body: both may hold a token. A path never does.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.content_type())
    }
}
