//! Watches: opened, passed on as the weather has it, and broken off.

use std::sync::PoisonError;

use bytes::Bytes;
use futures::StreamExt;
use http::{StatusCode, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Proxy,
    answer::{Answer, Cut, json_header, passed_on, streamed, whole},
    events::Events,
};
use crate::fault::Weather;

/// The event by which an API server says that it no longer has what it is asked to go on from.
fn gone() -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"});
    Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))
}

impl Proxy {
    pub(super) async fn watch(&self, parts: Parts, body: Bytes) -> Result<Answer, Cut> {
        let mut cuts = self.cuts.subscribe();
        let cut = *cuts.borrow_and_update();
        let weather = self.weather();
        if weather == Weather::Gone && cut > 0 {
            let path = parts.uri.path().to_owned();
            let last = self.gone.lock().unwrap_or_else(PoisonError::into_inner).insert(path, cut);
            if last != Some(cut) {
                return Ok(whole((StatusCode::OK, json_header(), gone())));
            }
        }
        let answer = self.upstream.send(self.upstream(&parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let (pass, mut passed) = mpsc::unbounded_channel();
        tokio::spawn(Events::new(weather).pass(body.into_data_stream(), pass));
        let events = futures::stream::poll_fn(move |cx| passed.poll_recv(cx)).map(|line| Ok(Frame::data(line)));
        let ended = async move {
            cuts.changed().await.ok();
            if matches!(weather, Weather::Expired | Weather::Behind) { Ok(Frame::data(gone())) } else { Err(Cut) }
        };
        // Whichever ends first, ends the answer.
        let events = events.map(Some).chain(futures::stream::once(async { None }));
        let ended = futures::stream::once(ended).map(Some).chain(futures::stream::once(async { None }));
        let both = futures::stream::select(events, ended)
            .take_while(|item| std::future::ready(item.is_some()))
            .filter_map(std::future::ready);
        Ok(streamed(parts.status, passed_on(&parts.headers), both))
    }
}
