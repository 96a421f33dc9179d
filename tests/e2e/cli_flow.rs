//! From the request to the end as people and pipelines live it: one asks, another agrees, unmodified clients work under it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use leasehold::api::{
    CredentialLease,
    reasons::{EndReason, Evidence, Phase},
};
use leasehold_harness::{Record, assets, eventually};
use serde_json::json;

use crate::{
    cli_ask::plugin::{Shell, finish, said},
    support::{Lab, Person, Tenant, run},
};

/// A lifecycle that asks, the shell of the pipeline, and the shell of one who may approve.
async fn ground(label: &str) -> Result<(Tenant<'static>, Shell, Shell)> {
    let tenant = Lab::shared().await?.tenant(label).await?;
    tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = json!({"contact": "#leads"})).await?;
    Person::requester(&tenant).await?;
    let alice = Person::approver(&tenant, "alice").await?;
    let (pipeline, person) = (Shell::of(&tenant)?, Shell::with(&tenant, &alice.user.kubeconfig)?);
    Ok((tenant, pipeline, person))
}

/// The one lease that waits for an approval.
async fn waiting(tenant: &Tenant<'_>) -> Result<String> {
    let api = tenant.leases();
    eventually("a lease to wait for an approval", Duration::from_secs(30), || async {
        let waits = |l: &CredentialLease| l.status.as_ref().and_then(|s| s.phase) == Some(Phase::AwaitingApproval);
        let all = api.list(&ListParams::default()).await?;
        Ok::<_, anyhow::Error>(all.into_iter().find(waits).and_then(|l| l.metadata.name))
    })
    .await
}

/// A lease of ten minutes that the pipeline asked for and the person agreed to.
async fn approved(tenant: &Tenant<'_>, pipeline: &Shell, person: &Shell) -> Result<String> {
    let ask =
        ["request", "deployer", "--ttl", "10m", "--reason", "a release", "--wait", "--timeout", "60s", "-o", "name"];
    let child = pipeline.start(&ask)?;
    let name = waiting(tenant).await?;
    person.lease(&["approve", &name, "--reason", "agreed", "--yes"]).await?.ended(0, "")?;
    said(child).await?.ended(0, "")?;
    Ok(name)
}

#[test]
fn a_command_waits_for_a_second_person_runs_and_leaves_nothing_alive() {
    run(async {
        let (tenant, pipeline, person) = ground("flow-run").await?;
        let args = ["run", "deployer", "--timeout", "60s", "--", "kubectl", "get", "configmaps", "-o", "name"];
        let child = pipeline.start(&args)?;
        let name = waiting(&tenant).await?;
        let shown = person.lease(&["approve", &name, "--reason", "seen the change", "--yes"]).await?.ended(0, "")?;
        let shown = format!("{}{}", shown.stdout, shown.stderr);
        for part in [&tenant.requester.name, "get,list on configmaps of core", "deployer"] {
            ensure!(shown.contains(part), "the approver does not see {part}: {shown}");
        }
        let ran = said(child).await?.ended(0, "#leads")?;
        ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        let lease = tenant.lease_in(&name, Phase::Revoked).await?;
        ensure!(lease.status.as_ref().and_then(|s| s.end_reason) == Some(EndReason::DecisionRevoked));
        tenant.lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}

#[test]
fn a_denial_ends_the_wait_with_its_own_exit_code() {
    run(async {
        let (tenant, pipeline, person) = ground("flow-deny").await?;
        let child = pipeline.start(&["run", "deployer", "--timeout", "60s", "--", "kubectl", "version"])?;
        let name = waiting(&tenant).await?;
        person.lease(&["deny", &name, "--reason", "not today", "--yes"]).await?.ended(0, "")?;
        let refused = said(child).await?.ended(121, "not today")?;
        ensure!(refused.stdout.is_empty(), "the command was not run: {refused:?}");
        // Nobody approves his own.
        let child = pipeline.start(&["request", "deployer", "--reason", "again", "--wait", "--timeout", "60s"])?;
        let name = waiting(&tenant).await?;
        let approve =
            ["create", "rolebinding", "both", "-n", &tenant.namespace, "--clusterrole=leasehold-approver", "--user"];
        tenant.lab.kubectl(&[&approve[..], &[tenant.requester.name.as_str()]].concat(), None).await?;
        let own = pipeline.lease(&["approve", &name, "--reason", "I am in a hurry", "--yes"]).await?;
        ensure!(own.code == Some(120), "{own:?}");
        drop(child);
        Ok(())
    });
}

#[test]
fn ten_commands_under_one_lease_cost_one_approval() {
    run(async {
        let (tenant, pipeline, person) = ground("flow-ten").await?;
        let name = approved(&tenant, &pipeline, &person).await?;
        for _ in 0..10 {
            let args = ["run", "deployer", "--", "kubectl", "get", "configmap", "ledger", "-o", "name"];
            let ran = pipeline.lease(&args).await?.ended(0, "using lease")?;
            ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        }
        ensure!(tenant.leases().list(&ListParams::default()).await?.items.len() == 1, "one lease");
        let lease = tenant.lease_in(&name, Phase::Active).await?;
        ensure!(lease.status.is_some_and(|s| s.decisions.len() == 1), "one decision");
        pipeline.lease(&["revoke", &name, "--reason", "done", "--yes"]).await?.ended(0, "")?;
        tenant.lease_ended(&name, EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
        Ok(())
    });
}

#[test]
fn the_exec_plugin_drives_kubectl_helm_and_a_rust_client_until_the_end() {
    run(async {
        let helm = assets::go_tool(assets::HELM).await?;
        let (tenant, pipeline, person) = ground("flow-clients").await?;
        let name = approved(&tenant, &pipeline, &person).await?;
        let file = pipeline.file("as-lease");
        pipeline.lease(&["kubeconfig", &name, "--write", &file.to_string_lossy()]).await?.ended(0, "")?;
        let cursor = tenant.lab.plane.audit().cursor()?;

        let client = |program: &str, args: &[&str]| {
            let mut command = pipeline.command(program);
            command.args(args).env("KUBECONFIG", &file).env("HELM_DRIVER", "configmap");
            finish(command)
        };
        let kubectl = pipeline.file("kubectl").to_string_lossy().into_owned();
        let maps = client(&kubectl, &["get", "configmaps", "-o", "name"]).await?.ended(0, "")?;
        ensure!(maps.stdout.contains("configmap/ledger"), "{maps:?}");
        client(&kubectl, &["get", "secrets"]).await?.ended(1, "Forbidden")?;
        let listed =
            client(&helm.to_string_lossy(), &["list", "-n", &tenant.namespace, "-o", "json"]).await?.ended(0, "")?;
        ensure!(listed.stdout.trim() == "[]", "{listed:?}");
        // The client of this very process: its exec stanza is run by kube-rs.
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(&file)?, &options).await?;
        let api: Api<ConfigMap> = Api::namespaced(Client::try_from(config)?, &tenant.namespace);
        ensure!(
            api.list(&ListParams::default()).await?.iter().any(|map| map.metadata.name.as_deref() == Some("ledger"))
        );

        // Each minted as the pipeline, for this lease's account.
        tenant.lab.plane.audit().settled().await;
        let account = tenant
            .lease_in(&name, Phase::Active)
            .await?
            .status
            .and_then(|s| s.credential)
            .and_then(|c| c.service_account);
        let account = account.context("no account")?.name;
        let records = tenant.lab.plane.audit().read_since(cursor)?;
        let by_it = |r: &&Record| r.user == tenant.requester.name && r.name == account && r.subresource == "token";
        let mints = records.iter().filter(by_it);
        let mints = mints.count();
        ensure!(mints >= 4, "{mints} tokens were minted");

        person.lease(&["revoke", &name, "--reason", "enough", "--yes"]).await?.ended(0, "")?;
        tenant.lease_ended(&name, EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
        let refused = client(&kubectl, &["get", "configmaps"]).await?;
        ensure!(refused.code != Some(0) && refused.stderr.contains("ended"), "{refused:?}");
        let refused = client(&helm.to_string_lossy(), &["list", "-n", &tenant.namespace]).await?;
        ensure!(refused.code != Some(0), "{refused:?}");
        ensure!(api.list(&ListParams::default()).await.is_err(), "a token that is cached dies with its account");
        Ok(())
    });
}
