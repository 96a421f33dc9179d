//! What another side answered. Nothing of it is ever told to anybody but its status: it may echo a token.

use std::time::Duration;

use bytes::Bytes;
use cel::Value;
use http::{HeaderMap, StatusCode, header};

use super::{
    json,
    known::{MAX_HEADER, MAX_HEADERS, MAX_VALUES},
};

/// The longest that another side can make us wait.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// What another side answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// When it wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(MAX_WAIT))
    }

    /// `response.headers`: names in lower case; of headers that come twice, the first.
    pub(super) fn headers(&self) -> Value {
        let all = self.headers.keys().filter_map(|name| {
            let value = self.headers.get(name)?.to_str().ok()?;
            (value.len() <= MAX_HEADER && name.as_str().len() <= MAX_HEADER)
                .then(|| (name.as_str().to_owned(), value.to_owned()))
        });
        // Each is two values: the name, too.
        let most = usize::try_from(MAX_HEADERS / 2).unwrap_or(usize::MAX);
        Value::Map(all.take(most).collect::<std::collections::HashMap<_, _>>().into())
    }

    /// `response.body`: JSON if it is said to be that and is, or nothing is said; otherwise a text. `None`: it has more values
    /// than expressions may look at.
    pub(super) fn body(&self) -> Option<Value> {
        let kind = self.headers.get(header::CONTENT_TYPE).map_or("json", |kind| kind.to_str().unwrap_or_default());
        if kind.to_ascii_lowercase().contains("json")
            && let Ok(json) = serde_json::from_slice(&self.body)
        {
            return json::to_value(json, &mut MAX_VALUES.clone());
        }
        Some(Value::from(String::from_utf8_lossy(&self.body).into_owned()))
    }
}
