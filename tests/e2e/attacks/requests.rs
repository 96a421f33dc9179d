//! Leases: who asks, what may be changed afterwards, and who says what became of them.

use serde_json::{Value, json};

use super::{
    call::Call,
    decisions::on_decision,
    ground::{Ground, Who::*},
    shapes::*,
    table::{Plan, Table},
};

const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

fn ask(g: &Ground, requested_by: Value) -> Call {
    Call::post(leases(&g.namespace), lease(&fresh("ask"), requested_by))
}

/// As dev, whose groups are dev and ops.
fn dev(g: &Ground, change: Value) -> Call {
    let mut by = json!({"username": "dev", "groups": ["dev", "ops"]});
    for (key, value) in change.as_object().into_iter().flatten() {
        by[key] = value.clone();
    }
    ask(g, by)
}

/// As the pipeline, saying all that its token says, but for `change`.
fn ci(g: &Ground, change: Value) -> Value {
    let extra = |key: &str| g.ci["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
    let mut by = json!({"username": g.ci["username"], "uid": g.ci["uid"], "podName": extra("pod-name"), "credentialID": extra("credential-id")});
    for (key, value) in change.as_object().into_iter().flatten() {
        by[key] = value.clone();
    }
    by
}

/// 256 groups of 209 characters: the most that a lease may name.
fn many_groups() -> Vec<String> {
    (0..256).map(|n| format!("team-{n:03}-{}", "x".repeat(200))).collect()
}

pub fn request() -> Table {
    Table::of("leasehold-lease-request")
        .attack("16", Dev, "forges the username", |g| dev(g, json!({"username": "somebody"})))
        .attack("16", Dev, "forges the username in a dry run", |g| {
            Call::post(
                format!("{}?dryRun=All", leases(&g.namespace)),
                lease(&fresh("ask"), json!({"username": "somebody"})),
            )
        })
        .attack("16", Tenant, "forges the username by server-side apply", |g| {
            let name = fresh("ask");
            Call::apply(format!("{}/{name}", leases(&g.namespace)), lease(&name, json!({"username": "dev"})))
        })
        .attack("16", Dev, "adds a group", |g| dev(g, json!({"groups": ["dev", "ops", "sre"]})))
        .attack("16", Dev, "leaves one group out", |g| dev(g, json!({"groups": ["dev"]})))
        .attack("16", Dev, "leaves the groups out", |g| ask(g, json!({"username": "dev"})))
        .attack("16", Dev, "claims system:masters", |g| dev(g, json!({"groups": ["dev", "ops", "system:masters"]})))
        .attack("16", Dev, "claims a system group it has", |g| {
            dev(g, json!({"groups": ["dev", "ops", "system:authenticated"]}))
        })
        .attack("16", Ci, "forges its uid", |g| ask(g, ci(g, json!({"uid": "u2"}))))
        .attack("16", Dev, "claims a uid it has not", |g| dev(g, json!({"uid": "u2"})))
        .attack("16", Ci, "forges its pod", |g| ask(g, ci(g, json!({"podName": "other"}))))
        .attack("16", Dev, "claims a pod it has not", |g| dev(g, json!({"podName": "other"})))
        .attack("16", Ci, "forges its credential", |g| ask(g, ci(g, json!({"credentialID": "JTI=other"}))))
        .attack("13", Tenant, "asks without the verb lease", |g| ask(g, json!({"username": "tenant"})))
        .attack("13", Ci, "asks of another lifecycle", |g| {
            let mut lease = lease(&fresh("ask"), ci(g, json!({})));
            lease["spec"]["lifecycleRef"] = json!({"name": "other"});
            Call::post(leases(&g.namespace), lease)
        })
        .attack("14", Leased, "a leased account asks for its successor", |g| ask(g, json!({"username": g.leased()})))
        .attack("14", Admin, "the same by impersonation without the account's groups", |g| {
            ask(g, json!({"username": g.leased()})).acting_as(&g.leased(), &["system:serviceaccounts".into()])
        })
        .attack("14", Infiltrator, "asks with the group of the issuing namespace", |g| {
            ask(g, json!({"username": "infiltrator"}))
        })
        .attack("14", Dev, "asks for a standing credential", |g| {
            Call::post(leases(&g.namespace), standing_lease(json!({"username": "dev", "groups": ["dev", "ops"]})))
        })
        .attack("3", Operator, "asks for a lease that no lifecycle declares", |g| ask(g, json!({"username": OPERATOR})))
        .attack("3", Operator, "asks for a standing credential that it could mint for beside its Secret", |g| {
            let mut lease = standing_lease(json!({"username": OPERATOR}));
            lease["spec"]["delivery"] = json!({"type": "TokenRequest"});
            Call::post(leases(&g.namespace), lease)
        })
        .lawful(Operator, "asks for a standing credential", |g| {
            Call::post(leases(&g.namespace), standing_lease(json!({"username": OPERATOR})))
        })
        .lawful(Dev, "username and groups in any order", |g| dev(g, json!({"groups": ["ops", "dev"]})))
        .lawful(Ci, "everything its token says", |g| ask(g, ci(g, json!({}))))
        .lawful(Ci, "username only", |g| ask(g, json!({"username": g.ci["username"]})))
        .lawful(Ci, "generateName", |g| {
            let mut lease = lease("", json!({"username": g.ci["username"]}));
            lease["metadata"] = json!({"generateName": "ask-"});
            Call::post(leases(&g.namespace), lease)
        })
        .lawful(Admin, "256 groups of 209 characters", |g| {
            let reversed: Vec<String> = many_groups().into_iter().rev().collect();
            ask(g, json!({"username": "dev", "groups": reversed})).acting_as("dev", &many_groups())
        })
        .lawful(Admin, "the administrator for himself", |g| ask(g, json!({"username": "admin"})))
        .lawful(Ci, "with an owner and a finalizer from the beginning", |g| {
            let mut lease = lease(&fresh("ask"), json!({"username": g.ci["username"]}));
            lease["metadata"]["ownerReferences"] = json!([g.owner("kube-root-ca.crt")]);
            Call::post(leases(&g.namespace), lease)
        })
}

/// Acts on a lease that is there.
fn on_lease(g: &Ground, metadata: Value, act: impl FnOnce(String) -> Call) -> Plan {
    let name = fresh("raised");
    let mut lease = lease(&name, json!({"username": g.ci["username"]}));
    for (key, value) in metadata.as_object().into_iter().flatten() {
        lease["metadata"][key] = value.clone();
    }
    act(format!("{}/{name}", leases(&g.namespace))).after(Ci, Call::post(leases(&g.namespace), lease))
}

/// S6.
pub fn update() -> Table {
    let dead = || json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "5f2c8a8e-0000-4000-8000-000000000000"});
    Table::of("leasehold-lease-update")
        .attack("S6", Tenant, "puts a dead owner on a lease", move |g| {
            on_lease(g, json!({}), |path| Call::patch(path, json!({"metadata": {"ownerReferences": [dead()]}})))
        })
        .attack("S6", Admin, "the same by JSON patch", move |g| {
            let patch = json!([{"op": "add", "path": "/metadata/ownerReferences", "value": [dead()]}]);
            on_lease(g, json!({}), |path| Call::json_patch(path, patch))
        })
        .attack("S6", Tenant, "renames an owner, keeping its UID", |g| {
            let patch = json!({"metadata": {"ownerReferences": [g.owner("gone")]}});
            on_lease(g, json!({"ownerReferences": [g.owner("kube-root-ca.crt")]}), |path| Call::patch(path, patch))
        })
        .attack("S6", Tenant, "puts a dead owner on a decision", move |g| {
            on_decision(g, json!({}), |path| Call::patch(path, json!({"metadata": {"ownerReferences": [dead()]}})))
        })
        .attack("S6", Tenant, "renames an owner of a decision, keeping its UID", |g| {
            let patch = json!({"metadata": {"ownerReferences": [g.owner("gone")]}});
            on_decision(g, json!({"ownerReferences": [g.owner("kube-root-ca.crt")]}), |path| Call::patch(path, patch))
        })
        .lawful(Tenant, "labels a decision", |g| {
            on_decision(g, json!({}), |path| Call::patch(path, json!({"metadata": {"labels": {"a": "b"}}})))
        })
        .lawful(Operator, "sweeps a decision", |g| on_decision(g, json!({}), Call::delete))
        .lawful(Tenant, "labels a lease", |g| {
            on_lease(g, json!({}), |path| Call::patch(path, json!({"metadata": {"labels": {"a": "b"}}})))
        })
        .lawful(Tenant, "takes an owner off", |g| {
            let patch = json!({"metadata": {"ownerReferences": null}});
            on_lease(g, json!({"ownerReferences": [g.owner("kube-root-ca.crt")]}), |path| Call::patch(path, patch))
        })
        .lawful(Tenant, "deletes a lease", |g| on_lease(g, json!({}), Call::delete))
}

/// Acts on the status of an object that is there.
fn on_status(g: &Ground, kind: &str, status: Value) -> Plan {
    let patch = |path| Call::patch(format!("{path}/status"), json!({"status": status}));
    if kind == "lease" {
        return on_lease(g, json!({}), patch);
    }
    let name = fresh("forged");
    if kind == "policy" {
        return patch(format!("{}/{name}", policies())).after(Admin, Call::post(policies(), policy(&name)));
    }
    patch(format!("{}/{name}", lifecycles(&g.namespace)))
        .after(Author, Call::post(lifecycles(&g.namespace), lifecycle(&name, json!([]))))
}

pub fn status() -> Table {
    Table::of("leasehold-status")
        .attack("status", Tenant, "says that a lease was revoked", |g| {
            on_status(g, "lease", json!({"phase": "Revoked"}))
        })
        .attack("status", Admin, "says that a lease was revoked", |g| {
            on_status(g, "lease", json!({"phase": "Revoked"}))
        })
        .attack("status", Tenant, "moves the end of a lease", |g| {
            on_status(g, "lease", json!({"expirationTime": "2099-01-01T00:00:00Z"}))
        })
        .attack("status", Tenant, "clears a lifecycle's counters", |g| {
            on_status(g, "lifecycle", json!({"activeLeases": 0}))
        })
        .attack("status", Admin, "says that a guardrail guards nothing", |g| {
            on_status(g, "policy", json!({"lifecycles": 0, "violating": 0}))
        })
        .lawful(Operator, "counts what a guardrail guards", |g| on_status(g, "policy", json!({"lifecycles": 1})))
        .lawful(Operator, "says what became of a lease", |g| on_status(g, "lease", json!({"phase": "Pending"})))
        .lawful(Operator, "counts a lifecycle's leases", |g| on_status(g, "lifecycle", json!({"activeLeases": 1})))
}
