//! The operator with exactly the shipped RBAC: what a thief of its token gets by RBAC, and what a policy has to stop.

use anyhow::{Result, ensure};
use kube::Client;
use serde_json::json;

use super::{
    call::Call,
    ground::{Ground, TOP_SECRET},
    shapes::*,
};
use crate::support::{Lab, run};

const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

/// Each is refused by RBAC itself: no policy is what stands between.
fn beyond(opted_in: &str, stranger: &str) -> Vec<(&'static str, Call)> {
    let lease_account = || json!([account("t.nightly.0123456789abcdef0123456789abcdef.1999999999", ISSUING)]);
    let bound = |role| binding("leasehold-0123456789abcdef0123456789abcdef-x", role, lease_account());
    let mut calls = vec![
        ("binds a role that was not listed", Call::post(rbac(opted_in, "rolebindings"), bound(("Role", "author")))),
        (
            "binds a ClusterRole that was not listed",
            Call::post(rbac(opted_in, "rolebindings"), bound(("ClusterRole", "view"))),
        ),
        ("binds where nobody opted in", Call::post(rbac(stranger, "rolebindings"), bound(("ClusterRole", "view")))),
        ("unbinds where nobody opted in", Call::delete(rbac(stranger, "rolebindings/theirs"))),
        ("changes a RoleBinding where it may make them", Call::patch(rbac(opted_in, "rolebindings/author"), json!({}))),
        (
            "gives a role that exceeds its own",
            Call::post(
                rbac(ISSUING, "roles"),
                role("lease-0123456789abcdef0123456789abcdef", json!([rule("", "secrets", "get", &["x"])])),
            ),
        ),
        ("escalates its own Role", Call::patch(rbac(ISSUING, "roles/leasehold"), json!({}))),
        ("makes a ClusterRole", Call::post(cluster_rbac("clusterroles"), json!({"metadata": {"name": "x"}}))),
        (
            "binds cluster-wide",
            Call::post(cluster_rbac("clusterrolebindings"), cluster_binding("x", "cluster-admin", lease_account())),
        ),
        ("acts as the administrator", Call::get("/api/v1/namespaces").acting_as("admin", &["system:masters".into()])),
        (
            "acts as an account",
            Call::get("/api/v1/namespaces").acting_as("system:serviceaccount:kube-system:default", &[]),
        ),
        ("mints for another", Call::post(core(SYSTEM, "serviceaccounts/default/token"), token_request(600, &[]))),
        (
            "mints for a tenant's account",
            Call::post(core(opted_in, "serviceaccounts/default/token"), token_request(600, &[])),
        ),
        ("delivers where nobody opted in", Call::post(core(stranger, "secrets"), delivered("x"))),
        ("writes a lifecycle", Call::post(lifecycles(opted_in), lifecycle("x", json!([])))),
        (
            "says a word of its own",
            Call::post(decisions(opted_in), decision("x", "Approved", "x", json!({"username": OPERATOR}))),
        ),
        ("changes a decision", Call::patch(format!("{}/x", decisions(opted_in)), json!({}))),
        ("makes a guardrail", Call::post(policies(), policy("x"))),
        ("loosens a guardrail", Call::patch(format!("{}/x", policies()), json!({}))),
        ("takes a guardrail away", Call::delete(format!("{}/x", policies()))),
        ("relabels a namespace", Call::patch(format!("/api/v1/namespaces/{opted_in}"), json!({}))),
        ("changes a lease", Call::patch(format!("{}/x", leases(opted_in)), json!({}))),
        ("restarts a workload", Call::patch(apps(opted_in, "deployments/x"), json!({}))),
        (
            "takes a policy away",
            Call::delete("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/leasehold-self-limit"),
        ),
        (
            "unbinds a policy",
            Call::delete(
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/leasehold-self-limit",
            ),
        ),
    ];
    for namespace in [opted_in, stranger, SYSTEM, ISSUING, "kube-system"] {
        calls.extend([
            ("reads a Secret", Call::get(core(namespace, "secrets/foreign"))),
            ("lists Secrets", Call::get(core(namespace, "secrets"))),
            ("watches Secrets", Call::get(core(namespace, "secrets?watch=true&timeoutSeconds=1"))),
            ("reads Secrets by a dry-run deletecollection", Call::delete(core(namespace, "secrets?dryRun=All"))),
            ("replaces a Secret", Call::put(core(namespace, "secrets/foreign"), delivered("foreign"))),
            ("runs a pod", Call::post(core(namespace, "pods"), pod("x", "default"))),
        ]);
    }
    calls.push(("lists every Secret", Call::get("/api/v1/secrets")));
    calls
}

/// RBAC would let these pass where Secret delivery was opted in to: the policy is all that stops them.
fn by_policy(opted_in: &str) -> Vec<(&'static str, Call)> {
    let foreign = core(opted_in, "secrets/foreign");
    let by = |how: &str| Call::delete(format!("{foreign}?dryRun=All{how}"));
    vec![
        ("reads by a dry-run delete", by("")),
        ("reads by a dry-run delete in the foreground", by("&propagationPolicy=Foreground")),
        ("reads by a dry-run orphaning delete", by("&propagationPolicy=Orphan")),
        ("reads by an empty patch", Call::patch(&foreign, json!({}))),
        ("reads by an empty dry-run patch", Call::patch(format!("{foreign}?dryRun=All"), json!({}))),
        ("looks at its metadata", Call::patch(format!("{foreign}?dryRun=All"), json!({})).metadata_only()),
        ("has a token Secret filled", Call::post(core(opted_in, "secrets"), token_secret("default"))),
    ]
}

#[test]
fn the_operator_may_nothing_beyond_its_shipped_rights() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, stranger) = (lab.tenant("opted").await?, fresh("stranger"));
        let admin = lab.plane.admin();
        let secret = |namespace: &str| {
            Call::post(core(namespace, "secrets"), json!({"metadata": {"name": "foreign"}, "data": {"k": TOP_SECRET}}))
        };
        let theirs = binding("theirs", ("ClusterRole", "view"), json!([user("x")]));
        for call in [
            Call::post("/api/v1/namespaces", json!({"metadata": {"name": stranger}})),
            Call::post(rbac(&stranger, "rolebindings"), theirs),
            secret(&tenant.namespace),
            secret(&stranger),
        ] {
            call.send(&admin).await?.ok()?;
        }
        let operator = Ground::shipped_operator(lab, "thief").await?;
        let mut wrong = vec![];
        for (what, call) in beyond(&tenant.namespace, &stranger) {
            let answer = call.send(&operator).await?;
            if !answer.lacks_the_right() {
                wrong.push(format!("{what} ({call:?}): {}", answer.brief()));
            }
        }
        for (what, call) in by_policy(&tenant.namespace) {
            let answer = call.send(&operator).await?;
            if !answer.is_refused_by("leasehold-secret-self-limit") || answer.body.to_string().contains(TOP_SECRET) {
                wrong.push(format!("{what} ({call:?}): {}", answer.brief()));
            }
        }
        let long = Call::post(core(SYSTEM, "serviceaccounts/leasehold/token"), token_request(3600, &[]));
        let answer = long.send(&operator).await?;
        if !answer.is_refused_by("leasehold-own-token") {
            wrong.push(format!("mints a long token for itself: {}", answer.brief()));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        controls(&operator, &tenant.namespace).await
    });
}

/// The same token may do what it is for: the refusals above are no dead credential.
async fn controls(operator: &Client, opted_in: &str) -> Result<()> {
    let lease_account = json!([account("t.nightly.0123456789abcdef0123456789abcdef.1999999999", ISSUING)]);
    let bound = binding("leasehold-0123456789abcdef0123456789abcdef-read", ("Role", "reader"), lease_account);
    let path = format!("{}?dryRun=All", rbac(opted_in, "rolebindings"));
    Call::post(path, bound).send(operator).await?.ok()?;
    Call::post(format!("{}?dryRun=All", core(opted_in, "secrets")), delivered("x")).send(operator).await?.ok()?;
    for path in [decisions(opted_in), policies(), format!("/api/v1/namespaces/{opted_in}")] {
        Call::get(path).send(operator).await?.ok()?;
    }
    // The right is there, the object is not.
    for call in [
        Call::delete(format!("{}/absent", decisions(opted_in))),
        Call::put(format!("{}/absent/status", policies()), policy("absent")),
    ] {
        let answer = call.send(operator).await?;
        ensure!(answer.code == 404, "{}", answer.brief());
    }
    Ok(())
}
