//! Everything that belongs in Git arrives at once, in the worst order and in any: what is refused at first is taken when it is
//! tried again, as syncers do, and what comes of it is the same.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use leasehold_harness::{ControlPlane, Look, Options, eventually_seeing};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::{
    gitops::manifests,
    support::{Operator, QUIET, run},
};

/// After this many tries everything has to be there.
const TRIES: usize = 5;

/// Every object of the install, the guardrails and the samples, in the order in which they are shipped.
async fn shipped(plane: &ControlPlane) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for [how, path] in manifests()? {
        let text = match how.as_str() {
            "-k" => plane.kubectl(plane.admin_kubeconfig(), &["kustomize", &path], None).await?.ok()?,
            _ => std::fs::read_to_string(&path)?,
        };
        found.extend(serde_saphyr::from_multiple::<Value>(&text).with_context(|| path)?);
    }
    ensure!(found.len() > 60, "only {} objects", found.len());
    Ok(found)
}

fn document(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Applies all of them at once until none is refused, with an operator that starts as soon as it can; how many tries it took.
async fn sync(plane: &ControlPlane, objects: &[Value]) -> Result<(usize, Operator)> {
    let (document, mut operator) = (document(objects), None);
    let mut refused = String::new();
    for tries in 1..=TRIES {
        let args = ["apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-"];
        let output = plane.kubectl(plane.admin_kubeconfig(), &args, Some(&document)).await?;
        let account = ["get", "serviceaccount", "leasehold", "-n", "leasehold-system"];
        if operator.is_none() && plane.kubectl(plane.admin_kubeconfig(), &account, None).await?.status.success() {
            operator = Some(Operator::launch(plane, &format!("operator-{tries}"), &[]).await?);
        }
        match operator.take_if(|_| output.status.success()) {
            Some(operator) => return Ok((tries, operator)),
            None => refused = output.stderr,
        }
    }
    anyhow::bail!("not taken after {TRIES} tries: {refused}")
}

/// What the operator says of everything that is Leasehold's: reasons, by object and condition.
type Said = BTreeMap<String, String>;

async fn said(plane: &ControlPlane) -> Result<Said> {
    let kinds = "serviceaccountlifecycles,credentialleasepolicies,connectedsystems";
    let got = plane.kubectl(plane.admin_kubeconfig(), &["get", kinds, "-A", "-o", "json"], None).await?.ok()?;
    let got: Value = serde_json::from_str(&got)?;
    let mut found = Said::new();
    for item in got["items"].as_array().context("no list")? {
        let what = format!("{} {}", item["kind"], item["metadata"]["name"]);
        ensure!(item["status"]["observedGeneration"] == item["metadata"]["generation"], "{what} was not looked at");
        for condition in item["status"]["conditions"].as_array().into_iter().flatten() {
            found.insert(format!("{what} {}", condition["type"]), condition["reason"].to_string());
        }
    }
    Ok(found)
}

/// Waits until every lifecycle may be leased from, and is what it is in the end.
async fn settled(plane: &ControlPlane) -> Result<Said> {
    eventually_seeing("every lifecycle to be usable", Duration::from_secs(90), || async {
        let said = match said(plane).await {
            Ok(said) => said,
            Err(error) => return Ok::<_, anyhow::Error>(Look::NotYet(error.to_string())),
        };
        let all = |condition: &str, reasons: &[&str]| {
            let mut of = said.iter().filter(|(what, _)| what.ends_with(&json!(condition).to_string())).peekable();
            of.peek().is_some() && of.all(|(_, reason)| reasons.contains(&reason.trim_matches('"')))
        };
        let done = all("Ready", &["Accepted"])
            && all("Leasable", &["Leasable"])
            && all("GrantsAllowed", &["Allowed"])
            && all("PoliciesSatisfied", &["Satisfied"])
            && all("StandingReady", &["Delivered"])
            && all("AmbientRights", &["NoneFound"]);
        Ok(if done { Look::Done(said) } else { Look::NotYet(format!("{said:?}")) })
    })
    .await
}

async fn arrives(order: &str, arrange: impl FnOnce(&mut [Value])) -> Result<Said> {
    let plane = {
        let _quiet = QUIET.lock().await;
        ControlPlane::start(Options::default()).await?
    };
    let mut objects = shipped(&plane).await?;
    arrange(&mut objects);
    let (tries, operator) = sync(&plane, &objects).await.with_context(|| order.to_owned())?;
    // Definitions are the last to arrive, or somewhere among the rest: the first try cannot know their kinds.
    ensure!(tries > 1, "{order}: taken at once, so nothing was out of order");
    let said = settled(&plane).await.with_context(|| order.to_owned())?;
    let args = ["diff", "--server-side", "--field-manager=kustomize-controller", "-f", "-"];
    let diff = plane.kubectl(plane.admin_kubeconfig(), &args, Some(&document(&objects))).await?;
    ensure!(diff.status.success(), "{order}: what is there differs from what is in Git:\n{}", diff.stdout);
    drop(operator);
    plane.stop().await?;
    Ok(said)
}

#[test]
fn whatever_arrives_first_the_end_is_the_same() {
    run(async {
        let backwards = arrives("backwards", <[Value]>::reverse).await?;
        let shuffled = arrives("shuffled", |objects| objects.shuffle(&mut StdRng::seed_from_u64(6))).await?;
        ensure!(backwards == shuffled, "backwards: {backwards:?}\nshuffled: {shuffled:?}");
        Ok(())
    });
}
