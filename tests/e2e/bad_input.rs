//! Whatever is asked for wrongly is refused with a sentence that says what to do, and disturbs nobody (F21).
//!
//! - [`table`]: what the API server refuses;
//! - [`terms`]: what the operator refuses;
//! - [`edits`]: what cannot be changed any more.

mod edits;
mod table;
mod terms;

use anyhow::{Result, ensure};
use kube::Client;
use leasehold::api::reasons::Phase;
use serde_json::{Value, json};

use crate::support::{Holder, Lab, Tenant, run};
use table::{Bad, NULL};

/// One request with a body as it is; what the API server says if it refuses.
async fn send(client: &Client, method: &str, uri: &str, kind: &str, body: String) -> Result<Option<String>> {
    let request =
        http::Request::builder().method(method).uri(uri).header("Content-Type", kind).body(body.into_bytes())?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

const JSON: &str = "application/json";
/// What the API server adds where rules in CEL have to wait for the rest to be right.
const UNCHECKED: &str =
    ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid";

/// Where the objects of one kind are.
fn path(tenant: &Tenant<'_>, plural: &str) -> String {
    format!("/apis/leasehold.dev/v1alpha1/namespaces/{}/{plural}", tenant.namespace)
}

/// What is said about the object, without the words that name it, and without what the API server adds to every error of
/// the schema itself.
fn sentence(message: &str) -> String {
    let rest = [" is invalid: ", "denied request: ", "strict decoding error: "]
        .iter()
        .filter_map(|border| message.split_once(border))
        .map(|(_, rest)| rest)
        .next()
        .unwrap_or(message);
    let said = rest.strip_prefix('[').and_then(|list| list.split_once(UNCHECKED)).map_or(rest, |(said, _)| said);
    said.to_owned()
}

/// Several errors, in no order: the API server goes through fields as its maps have them.
fn parts(sentence: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = sentence.split(", spec.").map(|part| part.trim_start_matches("spec.")).collect();
    parts.sort_unstable();
    parts
}

/// Applies a merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = if patch == NULL { Value::Null } else { patch.clone() };
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, change) in fields {
        if change.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut target[name], change);
        }
    }
}

/// Every line of a table that is not answered as it says.
async fn differences(
    tenant: &Tenant<'_>,
    client: &Client,
    plural: &str,
    good: &Value,
    table: Vec<Bad>,
) -> Result<Vec<String>> {
    let (mut wrong, uri) = (vec![], format!("{}?fieldValidation=Strict", path(tenant, plural)));
    for Bad { what, patch, says } in table {
        let mut object = good.clone();
        merge(&mut object, &patch);
        let says = says.replace("{namespace}", &tenant.namespace).replace("{requester}", &tenant.requester.name);
        match send(client, "POST", &uri, JSON, object.to_string()).await? {
            None => wrong.push(format!("{plural}: {what}: was accepted, expected: {says}")),
            Some(message) if parts(&sentence(&message)) == parts(&says) => {}
            Some(message) => {
                wrong.push(format!("{plural}: {what}:\n  said     {}\n  expected {says}", sentence(&message)))
            }
        }
    }
    Ok(wrong)
}

fn none(wrong: Vec<String>) -> Result<()> {
    ensure!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// After everything that went wrong: a good lease is issued, its token works, and the operator never panicked.
async fn all_is_well(tenant: &Tenant<'_>) -> Result<()> {
    tenant.lifecycle("good", |_| {}).await?;
    tenant.lease("good", "good", |_| {}).await?;
    let lease = tenant.lease_in("good", Phase::Active).await?;
    let holder = Holder::new(tenant, &tenant.token(&lease).await?)?;
    ensure!(holder.reads().await? == 200, "the good lease's token does not work");
    let log = tenant.lab.said()?;
    ensure!(!log.is_empty(), "the operator has said nothing");
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    ensure!(panics.is_empty(), "the operator panicked:\n{}", panics.join("\n"));
    Ok(())
}

async fn a_twice_written_field(tenant: &Tenant<'_>) -> Result<Vec<String>> {
    let good = tenant.lease_json("bad", "nightly", |_| {}).to_string();
    let twice = good.replacen("\"ttl\":\"30s\"", "\"ttl\":\"30s\",\"ttl\":\"31s\"", 1);
    let uri = format!("{}?fieldValidation=Strict", path(tenant, "credentialleases"));
    let said = send(&tenant.requester.client, "POST", &uri, JSON, twice).await?;
    let expected = "duplicate field \"spec.ttl\"";
    let right = said.as_deref().map(sentence).as_deref() == Some(expected);
    Ok(if right { vec![] } else { vec![format!("a field written twice: said {said:?}, expected {expected}")] })
}

#[test]
fn a_bad_spec_is_refused_at_once_with_what_to_do() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("refused").await?;
        let lease = tenant.lease_json("bad", "nightly", |_| {});
        let lifecycle = tenant.lifecycle_json("bad", |_| {});
        let mut wrong =
            differences(&tenant, &tenant.requester.client, "credentialleases", &lease, table::leases()).await?;
        wrong.extend(
            differences(&tenant, &tenant.author.client, "serviceaccountlifecycles", &lifecycle, table::lifecycles())
                .await?,
        );
        wrong.extend(a_twice_written_field(&tenant).await?);
        none(wrong)?;
        all_is_well(&tenant).await
    });
}

#[test]
fn a_null_is_the_same_as_leaving_it_out() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("absent").await?;
        let mut lifecycle = tenant.lifecycle_json("nightly", |_| {});
        merge(
            &mut lifecycle,
            &json!({"spec": {"stopPolicy": NULL, "expirationTime": NULL, "terms": {
            "ttl": {"default": NULL}, "maxActive": NULL, "audiences": NULL, "backstop": NULL, "validations": NULL}}}),
        );
        let uri = path(&tenant, "serviceaccountlifecycles");
        let said = send(&tenant.author.client, "POST", &uri, JSON, lifecycle.to_string()).await?;
        ensure!(said.is_none(), "a lifecycle with nulls is refused: {said:?}");
        let mut lease = tenant.lease_json("run", "nightly", |_| {});
        merge(
            &mut lease,
            &json!({"spec": {"ttl": NULL, "ticket": NULL, "audiences": NULL, "delivery": {"secret": NULL},
            "requestedBy": {"uid": NULL, "podName": NULL, "credentialID": NULL}}}),
        );
        let said =
            send(&tenant.requester.client, "POST", &path(&tenant, "credentialleases"), JSON, lease.to_string()).await?;
        ensure!(said.is_none(), "a lease with nulls is refused: {said:?}");

        for (plural, name) in [("serviceaccountlifecycles", "nightly"), ("credentialleases", "run")] {
            let uri = format!("{}/{name}", path(&tenant, plural));
            let stored: Value = tenant.admin.request(http::Request::get(uri).body(vec![])?).await?;
            ensure!(!stored["spec"].to_string().contains("null"), "a null is stored: {}", stored["spec"]);
        }
        let lease = tenant.lease_in("run", Phase::Active).await?;
        let ttl = lease.status.and_then(|s| s.request).map(|r| r.ttl.to_string());
        ensure!(ttl.as_deref() == Some("1h"), "a null ttl is not the lifecycle's default: {ttl:?}");
        tenant.delete_lease("run").await
    });
}

#[test]
fn the_definitions_are_taken_without_a_warning() {
    run(async {
        let lab = Lab::shared().await?;
        let crds = lab.config("crds");
        lab.kubectl(&["apply", "--dry-run=server", "--warnings-as-errors", "-k", &crds], None).await?;
        Ok(())
    });
}
