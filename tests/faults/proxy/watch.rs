//! Watches: opened, passed on as the weather has it, and broken off.

use std::sync::PoisonError;

use bytes::Bytes;
use futures::StreamExt;
use http::{StatusCode, Uri, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Proxy,
    answer::{Answer, Cut, json_header, passed_on, streamed, whole},
    events::Events,
};
use crate::{call::Call, fault::Weather};

/// Whether a watch begins with all there is, and not where another one broke off.
fn begins_with_all(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair == "sendInitialEvents=true")
}

/// The event by which an API server says that it no longer has what it is asked to go on from.
fn gone() -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"});
    Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))
}

impl Proxy {
    pub(super) async fn watch(&self, call: &Call, mut parts: Parts, body: Bytes) -> Result<Answer, Cut> {
        let mut cuts = self.cuts.subscribe();
        let cut = *cuts.borrow_and_update();
        let weather = self.weather();
        if weather == Weather::Gone && cut > 0 && !begins_with_all(&parts.uri) {
            let path = parts.uri.path().to_owned();
            let last = self.gone.lock().unwrap_or_else(PoisonError::into_inner).insert(path, cut);
            if last != Some(cut) {
                return Ok(whole((StatusCode::OK, json_header(), gone())));
            }
        }
        let past = if weather == Weather::Behind { self.begin_behind(call, &mut parts).await? } else { Bytes::new() };
        let answer = self.upstream.send(self.upstream(&parts, body)?).await.map_err(|_| Cut)?;
        let (parts, body) = answer.into_parts();
        let (pass, mut passed) = mpsc::unbounded_channel();
        if !past.is_empty() {
            pass.send(past).ok();
        }
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

    /// Where a watch of leases shall begin with what there is: what there was a while ago, as an API server tells it, and the watch
    /// that goes on from there. Only of leases: no API server answers so, but that a lease is gone is not taken from any.
    async fn begin_behind(&self, call: &Call, parts: &mut Parts) -> Result<Bytes, Cut> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let begins = begins_with_all(&parts.uri) && call.resource == "credentialleases";
        let (true, Some(version)) = (begins, self.old_version()) else { return Ok(Bytes::new()) };
        let beginning = ["sendInitialEvents=", "resourceVersion"];
        let rest: Vec<&str> =
            query.split('&').filter(|pair| !beginning.iter().any(|name| pair.starts_with(name))).collect();
        let path = parts.uri.path().to_owned();
        let at = |query: &str| format!("{path}?{query}").parse::<Uri>().map_err(|_| Cut);
        parts.uri = at(&format!("resourceVersion={version}&resourceVersionMatch=Exact"))?;
        let (status, _, list) = self.forward(parts, Bytes::new()).await?;
        parts.uri = at(&format!("{}&resourceVersion={version}", rest.join("&")))?;
        let list: Value = serde_json::from_slice(&list).map_err(|_| Cut)?;
        if status != StatusCode::OK {
            return Err(Cut);
        }
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let end = json!({"apiVersion": list["apiVersion"], "kind": "CredentialLease",
            "metadata": {"resourceVersion": version, "annotations": annotations}});
        let items = list["items"].as_array().into_iter().flatten().map(|item| json!({"type": "ADDED", "object": item}));
        let lines = items.chain([json!({"type": "BOOKMARK", "object": end})]).map(|event| format!("{event}\n"));
        Ok(lines.collect::<String>().into())
    }
}
