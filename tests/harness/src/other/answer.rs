//! How one request is answered: by whoever stands in front, who may have it carried out.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Bytes, body::Incoming};
use serde_json::{Value, json};

use super::{Act, Call, State};

/// Why there is no answer: the connection is closed instead.
pub type Closed = Box<dyn std::error::Error + Send + Sync>;
/// An answer, as it is sent.
pub type Sent = Response<UnsyncBoxBody<Bytes, Closed>>;
/// What will be.
pub type Will<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Carries a request out as scripted; the answer to it.
pub type CarryOut = Will<Result<Response<Full<Bytes>>>>;
/// Who stands in front: it gets every request, may have it carried out or not, and answers.
pub type Front = Arc<dyn Fn(Call, CarryOut) -> Will<Result<Sent, Closed>> + Send + Sync>;

/// Nobody stands in front.
pub(super) fn passed_on() -> Front {
    Arc::new(|_, carry_out| {
        Box::pin(async {
            let answer = carry_out.await?;
            Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
        })
    })
}

pub(super) async fn answer(state: Arc<Mutex<State>>, front: Front, request: Request<Incoming>) -> Result<Sent, Closed> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    let what = format!("{} {}", parts.method, parts.uri.path());
    let key = parts.headers.get("idempotency-key").and_then(|k| k.to_str().ok()).unwrap_or_default().to_owned();
    let call = Call { what, key, body };
    front(call.clone(), Box::pin(carry_out(state, call))).await
}

async fn carry_out(state: Arc<Mutex<State>>, call: Call) -> Result<Response<Full<Bytes>>> {
    let Call { what, key, body } = call.clone();
    let (method, path) = what.split_once(' ').unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let act = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls.push(call.clone());
        let scripted = state.script.get_mut(&what).and_then(VecDeque::pop_front);
        let act = scripted.or_else(|| state.for_ever.get(&what).cloned());
        let done = matches!(act, None | Some(Act::Reset | Act::Garbage | Act::Huge));
        if done && method != "GET" {
            // What comes again under the same key is answered, and not done again.
            if state.applied.insert(key) {
                match method {
                    "PUT" => _ = state.values.insert(name, body.clone()),
                    "DELETE" => _ = state.values.remove(&name),
                    _ => {}
                }
                state.effects.push(call);
            }
        }
        act
    };
    let well = |body: Value| Ok(Response::new(Full::new(Bytes::from(body.to_string()))));
    let status = |code: u16| {
        let mut response = Response::new(Full::new(Bytes::from(body.clone())));
        *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    };
    match act {
        None if path.starts_with("/gate/") => well(json!({"approved": true, "pending": false})),
        None => well(json!({"ok": true})),
        // What is sent back is what came: a token must not get into any text by that.
        Some(Act::Status(code)) => Ok(status(code)),
        Some(Act::Hang) => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            Ok(status(500))
        }
        Some(Act::Reset) => Err(anyhow::anyhow!("the connection is closed")),
        Some(Act::Garbage) => Ok(Response::new(Full::new(Bytes::from("<html>")))),
        Some(Act::Huge) => Ok(Response::new(Full::new(Bytes::from(vec![b' '; 10 << 20])))),
        Some(Act::Redirect) => {
            let mut response = status(307);
            response.headers_mut().insert("location", "https://elsewhere.example.com/".parse().context("a header")?);
            Ok(response)
        }
    }
}
