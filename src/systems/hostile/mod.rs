//! What other systems answer, and what their authors write, put through everything that reads it.
//!
//! As [`crate::domain::hostile`]: a target takes any bytes and asserts what must hold of them, `cargo test --lib` throws a bounded
//! number of documents at each ([`tests`]), and `make fuzz` lets coverage lead. What stands on the wire itself is read by hyper.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::{answer::Answer, request::Request};
use crate::{domain::hostile::Target, runtime::evaluator::Evaluator};

mod judging;
mod login;
mod operation;

/// Every target, by its name.
pub const TARGETS: &[(&str, Target)] =
    &[("answer", judging::answer), ("login", login::login), ("operation", operation::operation)];

/// What an answer must never hand on: it stands wherever the bytes have [`HERE`].
const SECRET: &str = "hvs.CAESIJ-the-secret-of-the-answer";
const HERE: u8 = b'~';

/// An answer as a document: its status, its headers one a line, an empty line, its body. `None`: no HTTP library would hand it on.
fn answer(text: &[u8]) -> Option<Answer> {
    let (status, mut rest) = line(text);
    let status = StatusCode::from_bytes(status).ok()?;
    let mut headers = HeaderMap::new();
    loop {
        let (header, after) = line(rest);
        rest = after;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':')?;
        let (name, value) = header.split_at_checked(colon)?;
        let value = with_secret(value.strip_prefix(b":")?.trim_ascii());
        let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(&value).ok()?);
        headers.try_append(name, value).ok()?;
    }
    Some(Answer { status, headers, body: Bytes::from(with_secret(rest)) })
}

/// The first line, and what comes after it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    (&text[..end], text.get(end + 1..).unwrap_or_default())
}

fn with_secret(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == HERE).collect::<Vec<_>>().join(SECRET.as_bytes())
}

/// A request as it would be stored, with what judging its answer knows.
fn request(success: Option<&str>, retryable: Option<&str>) -> Request {
    let text = |text: &str| json!({ "text": text });
    let known = json!({"lease.name": text("tonight"), "params.id": text("7"), "lease.ttl": {"seconds": 900}});
    let request =
        json!({"method": "POST", "path": "/items", "success": success, "retryable": retryable, "known": known});
    serde_json::from_value(request).expect("a request as it is stored")
}

/// What is told to people or written into a status: of bounded length, and with nothing of the answer.
fn assert_tellable(message: &str) {
    assert!(message.len() <= 5000, "{} bytes: {message}", message.len());
    assert!(!message.contains(SECRET), "it tells the answer: {message}");
}

/// Threads for expressions, and somebody who waits for them.
fn waited<T>(work: impl AsyncFnOnce(&Evaluator) -> T) -> T {
    static WAITS: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    static EVALUATOR: LazyLock<Evaluator> = LazyLock::new(|| evaluator().expect("threads"));
    WAITS.block_on(work(&EVALUATOR))
}

#[cfg(test)]
fn evaluator() -> std::io::Result<Evaluator> {
    Evaluator::unhurried()
}
#[cfg(not(test))]
fn evaluator() -> std::io::Result<Evaluator> {
    Evaluator::start()
}

/// The longest that a Retry-After of another side counts, as `docs/reference/operations.md` says it.
const MAX_WAIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
