//! A bounded number of documents for every target.

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use super::*;
use crate::domain::hostile::tests::{cases, change, changed};

/// Lines that may stand before a body, as servers write them and as they should not.
const HEADERS: &[&str] = &[
    "Content-Type: application/json",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Type: application/problem+JSON",
    "Content-Type: \u{e9}",
    "Retry-After: 5",
    "Retry-After: 18446744073709551615",
    "Retry-After: -1",
    "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT",
    "X-State: done",
    "x-state: ~",
    "Location: https://elsewhere.example/?token=~",
    "Set-Cookie: session=~",
];

/// `success` and `retryable`, of which some fail or quote what they look at if nobody takes care.
const EXPRESSIONS: &[&str] = &[
    "",
    "true",
    "response.status in [429, 503]",
    "response.body.token == lease.name",
    "response.body.token",
    "response.body[response.body.token]",
    "int(response.body.token) > 0",
    "duration(response.body.token) > lease.ttl",
    "timestamp(response.body.token) < timestamp('2030-01-01T00:00:00Z')",
    "response.body.token + 1 == 2",
    "response.body.items[99].name == params.id",
    "response.body.items.all(i, i.name.matches('^[a-z]+$'))",
    "response.headers.location.contains('elsewhere')",
    "response.headers['set-cookie']",
    "response.body.nothing.at.all == null",
    "1 / response.body.items.size() > 0",
    "credential.token == response.body",
];

const LOGIN: &str = r#"{"auth": {"client_token": "~", "lease_duration": 3600, "renewable": true}, "warnings": null}"#;

fn body() -> Value {
    json!({"ok": true, "state": "done", "token": "~", "items": [{"name": "tonight", "n": 1}, {"name": "x"}], "error": {"message": "no ~"}})
}

fn document() -> Value {
    json!({
        "text": "tonight", "with": {"id": "a b/é?c#d"},
        "system": {
            "type": "HTTP", "namespaces": {"from": "All"}, "http": {"url": "https://api.example.com/v1"},
            "operations": [{
                "name": "set", "method": "POST", "path": "'/items/' + urlquery(params.id) + '?by=' + urlquery(requester.username)", "params": ["id"],
                "headers": [{"name": "X-Token", "value": "credential.token"}, {"name": "X-By", "value": "lease.name"}],
                "body": "{'name': lease.name, 'token': credential.token, 'grants': lease.grants}",
                "success": "response.status == 200 || lease.name == ''", "retryable": "response.status == 429",
            }],
        },
    })
}

fn told(success: &str, retryable: &str, status: u16, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\n")).collect();
    format!("{success}\n{retryable}\n{status}\n{headers}\n{body}")
}

/// What `success` may be: those that are judged twice, and others.
fn successes() -> Vec<&'static str> {
    judging::SUCCESSES.iter().map(|(text, _)| *text).chain(EXPRESSIONS.iter().copied()).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_answer_is_taken_for_what_it_is_not_or_told(
        success in prop::sample::select(successes()),
        retryable in prop::sample::select(EXPRESSIONS),
        status in prop_oneof![prop::sample::select(vec![200_u16, 204, 302, 404, 408, 429, 503]), 100..1000_u16],
        headers in prop::collection::vec(prop::sample::select(HEADERS), 0..5),
        changes in prop::collection::vec((any::<Index>(), change()), 0..4),
        cut in any::<Index>(),
    ) {
        let body = changed(body(), &changes).to_string();
        let all = told(success, retryable, status, &headers, &body);
        judging::answer(all.as_bytes());
        judging::answer(&all.as_bytes()[..cut.index(all.len())]);
    }

    #[test]
    fn no_login_is_more_than_it_says(status in 100..1000_u16, changes in prop::collection::vec((any::<Index>(), change()), 0..4)) {
        let body = changed(serde_json::from_str(LOGIN).unwrap(), &changes);
        login::login(format!("{status}\n\n{body}").as_bytes());
        login::login(format!("200\n\n{body}").as_bytes());
    }

    #[test]
    fn no_operation_leads_out_of_its_system(
        text in ".{0,40}", id in ".{0,40}|[./%2eEfF\\\\]{0,12}",
        changes in prop::collection::vec((any::<Index>(), change()), 0..3),
    ) {
        let mut document = changed(document(), &changes);
        for (at, value) in [("/text", text), ("/with/id", id)] {
            if let Some(place) = document.pointer_mut(at) {
                *place = value.into();
            }
        }
        operation::operation(document.to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_a_reader_of_answers_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        TARGETS.iter().for_each(|(_, target)| target(&data));
    }
}

/// Documents for `make fuzz`, with the targets they are for.
fn seeds() -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = successes()
        .into_iter()
        .flat_map(|success| {
            EXPRESSIONS
                .iter()
                .map(move |retryable| ("answer", told(success, retryable, 200, HEADERS, &body().to_string())))
        })
        .collect();
    all.push((
        "answer",
        told("response.body == 'done'", "", 503, &["Content-Type: text/plain", "Retry-After: 900"], "done"),
    ));
    all.push(("login", format!("200\nContent-Type: application/json\n\n{LOGIN}")));
    all.push(("operation", document().to_string()));
    all
}

/// What cannot be read is thrown away by a target, which then proves nothing.
#[test]
fn every_seed_is_read() {
    for (name, seed) in seeds() {
        let text = match name {
            "answer" => line(line(seed.as_bytes()).1).1,
            _ => seed.as_bytes(),
        };
        assert!(name == "operation" || answer(text).is_some(), "{name}: {seed}");
        TARGETS.iter().find(|(of, _)| *of == name).expect("it has this name").1(seed.as_bytes());
    }
    assert_eq!(operation::is_whole(document().to_string().as_bytes()), Ok(()));
}

#[test]
fn what_is_judged_twice_is_met_by_some_answer_and_not_by_another() {
    for (success, meets) in judging::SUCCESSES.iter().filter(|(success, _)| *success != "false") {
        let judged = |status: u16, headers: &[&str], body: &str| {
            let text = told(success, "", status, headers, body);
            judging::answer(text.as_bytes());
            meets(&answer(line(line(text.as_bytes()).1).1).unwrap())
        };
        let one = judged(200, &["x-state: done"], &body().to_string()) || judged(200, &[], "\"done\"");
        assert!(one && !judged(500, &[], "{}"), "{success}");
    }
}

/// Writes the seeds for `make fuzz`, where `FUZZ_SEEDS` says.
#[test]
fn seeds_are_written_where_they_are_asked_for() {
    let Some(directory) = std::env::var_os("FUZZ_SEEDS").map(std::path::PathBuf::from) else { return };
    for (n, (name, seed)) in seeds().into_iter().enumerate() {
        let into = directory.join(name);
        std::fs::create_dir_all(&into).unwrap();
        std::fs::write(into.join(format!("seed-{n}")), seed).unwrap();
    }
}
