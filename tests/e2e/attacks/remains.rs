//! What is delivered goes with its lease however that is deleted, is looked at without being read, and is called what was agreed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::api::{CredentialLease, condition, reasons::Phase};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    ground::Ground,
    shapes::*,
};
use crate::support::{Lab, Tenant, run};

const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

fn by_secret(spec: &mut Value) {
    spec["delivery"] = json!({"type": "Secret"});
    spec["ttl"] = json!("10m");
}

/// An active lease delivered into a Secret: the Secret's path and itself.
async fn delivered_by(
    tenant: &Tenant<'_>,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(CredentialLease, String, Value)> {
    tenant
        .lease(name, "nightly", |spec| {
            by_secret(spec);
            change(spec)
        })
        .await?;
    let lease = tenant.lease_in(name, Phase::Active).await?;
    let secret = lease.status.as_ref().and_then(|s| s.credential.as_ref()?.secret.as_ref()).context("no Secret")?;
    let path = core(&tenant.namespace, &format!("secrets/{}", secret.name));
    let object = Call::get(&path).send(&tenant.admin).await?.ok()?;
    Ok((lease, path, object))
}

async fn is_gone(tenant: &Tenant<'_>, path: &str) -> Result<()> {
    eventually_seeing(&format!("{path} to be gone"), Duration::from_secs(30), || async {
        let answer = Call::get(path).send(&tenant.admin).await?;
        Ok::<_, anyhow::Error>(if answer.code == 404 { Look::Done(()) } else { Look::NotYet(answer.body.to_string()) })
    })
    .await
}

#[test]
fn a_deleted_lease_leaves_nothing_however_it_is_deleted() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("remains").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        for way in ["Background", "Foreground", "Orphan"] {
            let cursor = lab.plane.audit().cursor()?;
            let (lease, path, secret) = delivered_by(&tenant, &way.to_lowercase(), |_| {}).await?;
            let uid = lease.metadata.uid.as_deref().context("no uid")?;
            ensure!(secret["metadata"]["ownerReferences"][0]["uid"] == uid, "the Secret is not the lease's: {secret}");
            let lease_path = format!("{}/{}", leases(&tenant.namespace), way.to_lowercase());
            Call::delete_by(&lease_path, way).send(&tenant.requester.client).await?.ok()?;
            is_gone(&tenant, &lease_path).await?;
            lab.nothing_left_of(uid).await.with_context(|| format!("deleted by {way}"))?;
            is_gone(&tenant, &path).await?;
            // An orphan has no owner any more: nobody but the operator can have swept it.
            lab.plane.audit().settled().await;
            let records = lab.plane.audit().read_since(cursor)?;
            let swept = records
                .iter()
                .any(|r| r.verb == "delete" && r.user == OPERATOR && r.uri.starts_with(&path) && r.code == 200);
            ensure!(swept || way != "Orphan", "the operator did not delete the orphaned Secret");
        }
        Ok(())
    });
}

#[test]
fn a_namespace_and_a_lifecycle_with_live_leases_can_be_deleted() {
    run(async {
        let lab = Lab::shared().await?;
        for way in ["Background", "Foreground", "Orphan"] {
            let tenant = lab.tenant("doomed").await?;
            tenant.lifecycle("nightly", |_| {}).await?;
            let (first, ..) = delivered_by(&tenant, "first", |_| {}).await?;
            let path = format!("{}/nightly", lifecycles(&tenant.namespace));
            Call::delete_by(&path, way).send(&tenant.author.client).await?.ok()?;
            is_gone(&tenant, &path).await?;
            lab.nothing_left_of(first.metadata.uid.as_deref().context("no uid")?).await?;
        }
        let tenant = lab.tenant("doomed").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        let (lease, ..) = delivered_by(&tenant, "last", |_| {}).await?;
        Call::delete(format!("/api/v1/namespaces/{}", tenant.namespace)).send(&tenant.admin).await?.ok()?;
        is_gone(&tenant, &format!("/api/v1/namespaces/{}", tenant.namespace)).await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}

/// TokenReview, as the operator may ask it.
async fn review(operator: &kube::Client, token: &str, audiences: Value) -> Result<Value> {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
    Ok(Call::post("/apis/authentication.k8s.io/v1/tokenreviews", body).send(operator).await?.ok()?["status"].clone())
}

#[test]
fn the_operator_looks_without_reading_and_asks_about_a_token_with_its_own_audiences() {
    const STS: &str = "https://sts.example.com";
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("looks").await?;
        tenant.lifecycle("nightly", |spec| spec["terms"]["audiences"] = json!([STS])).await?;
        let (lease, path, _) = delivered_by(&tenant, "held", |spec| spec["audiences"] = json!([STS])).await?;
        let operator = Ground::shipped_operator(lab, "looker").await?;

        let look = |path: &str| Call::patch(format!("{path}?dryRun=All"), json!({})).metadata_only();
        let seen = look(&path).send(&operator).await?.ok()?;
        ensure!(seen["kind"] == "PartialObjectMetadata" && seen.get("data").is_none(), "{seen}");
        ensure!(seen["metadata"]["labels"]["leasehold.dev/lease-uid"] == json!(lease.metadata.uid), "{seen}");
        let absent = look(&core(&tenant.namespace, "secrets/absent")).send(&operator).await?;
        ensure!(absent.code == 404, "{}", absent.brief());

        let token = tenant.token(&lease).await?;
        let live = review(&operator, &token, json!([STS])).await?;
        ensure!(live["authenticated"] == true, "{live}");
        // The token lives, and the answer is that of a dead one: a proof must not rest on it.
        let unasked = review(&operator, &token, Value::Null).await?;
        ensure!(unasked["authenticated"] != true, "{unasked}");
        Ok(())
    });
}

fn is_invalid(answer: &Answer, says: &str) -> Result<()> {
    ensure!(answer.code == 422 && answer.message().contains(says), "{}", answer.brief());
    Ok(())
}

#[test]
fn names_are_what_was_agreed() {
    run(async {
        let tenant = Lab::shared().await?.tenant("names").await?;
        tenant.lifecycle("nightly", |spec| spec["terms"]["secretNames"] = json!(["deploy-token"])).await?;

        // A dot would be a fifth part of an account's name; a longer one is no label.
        for name in ["a.b", &"x".repeat(64)] {
            let by_author = Call::post(lifecycles(&tenant.namespace), lifecycle(name, json!([])));
            is_invalid(&by_author.send(&tenant.author.client).await?, "without dots")?;
            let lease = tenant.lease_json(name, "nightly", |_| {});
            is_invalid(
                &Call::post(leases(&tenant.namespace), lease).send(&tenant.requester.client).await?,
                "without dots",
            )?;
        }

        let named = |name: &'static str| move |spec: &mut Value| spec["delivery"]["secret"] = json!({"name": name});
        let (agreed, path, _) = delivered_by(&tenant, "agreed", named("deploy-token")).await?;
        ensure!(path.ends_with("/deploy-token") && agreed.status.is_some(), "{path}");
        let (_, path, _) = delivered_by(&tenant, "plain", |_| {}).await?;
        ensure!(path.ends_with("/lease-plain"), "{path}");
        // One that a stronger pod consumes, `optional: true`.
        tenant
            .lease("picked", "nightly", |spec| {
                by_secret(spec);
                named("database-password")(spec)
            })
            .await?;
        let status = tenant.lease_in("picked", Phase::Denied).await?.status.context("no status")?;
        let said = condition::find(&status.conditions, "Allowed").map(|c| c.message.clone()).unwrap_or_default();
        ensure!(said.contains("database-password") && said.contains("deploy-token"), "{said}");
        let absent = Call::get(core(&tenant.namespace, "secrets/database-password")).send(&tenant.admin).await?;
        ensure!(absent.code == 404, "{}", absent.brief());
        Ok(())
    });
}
