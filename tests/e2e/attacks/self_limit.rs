//! The operator itself, taken over or wrong: what it makes keeps the shape of a lease.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{API, Ground, STS, Who::*},
    shapes::*,
    table::{Plan, Table},
};

/// A RoleBinding of the live lease in `namespace`.
fn binds(g: &Ground, namespace: &str, role: (&str, &str), subjects: Value) -> Call {
    let name = format!("leasehold-{}-{}", g.uid, fresh("x"));
    Call::post(rbac(namespace, "rolebindings"), binding(&name, role, subjects))
}

/// A RoleBinding in the issuing namespace.
fn lets_mint(uid: &str, role: (&str, &str), subject: Value) -> Call {
    Call::post(rbac(ISSUING, "rolebindings"), binding(&format!("lease-{uid}"), role, json!([subject])))
}

/// A mint Role, changed.
fn mints(change: impl FnOnce(&str, &mut Value)) -> Call {
    let uid = fresh_uid();
    let account = format!("t.nightly.{uid}.1999999999");
    let mut role = mint_role(&uid, &[&account], &[&format!("{account}/{API}")]);
    change(&account, &mut role["rules"]);
    Call::post(rbac(ISSUING, "roles"), role)
}

fn add(rules: &mut Value, rule: Value) {
    rules.as_array_mut().expect("a list").push(rule);
}

pub fn shapes() -> Table {
    const DEPLOY: (&str, &str) = ("Role", "deploy");
    const VIEW: (&str, &str) = ("ClusterRole", "view");
    let of_lease = |g: &Ground| json!([account(&g.account, ISSUING)]);
    let job_anywhere = |namespace: &str| Call::post(jobs(namespace), job(&fresh("lease"), json!(0)));
    let dry_job = |parallelism| Call::post(format!("{}?dryRun=All", jobs(ISSUING)), job(&fresh("lease"), parallelism));
    Table::of("leasehold-self-limit")
        .attack("5", Operator, "binds in kube-system", move |g| binds(g, "kube-system", VIEW, of_lease(g)))
        .attack("5", Operator, "binds in its own namespace", move |g| binds(g, SYSTEM, VIEW, of_lease(g)))
        .attack("5", Operator, "binds a user", |g| binds(g, &g.namespace, DEPLOY, json!([user("tenant")])))
        .attack("5", Operator, "binds a foreign account", |g| {
            binds(g, &g.namespace, DEPLOY, json!([account("ci", &g.namespace)]))
        })
        .attack("5", Operator, "binds every account", |g| {
            binds(g, &g.namespace, DEPLOY, json!([group("system:serviceaccounts")]))
        })
        .attack("5", Operator, "binds a stranger beside a lease", |g| {
            binds(g, &g.namespace, DEPLOY, json!([account(&g.account, ISSUING), user("tenant")]))
        })
        .attack("5", Operator, "makes a RoleBinding of a foreign name", move |g| {
            Call::post(rbac(&g.namespace, "rolebindings"), binding(&fresh("m"), DEPLOY, of_lease(g)))
        })
        .attack("5", Operator, "binds the account of another lease", move |g| {
            let name = format!("leasehold-{}-read", fresh_uid());
            Call::post(rbac(&g.namespace, "rolebindings"), binding(&name, DEPLOY, of_lease(g)))
        })
        .attack("5", Operator, "gives its own Role away", |_| {
            lets_mint(&fresh_uid(), ("Role", "leasehold"), user("tenant"))
        })
        .attack("5", Operator, "gives a ClusterRole in the issuing namespace", |_| {
            lets_mint(&fresh_uid(), ("ClusterRole", "edit"), user("tenant"))
        })
        .attack("5", Operator, "lets everybody mint", |_| {
            let uid = fresh_uid();
            lets_mint(&uid, ("Role", &format!("lease-{uid}")), group("system:authenticated"))
        })
        .attack("5", Operator, "lets a leased account mint", |g| {
            let uid = fresh_uid();
            lets_mint(&uid, ("Role", &format!("lease-{uid}")), user(&g.leased()))
        })
        .attack("5", Operator, "binds cluster-wide", move |g| {
            Call::post(cluster_rbac("clusterrolebindings"), cluster_binding(&fresh("m"), "view", of_lease(g)))
        })
        .attack("5", Operator, "makes a ClusterRole", |_| {
            Call::post(cluster_rbac("clusterroles"), json!({"metadata": {"name": fresh("m")}, "rules": []}))
        })
        .attack("5", Operator, "makes a Role elsewhere", |g| {
            Call::post(rbac(&g.namespace, "roles"), role(&format!("lease-{}", fresh_uid()), json!([])))
        })
        .attack("10", Operator, "a mint Role with another rule", |g| {
            let more = rule("", "serviceaccounts", "get", &[&g.account]);
            mints(|_, rules| add(rules, more))
        })
        .attack("10", Operator, "a mint Role without names", |_| {
            let more = json!({"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]});
            mints(|_, rules| add(rules, more))
        })
        .attack("10", Operator, "a mint Role for another lease's account", |g| {
            mints(|own, rules| rules[0]["resourceNames"] = json!([own, g.account]))
        })
        .attack("10", Operator, "a mint Role for another lease's audience", |g| {
            mints(|own, rules| rules[1]["resourceNames"] = json!([format!("{own}/x"), format!("{}/x", g.account)]))
        })
        .attack("10", Operator, "an account's name hidden in an audience", |g| {
            mints(|own, rules| rules[1]["resourceNames"] = json!([format!("{}/{own}", g.account)]))
        })
        .attack("10", Operator, "a mint Role with another verb", |_| {
            mints(|_, rules| rules[0]["verbs"] = json!(["create", "*"]))
        })
        .attack("5", Operator, "makes a Role of a foreign name", |_| {
            Call::post(rbac(ISSUING, "roles"), role(&fresh("x"), json!([])))
        })
        .attack("5", Operator, "writes its own Role anew", |_| {
            Call::patch(rbac(ISSUING, "roles/leasehold"), json!({"metadata": {"annotations": {"x": fresh("x")}}}))
        })
        .attack("11", Operator, "the probe: a dry-run Job with parallelism 1", move |_| dry_job(json!(1)))
        .attack("11", Operator, "a Job with the default parallelism", move |_| dry_job(Value::Null))
        .attack("11", Operator, "starts a backstop later", |_| {
            let name = fresh("lease");
            Call::patch(format!("{}/{name}", jobs(ISSUING)), json!({"spec": {"parallelism": 1}}))
                .after(Operator, Call::post(jobs(ISSUING), job(&name, json!(0))))
        })
        .attack("11", Operator, "makes a Job elsewhere", move |g| job_anywhere(&g.namespace))
        .attack("5", Operator, "makes an account elsewhere", |g| {
            let name = format!("t.nightly.{}.1999999999", fresh_uid());
            Call::post(core(&g.namespace, "serviceaccounts"), json!({"metadata": {"name": name}}))
        })
        .attack("5", Operator, "makes an account of a foreign name", |_| {
            Call::post(core(ISSUING, "serviceaccounts"), json!({"metadata": {"name": fresh("x")}}))
        })
        .lawful(Operator, "a mint Role with three audiences", |_| {
            mints(|own, rules| {
                rules[1]["resourceNames"] =
                    json!([format!("{own}/{API}"), format!("{own}/{STS}/x"), format!("{own}/a.b")]);
            })
        })
        .lawful(Operator, "lets a requester mint", |_| {
            let uid = fresh_uid();
            lets_mint(&uid, ("Role", &format!("lease-{uid}")), user("alice@example.com"))
        })
        .lawful(Operator, "grants a ClusterRole to a lease", move |g| binds(g, &g.namespace, VIEW, of_lease(g)))
        .lawful(Operator, "makes a backstop", move |_| job_anywhere(ISSUING))
        .lawful(Admin, "a Job of others", move |g| job_anywhere(&g.namespace))
        .lawful(Admin, "a RoleBinding of others in kube-system", |_| {
            Call::post(rbac("kube-system", "rolebindings"), binding(&fresh("r"), VIEW, json!([user("x")])))
        })
}

/// Acts on a workload of the tenant.
fn on(g: &Ground, kind: &str, name: &str) -> String {
    apps(&g.namespace, &format!("{kind}/{name}"))
}

fn template(change: Value) -> Value {
    json!({"spec": {"template": change}})
}

fn image() -> Value {
    template(json!({"spec": {"containers": [{"name": "c", "image": fresh("evil")}]}}))
}

/// Scales a workload of its own, so that the change is one every time.
fn scaled(g: &Ground) -> Plan {
    let name = fresh("w");
    Call::patch(on(g, "deployments", &name), json!({"spec": {"replicas": 1}}))
        .after(Admin, Call::post(apps(&g.namespace, "deployments"), workload(&name, "deployments")))
}

/// Restarts a workload of its own that does not say it may be restarted.
fn unwilling(g: &Ground) -> Plan {
    let name = fresh("w");
    let mut silent = workload(&name, "deployments");
    silent["metadata"] = json!({"name": name});
    let now = json!({"annotations": {"leasehold.dev/restarted-for": fresh("now")}});
    Call::patch(on(g, "deployments", &name), template(json!({"metadata": now})))
        .after(Admin, Call::post(apps(&g.namespace, "deployments"), silent))
}

/// S5.
pub fn restart() -> Table {
    const ALL: [(&str, &str); 3] = [("deployments", "web"), ("statefulsets", "db"), ("daemonsets", "agent")];
    let metadata = |change: Value| json!({"metadata": change});
    let table = Table::of("leasehold-consumer-restart")
        .attack("4", Operator, "has a Deployment run another image", |g| {
            Call::strategic(on(g, "deployments", "web"), image())
        })
        .attack("4", Operator, "has a DaemonSet run another image", |g| {
            Call::strategic(on(g, "daemonsets", "agent"), image())
        })
        .attack("4", Operator, "has a StatefulSet run as another account", |g| {
            Call::patch(on(g, "statefulsets", "db"), template(json!({"spec": {"serviceAccountName": fresh("x")}})))
        })
        .attack("4", Operator, "labels the template", move |g| {
            Call::patch(on(g, "deployments", "web"), template(metadata(json!({"labels": {"x": fresh("x")}}))))
        })
        .attack("4", Operator, "has a sidecar injected", move |g| {
            let inject = json!({"annotations": {"vault.hashicorp.com/agent-inject": fresh("x")}});
            Call::patch(on(g, "deployments", "web"), template(metadata(inject)))
        })
        .attack("4", Operator, "scales", scaled)
        .attack("4", Operator, "restarts one that does not say it may", unwilling)
        .attack("4", Operator, "has itself allowed to restart one", move |g| {
            Call::patch(on(g, "deployments", "web"), metadata(json!({"annotations": {"x": fresh("x")}})))
        })
        // A dry run: where it succeeds, the namespace could never end.
        .attack("4", Operator, "holds a workload by a finalizer", move |g| {
            Call::patch(on(g, "daemonsets", "agent?dryRun=All"), metadata(json!({"finalizers": ["example.com/x"]})))
        })
        .attack("4", Operator, "makes a workload", |g| {
            Call::post(apps(&g.namespace, "deployments"), workload(&fresh("w"), "deployments"))
        })
        .lawful(Tenant, "runs another image", |g| Call::strategic(on(g, "deployments", "web"), image()));
    ALL.into_iter().fold(table, |table, (kind, name)| {
        table.lawful(Operator, format!("restarts one of {kind}"), move |g| {
            let now = json!({"annotations": {"leasehold.dev/restarted-for": fresh("now")}});
            let mut patch = template(metadata(now));
            patch["metadata"] = json!({"annotations": {"leasehold.dev/restarted-from": fresh("before")}});
            Call::patch(on(g, kind, name), patch)
        })
    })
}
