//! Decisions: who decides, whether he may, and that nobody decides about what he asked himself.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    call::Call,
    ground::{Ground, Who::*},
    shapes::*,
    table::{Plan, Table},
};
use crate::support::{Lab, run};

/// One person's word about what dev asked.
fn word(g: &Ground, what: &str, by: Value) -> Call {
    Call::post(decisions(&g.namespace), decision(&fresh("word"), what, "dev", by))
}

fn with(mut by: Value, change: Value) -> Value {
    for (key, value) in change.as_object().into_iter().flatten() {
        by[key] = value.clone();
    }
    by
}

/// As boss, whose groups are leads and duty.
fn boss(change: Value) -> Value {
    with(json!({"username": "boss", "groups": ["leads", "duty"]}), change)
}

fn guard() -> Value {
    json!({"username": "guard"})
}

/// The pipeline denies, saying all that its token says, but for `change`.
fn ci(g: &Ground, change: Value) -> Call {
    let extra = |key: &str| g.ci["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
    let by = json!({"username": g.ci["username"], "uid": g.ci["uid"], "podName": extra("pod-name"), "credentialID": extra("credential-id")});
    word(g, "Denied", with(by, change))
}

/// 256 groups of 209 characters: the most that a decision may name.
fn many_groups() -> Vec<String> {
    (0..256).map(|n| format!("team-{n:03}-{}", "x".repeat(200))).collect()
}

pub fn decides() -> Table {
    forged(Table::of("leasehold-decision"))
        .attack("12", Tenant, "approves without the verb approve", |g| {
            word(g, "Approved", json!({"username": "tenant"}))
        })
        .attack("12", Tenant, "denies without the verb approve", |g| word(g, "Denied", json!({"username": "tenant"})))
        .attack("12", Guard, "approves with the verb revoke", |g| word(g, "Approved", guard()))
        .attack("12", Bob(0), "revokes with the verb approve", |g| word(g, "Revoked", json!({"username": "bob-0"})))
        .attack("12", Tenant, "a stranger revokes", |g| word(g, "Revoked", json!({"username": "tenant"})))
        .attack("12", Boss, "approves for a lifecycle where he has no verb", |g| {
            let mut body = decision(&fresh("word"), "Approved", "dev", boss(json!({})));
            body["spec"]["lifecycleRef"] = json!({"name": "other"});
            Call::post(decisions(&g.namespace), body)
        })
        .attack("12", Boss, "approves his own request", |g| {
            Call::post(decisions(&g.namespace), decision(&fresh("word"), "Approved", "boss", boss(json!({}))))
        })
        .attack("12", Boss, "approves his own request, recorded", |g| {
            let mut body = decision(&fresh("word"), "Approved", "boss", boss(json!({})));
            body["spec"]["independence"] = json!("Recorded");
            Call::post(decisions(&g.namespace), body)
        })
        .attack("12", Boss, "denies his own request", |g| {
            Call::post(decisions(&g.namespace), decision(&fresh("word"), "Denied", "boss", boss(json!({}))))
        })
        .attack("12", Admin, "the administrator, who may everything, approves his own request", |g| {
            let mut body = decision(&fresh("word"), "Approved", "admin", json!({"username": "admin"}));
            body["spec"]["independence"] = json!("Recorded");
            Call::post(decisions(&g.namespace), body)
        })
        .attack("14", Leased, "a leased account decides", |g| word(g, "Denied", json!({"username": g.leased()})))
        .attack("14", Leased, "a leased account approves, recorded", |g| {
            let mut body = decision(&fresh("word"), "Approved", "dev", json!({"username": g.leased()}));
            body["spec"]["independence"] = json!("Recorded");
            Call::post(decisions(&g.namespace), body)
        })
        .attack("14", Admin, "the same by impersonation without the account's groups", |g| {
            word(g, "Denied", json!({"username": g.leased()}))
                .acting_as(&g.leased(), &["system:serviceaccounts".into()])
        })
        .attack("14", Infiltrator, "decides with the group of the issuing namespace", |g| {
            word(g, "Denied", json!({"username": "infiltrator"}))
        })
        .lawful(Boss, "approves, groups in any order", |g| {
            word(g, "Approved", boss(json!({"groups": ["duty", "leads"]})))
        })
        .lawful(Boss, "denies", |g| word(g, "Denied", boss(json!({}))))
        .lawful(Boss, "revokes", |g| word(g, "Revoked", boss(json!({}))))
        .lawful(Guard, "revokes", |g| word(g, "Revoked", guard()))
        .lawful(Dev, "the requester ends what is his, without any verb", |g| {
            word(g, "Revoked", json!({"username": "dev", "groups": ["dev", "ops"]}))
        })
        .lawful(Ci, "everything its token says", |g| ci(g, json!({})))
        .lawful(Ci, "username only", |g| word(g, "Denied", json!({"username": g.ci["username"]})))
        .lawful(Boss, "generateName", |g| {
            let mut body = decision("", "Denied", "dev", boss(json!({})));
            body["metadata"] = json!({"generateName": "word-"});
            Call::post(decisions(&g.namespace), body)
        })
        .lawful(Admin, "256 groups of 209 characters", |g| {
            let reversed: Vec<String> = many_groups().into_iter().rev().collect();
            word(g, "Approved", json!({"username": "boss", "groups": reversed})).acting_as("boss", &many_groups())
        })
}

fn forged(table: Table) -> Table {
    table
        .attack("12", Boss, "forges the username", |g| word(g, "Approved", boss(json!({"username": "chief"}))))
        .attack("12", Boss, "forges the username in a dry run", |g| {
            let body = decision(&fresh("word"), "Approved", "dev", boss(json!({"username": "chief"})));
            Call::post(format!("{}?dryRun=All", decisions(&g.namespace)), body)
        })
        .attack("12", Tenant, "forges the username by server-side apply", |g| {
            let name = fresh("word");
            let body = decision(&name, "Approved", "dev", boss(json!({})));
            Call::apply(format!("{}/{name}", decisions(&g.namespace)), body)
        })
        .attack("12", Boss, "adds a group", |g| word(g, "Approved", boss(json!({"groups": ["leads", "duty", "sre"]}))))
        .attack("12", Boss, "leaves one group out", |g| word(g, "Approved", boss(json!({"groups": ["leads"]}))))
        .attack("12", Boss, "leaves the groups out", |g| word(g, "Approved", json!({"username": "boss"})))
        .attack("12", Boss, "claims system:masters", |g| {
            word(g, "Approved", boss(json!({"groups": ["leads", "duty", "system:masters"]})))
        })
        .attack("12", Ci, "forges its uid", |g| ci(g, json!({"uid": "u2"})))
        .attack("12", Boss, "claims a uid it has not", |g| word(g, "Approved", boss(json!({"uid": "u2"}))))
        .attack("12", Ci, "forges its pod", |g| ci(g, json!({"podName": "other"})))
        .attack("12", Boss, "claims a pod it has not", |g| word(g, "Approved", boss(json!({"podName": "other"}))))
        .attack("12", Ci, "forges its credential", |g| ci(g, json!({"credentialID": "JTI=other"})))
}

/// Acts on a decision that is there.
pub fn on_decision(g: &Ground, metadata: Value, act: impl FnOnce(String) -> Call) -> Plan {
    let name = fresh("said");
    let mut body = decision(&name, "Approved", "dev", boss(json!({})));
    for (key, value) in metadata.as_object().into_iter().flatten() {
        body["metadata"][key] = value.clone();
    }
    act(format!("{}/{name}", decisions(&g.namespace))).after(Boss, Call::post(decisions(&g.namespace), body))
}

/// Changes of a whole decision's spec, each a merge patch: every field to something else that is valid, and away.
fn edits() -> Vec<Value> {
    vec![
        json!({"leaseRef": {"name": "other"}}),
        json!({"leaseRef": {"uid": "5f2c8a8e-0000-4000-8000-000000000001"}}),
        json!({"lifecycleRef": {"name": "other"}}),
        json!({"requester": "other"}),
        json!({"decision": "Revoked", "requestDigest": null, "maxTTL": null, "repeatFor": null, "independence": null}),
        json!({"requestDigest": format!("sha256:{}", "1".repeat(64))}),
        json!({"reason": "another one"}),
        json!({"maxTTL": "6m"}),
        json!({"maxTTL": null}),
        json!({"repeatFor": "6h"}),
        json!({"repeatFor": null}),
        json!({"independence": "Required"}),
        json!({"independence": null}),
        json!({"decidedBy": {"username": "mallory"}}),
        json!({"decidedBy": {"uid": "2"}}),
        json!({"decidedBy": {"groups": ["admins"]}}),
        json!({"decidedBy": {"podName": "x"}}),
        json!({"decidedBy": {"credentialID": "JTI=1"}}),
    ]
}

#[test]
fn no_field_of_a_decision_can_be_edited_by_no_kind_of_write() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("words").await?;
        let mut whole = decision("whole", "Approved", "dev", json!({"username": "admin"}));
        for (key, value) in [("maxTTL", "5m"), ("repeatFor", "2h"), ("independence", "Recorded")] {
            whole["spec"][key] = json!(value);
        }
        let path = format!("{}/whole", decisions(&tenant.namespace));
        // By apply, so that apply may take fields away again.
        let kept = Call::apply(&path, whole.clone()).send(&tenant.admin).await?.ok()?;
        let mut wrong = vec![];
        for edit in edits() {
            let mut changed = kept.clone();
            merge(&mut changed["spec"], &edit);
            let mut applied = whole.clone();
            applied["spec"] = changed["spec"].clone();
            changed["metadata"].as_object_mut().context("no metadata")?.remove("managedFields");
            let writes = [
                ("merge patch", Call::patch(&path, json!({"spec": edit}))),
                ("update", Call::put(&path, changed)),
                ("apply", Call::apply(&path, applied)),
            ];
            for (how, call) in writes {
                let answer = call.send(&tenant.admin).await?;
                if answer.code != 422 || !answer.message().contains("a decision is immutable: create another one") {
                    wrong.push(format!("{how} of {edit}: {}", answer.brief()));
                }
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let after = Call::get(&path).send(&tenant.admin).await?.ok()?;
        ensure!(after["spec"] == kept["spec"], "{after}");
        Ok(())
    });
}

/// As RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    for (key, value) in fields {
        match (into.as_object_mut(), value) {
            (Some(object), Value::Null) => drop(object.remove(key)),
            _ => merge(&mut into[key], value),
        }
    }
}

/// What a namespace's user writes into the status of a decision is dropped: decisions have none.
#[test]
fn a_decision_has_no_status_to_forge() {
    run(async {
        let tenant = Lab::shared().await?.tenant("words").await?;
        let mut body = decision("said", "Denied", "dev", json!({"username": "admin"}));
        body["status"] = json!({"counted": true});
        let made: Result<Value> = Call::post(decisions(&tenant.namespace), body).send(&tenant.admin).await?.ok();
        ensure!(made?.get("status").is_none(), "a status was kept");
        let path = format!("{}/said/status", decisions(&tenant.namespace));
        let answer = Call::patch(path, json!({"status": {"counted": true}})).send(&tenant.admin).await?;
        ensure!(answer.code == 404, "{}", answer.brief());
        Ok(())
    });
}
