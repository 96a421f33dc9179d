//! The whole of it, once: a request is raised, a ticket checked, a person agrees, a token is issued and written to a secrets store
//! and a CI variable, a Job runs with it and completes, everything is taken back, the credential is dead, that is proven, and the
//! ticket is told.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use leasehold::api::{
    ConnectedSystem,
    reasons::{EndReason, Phase},
    workflow::StepState,
};
use leasehold_harness::{OpenBao, Other, User, eventually};
use serde_json::{Value, json};

use crate::support::{Holder, Lab, Person, Tenant, condition_of, is_conform, run};

/// The shipped system, led to an OpenBao of ours.
async fn secrets_store(lab: &Lab, bao: &OpenBao, name: &str) -> Result<()> {
    let shipped = std::fs::read_to_string(lab.config("systems/openbao.yaml"))?;
    let mut system: ConnectedSystem = serde_saphyr::from_str(&shipped)?;
    system.metadata.name = Some(name.to_owned());
    let vault = system.spec.vault.as_mut().context("a Vault")?;
    (vault.url, vault.ca_bundle) = (bao.url().to_owned(), Some(bao.ca_pem().to_owned()));
    lab.kubectl(&["apply", "-f", "-"], Some(&serde_json::to_string(&system)?)).await?;
    lab.kubectl(&["wait", "csys", name, "--for=condition=Ready", "--timeout=60s"], None).await.map(drop)
}

async fn plugin(user: &User, namespace: &str, args: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lease"));
    command.env("KUBECONFIG", &user.kubeconfig).args(args).args(["-n", namespace]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    Ok((output.status.code().unwrap_or(-1), text))
}

async fn lifecycle(tenant: &Tenant<'_>, store: &str, other: &str) -> Result<()> {
    tenant.lifecycle("releaser", |spec| {
        spec["terms"]["approval"] = json!({"type": "Required", "contact": "#leads"});
        spec["workflow"] = json!([
            {"name": "change-approved", "at": "Request", "system": other, "operation": "gate", "with": {"key": "CHG-7"}},
            {"name": "secrets-store", "at": "Issue", "system": store, "operation": "write-lease", "undo": "delete-lease"},
            {"name": "ci-variable", "at": "Issue", "system": other, "operation": "set-token", "undo": "unset", "with": {"key": "KUBE_TOKEN"}},
            {"name": "change-told", "at": "Revoke", "system": other, "operation": "tell", "with": {"key": "CHG-7"}},
        ]);
    }).await?;
    tenant
        .lifecycle_says("releaser", "WorkflowAllowed", leasehold::api::ConditionStatus::True, "Allowed")
        .await
        .map(drop)
}

#[test]
fn from_a_request_to_the_proof_across_every_system() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, other) = (lab.tenant("mission").await?, Other::start().await?);
        let bao = OpenBao::start(&lab.plane).await?;
        let (store, tickets) = (format!("{}-store", tenant.namespace), format!("{}-tickets", tenant.namespace));
        secrets_store(lab, &bao, &store).await?;
        lab.kubectl(&["apply", "-f", "-"], Some(&other.system(&tickets).to_string())).await?;
        lifecycle(&tenant, &store, &tickets).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let reads = [
            "create",
            "clusterrolebinding",
            &tenant.namespace,
            "--clusterrole=leasehold-auditor",
            "--user",
            &tenant.requester.name,
        ];
        lab.kubectl(&reads, None).await?;

        // What would it call? Nothing is called.
        let check = ["check", "releaser", "--ticket", "CHG-7", "--delivery", "Secret", "--workflow"];
        let (code, said) = plugin(&tenant.requester, &tenant.namespace, &check).await?;
        ensure!(code == 0 && said.contains("It would call, in this order; nothing was called"), "{code}: {said}");
        let order: Vec<usize> = ["change-approved", "secrets-store", "ci-variable", "takes it back", "change-told"]
            .iter()
            .filter_map(|word| said.find(word))
            .collect();
        ensure!(order.len() == 5 && order.is_sorted() && said.contains("\"value\":\"***\""), "{said}");
        ensure!(other.calls("CHG-7").is_empty() && other.calls("KUBE_TOKEN").is_empty());

        let ask = [
            "request",
            "releaser",
            "--name",
            "rollout",
            "--ticket",
            "CHG-7",
            "--ttl",
            "10m",
            "--delivery",
            "Secret",
            "--reason",
            "roll out",
            "--completion",
            "job/rollout",
        ];
        let (code, said) = plugin(&tenant.requester, &tenant.namespace, &ask).await?;
        ensure!(code == 0, "{code}: {said}");
        let waiting = tenant.lease_in("rollout", Phase::AwaitingApproval).await?;
        is_conform(&waiting)?;
        ensure!(other.calls("CHG-7").len() == 1, "the ticket is looked up before anybody is bothered");
        ensure!(other.value("KUBE_TOKEN").is_none(), "nothing is done before somebody has agreed");
        alice.decides(&waiting, "Approved").await?;
        let lease = tenant.lease_in("rollout", Phase::Active).await?;
        is_conform(&lease)?;

        let uid = lease.metadata.uid.clone().context("a UID")?;
        let path = format!("leases/{}/releaser/{uid}", tenant.namespace);
        let held = bao.secret(&path).await?.context("it is in the secrets store")?;
        let variable: Value = serde_json::from_str(&other.value("KUBE_TOKEN").context("the variable")?)?;
        ensure!(held["token"] == variable["value"]);
        let holder = Holder::new(&tenant, held["token"].as_str().context("a token")?)?;
        ensure!(holder.reads().await? == 200);

        // The real Job controller makes the pod; there is no node to run it, so its end is written by hand.
        let (jobs, pods): (Api<Job>, Api<Pod>) = (
            Api::namespaced(tenant.admin.clone(), &tenant.namespace),
            Api::namespaced(tenant.admin.clone(), &tenant.namespace),
        );
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "rollout"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/main"}]}}}});
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
        let of_job = ListParams::default().labels("job-name=rollout");
        let made = || async { Ok::<_, anyhow::Error>(pods.list(&of_job).await?.items.into_iter().next()) };
        let made = eventually("the Job's pod", Duration::from_secs(30), made).await?;
        let status = json!({"status": {"phase": "Succeeded"}});
        pods.patch_status(&made.metadata.name.context("a name")?, &PatchParams::default(), &Patch::Merge(status))
            .await?;

        let over = tenant
            .lease_is("rollout", "told", |lease| {
                let steps = lease.status.as_ref().map(|s| s.steps.clone()).unwrap_or_default();
                steps.iter().any(|s| s.name == "change-told" && s.state == StepState::Done)
            })
            .await?;
        is_conform(&over)?;
        let status = over.status.clone().context("a status")?;
        ensure!(
            status.phase == Some(Phase::Completed) && status.end_reason == Some(EndReason::TaskCompleted),
            "{status:?}"
        );
        for condition in ["Revoked", "RolledBack"] {
            ensure!(condition_of(&over, condition)?.status == leasehold::api::ConditionStatus::True, "{condition}");
        }
        ensure!(bao.secret(&path).await?.is_none() && other.value("KUBE_TOKEN").is_none());
        ensure!(holder.reads().await? == 401);
        let told: Value = serde_json::from_str(&other.calls("CHG-7").pop().context("told")?.body)?;
        ensure!(told["ended"] == "TaskCompleted" && told["evidence"] == "TokenReviewRefused", "{told}");

        let (code, said) = plugin(&tenant.requester, &tenant.namespace, &["show", "rollout"]).await?;
        ensure!(code == 0, "{said}");
        for line in [
            "GatePassed by leasehold",
            "Approved by",
            "StepDone by leasehold",
            "Ended by leasehold",
            "StepUndone by leasehold",
            "Revoked by leasehold",
            "change-told",
        ] {
            ensure!(said.contains(line), "{line} is not in\n{said}");
        }
        lab.nothing_left_of(&uid).await
    });
}
