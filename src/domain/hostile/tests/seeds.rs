//! Documents as people and the operator write them.

use serde_json::{Value, json};

use crate::domain::{
    machine::{scene::Scene, state::State, turn::Turn},
    workflow_tests,
};

pub const EXPRESSIONS: &[&str] = &[
    "lease.ttl <= duration('30m') || 'sre' in requester.groups",
    "lease.grants.all(g, g.startsWith('read-') && g.size() < 20)",
    "requester.groups.exists(g, g.matches('^team-[a-z]{1,9}$')) ? lease.ticket != '' : now.getHours('Europe/Berlin') < 18",
    "lease.reason.contains(\"CHG-\") && !(approval.type == 'NotRequired') && approval.count >= 1",
    "[1, 2u, 3.0, b'x', r'\\d', null, true].size() > 0 && {'a': lifecycle.owner.team}['a'] != ''",
];

pub const WORDS: &[&str] = &[
    "1h30m",
    "90s",
    "99999h99999m99999s",
    "2026-11-28T02:00:00Z",
    "2026-11-28T02:00:00.123456789+02:00",
    "2026-11-01",
    "5f2c8a8e-0000-4000-8000-000000000000",
    "ns.lc.5f2c8a8e000040008000000000000000.1800000060",
    "payments/rollout-x7",
];

/// What expressions are made of.
pub const PARTS: &[&str] = &[
    "lease",
    "lifecycle",
    "requester",
    "approval",
    "now",
    ".",
    ".ttl",
    ".groups",
    ".reason",
    ".owner.team",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "'",
    "\"",
    "'''",
    "r'",
    "b'",
    "\\",
    "\\u",
    "\\x41",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    " in ",
    "duration('1h')",
    "timestamp('2026-11-28T02:00:00Z')",
    ".matches('(a*)*b')",
    ".all(g, ",
    ".exists(g, ",
    ".map(g, ",
    ".filter(g, ",
    ".size()",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615u",
    "1e999",
    "0x",
    "null",
    "true",
    "g",
    " ",
    "\n",
    "//",
    "é",
    "\u{0}",
    ".getHours('Nowhere/City')",
    "has(lease.ticket)",
    "int(",
    "string(",
    "dyn(",
    "type(",
];

/// A document for every target that takes one, with its target's name.
pub fn documents() -> Vec<(&'static str, Value)> {
    let step = |at: &str, undo: Option<&str>| json!({"name": at.to_lowercase(), "at": at, "system": "other", "operation": "set", "undo": undo, "with": {"key": "value"}, "timeout": "30s", "onFailure": "RollBack"});
    let mut workflow = vec![step("Request", None), step("Issue", Some("unset")), step("Revoke", None)];
    for step in &mut workflow {
        if step["undo"].is_null() {
            step.as_object_mut().unwrap().remove("undo");
        }
    }
    let mut all = vec![
        (
            "lease",
            json!({
                "lifecycleRef": {"name": "lc"}, "grants": ["a", "b"], "ttl": "10m", "notBefore": "2027-01-15T08:00:00Z", "reason": "Roll out",
                "ticket": "CHG-1", "audiences": ["api"], "delivery": {"type": "Secret", "secret": {"name": "held"}},
                "completionRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "job"},
                "requestedBy": {"username": "ci", "uid": "u", "groups": ["sre"], "podName": "p", "credentialID": "JTI=x"},
            }),
        ),
        (
            "lease",
            json!({"lifecycleRef": {"name": "lc"}, "grants": ["a"], "reason": "r", "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": "ci"}}),
        ),
        (
            "lifecycle",
            json!({
                "owner": {"team": "t", "contact": "c"}, "purpose": "p", "class": "Pipeline",
                "grants": [{"name": "a", "namespace": "ns", "roleRef": {"kind": "Role", "name": "r"}}, {"name": "b", "roleRef": {"kind": "ClusterRole", "name": "view"}}],
                "terms": {
                    "ttl": {"default": "1m", "max": "8h"}, "maxActive": 5, "maxActivePerRequester": 2, "delivery": ["TokenRequest", "Secret"],
                    "secretNames": ["held"], "backstop": "Job", "audiences": ["api"], "onRoleChange": "RevokeIfWidened",
                    "approval": {"type": "NotRequired"},
                    "validations": [{"expression": "lease.ttl <= duration('30m')", "message": "m"}],
                },
                "workflow": workflow, "expirationTime": "2030-01-01T00:00:00Z", "stopPolicy": "None",
                "review": {"everyDays": 90, "graceDays": 14, "lastReviewed": "2027-01-01"},
                "standing": [{"name": "s", "grants": ["a"], "secret": "held", "ttl": "1h"}],
            }),
        ),
        (
            "policy",
            json!({
                "match": {"grantNamespaces": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["dev"]}]}, "lifecycleNamespaces": {"matchLabels": {}}},
                "terms": {
                    "ttl": {"max": "45s"}, "maxActive": 3, "delivery": ["Secret"], "secretNames": ["lease-lease"], "audiences": ["api"], "backstop": "Job",
                    "approval": {"type": "NotRequired"},
                    "validations": [{"expression": "lease.ticket != ''", "message": "m"}],
                },
                "grants": {
                    "crossNamespace": {"type": "SameLabel", "label": "tenant"}, "forbidRoles": [{"kind": "ClusterRole", "name": "cluster-admin"}],
                    "forbidRules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
                },
                "onViolation": "Revoke", "stopPolicy": "None",
            }),
        ),
        (
            "decision",
            json!({
                "leaseRef": {"name": "lease", "uid": "5f2c8a8e-0000-4000-8000-000000000000"}, "lifecycleRef": {"name": "lc"}, "requester": "ci",
                "decision": "Approved", "requestDigest": "sha256:00", "reason": "because", "maxTTL": "5m", "repeatFor": "2h",
                "decidedBy": {"username": "alice", "groups": ["sre"]},
            }),
        ),
        ("system", serde_json::to_value(&workflow_tests::system(true).spec).unwrap()),
    ];
    for scene in Scene::ALL {
        // Statuses as they are written on the way to the end.
        let mut state = State::new(scene, 0);
        for turns in 0.. {
            if state.turns().is_empty() {
                break;
            }
            state = state.after(&Turn::Well);
            if turns % 6 == 5 {
                all.push(("status", serde_json::to_value(&state.world.status).unwrap()));
            }
        }
    }
    all
}
