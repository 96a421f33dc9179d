//! Deleting is ending: the garbage collector and the namespace controller are held up by no policy.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{Ground, Who},
    shapes::*,
};

const PATIENCE: Duration = Duration::from_secs(30);
const WAYS: [&str; 3] = ["Background", "Foreground", "Orphan"];

/// Everything that the cluster's own controllers must be able to do while the policies are in force.
pub async fn is_free(ground: &Ground) -> Result<()> {
    comes_back(ground, &core(ISSUING, "serviceaccounts/default")).await?;
    comes_back(ground, &core(ISSUING, "configmaps/kube-root-ca.crt")).await?;
    for way in WAYS {
        backstop(ground, way).await.with_context(|| format!("a backstop deleted by {way}"))?;
        lease(ground, way).await.with_context(|| format!("a lease deleted by {way}"))?;
        let said = decision(&fresh("said"), "Denied", "dev", json!({"username": "admin"}));
        let said = ground.does(Who::Admin, Call::post(decisions(&ground.namespace), said)).await?;
        let name = said["metadata"]["name"].as_str().context("no name")?;
        gone(ground, &format!("{}/{name}", decisions(&ground.namespace)), Some(way)).await?;
        let name = fresh("cycle");
        ground.does(Who::Author, Call::post(lifecycles(&ground.namespace), lifecycle(&name, json!([])))).await?;
        gone(ground, &format!("{}/{name}", lifecycles(&ground.namespace)), Some(way)).await?;
    }
    Ok(())
}

/// Both namespaces, with everything in them. The second is the last resort: every token of every lease is dead.
pub async fn ends_namespaces(ground: &Ground) -> Result<()> {
    let held = core(&ground.namespace, "secrets/held");
    ground.does(Who::Tenant, Call::patch(held, json!({"metadata": {"finalizers": null}}))).await?;
    for namespace in [ground.namespace.as_str(), ISSUING] {
        gone(ground, &format!("/api/v1/namespaces/{namespace}"), Some("Background")).await?;
    }
    let me = Call::post(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}),
    );
    eventually_seeing("the leased account's token to be refused", PATIENCE, || async {
        let answer = ground.carry_out(Who::Leased, me.clone().into()).await?;
        let seen = answer.brief();
        Ok::<_, anyhow::Error>(if answer.code == 401 { Look::Done(()) } else { Look::NotYet(seen) })
    })
    .await
}

/// Deletes an object, if a way is given, and waits until it is not there.
async fn gone(ground: &Ground, path: &str, way: Option<&str>) -> Result<()> {
    if let Some(way) = way {
        ground.does(Who::Admin, Call::delete_by(path, way)).await?;
    }
    eventually_seeing(&format!("{path} to be gone"), PATIENCE, || async {
        let answer = ground.carry_out(Who::Admin, Call::get(path).into()).await?;
        Ok::<_, anyhow::Error>(if answer.code == 404 { Look::Done(()) } else { Look::NotYet(answer.body.to_string()) })
    })
    .await
}

/// Deletes what a controller makes in every namespace, and waits for the next one.
async fn comes_back(ground: &Ground, path: &str) -> Result<()> {
    let before = ground.does(Who::Admin, Call::get(path)).await?;
    ground.does(Who::Admin, Call::delete(path)).await?;
    eventually_seeing(&format!("{path} to come back"), PATIENCE, || async {
        let answer = ground.carry_out(Who::Admin, Call::get(path).into()).await?;
        let is_new = answer.succeeded() && answer.body["metadata"]["uid"] != before["metadata"]["uid"];
        Ok::<_, anyhow::Error>(if is_new { Look::Done(()) } else { Look::NotYet(answer.brief()) })
    })
    .await
}

/// What becomes of an object whose owner was deleted this way.
async fn follows(ground: &Ground, path: &str, way: &str) -> Result<()> {
    if way != "Orphan" {
        return gone(ground, path, None).await;
    }
    let object = ground.does(Who::Admin, Call::get(path)).await?;
    if object["metadata"]["ownerReferences"] != Value::Null {
        bail!("{path} still has its owner: {}", object["metadata"]);
    }
    Ok(())
}

async fn backstop(ground: &Ground, way: &str) -> Result<()> {
    let (job_name, account) = (fresh("lease"), format!("t.nightly.{}.1999999999", fresh_uid()));
    let made = ground.does(Who::Operator, Call::post(jobs(ISSUING), job(&job_name, json!(0)))).await?;
    // blockOwnerDeletion: a deletion in the foreground waits for the account.
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": made["metadata"]["uid"], "blockOwnerDeletion": true});
    let account_body = json!({"metadata": {"name": account, "ownerReferences": [owner]}});
    ground.does(Who::Operator, Call::post(core(ISSUING, "serviceaccounts"), account_body)).await?;
    gone(ground, &format!("{}/{job_name}", jobs(ISSUING)), Some(way)).await?;
    follows(ground, &core(ISSUING, &format!("serviceaccounts/{account}")), way).await
}

/// A lease that owns what the operator made for it; with no operator, the garbage collector alone sweeps.
async fn lease(ground: &Ground, way: &str) -> Result<()> {
    let (name, secret) = (fresh("owner"), fresh("delivered"));
    let raised = lease_of(ground, &name);
    let raised = ground.does(Who::Ci, raised).await?;
    let owner = json!([{"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "name": name, "uid": raised["metadata"]["uid"]}]);
    let mut delivered = delivered(&secret);
    delivered["metadata"]["ownerReferences"] = owner.clone();
    let bound = format!("leasehold-{}-{name}", ground.uid);
    let mut binding = binding(&bound, ("Role", "reader"), json!([account(&ground.account, ISSUING)]));
    binding["metadata"]["ownerReferences"] = owner;
    let (secrets, bindings) = (core(&ground.namespace, "secrets"), rbac(&ground.namespace, "rolebindings"));
    ground.does(Who::Operator, Call::post(&secrets, delivered)).await?;
    ground.does(Who::Operator, Call::post(&bindings, binding)).await?;
    gone(ground, &format!("{}/{name}", leases(&ground.namespace)), Some(way)).await?;
    follows(ground, &format!("{secrets}/{secret}"), way).await?;
    follows(ground, &format!("{bindings}/{bound}"), way).await
}

fn lease_of(ground: &Ground, name: &str) -> Call {
    Call::post(leases(&ground.namespace), super::shapes::lease(name, json!({"username": ground.ci["username"]})))
}
