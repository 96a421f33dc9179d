//! Secrets: `delete` and `patch` are `read`, and a type that tenants must not borrow.

use serde_json::json;

use super::{
    call::Call,
    ground::{Ground, TOP_SECRET, Who::*},
    shapes::*,
    table::{Plan, Table},
};

fn foreign(g: &Ground) -> String {
    core(&g.namespace, "secrets/foreign")
}

/// Acts on a Secret that the operator has just delivered.
fn on_delivered(g: &Ground, act: impl FnOnce(String) -> Call) -> Plan {
    let name = fresh("delivered");
    let path = core(&g.namespace, &format!("secrets/{name}"));
    act(path).after(Operator, Call::post(core(&g.namespace, "secrets"), delivered(&name)))
}

/// S1.
pub fn self_limit() -> Table {
    let read = |what| (what, TOP_SECRET);
    Table::of("leasehold-secret-self-limit")
        .reading("1", Operator, read("reads by a dry-run delete in the foreground"), |g| {
            Call::delete(format!("{}?dryRun=All&propagationPolicy=Foreground", foreign(g)))
        })
        .reading("1", Operator, read("reads by a dry-run orphaning delete"), |g| {
            Call::delete(format!("{}?dryRun=All&propagationPolicy=Orphan", foreign(g)))
        })
        .reading("1", Operator, read("reads by a dry-run delete of a Secret with a finalizer"), |g| {
            Call::delete(core(&g.namespace, "secrets/held?dryRun=All"))
        })
        .reading("1", Operator, read("reads by an empty patch"), |g| Call::patch(foreign(g), json!({})))
        .reading("1", Operator, read("reads by an empty dry-run patch"), |g| {
            Call::patch(format!("{}?dryRun=All", foreign(g)), json!({}))
        })
        .reading("1", Operator, read("reads by server-side apply"), |g| {
            Call::apply(foreign(g), json!({"apiVersion": "v1", "kind": "Secret"}))
        })
        .reading("1", Operator, read("reads what a tenant gave the operator's label"), |g| {
            let label = json!({"metadata": {"labels": {"leasehold.dev/lease-uid": g.uid}}});
            Call::patch(foreign(g), json!({})).after(Tenant, Call::patch(foreign(g), label))
        })
        .reading("1", Operator, read("reads all by a dry-run deletecollection"), |g| {
            Call::delete(core(&g.namespace, "secrets?dryRun=All&propagationPolicy=Foreground"))
        })
        .attack("1", Operator, "deletes a foreign Secret", |g| {
            let name = fresh("own");
            Call::delete(core(&g.namespace, &format!("secrets/{name}")))
                .after(Tenant, Call::post(core(&g.namespace, "secrets"), opaque(&name)))
        })
        .attack("2", Operator, "has a token Secret filled for an account", |g| {
            Call::post(core(&g.namespace, "secrets"), token_secret("ci"))
        })
        .attack("3", Operator, "the probe: a dry-run create of another type", |_| {
            Call::post(core(SYSTEM, "secrets?dryRun=All"), opaque(&fresh("probe")))
        })
        .lawful(Operator, "delivers a Secret", |g| Call::post(core(&g.namespace, "secrets"), delivered(&fresh("x"))))
        .lawful(Operator, "looks at its own Secret", |g| {
            on_delivered(g, |path| Call::patch(format!("{path}?dryRun=All"), json!({})).metadata_only())
        })
        .lawful(Operator, "deletes its own Secret", |g| on_delivered(g, Call::delete))
        .lawful(Tenant, "deletes a Secret of its own", |g| {
            let name = fresh("own");
            Call::delete(core(&g.namespace, &format!("secrets/{name}")))
                .after(Tenant, Call::post(core(&g.namespace, "secrets"), opaque(&name)))
        })
}

/// S2.
pub fn secret_type() -> Table {
    Table::of("leasehold-secret-type")
        .attack("1", Tenant, "makes a Secret of the operator's type", |g| {
            Call::post(core(&g.namespace, "secrets"), delivered(&fresh("fake")))
        })
        .attack("1", Admin, "makes a Secret of the operator's type", |g| {
            Call::post(core(&g.namespace, "secrets"), delivered(&fresh("fake")))
        })
        .attack("17", Tenant, "exchanges the token", |g| {
            on_delivered(g, |path| Call::patch(path, json!({"stringData": {"token": "evil"}})))
        })
        .attack("7", Tenant, "takes the operator's labels off", |g| {
            on_delivered(g, |path| Call::patch(path, json!({"metadata": {"labels": {"x": "y"}}})))
        })
        .attack("17", Tenant, "annotates it for a secret store", |g| {
            on_delivered(g, |path| Call::patch(path, json!({"metadata": {"annotations": {"x": "y"}}})))
        })
        // A dry run: where it succeeds, the namespace could never end.
        .attack("7", Tenant, "holds it by a finalizer", |g| {
            on_delivered(g, |path| {
                Call::patch(format!("{path}?dryRun=All"), json!({"metadata": {"finalizers": ["example.com/x"]}}))
            })
        })
        .attack("7", Tenant, "makes it immutable", |g| {
            on_delivered(g, |path| Call::patch(path, json!({"immutable": true})))
        })
        // A condition on labels without `has` once made every one of these fail.
        .lawful(Tenant, "a Secret without type and labels", |g| {
            Call::post(core(&g.namespace, "secrets"), json!({"metadata": {"name": fresh("y")}}))
        })
        .lawful(Admin, "the same in another namespace", |_| {
            Call::post(core("default", "secrets"), json!({"metadata": {"name": fresh("y")}}))
        })
        .lawful(Tenant, "changes an unlabelled Secret", |g| {
            let name = fresh("y");
            Call::patch(core(&g.namespace, &format!("secrets/{name}")), json!({"stringData": {"a": "b"}}))
                .after(Tenant, Call::post(core(&g.namespace, "secrets"), json!({"metadata": {"name": name}})))
        })
        .lawful(Tenant, "changes a labelled Secret", |g| {
            Call::patch(foreign(g), json!({"metadata": {"labels": {"z": fresh("z")}}}))
        })
        .lawful(Tenant, "deletes a delivered Secret", |g| on_delivered(g, Call::delete))
        .lawful(Tenant, "takes the owner off a delivered Secret", |g| {
            let name = fresh("x");
            let mut secret = delivered(&name);
            secret["metadata"]["ownerReferences"] = json!([g.owner("kube-root-ca.crt")]);
            Call::patch(core(&g.namespace, &format!("secrets/{name}")), json!({"metadata": {"ownerReferences": null}}))
                .after(Operator, Call::post(core(&g.namespace, "secrets"), secret))
        })
}
