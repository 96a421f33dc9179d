//! OpenBao and HashiCorp Vault: the login of the Kubernetes auth method, and a KV engine of version 2.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{
    path,
    request::{Body, Request},
    send::Sending,
    trouble::Trouble,
};
use crate::{
    api::system::{Method as Called, VaultSystem},
    cluster::token::Token,
};

const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");

/// The login by a token of the operator's own.
pub(super) fn login(vault: &VaultSystem, own: &Token) -> Result<Sending, Trouble> {
    let kubernetes = vault.auth.kubernetes.as_ref().ok_or(Trouble::Shape("auth does not say how to log in"))?;
    let mount = kubernetes.mount.as_deref().unwrap_or("kubernetes").trim_matches('/');
    let body = json!({"role": kubernetes.role, "jwt": own.expose()}).to_string();
    let mut headers = namespace(vault)?;
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
    let url = path::join(&vault.url, &format!("/v1/auth/{mount}/login"))?;
    Ok(Sending { method: Method::POST, url, headers, body: Bytes::from(body) })
}

/// The call of the KV engine that a request stands for.
pub(super) fn sending(vault: &VaultSystem, request: &Request) -> Result<Sending, Trouble> {
    let (method, kind) = match request.method {
        Called::Put => (Method::POST, "data"),
        Called::Get => (Method::GET, "data"),
        // All versions and what is known about them: nothing of the secret stays.
        Called::Delete => (Method::DELETE, "metadata"),
        _ => return Err(Trouble::Shape("a Vault is called with PUT, GET or DELETE")),
    };
    let secret = request.path.trim_matches('/');
    if secret.is_empty() || secret.contains('?') {
        return Err(Trouble::Shape("the path of a secret in a Vault is neither empty nor has it a query"));
    }
    path::check(&request.path)?;
    let url = path::join(&vault.url, &format!("/v1/{}/{kind}/{secret}", vault.mount.trim_matches('/')))?;
    let mut headers = namespace(vault)?;
    let body = match (request.method, &request.body) {
        (Called::Put, Some(Body::Json(data))) if data.starts_with('{') => {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
            Bytes::from(format!("{{\"data\":{}}}", data.as_str()))
        }
        (Called::Put, _) => return Err(Trouble::Shape("the body of a PUT to a Vault is a map: the secret's data")),
        _ => Bytes::new(),
    };
    Ok(Sending { method, url, headers, body })
}

/// Whether the secret was gone already, where it was to be deleted.
pub(super) fn was_gone(request: &Request, status: StatusCode) -> bool {
    request.method == Called::Delete && status == StatusCode::NOT_FOUND
}

fn namespace(vault: &VaultSystem) -> Result<Vec<(HeaderName, HeaderValue)>, Trouble> {
    let Some(namespace) = &vault.namespace else { return Ok(Vec::new()) };
    let value = HeaderValue::from_str(namespace).map_err(|_| Trouble::Shape("its namespace cannot be in a header"))?;
    Ok(vec![(NAMESPACE, value)])
}
