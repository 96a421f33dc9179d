//! The life of a release on a cluster of its own: installed, upgraded, rolled back, uninstalled, with leases that live.
//!
//! No node is here, so no pod runs: the operator is the executable itself, as the chart's service account with the chart's
//! rights, and hooks are left out. Those run where there is a node.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{admissionregistration::v1::ValidatingAdmissionPolicy, core::v1::ServiceAccount};
use kube::{Api, api::ListParams};
use leasehold::api::reasons::Phase;
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::json;

use super::{CHART, NAMESPACE, helm, objects};
use crate::support::{Holder, Lab, Tenant, run};

/// Where leases are asked for; everything that Leasehold may do in it comes from the chart.
const SHOP: &str = "shop";

/// What the platform team writes.
fn values() -> String {
    let user = |name: &str| json!([{"kind": "User", "name": name}]);
    json!({
        "grantable": [{"namespace": SHOP, "roles": ["reader"]}],
        "delivery": {"secretNamespaces": [SHOP]},
        "personas": {"namespaces": [{"namespace": SHOP, "authors": user("shop-author"), "requesters": user("shop-ci")}]},
    })
    .to_string()
}

/// The namespace as its owner has made it, with nothing of Leasehold's in it.
async fn shop(lab: &Lab) -> Result<Tenant<'_>> {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ledger", "namespace": SHOP}, "data": {"balance": "7"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader", "namespace": SHOP},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "may-grant", "namespace": SHOP},
            "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "resourceNames": ["reader"], "verbs": ["bind"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "may-grant", "namespace": SHOP},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "may-grant"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "shop-author"}]}),
    ];
    let text = objects.map(|object| object.to_string()).join("\n---\n");
    lab.kubectl(&["apply", "-f", "-"], Some(&text)).await?;
    Ok(Tenant {
        lab,
        namespace: SHOP.into(),
        admin: lab.plane.admin(),
        requester: lab.plane.user("shop-ci", &[])?,
        author: lab.plane.user("shop-author", &[])?,
    })
}

/// The chart of the next release: another version, and every policy has one validation more.
fn next_chart(dir: &Path) -> Result<String> {
    let next = dir.join("leasehold");
    let copied = Command::new("cp").args(["-r", CHART]).arg(&next).stdin(Stdio::null()).status()?;
    ensure!(copied.success(), "the chart cannot be copied");
    let edit = |path: &Path, from: &str, to: &str| -> Result<()> {
        let text = std::fs::read_to_string(path)?;
        ensure!(text.matches(from).count() == 1, "{} does not say {from:?} once", path.display());
        Ok(std::fs::write(path, text.replace(from, to))?)
    };
    edit(&next.join("Chart.yaml"), "\nversion: ", "\nversion: 99.0.0 # was ")?;
    for file in std::fs::read_dir(next.join("files/policies"))? {
        let more = "\n  validations:\n  - expression: \"true\"\n    message: the next release\n";
        edit(&file?.path(), "\n  validations:\n", more)?;
    }
    Ok(next.to_str().context("a path that is no text")?.to_owned())
}

/// The shipped policies: UID and resourceVersion by name.
async fn policies(lab: &Lab) -> Result<Vec<(String, String, String)>> {
    let api: Api<ValidatingAdmissionPolicy> = Api::all(lab.plane.admin());
    let found = api.list(&ListParams::default().labels("app.kubernetes.io/part-of=leasehold")).await?;
    let seen = found.items.into_iter().map(|p| p.metadata);
    seen.map(|m| Ok((m.name.context("name")?, m.uid.context("uid")?, m.resource_version.context("version")?))).collect()
}

/// Tries what the policies must refuse until it is told to stop: a lifecycle that grants what its author may not bind, and an
/// account among those of leases. How often it was refused; an error as soon as one passes.
async fn besiege(tenant: &Tenant<'_>, mut stop: tokio::sync::oneshot::Receiver<()>) -> Result<usize> {
    let greedy = tenant.lifecycle_json("greedy", |spec| {
        spec["grants"] = json!([{"name": "all", "roleRef": {"kind": "ClusterRole", "name": "admin"}}]);
    });
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "intruder"}});
    let lifecycles = "/apis/leasehold.dev/v1alpha1/namespaces/shop/serviceaccountlifecycles";
    let tries = [
        (&tenant.author.client, lifecycles, greedy, "leasehold-lifecycle-author"),
        (&tenant.admin, "/api/v1/namespaces/leasehold-leases/serviceaccounts", account, "leasehold-issuing-namespace"),
    ];
    let mut refused = 0;
    while stop.try_recv().is_err() {
        for (client, path, body, policy) in &tries {
            let request = http::Request::post(format!("{path}?dryRun=All"))
                .header("content-type", "application/json")
                .body(body.to_string().into_bytes())?;
            match client.request::<serde_json::Value>(request).await {
                Err(kube::Error::Api(status)) if status.message.contains(policy) => refused += 1,
                other => anyhow::bail!("{policy} did not refuse: {other:?}"),
            }
        }
    }
    Ok(refused)
}

/// Does something with Helm while the policies are tried all the time.
async fn besieged(tenant: &Tenant<'_>, args: &[&str]) -> Result<usize> {
    let (done, stop) = tokio::sync::oneshot::channel();
    let work = async {
        let said = helm(&tenant.lab.plane, args, None).await;
        // What an API server has not read yet it reads within a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        done.send(()).ok();
        said
    };
    let (said, refused) = tokio::join!(work, besiege(tenant, stop));
    said?;
    refused
}

/// `kubectl lease doctor` with the rights that `helm test` gives it.
async fn doctor(lab: &Lab) -> Result<String> {
    let args = ["template", "leasehold", CHART, "--show-only", "templates/tests/doctor.yaml"];
    let rights = objects::read(&helm(&lab.plane, &args, None).await?)?;
    let rights: Vec<String> = rights.into_values().filter(|o| o["kind"] != "Pod").map(|o| o.to_string()).collect();
    lab.kubectl(&["apply", "-f", "-"], Some(&rights.join("\n---\n"))).await?;
    let token = lab.kubectl(&["create", "token", "leasehold-test", "-n", NAMESPACE], None).await?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lease"));
    command.env("KUBECONFIG", lab.plane.token_kubeconfig("test", token.trim())?).arg("doctor").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{said}");
    ensure!(!said.contains("forbidden"), "the test may not look at everything: {said}");
    lab.kubectl(&["delete", "-f", "-"], Some(&rights.join("\n---\n"))).await?;
    Ok(said)
}

async fn gone(lab: &Lab, kind: &str, name: &str) -> Result<()> {
    eventually_seeing(&format!("{kind} {name} to be gone"), Duration::from_secs(60), || async {
        let left = lab.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "yaml"], None).await?;
        Ok::<_, anyhow::Error>(if left.is_empty() { Look::Done(()) } else { Look::NotYet(left) })
    })
    .await
}

async fn release() -> Result<()> {
    let lab = Lab::bare(Options::default()).await?;
    let tenant = shop(&lab).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, values())?;
    let file = file.to_str().context("a path that is no text")?;

    let said = helm(&lab.plane, &["install", "leasehold", CHART, "--create-namespace", "--values", file], None).await?;
    ensure!(said.contains("shop: reader"), "{said}");
    let args = ["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"];
    lab.kubectl(&args, None).await?;
    let guardrail = ["get", "credentialleasepolicy", "baseline", "-o", "jsonpath={.metadata.uid}"];
    let baseline = lab.kubectl(&guardrail, None).await?;
    lab.start_operator("operator", &[]).await?;
    doctor(&lab).await?;

    // The values alone let it lease: what was bound, and no more.
    tenant.lifecycle("reads", |_| {}).await?;
    tenant.lease("long", "reads", |spec| spec["ttl"] = json!("30m")).await?;
    tenant
        .lease("at-rest", "reads", |spec| {
            spec["ttl"] = json!("30m");
            spec["delivery"] = json!({"type": "Secret"});
        })
        .await?;
    let active = tenant.lease_in("long", Phase::Active).await?;
    tenant.lease_in("at-rest", Phase::Active).await?;
    let account = active.status.and_then(|s| s.credential?.service_account).context("no account")?;
    let token = tenant.mint(&account.name).await?;
    let holder = Holder::new(&tenant, &token)?;
    ensure!(holder.reads().await? == 200, "a lease that holds nothing");

    // The next release writes to every policy, in place; the way back as well.
    let (next, before) = (next_chart(dir.path())?, policies(&lab).await?);
    let mut refused =
        besieged(&tenant, &["upgrade", "leasehold", &next, "--values", file, "--set", "leases.retention=2h"]).await?;
    let after = policies(&lab).await?;
    ensure!(before.len() == 16 && after.len() == 16, "{} policies, then {}", before.len(), after.len());
    for ((name, uid, version), (_, same, newer)) in before.iter().zip(&after) {
        ensure!(uid == same && version != newer, "{name} was not changed in place");
    }
    refused += besieged(&tenant, &["rollback", "leasehold", "1"]).await?;
    let back = policies(&lab).await?;
    ensure!(back.iter().zip(&before).all(|(now, then)| now.1 == then.1), "a policy was made again");
    ensure!(lab.kubectl(&guardrail, None).await? == baseline, "the guardrail was made again");
    eprintln!("upgrade and rollback: {refused} requests that the policies must refuse, and all refused");
    ensure!(refused > 100, "{refused} tries are not enough to see a gap");

    // The same again writes nothing, and so costs no trust in what is asked for meanwhile.
    helm(&lab.plane, &["upgrade", "leasehold", CHART, "--values", file], None).await?;
    ensure!(policies(&lab).await? == back, "an upgrade that changes nothing writes to policies");
    ensure!(lab.kubectl(&guardrail, None).await? == baseline, "the guardrail was made again");
    ensure!(holder.reads().await? == 200, "a lease did not live through the upgrades");
    tenant.lease("after", "reads", |_| {}).await?;
    tenant.lease_in("after", Phase::Active).await?;

    uninstall(&lab, &tenant, &holder).await?;
    // Everything that stayed is taken up again, and goes when that is asked for.
    let args = ["install", "leasehold", CHART, "--values", file, "--set", "crds.keep=false"];
    helm(&lab.plane, &args, None).await?;
    ensure!(lab.kubectl(&guardrail, None).await? == baseline, "the guardrail was made again");
    helm(&lab.plane, &["uninstall", "leasehold", "--no-hooks"], None).await?;
    for kind in ["credentialleases", "credentialleasepolicies", "serviceaccountlifecycles"] {
        gone(&lab, "crd", &format!("{kind}.leasehold.dev")).await?;
    }
    // A namespace in which something is leased can always be deleted.
    lab.kubectl(&["delete", "namespace", SHOP, "--timeout=60s"], None).await?;
    lab.stop().await
}

/// First with the hook, whose Job cannot run here: nothing is uninstalled. Then without it, and so without the proof: authority
/// ends all the same, with the accounts.
async fn uninstall(lab: &Lab, tenant: &Tenant<'_>, holder: &Holder) -> Result<()> {
    let args = ["uninstall", "leasehold", "--namespace", NAMESPACE, "--timeout=5s"];
    let output = lab.plane.helm(lab.plane.admin_kubeconfig(), &args, None).await?;
    ensure!(!output.status.success() && output.stderr.contains("leasehold-drain"), "{}", output.stderr);
    let status = helm(&lab.plane, &["status", "leasehold"], None).await?;
    // Helm remembers that it has begun; the next uninstall goes on from there.
    ensure!(status.contains("STATUS: uninstalling"), "{status}");
    ensure!(policies(lab).await?.len() == 16 && holder.reads().await? == 200, "something is gone already");
    for kind in ["job", "serviceaccount", "role", "rolebinding", "clusterrole", "clusterrolebinding"] {
        lab.kubectl(&["delete", kind, "leasehold-drain", "-n", NAMESPACE, "--ignore-not-found"], None).await?;
    }

    let said = helm(&lab.plane, &["uninstall", "leasehold", "--no-hooks"], None).await?;
    ensure!(said.contains("credentialleases.leasehold.dev"), "it does not say what it keeps: {said}");
    drop(lab.take_operator()?);
    gone(lab, "namespace", "leasehold-leases").await?;
    let (code, _) = holder.until(&[401], Duration::from_millis(100), Duration::from_secs(30)).await?;
    ensure!(code == 401, "{code}");
    let accounts: Api<ServiceAccount> = Api::namespaced(lab.plane.admin(), "leasehold-leases");
    ensure!(accounts.list(&ListParams::default()).await?.items.is_empty(), "accounts of leases are left");
    let left =
        "validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings,flowschemas";
    let left = lab.kubectl(&["get", left, "-l", "app.kubernetes.io/part-of=leasehold", "-o", "name"], None).await?;
    ensure!(left.is_empty(), "left behind: {left}");
    // The record stays with its definition.
    ensure!(tenant.leases().get("long").await?.status.is_some(), "the record of a lease is gone");
    Ok(())
}

#[test]
fn a_release_lives_from_install_to_uninstall_without_a_window() {
    run(release());
}
