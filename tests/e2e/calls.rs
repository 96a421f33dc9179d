//! What one lease costs the API server, read off its audit log: the floor, and nothing else.

use anyhow::{Context, Result, ensure};
use leasehold::api::reasons::Phase;
use leasehold_harness::{Cursor, Options, Record};
use serde_json::json;

use crate::support::{Lab, Person, run};

const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

/// Counted apart: watches, Events, a lifecycle's own status, and the probes of policies and rights, which are dry runs or
/// about the operator itself.
fn is_of_the_lease(record: &Record) -> bool {
    let apart = [
        "events",
        "serviceaccountlifecycles",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    ];
    record.user == OPERATOR
        && record.verb != "watch"
        && record.verb != "list"
        && !apart.contains(&record.resource.as_str())
        && !record.uri.contains("dryRun=All")
}

/// The calls since, sorted: what runs side by side has no order.
async fn calls(lab: &Lab, since: Cursor) -> Result<Vec<String>> {
    let audit = lab.plane.audit();
    ensure!(audit.settled().await, "the audit log does not come to rest");
    let mut calls: Vec<String> = audit
        .read_since(since)?
        .into_iter()
        .filter(is_of_the_lease)
        .map(|r| {
            if r.subresource.is_empty() {
                format!("{} {}", r.verb, r.resource)
            } else {
                format!("{} {}/{}", r.verb, r.resource, r.subresource)
            }
        })
        .collect();
    calls.sort();
    Ok(calls)
}

async fn cost(delivery: &str, issue: &[&str], end: &[&str]) -> Result<()> {
    let lab = Lab::start(Options::default(), &[]).await?;
    let tenant = lab.tenant("calls").await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    // The lifecycle's own status is settled, so that what follows is the lease's alone.
    tenant.lifecycle_says("nightly", "Leasable", leasehold::api::ConditionStatus::True, "Leasable").await?;
    let begun = lab.plane.audit().cursor()?;
    tenant.lease("one", "nightly", |spec| spec["delivery"] = json!({"type": delivery})).await?;
    tenant.lease_in("one", Phase::Active).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let issued = calls(&lab, begun).await.context("issue")?;
    ensure!(issued == issue, "to issue: {issued:#?}");

    let ended = lab.plane.audit().cursor()?;
    tenant.lease_in("one", Phase::Expired).await?;
    let ended = calls(&lab, ended).await.context("end")?;
    ensure!(ended == end, "to end and to prove: {ended:#?}");
    lab.stop().await
}

#[test]
fn a_delivered_lease_costs_the_floor() {
    run(cost(
        "Secret",
        &[
            "create jobs",
            "create rolebindings",
            "create secrets",
            "create serviceaccounts",
            "create serviceaccounts/token",
            "create subjectaccessreviews",
            // The positive control: without it a refusal later would prove nothing.
            "create tokenreviews",
            "get roles",
            "update credentialleases/status",
        ],
        &[
            "create tokenreviews",
            "delete jobs",
            "delete rolebindings",
            "delete secrets",
            "delete serviceaccounts",
            "update credentialleases/status",
            "update credentialleases/status",
        ],
    ));
}

#[test]
fn a_minted_lease_costs_the_floor() {
    run(cost(
        "TokenRequest",
        &[
            "create jobs",
            "create rolebindings",
            "create rolebindings",
            "create roles",
            "create serviceaccounts",
            "create subjectaccessreviews",
            "get roles",
            "update credentialleases/status",
        ],
        &[
            "delete jobs",
            "delete rolebindings",
            "delete rolebindings",
            "delete roles",
            "delete serviceaccounts",
            "update credentialleases/status",
            "update credentialleases/status",
        ],
    ));
}

#[test]
fn an_agreed_lease_costs_the_floor_and_the_questions_about_who_agreed() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("calls").await?;
        tenant.lifecycle("nightly", |spec| spec["terms"]["approval"] = json!({})).await?;
        tenant.lifecycle_says("nightly", "Leasable", leasehold::api::ConditionStatus::True, "Leasable").await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let begun = lab.plane.audit().cursor()?;
        tenant.lease("one", "nightly", |_| {}).await?;
        let waiting = tenant.lease_in("one", Phase::AwaitingApproval).await?;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let asked = calls(&lab, begun).await.context("ask")?;
        ensure!(asked == ["create subjectaccessreviews", "update credentialleases/status"], "to ask: {asked:#?}");

        let agreed = lab.plane.audit().cursor()?;
        alice.decides(&waiting, "Approved").await?;
        tenant.lease_in("one", Phase::Active).await?;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let issued = calls(&lab, agreed).await.context("issue")?;
        let floor =
            ["create jobs", "create rolebindings", "create rolebindings", "create roles", "create serviceaccounts"];
        // May the requester still lease, may the decider approve; could he impersonate the requester (in two ways) or sign for him?
        let questions = ["create subjectaccessreviews"; 5];
        // And one whether it is ready, and so knows what it says no to.
        let expected = [&floor[..], &questions, &["get ", "get roles", "update credentialleases/status"]].concat();
        ensure!(issued == expected, "to issue: {issued:#?}");
        lab.stop().await
    });
}

/// kube asks for what there is at any version: from an API server that lags, that is the past. And there may be very many leases.
#[test]
fn what_there_is_of_leases_is_read_once_as_new_as_the_store() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        // A watch is in the log once it has ended.
        lab.take_operator()?.terminate().await?;
        let audit = lab.plane.audit();
        ensure!(audit.settled().await, "the audit log does not come to rest");
        let (watches, others): (Vec<Record>, Vec<Record>) =
            audit.since_start()?.into_iter().filter(|r| r.user == OPERATOR).partition(|r| r.verb == "watch");
        let streamed: Vec<&Record> = watches.iter().filter(|r| r.uri.contains("sendInitialEvents=true")).collect();
        for resource in ["credentialleases", "serviceaccounts", "jobs", "roles", "rolebindings", "configmaps"] {
            // A definition that was applied just now is not served yet, and says so.
            let times = streamed.iter().filter(|r| r.resource == resource && r.code == 200).count();
            ensure!(times == 1, "{resource} are streamed {times} times");
        }
        let at_a_version = streamed.iter().find(|r| r.uri.contains("resourceVersion="));
        ensure!(at_a_version.is_none(), "it may begin with the past: {at_a_version:?}");
        let all_roles =
            |r: &&Record| r.resource == "roles" && r.uri.starts_with("/apis/rbac.authorization.k8s.io/v1/roles?");
        for watch in watches.iter().filter(all_roles) {
            ensure!(watch.uri.contains("fieldSelector=metadata.namespace%21%3Dleasehold-leases"), "{}", watch.uri);
        }
        ensure!(watches.iter().any(|r| all_roles(&r)), "roles are not watched");
        let mut bindings = others.iter().filter(|r| r.verb == "list" && r.resource == "rolebindings");
        let whole = bindings.find(|r| !r.uri.contains("labelSelector=%21leasehold.dev%2Flease-uid"));
        ensure!(whole.is_none(), "bindings of leases are listed, too: {whole:?}");
        lab.stop().await
    });
}
