//! What the operator gets: an answer, a part of one, or a connection that is cut.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::time::sleep;

/// A connection that is cut: hyper closes it without an answer, and with no lingering that is a reset.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub struct Cut;

pub type Answer = Response<UnsyncBoxBody<Bytes, Cut>>;
pub type Whole = (StatusCode, HeaderMap, Bytes);

/// Between two bytes of an answer that drips: a short one takes longer than the operator waits, too.
const DRIP: Duration = Duration::from_millis(400);

fn with(status: StatusCode, headers: HeaderMap, body: UnsyncBoxBody<Bytes, Cut>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

pub fn whole((status, headers, body): Whole) -> Answer {
    with(status, headers, Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync())
}

/// An answer whose body comes as it comes.
pub fn streamed(
    status: StatusCode,
    headers: HeaderMap,
    body: impl futures::Stream<Item = Result<Frame<Bytes>, Cut>> + Send + 'static,
) -> Answer {
    with(status, headers, BodyExt::boxed_unsync(StreamBody::new(body)))
}

/// The first half, then nothing more.
pub fn halved((status, headers, body): Whole) -> Answer {
    let half = Ok(Frame::data(body.slice(..body.len() / 2)));
    let cut = async {
        // So that the first half is on its way.
        sleep(Duration::from_millis(20)).await;
        Err(Cut)
    };
    streamed(status, headers, stream::iter([half]).chain(stream::once(cut)))
}

/// Byte by byte.
pub fn dripped((status, headers, body): Whole) -> Answer {
    let bytes = stream::iter(0..body.len()).then(move |n| {
        let byte = body.slice(n..=n);
        async move {
            sleep(DRIP).await;
            Ok(Frame::data(byte))
        }
    });
    streamed(status, headers, bytes)
}

pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut out = headers.clone();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        out.remove(name);
    }
    out
}

pub fn json_header() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// What an API server says that does not carry out what it is asked; other systems say the same. `pause`: what a 429 asks for.
pub fn refusal(code: u16, pause: Option<Duration>) -> Whole {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let mut headers = json_header();
    if let Some(pause) = pause.filter(|_| code == 429) {
        headers.insert(header::RETRY_AFTER, pause.as_secs().into());
    }
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code == 502 {
        // As a load balancer says it: no Status, and no JSON.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        return (status, headers, Bytes::from_static(b"<html><body>502 Bad Gateway</body></html>"));
    }
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "injected"});
    (status, headers, Bytes::from(body.to_string()))
}
