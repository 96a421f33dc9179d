//! Lifecycles: nobody lets lease what he could not bind himself.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{Ground, Who::*},
    shapes::*,
    table::{Plan, Table},
};

fn write(g: &Ground, grants: Value) -> Call {
    Call::post(lifecycles(&g.namespace), lifecycle(&fresh("cycle"), grants))
}

/// Acts on a lifecycle that its author has just written.
fn on_written(g: &Ground, patch: Value) -> Plan {
    let name = fresh("cycle");
    let grants = json!([grant("read", "Role", "reader")]);
    Call::patch(format!("{}/{name}", lifecycles(&g.namespace)), patch)
        .after(Author, Call::post(lifecycles(&g.namespace), lifecycle(&name, grants)))
}

/// Sixteen grants of Role `reader`, but one.
fn sixteen(but: Option<usize>) -> Value {
    let role = |n| if Some(n) == but { "deploy" } else { "reader" };
    (0..16).map(|n| grant(&format!("g{n}"), "Role", role(n))).collect()
}

/// Sixteen grants into the annex, but one that goes into the vault.
fn sixteen_abroad(g: &Ground, but: Option<usize>) -> Value {
    let place = |n| if Some(n) == but { &g.vault } else { &g.annex };
    (0..16).map(|n| grant_into(place(n), &format!("g{n}"), "Role", "reader")).collect()
}

pub fn author() -> Table {
    let wider = || json!({"spec": {"terms": {"ttl": {"max": "8h"}}}});
    let table = Table::of("leasehold-lifecycle-author")
        .attack("19", Tenant, "grants what it may not bind", |g| write(g, json!([grant("read", "Role", "reader")])))
        .attack("19", Author, "grants the ClusterRole of the name of a Role it may bind", |g| {
            write(g, json!([grant("read", "ClusterRole", "reader")]))
        })
        .attack("19", Author, "grants cluster-admin", |g| {
            write(g, json!([grant("all", "ClusterRole", "cluster-admin")]))
        })
        .attack("19", Tenant, "widens the terms without the right", move |g| on_written(g, wider()))
        .attack("19", Author, "adds a grant it may not bind", |g| {
            let grants = json!([grant("read", "Role", "reader"), grant("more", "Role", "deploy")]);
            on_written(g, json!({"spec": {"grants": grants}}))
        })
        .attack("18", Admin, "puts a lifecycle into kube-system", |_| {
            Call::post(lifecycles("kube-system"), lifecycle(&fresh("cycle"), json!([])))
        })
        .attack("18", Admin, "puts a lifecycle into the issuing namespace", |_| {
            Call::post(lifecycles(ISSUING), lifecycle(&fresh("cycle"), json!([])))
        })
        .attack("18", Author, "grants into a namespace where it may not bind", |g| {
            write(g, json!([grant_into(&g.vault, "read", "Role", "reader")]))
        })
        .attack("18", Author, "adds such a grant", |g| {
            let grants = json!([grant("read", "Role", "reader"), grant_into(&g.vault, "more", "Role", "reader")]);
            on_written(g, json!({"spec": {"grants": grants}}))
        })
        .attack("19", Author, "moves a grant to where it may not bind", |g| {
            on_written(g, json!({"spec": {"grants": [grant_into(&g.vault, "read", "Role", "reader")]}}))
        })
        .attack("19", Author, "widens the terms of a grant into another namespace without the right", move |g| {
            let name = fresh("cycle");
            let grants = json!([grant_into(&g.vault, "read", "Role", "reader")]);
            Call::patch(format!("{}/{name}", lifecycles(&g.namespace)), wider())
                .after(Admin, Call::post(lifecycles(&g.namespace), lifecycle(&name, grants)))
        })
        .attack("14", Leased, "a leased account grants itself a successor", |g| {
            write(g, json!([grant("read", "Role", "reader")]))
        })
        .attack("14", Admin, "the same by impersonation without the account's groups", |g| {
            write(g, json!([])).acting_as(&g.leased(), &["system:serviceaccounts".into()])
        });
    let table = (0..16).fold(table, |table, n| {
        table.attack("19", Author, format!("may not bind the {n}th of sixteen grants"), move |g| {
            write(g, sixteen(Some(n)))
        })
    });
    let table = (0..16).fold(table, |table, n| {
        table.attack("18", Author, format!("may not bind where the {n}th of sixteen grants goes"), move |g| {
            write(g, sixteen_abroad(g, Some(n)))
        })
    });
    table
        .lawful(Author, "grants what it may bind", |g| write(g, json!([grant("read", "Role", "reader")])))
        .lawful(Author, "sixteen grants", |g| write(g, sixteen(None)))
        .lawful(Author, "sixteen grants into another namespace", |g| write(g, sixteen_abroad(g, None)))
        .lawful(Tenant, "grants there what it may bind there only", |g| {
            write(g, json!([grant_into(&g.annex, "read", "Role", "reader")]))
        })
        .lawful(Admin, "sixteen ClusterRoles", |g| {
            write(g, (0..16).map(|n| grant(&format!("g{n}"), "ClusterRole", &format!("r{n}"))).collect())
        })
        .lawful(Tenant, "no grants", |g| {
            let mut bare = lifecycle(&fresh("cycle"), json!([]));
            bare["spec"].as_object_mut().expect("an object").remove("grants");
            Call::post(lifecycles(&g.namespace), bare)
        })
        .lawful(Tenant, "labels a lifecycle", |g| on_written(g, json!({"metadata": {"labels": {"a": "b"}}})))
        .lawful(Author, "widens the terms of what it may bind", move |g| on_written(g, wider()))
}
