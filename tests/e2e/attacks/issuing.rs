//! The accounts of leases: the namespace they live in, the tokens minted for them, the rights bound to them.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{Ground, STS, Who::*},
    shapes::*,
    table::{Plan, Table},
};

fn account_path(g: &Ground) -> String {
    core(ISSUING, &format!("serviceaccounts/{}", g.account))
}

/// Acts on an account of a lease that nothing else depends on.
fn on_account(g: &Ground, patch: Value) -> Plan {
    let name = format!("{}.nightly.{}.1999999999", g.namespace, fresh_uid());
    Call::patch(core(ISSUING, &format!("serviceaccounts/{name}")), patch)
        .after(Operator, Call::post(core(ISSUING, "serviceaccounts"), g.owned_account(&name)))
}

/// Acts on a backstop that nothing else depends on.
fn on_backstop(patch: Value) -> Plan {
    let name = fresh("lease");
    Call::patch(format!("{}/{name}", jobs(ISSUING)), patch)
        .after(Operator, Call::post(jobs(ISSUING), job(&name, json!(0))))
}

fn annotate() -> Value {
    json!({"metadata": {"annotations": {"again": fresh("a")}}})
}

/// S8.
pub fn namespace() -> Table {
    let stranger = || json!([account("leasehold", SYSTEM), user("tenant")]);
    Table::of("leasehold-issuing-namespace")
        .attack("23", Editor, "makes a token Secret for a lease's account", |g| {
            Call::post(core(ISSUING, "secrets"), token_secret(&g.account))
        })
        .attack("23", Editor, "makes an account", |_| {
            Call::post(core(ISSUING, "serviceaccounts"), json!({"metadata": {"name": fresh("x")}}))
        })
        .attack("23", Editor, "labels a lease's account anew", |g| {
            Call::patch(account_path(g), json!({"metadata": {"labels": {"x": fresh("x")}}}))
        })
        .attack("11", Editor, "takes the backstop off an account", |g| {
            on_account(g, json!({"metadata": {"ownerReferences": null}}))
        })
        .attack("11", Editor, "moves the backstop's deadline", |_| {
            on_backstop(json!({"spec": {"activeDeadlineSeconds": 99999}}))
        })
        .attack("11", Editor, "has the backstop run pods", |_| on_backstop(json!({"spec": {"parallelism": 1}})))
        .attack("11", Editor, "makes a Job", |_| Call::post(jobs(ISSUING), job(&fresh("x"), json!(0))))
        .attack("11", Editor, "runs a pod as a lease", |g| {
            Call::post(core(ISSUING, "pods"), pod(&fresh("x"), &g.account))
        })
        .attack("11", Admin, "runs a pod", |_| Call::post(core(ISSUING, "pods"), pod(&fresh("x"), "default")))
        .attack("11", Operator, "runs a pod", |_| Call::post(core(ISSUING, "pods"), pod(&fresh("x"), "default")))
        .attack("23", Admin, "makes a Role that mints", |g| {
            Call::post(rbac(ISSUING, "roles"), mint_role(&fresh_uid(), &[&g.account], &["x"]))
        })
        .attack("23", Admin, "binds a lease's Role to a stranger", |g| {
            let role = format!("lease-{}", g.uid);
            Call::post(rbac(ISSUING, "rolebindings"), binding(&fresh("x"), ("Role", &role), json!([user("tenant")])))
        })
        .attack("23", Admin, "adds a stranger to the operator's RoleBinding", move |_| {
            Call::patch(rbac(ISSUING, "rolebindings/leasehold"), json!({"subjects": stranger()}))
        })
        .lawful(Operator, "makes an account", |g| {
            let name = format!("{}.nightly.{}.1999999999", g.namespace, fresh_uid());
            Call::post(core(ISSUING, "serviceaccounts"), g.owned_account(&name))
        })
        .lawful(Admin, "the install's Role applied again", |_| {
            Call::patch(rbac(ISSUING, "roles/leasehold"), annotate())
        })
        .lawful(Admin, "the install's RoleBinding applied again", |_| {
            Call::patch(rbac(ISSUING, "rolebindings/leasehold"), annotate())
        })
        .lawful(Editor, "a pod elsewhere", |g| Call::post(core(&g.namespace, "pods"), pod(&fresh("x"), "default")))
}

fn mint(account: &str, seconds: i64, audiences: &[&str]) -> Call {
    Call::post(core(ISSUING, &format!("serviceaccounts/{account}/token")), token_request(seconds, audiences))
}

/// S3.
pub fn tokens() -> Table {
    const VAULT: &str = "https://vault.example.com";
    Table::of("leasehold-token-request")
        .attack("10", Ci, "mints to the year 2162", |g| mint(&g.account, 4_294_967_296, &[]))
        .attack("10", Ci, "mints for an hour, the default", |g| {
            Call::post(core(ISSUING, &format!("serviceaccounts/{}/token", g.account)), json!({"spec": {}}))
        })
        .attack("10", Ci, "mints for an audience that was not agreed", |g| mint(&g.account, 600, &[VAULT]))
        .attack("10", Ci, "hides it as the second", |g| mint(&g.account, 600, &[STS, VAULT]))
        .attack("10", Ci, "hides it as the third", |g| mint(&g.account, 600, &[STS, STS, VAULT]))
        .attack("10", Ci, "hides it as the fourth", |g| mint(&g.account, 600, &[STS, STS, STS, VAULT]))
        .attack("10", Ci, "hides it as the fifth", |g| mint(&g.account, 600, &[STS, STS, STS, STS, VAULT]))
        .attack("23", Admin, "mints for the namespace's default account, for any audience", |_| {
            mint("default", 600, &[])
        })
        .attack("10", Ci, "mints after the deadline", |g| mint(&g.ended, 600, &[]))
        .attack("10", Ci, "mints after the deadline and says it is 2001", |g| {
            let mut ask = token_request(600, &[]);
            ask["metadata"] = json!({"creationTimestamp": "2001-01-01T00:00:00Z"});
            Call::post(core(ISSUING, &format!("serviceaccounts/{}/token", g.ended)), ask)
        })
        // Another than the requester, who would be let by RBAC: ClusterRole edit may mint everywhere.
        .attack("23", Editor, "mints for a lease", |g| mint(&g.account, 600, &[]))
        .attack("23", Editor, "mints for the namespace's default account", |_| mint("default", 600, &[]))
        .lawful(Ci, "mints 600 s", |g| mint(&g.account, 600, &[]))
        .lawful(Ci, "mints for an agreed audience", |g| mint(&g.account, 600, &[STS]))
        .lawful(Operator, "mints an hour", |g| mint(&g.account, 3600, &[]))
        .lawful(Editor, "mints as it likes elsewhere", |g| {
            Call::post(core(&g.namespace, "serviceaccounts/ci/token"), token_request(7200, &["x"]))
        })
}

/// Binds Role `deploy` in the tenant's namespace.
fn bind(g: &Ground, subjects: Value) -> Call {
    Call::post(rbac(&g.namespace, "rolebindings"), binding(&fresh("m"), ("Role", "deploy"), subjects))
}

/// S7.
pub fn subjects() -> Table {
    let of_lease = |g: &Ground| rbac(&g.namespace, &format!("rolebindings/{}", g.granted()));
    Table::of("leasehold-lease-subjects")
        .attack("21", Tenant, "binds a lease's account", |g| bind(g, json!([account(&g.account, ISSUING)])))
        .attack("21", Tenant, "binds its username", |g| bind(g, json!([user(&g.leased())])))
        .attack("21", Tenant, "binds the group of the issuing namespace", |g| {
            bind(g, json!([group("system:serviceaccounts:leasehold-leases")]))
        })
        .attack("21", Tenant, "hides it among others", |g| {
            bind(g, json!([user("x"), account("ci", &g.namespace), account(&g.account, ISSUING)]))
        })
        .attack("21", Tenant, "adds it to a RoleBinding that is there", |g| {
            let name = fresh("m");
            Call::patch(
                rbac(&g.namespace, &format!("rolebindings/{name}")),
                json!({"subjects": [account(&g.account, ISSUING)]}),
            )
            .after(
                Tenant,
                Call::post(rbac(&g.namespace, "rolebindings"), binding(&name, ("Role", "deploy"), json!([user("x")]))),
            )
        })
        .attack("21", Admin, "binds it cluster-wide", |g| {
            let subjects = json!([account(&g.account, ISSUING)]);
            Call::post(cluster_rbac("clusterrolebindings"), cluster_binding(&fresh("m"), "view", subjects))
        })
        .attack("21", Admin, "adds another lease to the operator's RoleBinding", move |g| {
            let subjects = json!([account(&g.account, ISSUING), account(&fresh("z"), ISSUING)]);
            Call::patch(of_lease(g), json!({"subjects": subjects}))
        })
        .lawful(Tenant, "binds others", |g| {
            bind(g, json!([user("x"), account("ci", &g.namespace), group("system:serviceaccounts:other")]))
        })
        .lawful(Tenant, "binds nobody", |g| bind(g, Value::Null))
        .lawful(Admin, "binds others cluster-wide", |_| {
            Call::post(cluster_rbac("clusterrolebindings"), cluster_binding(&fresh("m"), "view", json!([user("x")])))
        })
        .lawful(Admin, "labels the operator's RoleBinding", move |g| {
            Call::patch(of_lease(g), json!({"metadata": {"labels": {"x": fresh("x")}}}))
        })
}
