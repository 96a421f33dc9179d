//! What does not belong in Git, and comes from there: the shipped policies warn, and refuse nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::{Api, Client};
use leasehold::api::reasons::Phase;
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Lab, Person, Tenant, run};

/// What tools leave on what they apply.
const MARKS: [(&str, &str, &str); 6] = [
    ("labels", "argocd.argoproj.io/instance", "tenants"),
    ("labels", "kustomize.toolkit.fluxcd.io/name", "tenants"),
    ("labels", "helm.toolkit.fluxcd.io/name", "tenants"),
    ("labels", "app.kubernetes.io/managed-by", "Helm"),
    ("annotations", "argocd.argoproj.io/tracking-id", "tenants:leasehold.dev/CredentialLease:payments/run"),
    ("annotations", "meta.helm.sh/release-name", "payments"),
];

const MANAGERS: [&str; 5] =
    ["argocd-controller", "argocd-application-controller", "kustomize-controller", "helm-controller", "helm"];

fn marked(mut object: Value, (place, name, value): (&str, &str, &str)) -> Value {
    object["metadata"][place][name] = json!(value);
    object
}

/// What the API server warns of when this user runs this; it must succeed.
async fn warned(tenant: &Tenant<'_>, who: &std::path::Path, args: &[&str], object: &Value) -> Result<String> {
    let output = tenant.lab.plane.kubectl(who, args, Some(&object.to_string())).await?;
    ensure!(output.status.success(), "refused: {}", output.stderr);
    Ok(output.stderr)
}

const TRY: [&str; 4] = ["create", "--dry-run=server", "-f", "-"];

fn tells(warning: &str, parts: &[&str]) -> Result<()> {
    ensure!(parts.iter().all(|part| warning.contains(part)), "{warning:?} does not say {parts:?}");
    Ok(())
}

async fn leases_and_decisions(tenant: &Tenant<'_>) -> Result<()> {
    tenant.lifecycle("nightly", |_| {}).await?;
    let (who, lease) = (tenant.requester.kubeconfig.as_path(), tenant.lease_json("run", "nightly", |_| {}));
    for mark in MARKS {
        let warning = warned(tenant, who, &TRY, &marked(lease.clone(), mark)).await?;
        tells(&warning, &["Warning:", "CredentialLease does not belong in Git", mark.1, "spec.standing"])?;
    }
    for manager in MANAGERS {
        let flag = format!("--field-manager={manager}");
        let warning = warned(tenant, who, &[&TRY[..], &[&flag]].concat(), &lease).await?;
        tells(&warning, &["Warning:", &format!("(field manager {manager})")])?;
    }
    // Warned of, it is made all the same; and who asks by hand is told nothing.
    warned(tenant, who, &["create", "-f", "-"], &marked(lease, MARKS[4])).await?;
    let lease = tenant.lease_in("run", Phase::Active).await?;
    let by_hand = marked(tenant.lease_json("other", "nightly", |_| {}), ("labels", "app.kubernetes.io/instance", "x"));
    let warning = warned(tenant, who, &TRY, &by_hand).await?;
    ensure!(warning.is_empty(), "{warning}");

    let person = Person::approver(tenant, "lead").await?;
    let (who, word) = (person.user.kubeconfig.as_path(), person.word(&lease, "Revoked", |_| {})?);
    let warning = warned(tenant, who, &TRY, &word).await?;
    ensure!(warning.is_empty(), "{warning}");
    let warning = warned(tenant, who, &TRY, &marked(word, MARKS[1])).await?;
    tells(
        &warning,
        &["Warning:", "CredentialLeaseDecision does not belong in Git", MARKS[1].1, "kubectl lease approve"],
    )
}

async fn stops(tenant: &Tenant<'_>) -> Result<()> {
    let who = tenant.lab.plane.admin_kubeconfig();
    let lifecycle = |change: &dyn Fn(&mut Value)| marked(tenant.lifecycle_json("deployer", |s| change(s)), MARKS[0]);
    let (plain, held) = (lifecycle(&|_| {}), lifecycle(&|spec| spec["stopPolicy"] = json!("Hold")));
    let none = lifecycle(&|spec| spec["stopPolicy"] = json!("None"));
    tells(&warned(tenant, who, &TRY, &held).await?, &["Warning:", "stopPolicy does not belong in Git", MARKS[0].1])?;
    tells(&warned(tenant, who, &TRY, &none).await?, &["Warning:", "has set it to None"])?;
    let policy = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy",
        "metadata": {"name": format!("{}-stop", tenant.namespace)}, "spec": {"stopPolicy": "Hold"}});
    ensure!(warned(tenant, who, &TRY, &policy).await?.is_empty(), "a stop by hand");
    tells(&warned(tenant, who, &TRY, &marked(policy, MARKS[4])).await?, &["Warning:", MARKS[4].1])?;

    // A lifecycle in Git that leaves it out, and is stopped by hand: neither the stop nor the next sync is warned of.
    let sync = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"];
    ensure!(warned(tenant, who, &sync, &plain).await?.is_empty(), "nothing is stopped");
    let stop = r#"{"spec":{"stopPolicy":"Hold"}}"#;
    let patch = ["patch", "sal", "deployer", "-n", &tenant.namespace, "--type=merge", "-p", stop];
    ensure!(warned(tenant, who, &patch, &Value::Null).await?.is_empty(), "a stop by hand");
    ensure!(warned(tenant, who, &sync, &plain).await?.is_empty(), "the sync leaves it as it is");
    let warning = warned(tenant, who, &sync, &none).await?;
    tells(&warning, &["Warning:", "(field manager argocd-controller)", "has set it to None"])
}

/// Waits until the policies bite, and the API server has found no fault in them.
async fn in_force(tenant: &Tenant<'_>, admin: Client) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin);
    let lifecycle = tenant.lifecycle_json("probe", |spec| spec["stopPolicy"] = json!("Hold"));
    let lease = tenant.lease_json("probe", "probe", |_| {});
    eventually_seeing("both policies to warn", Duration::from_secs(30), || async {
        for name in ["leasehold-warn-synced-lease", "leasehold-warn-synced-stop"] {
            let Some(checked) = policies.get(name).await?.status.and_then(|s| s.type_checking) else {
                return Ok(Look::NotYet(format!("{name} is not checked")));
            };
            let faults = checked.expression_warnings.unwrap_or_default();
            ensure!(faults.is_empty(), "{name}: {faults:?}");
        }
        let said = warned(tenant, tenant.lab.plane.admin_kubeconfig(), &TRY, &marked(lifecycle.clone(), MARKS[0]))
            .await?
            + &warned(tenant, &tenant.requester.kubeconfig, &TRY, &marked(lease.clone(), MARKS[0])).await?;
        Ok::<_, anyhow::Error>(if said.matches("Warning:").count() == 2 { Look::Done(()) } else { Look::NotYet(said) })
    })
    .await
}

#[test]
fn what_does_not_belong_in_git_is_warned_of_and_never_refused() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("synced").await?;
        lab.kubectl(&["apply", "-k", &lab.config("gitops-warnings")], None).await?;
        let outcome = async {
            in_force(&tenant, lab.plane.admin()).await?;
            leases_and_decisions(&tenant).await.context("leases and decisions")?;
            stops(&tenant).await.context("stops")
        };
        let outcome = outcome.await;
        lab.kubectl(&["delete", "-k", &lab.config("gitops-warnings")], None).await?;
        outcome
    });
}
