//! Leases that are tied to what they were asked for: by an ownerReference, or to the pod that asked.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use leasehold::api::reasons::{EndReason, Evidence};
use serde_json::json;

use crate::{
    cli_ask::plugin::{Shell, said},
    ends::told,
    support::{Holder, Lab, Person, run},
};

#[test]
fn a_lease_is_collected_with_its_owner_and_its_credential_dies() {
    run(async {
        let tenant = Lab::shared().await?.tenant("pipe-owned").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        Person::requester(&tenant).await?;
        let shell = Shell::of(&tenant)?;
        // What a Workflow or a PipelineRun is to the garbage collector.
        let api: Api<ConfigMap> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        let owner = serde_json::from_value(json!({"metadata": {"name": "release-7"}}))?;
        let owner = api.create(&PostParams::default(), &owner).await?.metadata.uid.context("no uid")?;
        let by = format!("--owner=v1/ConfigMap/release-7/{owner}");
        let ask = [
            "request", "deployer", "--grant", "read", "--ttl", "10m", "--reason", "x", "--name", "owned", &by, "--wait",
        ];
        shell.lease(&ask).await?.ended(0, "active until")?;
        let lease = tenant.leases().get("owned").await?;
        let uid = lease.metadata.uid.clone().context("no uid")?;
        let owners = lease.metadata.owner_references.unwrap_or_default();
        ensure!(owners.len() == 1 && owners[0].uid == owner && owners[0].kind == "ConfigMap", "{owners:?}");
        let token = shell.lease(&["token", "owned"]).await?.ended(0, "")?.stdout;
        let holder = Holder::new(&tenant, token.trim())?;
        ensure!(holder.reads().await? == 200, "the token works while its owner is there");

        // `run` asks for its own: this one would end under it.
        let ran = shell.lease(&["run", "deployer", "--grant", "read", "--", "true"]).await?.ended(0, ": revoked")?;
        ensure!(!ran.stderr.contains("using lease"), "{ran:?}");

        tenant.lab.kubectl(&["delete", "configmap", "release-7", "-n", &tenant.namespace], None).await?;
        holder.until(&[401], Duration::from_millis(100), Duration::from_secs(60)).await?;
        ensure!(tenant.leases().get_opt("owned").await?.is_none(), "the lease was collected");
        tenant.lab.nothing_left_of(&uid).await?;
        told(tenant.lab, &uid, &[EndReason::LeaseDeleted], Evidence::AccountGoneAndWaited).await
    });
}

#[test]
fn a_cronjobs_pod_asks_as_its_own_account_and_its_lease_is_tied_to_it() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("pipe-pod").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        let namespace = tenant.namespace.as_str();
        lab.kubectl(&["create", "serviceaccount", "ci", "-n", namespace], None).await?;
        let account = format!("--serviceaccount={namespace}:ci");
        let bind = ["create", "rolebinding", "ci", "-n", namespace, "--clusterrole=leasehold-requester", &account];
        lab.kubectl(&bind, None).await?;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nightly-x7", "namespace": namespace},
            "spec": {"serviceAccountName": "ci", "containers": [{"name": "c", "image": "registry.example.com/books:1"}]},
        });
        lab.kubectl(&["create", "-f", "-"], Some(&pod.to_string())).await?;
        let token =
            ["create", "token", "ci", "-n", namespace, "--bound-object-kind=Pod", "--bound-object-name=nightly-x7"];
        let token = lab.kubectl(&token, None).await?;
        let shell = Shell::with(&tenant, &lab.plane.token_kubeconfig(namespace, token.trim())?)?;
        let script = "echo $LEASEHOLD_LEASE > name; kubectl get configmap ledger -o name";
        let args = ["run", "nightly", "--grant", "read", "--ttl", "5m", "--", "sh", "-c", script];
        let ran = said(shell.start(&args)?).await?.ended(0, ": revoked")?;
        ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        let lease = tenant.leases().get(shell.written("name").await?.trim()).await?;
        let (completion, by) = (lease.spec.completion_ref.context("it ends with no pod")?, lease.spec.requested_by);
        ensure!(completion.kind.as_str() == "Pod" && completion.name == "nightly-x7", "{completion:?}");
        ensure!(by.pod_name.as_deref() == Some("nightly-x7"), "{by:?}");
        // Without `run`, or with a lease that is to stay, nothing is tied to it.
        let kept = ["request", "nightly", "--grant", "read", "--reason", "x", "--name", "kept"];
        shell.lease(&kept).await?.ended(0, "")?;
        ensure!(tenant.leases().get("kept").await?.spec.completion_ref.is_none(), "a request is not a pod's own");
        Ok(())
    });
}
