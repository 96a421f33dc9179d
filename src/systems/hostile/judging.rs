//! What an answer is taken to mean.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{MAX_WAIT, SECRET, answer as read, assert_tellable, line, request, waited};
use crate::{
    domain::outcome::Outcome,
    systems::{
        answer::Answer,
        json,
        judge::{evaluate, judge},
        known::{MAX_HEADER, MAX_HEADERS, MAX_VALUES},
        problem::{Part, Problem},
        request::Request,
    },
};

/// Whether an answer meets a `success`, without the interpreter.
type Meets = fn(&Answer) -> bool;

/// Some `success`, and what each means, written once more in Rust.
pub(super) const SUCCESSES: &[(&str, Meets)] = &[
    ("response.status == 200", |a| a.status == 200),
    ("response.status in [200, 404]", |a| a.status == 200 || a.status == 404),
    ("response.status >= 200 && response.status < 300", |a| a.status.is_success()),
    ("response.body.ok == true", |a| said(a).is_some_and(|body| body["ok"] == true)),
    ("response.body.state == 'done'", |a| said(a).is_some_and(|body| body["state"] == "done")),
    ("response.body.items.exists(i, i.name == lease.name)", |a| {
        let body = said(a).unwrap_or_default();
        body["items"].as_array().is_some_and(|items| items.iter().any(|item| item["name"] == "tonight"))
    }),
    ("response.headers['x-state'] == 'done'", |a| a.headers.get("x-state").is_some_and(|state| state == "done")),
    ("response.body == 'done'", |a| &*a.body == b"done" || said(a).is_some_and(|body| body == "done")),
    ("false", |_| false),
];

/// The body, if it is JSON.
fn said(answer: &Answer) -> Option<Json> {
    serde_json::from_slice(&answer.body).ok()
}

/// A line with `success`, a line with `retryable`, either empty, and an answer.
pub(super) fn answer(data: &[u8]) {
    let (success, rest) = line(data);
    let (retryable, rest) = line(rest);
    let (Ok(success), Ok(retryable)) = (str::from_utf8(success), str::from_utf8(retryable)) else { return };
    let Some(answer) = read(rest) else { return };
    seen(&answer);
    let own = [success, retryable].iter().any(|text| text.contains(SECRET));
    let (success, retryable) = (some(success), some(retryable));
    let request = request(success, retryable);
    // Here, where a panic is not caught by a thread of the evaluator.
    let done = success.map(|text| evaluate(&Part::Success, text, &request.known, &answer));
    let again = retryable.map(|text| evaluate(&Part::Retryable, text, &request.known, &answer));
    let answer = Arc::new(answer);
    let outcome = waited(async |evaluator| judge(evaluator, &request, &answer).await);
    holds(&request, &answer, done, again, &outcome);
    if let Outcome::Again { message, .. } | Outcome::Refused { message } = &outcome
        && !own
    {
        assert_tellable(message);
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The outcome is what the operation says of the answer.
fn holds(
    request: &Request,
    answer: &Answer,
    done: Option<Result<bool, Problem>>,
    again: Option<Result<bool, Problem>>,
    outcome: &Outcome,
) {
    let meets = SUCCESSES.iter().find(|(text, _)| request.success.as_deref() == Some(*text)).map(|(_, meets)| meets);
    if *outcome == Outcome::Done {
        assert_eq!(done.unwrap_or(Ok(answer.status.is_success())), Ok(true), "done for what is no success");
        assert!(meets.is_none_or(|meets| meets(answer)), "{:?} does not hold", request.success);
        return;
    }
    let in_time = !matches!(outcome, Outcome::Again { message, .. } if message.contains("which cannot be judged"));
    assert!(!in_time || done != Some(Ok(true)), "{outcome:?} for a success");
    assert!(done.is_some() || !answer.status.is_success(), "{outcome:?} for a success");
    if let Outcome::Again { after, .. } = outcome {
        assert!(after.is_none_or(|after| after <= MAX_WAIT), "{after:?}");
        assert!(after.is_none() || answer.headers.contains_key("retry-after"));
        assert!(!in_time || again.is_none_or(|again| again == Ok(true)), "asked again for what is not retryable");
    }
}

/// What expressions see of an answer: bounded, and as the answer said it.
fn seen(answer: &Answer) {
    assert!(answer.retry_after().is_none_or(|after| after <= MAX_WAIT));
    let headers = json::from_value(&answer.headers()).expect("texts have a form in JSON");
    let headers = headers.as_object().expect("a map");
    assert!(headers.len() as u64 <= MAX_HEADERS / 2, "{}", headers.len());
    for (name, value) in headers {
        let value = value.as_str().expect("a text");
        assert!(value.len() <= MAX_HEADER && name.len() <= MAX_HEADER);
        assert_eq!(answer.headers.get(name).map(|v| v.as_bytes()), Some(value.as_bytes()), "{name}");
    }
    let Some(body) = answer.body() else {
        assert!(said(answer).is_some_and(|body| values(&body) > MAX_VALUES), "not looked at");
        return;
    };
    let shown = json::from_value(&body).expect("what came as JSON or text goes as JSON");
    assert!(values(&shown) <= MAX_VALUES, "{}", values(&shown));
    let text = Json::from(String::from_utf8_lossy(&answer.body));
    assert!(said(answer).is_some_and(|said| said == shown) || shown == text, "{shown}");
}

/// Values in each other, with keys.
fn values(of: &Json) -> u64 {
    1 + match of {
        Json::Array(entries) => entries.iter().map(values).sum::<u64>(),
        Json::Object(members) => members.values().map(|value| 1 + values(value)).sum(),
        _ => 0,
    }
}
