//! One call over one connection, under one deadline.
//!
//! A new connection for each call: a call is never sent over one that the other side may have closed, so there is never a doubt
//! whether the client itself has sent it twice. Redirects are answers like any other: nothing follows them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio_rustls::rustls::ClientConfig;

use super::{answer::Answer, connect::connect, known::MAX_ANSWER};
use crate::cluster::lead::Lead;

/// How many bytes the head of an answer may have.
const MAX_HEAD: usize = 64 << 10;

/// What is sent.
pub(super) struct Sending {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// Why there is no answer. What was sent may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("its url cannot be called")]
    Url,
    #[error("its name has no address")]
    Name,
    #[error("its name leads to an address that the operator never sends anything to")]
    Forbidden,
    #[error("it does not take connections")]
    Connect,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotYetValid,
    #[error("its certificate is not from a CA that it is trusted by")]
    UnknownIssuer,
    #[error("its certificate is for another name")]
    OtherName,
    #[error("its certificate is not accepted")]
    Certificate,
    #[error("it does not speak TLS as it should")]
    Tls,
    #[error("it broke off, or does not speak HTTP as it should; whether the call was carried out is not known")]
    BrokeOff,
    #[error("its answer is larger than 256 KiB; whether the call was carried out is not known")]
    TooLarge,
    #[error("it did not answer in time; whether the call was carried out is not known")]
    TimedOut,
    #[error("this replica of the operator does not lead any more: nothing was sent")]
    NotLeading,
}

impl NoAnswer {
    /// Whether the other system is to blame, and not what is written of it, or we.
    pub(super) fn is_the_systems(self) -> bool {
        !self.is_final() && self != Self::NotLeading
    }

    /// Whether another try would be the same.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Url | Self::Forbidden)
    }
}

/// Sends, and reads the answer to its last byte, all within `deadline`; only who leads sends.
pub(super) async fn send(
    sending: Sending,
    tls: &Arc<ClientConfig>,
    lead: &Lead,
    deadline: Duration,
) -> Result<Answer, NoAnswer> {
    tokio::time::timeout(deadline, carry(sending, tls, lead)).await.unwrap_or(Err(NoAnswer::TimedOut))
}

async fn carry(sending: Sending, tls: &Arc<ClientConfig>, lead: &Lead) -> Result<Answer, NoAnswer> {
    let stream = connect(&sending.url, tls).await?;
    let request = request(sending)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|_| NoAnswer::BrokeOff)?;
    // Asked here and not before: a process that is paused while it connects finds that the other side has waited for it.
    if !lead.holds() {
        return Err(NoAnswer::NotLeading);
    }
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|_| NoAnswer::BrokeOff)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { NoAnswer::TooLarge } else { NoAnswer::BrokeOff }
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    };
    tokio::pin!(exchange, connection);
    // The connection does the work; it may be over just before the answer is taken from it.
    tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

fn request(sending: Sending) -> Result<http::Request<Full<Bytes>>, NoAnswer> {
    let Sending { method, url, headers, body } = sending;
    let authority = url.authority().ok_or(NoAnswer::Url)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| NoAnswer::Url)?;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let mut request =
        http::Request::builder().method(method).uri(target).body(Full::new(body)).map_err(|_| NoAnswer::Url)?;
    let all = request.headers_mut();
    for (name, value) in headers {
        all.append(name, value);
    }
    all.insert(header::HOST, host);
    all.insert(header::CONNECTION, HeaderValue::from_static("close"));
    all.insert(header::USER_AGENT, HeaderValue::from_static(concat!("leasehold/", env!("CARGO_PKG_VERSION"))));
    Ok(request)
}
