//! Approvals by one who could have asked himself: every way in which Bob can be the requester is a right of one Bob.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{Ground, Who::*},
    shapes::*,
    table::Table,
};

/// Where a right is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the requester's namespace.
    Here,
    /// In another one.
    Elsewhere,
    /// Everywhere.
    Cluster,
}

/// One right, and whose lease its holder must not approve.
pub struct Right {
    pub place: Place,
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    name: Option<&'static str>,
    of: Requester,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requester {
    /// Service account `ci`.
    Account,
    /// User `dev`.
    User,
    /// The right gives no way to be either.
    Nobody,
}

impl Right {
    pub fn rule(&self) -> Value {
        let names: Vec<&str> = self.name.into_iter().collect();
        rule(self.group, self.resource, self.verb, &names)
    }
}

/// In the requester's namespace, on everything of that kind.
const fn here(group: &'static str, resource: &'static str, verb: &'static str) -> Right {
    Right { place: Place::Here, group, resource, verb, name: None, of: Requester::Account }
}

/// In the requester's namespace, on the requester by name.
const fn named(group: &'static str, resource: &'static str, verb: &'static str) -> Right {
    Right { name: Some("ci"), ..here(group, resource, verb) }
}

const fn everywhere(group: &'static str, resource: &'static str, verb: &'static str, name: &'static str) -> Right {
    Right { place: Place::Cluster, group, resource, verb, name: Some(name), of: Requester::User }
}

const fn harmless(right: Right) -> Right {
    Right { of: Requester::Nobody, ..right }
}

const AUTHENTICATION: &str = "authentication.k8s.io";

/// Each is held by one Bob.
pub const RIGHTS: &[Right] = &[
    named("", "serviceaccounts", "impersonate"),
    named(AUTHENTICATION, "serviceaccounts", "impersonate:serviceaccount"),
    named("", "serviceaccounts/token", "create"),
    here("", "secrets", "create"),
    here("", "pods", "create"),
    here("apps", "deployments", "create"),
    here("apps", "replicasets", "create"),
    here("apps", "statefulsets", "create"),
    here("apps", "daemonsets", "create"),
    here("batch", "jobs", "create"),
    here("batch", "cronjobs", "create"),
    here("", "replicationcontrollers", "create"),
    here("apps", "deployments", "patch"),
    here("apps", "replicasets", "patch"),
    here("apps", "statefulsets", "patch"),
    here("apps", "daemonsets", "patch"),
    here("batch", "cronjobs", "patch"),
    here("", "replicationcontrollers", "patch"),
    here("apps", "deployments", "update"),
    here("apps", "replicasets", "update"),
    here("apps", "statefulsets", "update"),
    here("apps", "daemonsets", "update"),
    here("batch", "cronjobs", "update"),
    here("", "replicationcontrollers", "update"),
    here("", "pods/exec", "create"),
    here("", "pods/ephemeralcontainers", "patch"),
    everywhere("", "users", "impersonate", "dev"),
    everywhere(AUTHENTICATION, "users", "impersonate:user-info", "dev"),
    everywhere("certificates.k8s.io", "signers", "approve", "kubernetes.io/kube-apiserver-client"),
    // The same rights on others, or elsewhere.
    harmless(Right { name: Some("default"), ..here("", "serviceaccounts/token", "create") }),
    harmless(Right { name: Some("default"), ..here("", "serviceaccounts", "impersonate") }),
    harmless(Right { place: Place::Elsewhere, ..here("", "pods", "create") }),
    harmless(Right { place: Place::Elsewhere, ..here("", "serviceaccounts/token", "create") }),
    harmless(everywhere("", "users", "impersonate", "somebody")),
    harmless(here("", "pods", "get")),
    harmless(here("", "secrets", "get")),
];

/// The Bob with the right of this number.
pub fn bob(number: usize) -> String {
    format!("bob-{number}")
}

fn ci(g: &Ground) -> String {
    format!("system:serviceaccount:{}:ci", g.namespace)
}

/// An approval by `by` of what `requester` asked.
fn approve(g: &Ground, requester: &str, by: Value, change: Value) -> Call {
    let mut body = decision(&fresh("word"), "Approved", requester, by);
    for (key, value) in change.as_object().into_iter().flatten() {
        body["spec"][key] = value.clone();
    }
    Call::post(decisions(&g.namespace), body)
}

pub fn independence() -> Table {
    let boss = || json!({"username": "boss", "groups": ["duty", "leads"]});
    let by_bob = |n: usize| json!({"username": bob(n)});
    let table = Table::of("leasehold-decision-independence")
        .attack("12", Admin, "the administrator, who may be everybody, approves", |g| {
            approve(g, &ci(g), json!({"username": "admin"}), json!({}))
        })
        .attack("12", Admin, "the same for a user", |g| approve(g, "dev", json!({"username": "admin"}), json!({})))
        .attack("12", Ci, "a service account, for which somebody may have minted, approves", |g| {
            approve(g, "dev", json!({"username": ci(g)}), json!({}))
        });
    let table = RIGHTS.iter().enumerate().fold(table, |table, (n, right)| {
        let what = format!("may {} {} and approves", right.verb, right.resource);
        match right.of {
            Requester::Account => table
                .attack("12", Bob(n), what, move |g| approve(g, &ci(g), by_bob(n), json!({})))
                .lawful(Bob(n), "approves what a user asked", move |g| approve(g, "dev", by_bob(n), json!({}))),
            Requester::User => table
                .attack("12", Bob(n), what, move |g| approve(g, "dev", by_bob(n), json!({"independence": "Required"})))
                .lawful(Bob(n), "says openly that he could", move |g| {
                    approve(g, "dev", by_bob(n), json!({"independence": "Recorded"}))
                }),
            Requester::Nobody => table
                .lawful(Bob(n), format!("{what} what ci asked"), move |g| approve(g, &ci(g), by_bob(n), json!({})))
                .lawful(Bob(n), format!("{what} what dev asked"), move |g| approve(g, "dev", by_bob(n), json!({}))),
        }
    });
    table
        // Every check is made: the most that a decision costs.
        .lawful(Boss, "approves what a service account asked", move |g| approve(g, &ci(g), boss(), json!({})))
        .lawful(Boss, "approves what a user asked", move |g| approve(g, "dev", boss(), json!({})))
        .lawful(Boss, "approves what one of an odd name asked", move |g| {
            approve(g, "system:serviceaccount:x", boss(), json!({}))
        })
        .lawful(Bob(0), "denies what he could have asked", move |g| {
            Call::post(decisions(&g.namespace), decision(&fresh("word"), "Denied", &ci(g), by_bob(0)))
        })
        .lawful(Bob(0), "says openly that he could", move |g| {
            approve(g, &ci(g), by_bob(0), json!({"independence": "Recorded"}))
        })
        .lawful(Ci, "a service account says openly what it is", |g| {
            approve(g, "dev", json!({"username": ci(g)}), json!({"independence": "Recorded"}))
        })
}
