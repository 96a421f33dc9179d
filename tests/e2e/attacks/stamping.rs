//! Stamping: the API server says who asks and who decides, whatever the client wrote; the proof stays where it was.

use std::time::Duration;

use anyhow::{Result, ensure};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    ground::{
        Ground,
        Who::{self, *},
    },
    shapes::*,
};
use crate::support::run;

/// The API server looks for the schema of what it stamps every five seconds, and refuses with 503 until it has it.
const TAKES_EFFECT: Duration = Duration::from_secs(30);

/// A lease that says `by` of its requester, or nothing.
fn ask(g: &Ground, by: Value) -> Call {
    Call::post(leases(&g.namespace), lease(&fresh("ask"), by).without_null("requestedBy"))
}

/// An approval of what dev asked that says `by` of its decider, or nothing.
fn word(g: &Ground, by: Value) -> Call {
    let body = decision(&fresh("word"), "Approved", "dev", by);
    Call::post(decisions(&g.namespace), body.without_null("decidedBy"))
}

trait WithoutNull {
    fn without_null(self, field: &str) -> Value;
}

impl WithoutNull for Value {
    fn without_null(mut self, field: &str) -> Value {
        if self["spec"][field].is_null() {
            self["spec"].as_object_mut().expect("an object").remove(field);
        }
        self
    }
}

/// Everything that can be forged at once.
fn forged() -> Value {
    json!({"username": "mallory", "uid": "u", "groups": ["sre", "system:masters"], "podName": "p", "credentialID": "JTI=x"})
}

fn refused(answer: &Answer, by: &str) -> Result<()> {
    ensure!(answer.is_refused_by(by), "{}", answer.brief());
    Ok(())
}

/// The identity of whoever holds a certificate: the credential differs from run to run.
fn by_certificate(said: &Value, username: &str, groups: &[&str]) -> Result<()> {
    let known = json!({"username": username, "groups": groups, "credentialID": said["credentialID"]});
    let id = said["credentialID"].as_str().unwrap_or_default();
    ensure!(*said == known && id.starts_with("X509SHA256="), "{said}");
    Ok(())
}

#[test]
fn who_asks_and_who_decides_is_stamped_and_still_proven() {
    run(async {
        let g = Ground::lay().await?;
        without_stamping(&g).await?;
        g.lab
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &g.lab.config("overlays/stamping")], None)
            .await?;
        takes_effect(&g, Dev, || ask(&g, Value::Null)).await?;
        takes_effect(&g, Boss, || word(&g, Value::Null)).await?;
        stamped(&g).await?;
        still_proven(&g).await?;
        a_wrong_stamp_is_refused(&g).await?;
        g.lab.stop().await
    });
}

/// What is forged is refused, and what is left out is missing.
async fn without_stamping(g: &Ground) -> Result<()> {
    refused(&g.carry_out(Dev, ask(g, forged()).into()).await?, "leasehold-lease-request")?;
    refused(&g.carry_out(Boss, word(g, forged()).into()).await?, "leasehold-decision")?;
    for (who, call, field) in [(Dev, ask(g, Value::Null), "requestedBy"), (Boss, word(g, Value::Null), "decidedBy")] {
        let answer = g.carry_out(who, call.into()).await?;
        ensure!(
            answer.code == 422 && answer.message().contains(&format!("spec.{field}: Required")),
            "{}",
            answer.brief()
        );
    }
    Ok(())
}

async fn takes_effect(g: &Ground, who: Who, call: impl Fn() -> Call) -> Result<()> {
    eventually_seeing("stamping to take effect", TAKES_EFFECT, || async {
        let answer = g.carry_out(who, call().into()).await?;
        Ok::<_, anyhow::Error>(if answer.succeeded() { Look::Done(()) } else { Look::NotYet(answer.brief()) })
    })
    .await
}

async fn stamped(g: &Ground) -> Result<()> {
    for by in [Value::Null, forged(), json!({"username": "dev", "groups": ["dev", "ops", "sre"]})] {
        let made = g.does(Dev, ask(g, by)).await?;
        by_certificate(&made["spec"]["requestedBy"], "dev", &["dev", "ops"])?;
    }
    for by in [Value::Null, forged()] {
        let made = g.does(Boss, word(g, by)).await?;
        by_certificate(&made["spec"]["decidedBy"], "boss", &["leads", "duty"])?;
        let made = g.does(Ci, ask(g, by_or_null(&made))).await?;
        let extra = |key: &str| g.ci["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
        let token = json!({"username": g.ci["username"], "groups": [], "uid": g.ci["uid"], "podName": extra("pod-name"), "credentialID": extra("credential-id")});
        ensure!(made["spec"]["requestedBy"] == token, "{made}");
    }
    // A list that is a set: a group that an authenticator names twice would be refused by the schema.
    let groups = ["b", "a", "b", "system:masters"].map(str::to_owned);
    let made = g.does(Admin, ask(g, Value::Null).acting_as("twice", &groups)).await?;
    ensure!(made["spec"]["requestedBy"] == json!({"username": "twice", "groups": ["b", "a"]}), "{made}");
    // Applied again, what was left out is not taken away.
    let name = fresh("ask");
    let body = lease(&name, Value::Null).without_null("requestedBy");
    let apply = || Call::apply(format!("{}/{name}", leases(&g.namespace)), body.clone());
    let (first, second) = (g.does(Ci, apply()).await?, g.does(Ci, apply()).await?);
    ensure!(first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"], "{second}");
    Ok(())
}

/// What boss was stamped with, forged into the pipeline's request.
fn by_or_null(decision: &Value) -> Value {
    decision["spec"]["decidedBy"].clone()
}

/// A stamp gives nobody a right.
async fn still_proven(g: &Ground) -> Result<()> {
    for by in [Value::Null, forged()] {
        refused(&g.carry_out(Tenant, ask(g, by.clone()).into()).await?, "leasehold-lease-request")?;
        refused(&g.carry_out(Leased, ask(g, by.clone()).into()).await?, "leasehold-lease-request")?;
        refused(&g.carry_out(Tenant, word(g, by.clone()).into()).await?, "leasehold-decision")?;
        let denied = decision(&fresh("word"), "Denied", "dev", by.clone()).without_null("decidedBy");
        refused(&g.carry_out(Leased, Call::post(decisions(&g.namespace), denied).into()).await?, "leasehold-decision")?;
        let mut own = decision(&fresh("word"), "Approved", "boss", by).without_null("decidedBy");
        own["spec"]["independence"] = json!("Recorded");
        refused(&g.carry_out(Boss, Call::post(decisions(&g.namespace), own).into()).await?, "leasehold-decision")?;
    }
    Ok(())
}

/// Whoever may write mutating policies or webhooks stamps what he likes: the proof runs after them.
async fn a_wrong_stamp_is_refused(g: &Ground) -> Result<()> {
    const STAMPS: [(&str, &str); 2] =
        [("leasehold-stamp-requester", "requestedBy"), ("leasehold-stamp-decider", "decidedBy")];
    for (policy, field) in STAMPS {
        let wrong = format!(
            r#"[JSONPatch{{op: "add", path: "/spec/{field}", value: Object.spec.{field}{{username: "mallory"}}}}]"#
        );
        let patch = json!({"spec": {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": wrong}}]}});
        g.lab
            .kubectl(&["patch", "mutatingadmissionpolicy", policy, "--type=merge", "-p", &patch.to_string()], None)
            .await?;
    }
    let wrongs =
        [(Dev, ask(g, Value::Null), "leasehold-lease-request"), (Boss, word(g, Value::Null), "leasehold-decision")];
    for (who, call, proof) in wrongs {
        eventually_seeing("the wrong stamp to be refused", TAKES_EFFECT, || async {
            let answer = g.carry_out(who, call.clone().into()).await?;
            let refused = answer.is_refused_by(proof) && answer.message().contains("must be you");
            Ok::<_, anyhow::Error>(if refused { Look::Done(()) } else { Look::NotYet(answer.brief()) })
        })
        .await?;
    }
    Ok(())
}
