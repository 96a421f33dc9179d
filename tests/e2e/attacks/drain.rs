//! The account that drains, taken over: it stops everything, which is what it is for, and gives nobody anything.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::Who::*,
    shapes::*,
    table::{Plan, Table},
};

const POLICIES: &str = "/apis/leasehold.dev/v1alpha1/credentialleasepolicies";
const STOP: &str = "leasehold-drain";

fn policy(name: &str, spec: Value) -> Call {
    let object = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy", "metadata": {"name": name}, "spec": spec});
    // What passes without the policy leaves nothing behind that others would be judged by.
    Call::post(format!("{POLICIES}?dryRun=All"), object)
}

fn everything() -> Value {
    json!({"stopPolicy": "HoldAndRevoke"})
}

fn opens() -> Value {
    json!({"grants": {"crossNamespace": {"type": "Allow"}}})
}

pub fn stops() -> Table {
    let with_stop = |mut spec: Value| {
        spec["stopPolicy"] = json!("HoldAndRevoke");
        spec
    };
    Table::of("leasehold-drain")
        .attack("", Drain, "opens grants across namespaces", |_| policy(&fresh("open"), opens()))
        .attack("", Drain, "stops everything under a name that nobody looks for", |_| {
            policy(&fresh("stop"), everything())
        })
        .attack("", Drain, "opens them beside its stop", move |_| policy(STOP, with_stop(opens())))
        .attack("", Drain, "lifts its stop by name and lets all go on", |_| policy(STOP, json!({"stopPolicy": "None"})))
        .attack("", Drain, "stops one tenant only", move |_| {
            let only = json!({"match": {"lifecycleNamespaces": {"matchLabels": {"a": "b"}}}});
            policy(STOP, with_stop(only))
        })
        .attack("", Drain, "writes terms", move |_| policy(STOP, with_stop(json!({"terms": {"ttl": {"max": "1h"}}}))))
        .attack("", Drain, "says what happens to violations", move |_| {
            policy(STOP, with_stop(json!({"onViolation": "Revoke"})))
        })
        .lawful(Drain, "stops everything", |_| Plan::from(policy(STOP, everything())))
        .lawful(Platform, "opens grants across namespaces, which is its own decision", |_| {
            policy(&fresh("open"), opens())
        })
}
