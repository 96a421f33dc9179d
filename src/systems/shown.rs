//! A call as it would be sent, for people to look at before it is.

use super::{caller, request::Request, vault};
use crate::api::ConnectedSystemSpec;

/// A call as it would be sent, without what proves who the operator is.
pub struct Shown {
    pub method: String,
    pub url: String,
    /// Headers besides the operator's own, `name: value`.
    pub headers: Vec<String>,
    pub body: Option<String>,
}

/// How a request would be sent to a system.
///
/// # Errors
/// Why it could not be, as a sentence.
pub fn shown(system: &ConnectedSystemSpec, request: &Request) -> Result<Shown, String> {
    let sending = match (&system.http, &system.vault) {
        (Some(http), _) => caller::sending(http, request),
        (None, Some(vault)) => vault::sending(vault, request),
        (None, None) => return Err("the system says neither http nor vault".to_owned()),
    };
    let sending = sending.map_err(|trouble| trouble.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Shown {
        method: sending.method.to_string(),
        url: sending.url.to_string(),
        headers: sending.headers.iter().map(|(name, value)| format!("{name}: {}", text(value.as_bytes()))).collect(),
        body: Some(text(&sending.body)).filter(|body| !body.is_empty()),
    })
}
