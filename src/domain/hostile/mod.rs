//! What strangers write, put through everything that reads it: nothing panics, and nothing goes on for ever.
//!
//! A target takes any bytes and does with them what the operator would. `cargo test --lib` throws a bounded number of documents at
//! each ([`tests`]); `make fuzz` lets coverage lead, for as long as is wanted. What every target asserts: what was read can be
//! written and read again as the same.

use std::{fmt::Debug, str::FromStr, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call, Next},
    decide::decide,
    ending,
    guards::PolicySeen,
    learn::learn,
    observed::{DecisionSeen, Memory},
    policy, rbac, review, validations,
    workflow::{self, SystemSeen},
    world::{START, World},
};
use crate::api::{
    ConnectedSystemSpec, CredentialLeaseDecisionSpec, CredentialLeasePolicySpec, CredentialLeaseSpec, Duration,
    ServiceAccountLifecycleSpec, Time, lifecycle::DeliveryType, names, review::Date, status::CredentialLeaseStatus,
};

/// Takes whatever a stranger wrote.
pub type Target = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("words", words),
    ("expression", expression),
    ("lease", lease),
    ("lifecycle", lifecycle),
    ("policy", policy),
    ("system", system),
    ("decision", decision),
    ("status", status),
];

/// Durations, times, days, UIDs, names.
fn words(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(length) = again::<Duration>(text) {
        assert!(Time::from_millis(START).plus(length) >= Time::from_millis(START));
    }
    if let Some(time) = again::<Time>(text) {
        assert_eq!(time.plus_millis(i64::MAX).max(time), time.plus_millis(i64::MAX));
        _ = time.since(Time::from_millis(i64::MIN));
    }
    if let Some(day) = again::<Date>(text) {
        _ = day.begins();
    }
    if let Some(uid) = names::LeaseUid::parse(text) {
        assert_eq!(names::account_deadline(&names::account("ns", "lc", &uid, START), &uid), Some(START));
    }
    _ = names::account_deadline(text, &super::world::uid());
    _ = names::lease_in(text);
    _ = super::expression::urlquery(text);
}

/// What a text says, if it can be read: it says the same once it is written again.
fn again<T: FromStr + ToString + PartialEq + Debug>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    let written = read.to_string();
    assert_eq!(written.parse().ok().as_ref(), Some(&read), "{text} is written as {written}");
    Some(read)
}

/// A tenant's rule.
fn expression(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(rule) = validations::compile(text) {
        _ = validations::evaluate(&rule, &validations::sample_of_any());
    }
}

/// A document, if it is one of its kind. What was read and written again is read as the same.
fn read<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_value(&read).expect("what was read can be written");
    let again: T = serde_json::from_value(written.clone()).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(again, read, "{written}");
    Some(read)
}

fn lease(data: &[u8]) {
    let Some(spec) = read::<CredentialLeaseSpec>(data) else { return };
    let kind = if spec.delivery.kind == DeliveryType::Secret { "Secret" } else { "TokenRequest" };
    let mut world = World::new(kind);
    world.spec = Some(spec);
    visits(world);
}

fn lifecycle(data: &[u8]) {
    let Some(spec) = read::<ServiceAccountLifecycleSpec>(data) else { return };
    for at in [START, i64::MIN, i64::MAX].map(Time::from_millis) {
        _ = review::missing(spec.review.as_ref(), at);
        _ = spec.review.as_ref().and_then(|review| review::changes(review, at));
    }
    _ = workflow::problems(&spec.workflow, &workflow::Systems::new(), &[].into(), None);
    for validation in &spec.terms.validations {
        expression(validation.expression.as_bytes());
    }
    let mut world = World::new("TokenRequest");
    world.lifecycle = Some(serde_json::to_value(&spec).expect("it was read from JSON"));
    visits(world);
}

fn policy(data: &[u8]) {
    let Some(spec) = read::<CredentialLeasePolicySpec>(data) else { return };
    let seen =
        policy::PolicyObserved { generation: 1, status: Default::default(), broken: None, lifecycles: 1, violating: 0 };
    _ = policy::status(&seen, Time::from_millis(START));
    let mut world = World::new("Secret");
    world.policies = vec![Arc::new(PolicySeen { name: "strangers".into(), spec })];
    visits(world);
}

fn system(data: &[u8]) {
    let Some(spec) = read::<ConnectedSystemSpec>(data) else { return };
    _ = workflow::place(&spec);
    _ = workflow::may_use(&spec, &[].into());
    let names: Vec<String> = spec.operations.iter().map(|o| o.name.clone()).collect();
    let name = names.first().cloned().unwrap_or_default();
    _ = workflow::definition_digest(&spec, &name, names.last().map(String::as_str));
    let mut world = World::new("Secret");
    let step = |at: &str| json!({"name": at.to_lowercase(), "at": at, "system": "other", "operation": name, "undo": names.last()});
    world.lifecycle.as_mut().unwrap()["workflow"] = json!([step("Request"), step("Issue"), step("Revoke")]);
    let operations = names.into_iter().map(|name| (name, Ok(workflow::Uses::default()))).collect();
    let seen = SystemSeen { name: "other".into(), uid: "u".into(), spec, operations };
    world.systems = [("other".to_owned(), Arc::new(seen))].into();
    visits(world);
}

fn decision(data: &[u8]) {
    let Some(spec) = read::<CredentialLeaseDecisionSpec>(data) else { return };
    for kind in ["Required", "Retrospective"] {
        let mut world = World::new("TokenRequest").asking(json!({"type": kind, "maxRepeat": "1h"}));
        let created = Time::from_millis(START);
        world.decisions = vec![DecisionSeen { uid: "d".into(), name: "d".into(), created, spec: spec.clone() }];
        visits(world);
    }
}

/// What is stored may have been written by anybody who may write statuses.
fn status(data: &[u8]) {
    let Some(status) = read::<CredentialLeaseStatus>(data) else { return };
    _ = status.history.as_ref().map(super::digest::verify);
    for rules in status.request.iter().flat_map(|request| &request.grants).map(|grant| &grant.rules) {
        let all: Value = json!(rules);
        assert!(rbac::covers(rules, rules) || all.to_string().contains("[]"), "{all}");
        _ = (rbac::digest(rules), rbac::gained(&[], rules), rbac::overlap(rules, rules));
    }
    for exists in [true, false] {
        let mut world = World::new("Secret");
        (world.status, world.exists) = (status.clone(), exists);
        visits(world);
    }
}

/// Visits as the operator would make them, each call answered well; by what time, and then an hour, a year and an age later.
fn visits(mut world: World) {
    let mut memory = Memory::default();
    for later in [0, 3_600_000, 31_536_000_000, i64::MAX / 2] {
        world.now = START + later;
        let mut seen = world.observe(&memory);
        for _ in 0..24 {
            ending::settle(&mut seen, world.now());
            let Next::Do(_, calls) = decide(&seen, world.now()) else { break };
            for call in calls {
                let answer = match &call {
                    // The model of other systems asserts what only a status of our own keeps.
                    Call::Start { .. } => Answer::Started,
                    call => world.apply(call),
                };
                learn(&mut seen, call, answer, world.now());
            }
        }
        memory = seen.memory;
    }
}

#[cfg(test)]
pub(crate) mod tests;
