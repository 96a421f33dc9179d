//! Everything that belongs in Git, synced again and again: the second time changes nothing, whoever applies and how.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use leasehold_harness::{ControlPlane, Look, Options, eventually_seeing};
use serde_json::Value;

use crate::support::{QUIET, run};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

/// What is applied, in this order: kubectl's words for where it is. Leases and decisions are never in Git.
pub fn manifests() -> Result<Vec<[String; 2]>> {
    let mut samples: Vec<PathBuf> =
        std::fs::read_dir(format!("{CONFIG}/samples"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    samples.retain(|path| path.is_file());
    samples.sort();
    // With stamping, since it contains all of the default.
    let mut found =
        vec![["-k".to_owned(), format!("{CONFIG}/overlays/stamping")], ["-k".to_owned(), format!("{CONFIG}/baseline")]];
    for sample in samples {
        if !std::fs::read_to_string(&sample)?.contains("kind: CredentialLease\n") {
            found.push(["-f".to_owned(), sample.to_str().context("a path that is no text")?.to_owned()]);
        }
    }
    Ok(found)
}

async fn kubectl(plane: &ControlPlane, args: &[&str]) -> Result<String> {
    plane.kubectl(plane.admin_kubeconfig(), args, None).await?.ok()
}

/// Applies everything; what kubectl says.
async fn sync(plane: &ControlPlane, how: &[&str]) -> Result<String> {
    let mut said = String::new();
    for words in manifests()? {
        let args = [&["apply"], how, &[words[0].as_str(), words[1].as_str()]].concat();
        said += &kubectl(plane, &args).await?;
    }
    Ok(said)
}

/// Everything that was applied, as it is but for its managedFields.
type Objects = BTreeMap<String, Value>;

async fn objects(plane: &ControlPlane) -> Result<Objects> {
    let mut found = BTreeMap::new();
    for words in manifests()? {
        let got = kubectl(plane, &["get", &words[0], &words[1], "-o", "json"]).await?;
        let got: Value = serde_json::from_str(&got)?;
        let items = got["items"].as_array().cloned().unwrap_or_else(|| vec![got]);
        for item in items {
            let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            found.insert(format!("{} {namespace}/{name}", text("/kind")), item);
        }
    }
    Ok(found)
}

/// What the cluster's own controllers add (conditions, aggregated rules) is not what a sync changed: wait for it.
async fn settled(plane: &ControlPlane) -> Result<Objects> {
    let last = tokio::sync::Mutex::new(Objects::new());
    eventually_seeing("the cluster to be at rest", Duration::from_secs(60), || async {
        let now = objects(plane).await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let before = std::mem::replace(&mut *last.lock().await, now.clone());
        Ok::<_, anyhow::Error>(if now == before { Look::Done(now) } else { Look::NotYet("it changes".into()) })
    })
    .await
}

/// Without what every write changes.
fn content(objects: &Objects) -> Objects {
    let bare = |mut object: Value| {
        object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        object
    };
    objects.iter().map(|(what, object)| (what.clone(), bare(object.clone()))).collect()
}

fn ensure_same(before: &Objects, after: &Objects) -> Result<()> {
    let changed: Vec<_> =
        after.iter().filter(|(what, object)| before.get(*what) != Some(object)).map(|c| c.0).collect();
    ensure!(changed.is_empty() && before.len() == after.len(), "synced again, these changed: {changed:?}");
    Ok(())
}

/// Synced twice: the second time nothing may change. What kubectl says that time.
///
/// A second server-side apply may still write managedFields: the API server has none of a namespace that was applied by its name
/// alone, and sorts those of an object whose status somebody has written in between. The third writes nothing at all.
async fn twice(plane: &ControlPlane, how: &[&str]) -> Result<String> {
    sync(plane, how).await?;
    let first = settled(plane).await?;
    ensure!(first.len() > 60, "only {} objects were applied", first.len());
    let said = sync(plane, how).await?;
    let second = settled(plane).await?;
    ensure_same(&content(&first), &content(&second))?;
    sync(plane, how).await?;
    ensure_same(&second, &settled(plane).await?).context("the third time")?;
    Ok(said)
}

async fn plane() -> Result<ControlPlane> {
    let _quiet = QUIET.lock().await;
    ControlPlane::start(Options::default()).await
}

#[test]
fn a_second_server_side_apply_changes_nothing() {
    run(async {
        let plane = plane().await?;
        twice(&plane, &["--server-side"]).await?;
        // Another manager that wants the same: it becomes a co-owner, and after that changes nothing either. No conflicts.
        twice(&plane, &["--server-side", "--field-manager=argocd-controller"]).await?;
        plane.stop().await
    });
}

#[test]
fn a_second_client_side_apply_changes_nothing() {
    run(async {
        let plane = plane().await?;
        let said = twice(&plane, &[]).await?;
        let same = |line: &str| line.ends_with(" unchanged") || line == crate::install::ALWAYS;
        let changed: Vec<&str> = said.lines().filter(|line| !same(line)).collect();
        ensure!(changed.is_empty(), "applied again, these are not unchanged: {changed:?}");
        plane.stop().await
    });
}

#[test]
fn a_stop_survives_the_next_sync() {
    run(async {
        let plane = plane().await?;
        sync(&plane, &["--server-side"]).await?;
        let lifecycles = kubectl(&plane, &["get", "sal", "-A", "-o", "json"]).await?;
        let lifecycles: Value = serde_json::from_str(&lifecycles)?;
        let first = &lifecycles["items"][0]["metadata"];
        let (namespace, name) =
            (first["namespace"].as_str().context("no sample")?, first["name"].as_str().context("no name")?);
        // By a field that Git leaves out, and by one more policy.
        let stopped = r#"{"spec":{"stopPolicy":"HoldAndRevoke"}}"#;
        kubectl(&plane, &["patch", "sal", name, "-n", namespace, "--type=merge", "-p", stopped]).await?;
        let policy = serde_json::json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy",
            "metadata": {"name": "stop-1"}, "spec": {"stopPolicy": "HoldAndRevoke"}});
        plane.kubectl(plane.admin_kubeconfig(), &["create", "-f", "-"], Some(&policy.to_string())).await?.ok()?;
        for how in [&["--server-side"][..], &["--server-side", "--field-manager=argocd-controller"], &[]] {
            sync(&plane, how).await?;
            let field =
                kubectl(&plane, &["get", "sal", name, "-n", namespace, "-o", "jsonpath={.spec.stopPolicy}"]).await?;
            ensure!(field == "HoldAndRevoke", "a sync {how:?} has set stopPolicy to {field:?}");
            kubectl(&plane, &["get", "clpol", "stop-1"]).await?;
        }
        plane.stop().await
    });
}
