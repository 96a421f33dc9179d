//! A lease is what it was asked to be, until it ends: no field can be changed, added or taken away, by no kind of write.

use anyhow::ensure;
use leasehold::api::reasons::Phase;
use serde_json::{Value, json};

use super::{JSON, all_is_well, merge, none, path, send, sentence};
use crate::support::{Lab, run};

const REFUSED: &str =
    "spec: Invalid value: a lease is immutable: create another one, and delete this one to end it now";

/// Changes of a whole lease's spec, each a merge patch: every field to something else that is valid, and away.
fn edits() -> Vec<Value> {
    vec![
        json!({"lifecycleRef": {"name": "other"}}),
        json!({"grants": ["read", "write"]}),
        json!({"grants": []}),
        json!({"grants": null}),
        json!({"ttl": "31s"}),
        json!({"ttl": "30m"}),
        json!({"ttl": null}),
        json!({"reason": "another one"}),
        json!({"ticket": "CHG-2"}),
        json!({"ticket": null}),
        json!({"audiences": ["b"]}),
        json!({"audiences": null}),
        json!({"delivery": {"type": "TokenRequest", "secret": null}}),
        json!({"delivery": {"secret": {"name": "other"}}}),
        json!({"delivery": {"secret": null}}),
        json!({"requestedBy": {"username": "mallory"}}),
        json!({"requestedBy": {"uid": "2"}}),
        json!({"requestedBy": {"groups": ["admins"]}}),
        json!({"requestedBy": {"podName": "x"}}),
        json!({"requestedBy": {"credentialID": "JTI=1"}}),
    ]
}

#[test]
fn no_field_of_a_lease_can_be_edited_by_no_kind_of_write() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("edits").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        // The administrator asks, since a requester may not update at all; by apply, so that apply may take fields away again.
        let whoami: Value = serde_json::from_str(&lab.kubectl(&["auth", "whoami", "-o", "json"], None).await?)?;
        let user = &whoami["status"]["userInfo"];
        let groups: Vec<&str> = user["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|g| !g.starts_with("system:"))
            .collect();
        let lease = tenant.lease_json("full", "nightly", |s| {
            s["requestedBy"] = json!({"username": user["username"], "groups": groups});
            s["ticket"] = json!("CHG-1");
            s["audiences"] = json!(["a"]);
            s["delivery"] = json!({"type": "Secret", "secret": {"name": "mine"}});
        });
        let uri = format!("{}/full", path(&tenant, "credentialleases"));
        let applied = format!("{uri}?fieldManager=edits&force=true");
        let apply = "application/apply-patch+yaml";
        let said = send(&tenant.admin, "PATCH", &applied, apply, lease.to_string()).await?;
        ensure!(said.is_none(), "the lease is refused: {said:?}");
        let said = send(&tenant.admin, "PATCH", &applied, apply, lease.to_string()).await?;
        ensure!(said.is_none(), "applied once more without a change it is refused: {said:?}");

        // Nobody writes any more, so that a PUT is refused for what it says and not for when it comes.
        tenant.lease_in("full", Phase::Denied).await?;
        let mut wrong = vec![];
        for edit in edits() {
            let mut edited = lease.clone();
            merge(&mut edited["spec"], &edit);
            let writes = [
                ("PUT", uri.clone(), JSON, edited.to_string()),
                ("PATCH", uri.clone(), "application/merge-patch+json", json!({"spec": edit}).to_string()),
                ("PATCH", applied.clone(), apply, edited.to_string()),
            ];
            for (method, uri, kind, mut body) in writes {
                if method == "PUT" {
                    // A PUT names what it replaces.
                    let stored: Value = tenant.admin.request(http::Request::get(&uri).body(vec![])?).await?;
                    let mut object = edited.clone();
                    object["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
                    body = object.to_string();
                }
                let said = send(&tenant.admin, method, &uri, kind, body).await?;
                if said.as_deref().map(sentence).as_deref() != Some(REFUSED) {
                    wrong.push(format!("{method} {kind} {edit}: said {said:?}"));
                }
            }
        }
        none(wrong)?;
        // What is no part of the spec stays the writer's own.
        let label = json!({"metadata": {"labels": {"team": "payments"}}}).to_string();
        let said = send(&tenant.admin, "PATCH", &uri, "application/merge-patch+json", label).await?;
        ensure!(said.is_none(), "a label is refused: {said:?}");
        all_is_well(&tenant).await
    });
}
