//! The plugin's commands that ask for leases and use them, on PATH beside an unmodified kubectl.

pub mod plugin;

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::ListParams};
use leasehold::api::{
    CredentialLeaseDecision,
    decision::DecisionType,
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Options, eventually};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use self::plugin::{Shell, finish, said};
use crate::support::{Holder, Lab, Person, Tenant, run};

/// A tenant with a lifecycle, and its requester's shell.
async fn ground(label: &str) -> Result<(Tenant<'static>, Shell)> {
    let tenant = Lab::shared().await?.tenant(label).await?;
    tenant.lifecycle("deployer", |_| {}).await?;
    Person::requester(&tenant).await?;
    let shell = Shell::of(&tenant)?;
    Ok((tenant, shell))
}

/// The UID of a lease.
async fn uid(tenant: &Tenant<'_>, name: &str) -> Result<String> {
    tenant.leases().get(name).await?.metadata.uid.context("no uid")
}

/// That a lease was ended by a decision, and nothing of it gives a right any more.
async fn is_revoked(tenant: &Tenant<'_>, name: &str) -> Result<()> {
    let status = tenant.leases().get(name).await?.status.context("no status")?;
    ensure!(status.end_reason == Some(EndReason::DecisionRevoked), "{name}: {:?}", status.end_reason);
    let removed = status.credential.and_then(|c| c.revocation_time);
    ensure!(removed.is_some(), "the command ended before its lease's account did");
    let by: Vec<_> = status.decisions.iter().map(|d| (d.decision, d.by.as_str())).collect();
    ensure!(by == [(DecisionType::Revoked, tenant.requester.name.as_str())], "{by:?}");
    Ok(())
}

#[test]
fn a_lease_that_was_waited_for_is_used_by_token_kubeconfig_and_an_unmodified_kubectl() {
    run(async {
        let (tenant, shell) = ground("cli-use").await?;
        let args = ["request", "deployer", "--grant", "read", "--ttl", "5m", "--reason", "a test", "--wait"];
        let asked = shell.lease(&args).await?.ended(0, "active until ")?;
        let name = asked.stdout.trim().strip_suffix(" created").context(asked.stdout.clone())?;
        ensure!(name.starts_with("credentiallease.leasehold.dev/deployer-"), "{name}");
        let bare = name.rsplit('/').next().context("no name")?.to_owned();
        let lease = tenant.leases().get(&bare).await?;
        ensure!(lease.spec.requested_by.username == tenant.requester.name, "{:?}", lease.spec.requested_by);

        let token = shell.lease(&["token", name]).await?.ended(0, "")?.stdout;
        ensure!(Holder::new(&tenant, token.trim())?.reads().await? == 200, "the token reads the ledger");
        shell.lease(&["token", name, "--duration", "5m"]).await?.ended(2, "shorter than 10m")?;
        shell.lease(&["token", name, "--duration", "1h"]).await?.ended(120, "at most 600 seconds")?;

        let file = shell.file("as-lease");
        let file = file.to_string_lossy();
        shell.lease(&["kubeconfig", name, "--write", &file]).await?.ended(0, "written")?;
        let written = std::fs::read_to_string(&*file)?;
        ensure!(!written.contains("eyJ") && !written.contains("client-key"), "it holds no credential: {written}");
        shell.lease(&["kubeconfig", name, "--write", &file]).await?.ended(1, "cannot be written")?;
        let kubectl = |args: &[&str]| {
            let mut command = shell.command(&shell.file("kubectl").to_string_lossy());
            command.args(args).env("KUBECONFIG", &*file);
            finish(command)
        };
        let maps = kubectl(&["get", "configmaps", "-o", "name"]).await?.ended(0, "")?;
        ensure!(maps.stdout.contains("configmap/ledger"), "{maps:?}");
        kubectl(&["get", "secrets"]).await?.ended(1, "Forbidden")?;

        // Ten commands under one lease cost one request.
        let under = ["run", "deployer", "--grant", "read", "--", "kubectl", "get", "configmaps", "-o", "name"];
        let ran = shell.lease(&under).await?.ended(0, &format!("using lease {}/{bare}", tenant.namespace))?;
        ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        tenant.lease_in(&bare, Phase::Active).await?;
        ensure!(tenant.leases().list(&Default::default()).await?.items.len() == 1, "it is not asked for again");

        tenant.change_lifecycle("deployer", json!({"spec": {"stopPolicy": "HoldAndRevoke"}})).await?;
        tenant.lease_in(&bare, Phase::Revoked).await?;
        shell.lease(&["credential", "--lease", &bare]).await?.ended(122, "has ended (LifecycleStopped)")?;
        shell.lease(&["token", &bare]).await?.ended(122, "ask for another one")?;
        Ok(())
    });
}

#[test]
fn a_command_runs_under_a_lease_of_its_own_and_its_exit_code_is_passed_on() {
    run(async {
        let (tenant, shell) = ground("cli-run").await?;
        let script = "echo $LEASEHOLD_NAMESPACE/$LEASEHOLD_LEASE > who; stat -c %a $KUBECONFIG $(dirname $KUBECONFIG) > modes; \
                      kubectl get configmaps -o name; kubectl get secrets; kubectl auth whoami -o jsonpath={.status.userInfo.username} > me; \
                      echo $KUBECONFIG > where; exit 42";
        let child = shell.start(&["run", "deployer", "--", "sh", "-c", script])?;
        let who = shell.written("who").await?;
        let name = who.trim().strip_prefix(&format!("{}/", tenant.namespace)).context(who.clone())?.to_owned();
        let ran = said(child).await?.ended(42, "Forbidden")?;
        ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        ensure!(shell.written("modes").await? == "600\n700\n", "only its owner reads the kubeconfig");
        let me = std::fs::read_to_string(shell.file("me"))?;
        ensure!(
            me.starts_with(&format!("system:serviceaccount:leasehold-leases:{}.deployer.", tenant.namespace)),
            "{me}"
        );
        ensure!(!std::path::Path::new(shell.written("where").await?.trim()).exists(), "the kubeconfig is removed");
        is_revoked(&tenant, &name).await
    });
}

#[test]
fn an_interrupted_command_leaves_nothing_alive() {
    run(async {
        let (tenant, shell) = ground("cli-int").await?;
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
            let file = format!("started-{code}");
            let script = format!("echo $LEASEHOLD_LEASE > {file}; sleep 60 & wait");
            let child = shell.start(&["run", "deployer", "--grant", "read", "--", "sh", "-c", &script])?;
            let name = shell.written(&file).await?.trim().to_owned();
            let uid = uid(&tenant, &name).await?;
            ensure!(!tenant.lab.made_for(&uid).await?.is_empty(), "the lease has an account");
            kill(Pid::from_raw(child.id().context("it has ended")?.try_into()?), signal)?;
            said(child).await?.ended(code, ": revoked").with_context(|| format!("{signal}"))?;
            is_revoked(&tenant, &name).await?;
            tenant.lab.nothing_left_of(&uid).await?;
        }
        Ok(())
    });
}

#[test]
fn on_a_terminal_a_command_reads_from_it_and_is_interrupted_once() {
    run(async {
        let (tenant, shell) = ground("cli-tty").await?;
        let script = "trap 'echo interrupted >> told' INT; read line; echo $LEASEHOLD_LEASE > read-$line; sleep 60; echo over >> told; exit 7";
        std::fs::write(shell.file("job"), script)?;
        let line = format!("exec kubectl-lease -n {} run deployer -- sh ./job", tenant.namespace);
        let mut command = shell.command("script");
        let mut child = command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).spawn()?;
        let mut keys = child.stdin.take().context("no stdin")?;
        keys.write_all(b"typed\n").await?;
        let name = shell.written("read-typed").await?.trim().to_owned();
        tokio::time::sleep(Duration::from_millis(300)).await;
        keys.write_all(b"\x03").await?;
        let ran = said(child).await?.ended(7, "")?;
        ensure!(ran.stdout.contains("active") || ran.stdout.contains(": revoked"), "{ran:?}");
        ensure!(std::fs::read_to_string(shell.file("told"))? == "interrupted\nover\n", "one Ctrl-C is one signal");
        is_revoked(&tenant, &name).await
    });
}

#[test]
fn a_command_does_not_outlive_its_lease() {
    run(async {
        let (tenant, shell) = ground("cli-under").await?;
        let script = "trap 'echo told > told; exit 0' TERM; echo $LEASEHOLD_LEASE > started; sleep 60 & wait";
        let child = shell.start(&["run", "deployer", "--grant", "read", "--", "sh", "-c", script])?;
        let name = shell.written("started").await?.trim().to_owned();
        tenant.delete_lease(&name).await?;
        said(child).await?.ended(122, "was deleted")?;
        ensure!(shell.written("told").await? == "told\n", "it was told to end");

        // One that does not listen is ended.
        let script = "trap '' TERM; echo $LEASEHOLD_LEASE > deaf; while :; do sleep 1; done";
        let args = ["run", "deployer", "--grant", "read", "--grace", "1s", "--", "sh", "-c", script];
        let child = shell.start(&args)?;
        let name = shell.written("deaf").await?.trim().to_owned();
        tenant.delete_lease(&name).await?;
        said(child).await?.ended(122, "has 1 s for it").map(drop)
    });
}

#[test]
fn whoever_waits_is_told_for_whom_and_what_they_said() {
    run(async {
        let (tenant, shell) = ground("cli-wait").await?;
        tenant
            .lifecycle("careful", |spec| spec["terms"]["approval"] = json!({"type": "Required", "contact": "#pay"}))
            .await?;
        let lead = Person::approver(&tenant, "lead").await?;
        let ask =
            |name: &'static str| ["request", "careful", "--grant", "read", "--reason", "x", "--name", name, "--wait"];
        for (name, word, code, told) in [
            ("agreed", "Approved", 0, "active until"),
            ("denied", "Denied", 121, "was denied"),
            ("revoked", "Revoked", 121, "was revoked"),
        ] {
            let child = shell.start(&ask(name))?;
            let lease = tenant.lease_in(name, Phase::AwaitingApproval).await?;
            lead.decides(&lease, word).await?;
            let said = said(child).await?.ended(code, told)?;
            ensure!(
                said.stderr.contains("waiting for approval, 0 of 1 so far: ") && said.stderr.contains("#pay"),
                "{said:?}"
            );
        }

        // Somebody revokes what a command runs under.
        let script = "echo $LEASEHOLD_LEASE > under; sleep 60 & wait";
        let child = shell.start(&["run", "careful", "--grant", "read", "--", "sh", "-c", script])?;
        let name = shell.written("under").await?.trim().to_owned();
        ensure!(name == "agreed", "the lease that was agreed to is used: {name}");
        lead.decides(&tenant.leases().get(&name).await?, "Revoked").await?;
        said(child).await?.ended(122, "has ended (DecisionRevoked)").map(drop)
    });
}

#[test]
fn what_is_refused_says_what_to_do_and_has_its_exit_code() {
    run(async {
        let tenant = Lab::shared().await?.tenant("cli-no").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        let shell = Shell::of(&tenant)?;
        let ask = ["--reason", "a test", "--wait", "--grant", "read"];
        let with = |args: &[&'static str]| [args, &ask].concat();
        shell.lease(&with(&["request", "absent"])).await?.ended(120, "absent")?;
        shell.lease(&with(&["request", "deployer", "--ttl", "2h"])).await?.ended(120, "1h")?;
        shell.lease(&with(&["request", "deployer", "--ttl", "5s"])).await?.ended(120, "write a ttl from 30s")?;
        shell.lease(&["request", "deployer", "--reason", "x"]).await?.ended(2, "say with --grant")?;
        shell.lease(&["request", "deployer", "--grant", "read"]).await?.ended(2, "say --reason TEXT")?;
        shell
            .lease(&["run", "deployer", "--grant", "read", "--", "no-such-command"])
            .await?
            .ended(127, "is not found")?;

        // The author may read lifecycles, and may not lease.
        let author = Shell::with(&tenant, &tenant.author.kubeconfig)?;
        author.lease(&["request", "absent", "--reason", "x"]).await?.ended(120, "there is no lifecycle absent")?;
        author.lease(&["request", "deployer", "--reason", "x"]).await?.ended(120, "cannot create resource")?;

        // Nobody answers: the port is free as soon as it is known.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let nowhere = shell.file("nowhere");
        let config = std::fs::read_to_string(&tenant.requester.kubeconfig)?;
        std::fs::write(&nowhere, config.replace(tenant.lab.plane.url(), &format!("https://127.0.0.1:{port}")))?;
        let shell = Shell::with(&tenant, &nowhere)?;
        shell.lease(&with(&["request", "deployer"])).await?.ended(125, "cannot be reached")?;
        Ok(())
    });
}

#[test]
fn whoever_stops_waiting_withdraws_the_request() {
    run(async {
        // Without an operator nothing becomes active, and what was withdrawn stays to be seen.
        let lab = Lab::installed(Options::default()).await?;
        let tenant = lab.tenant("cli-late").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        let shell = Shell::of(&tenant)?;
        let ask = |name: &'static str| {
            ["request", "deployer", "--grant", "read", "--reason", "x", "--name", name, "--wait", "--timeout", "3s"]
        };
        let late = shell.lease(&ask("late")).await?.ended(124, "was not active in time (waiting for the operator)")?;
        ensure!(late.stderr.contains("was withdrawn: deleted (you may not create"), "{late:?}");
        ensure!(tenant.leases().get_opt("late").await?.is_none(), "it is deleted where its requester may not decide");
        shell.lease(&[&ask("kept")[..], &["--keep"]].concat()).await?.ended(124, "goes on waiting")?;
        tenant.leases().get("kept").await?;
        let again = shell.lease(&ask("kept")).await?.ended(120, "there is a lease kept already")?;
        ensure!(again.stdout.is_empty(), "{again:?}");

        Person::requester(&tenant).await?;
        shell.lease(&ask("later")).await?.ended(124, "was withdrawn: revoked")?;
        let uid = uid(&tenant, "later").await?;

        let args = ["run", "deployer", "--grant", "read", "--name", "unwanted", "--", "touch", "ran"];
        let child = shell.start(&args)?;
        eventually("the lease to be asked for", Duration::from_secs(30), || async {
            tenant.leases().get_opt("unwanted").await
        })
        .await?;
        kill(Pid::from_raw(child.id().context("it has ended")?.try_into()?), Signal::SIGINT)?;
        said(child).await?.ended(130, "lease cli-late-0/unwanted was withdrawn: revoked")?;
        ensure!(!shell.file("ran").exists(), "nothing ran without a lease");

        let decisions: Api<CredentialLeaseDecision> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        let decisions = decisions.list(&ListParams::default()).await?.items;
        ensure!(
            decisions.len() == 2 && decisions.iter().all(|d| d.spec.decision == DecisionType::Revoked),
            "{decisions:?}"
        );
        let later = decisions.iter().find(|d| d.spec.lease_ref.name == "later").context("no decision")?;
        ensure!(
            later.spec.lease_ref.uid == uid && later.spec.decided_by.username == tenant.requester.name,
            "{later:?}"
        );
        lab.stop().await
    });
}

#[test]
fn whoever_may_not_watch_waits_by_reading() {
    run(async {
        let (tenant, _) = ground("cli-poll").await?;
        let user = tenant.lab.plane.user(&format!("{}-poor", tenant.namespace), &[])?;
        let role = ["create", "role", "poor", "--verb=create,get,delete", "--resource=credentialleases.leasehold.dev"];
        let lease =
            ["create", "role", "poor-lease", "--verb=lease", "--resource=serviceaccountlifecycles.leasehold.dev"];
        for args in [&role, &lease] {
            tenant.lab.kubectl(&[&args[..], &["-n", &tenant.namespace]].concat(), None).await?;
            let bind =
                ["create", "rolebinding", args[2], "--role", args[2], "--user", &user.name, "-n", &tenant.namespace];
            tenant.lab.kubectl(&bind, None).await?;
        }
        let shell = Shell::with(&tenant, &user.kubeconfig)?;
        let args = ["run", "deployer", "--grant", "read", "--", "kubectl", "get", "configmaps", "-o", "name"];
        let ran = shell.lease(&args).await?.ended(0, "lease ")?;
        ensure!(ran.stdout.contains("configmap/ledger"), "{ran:?}");
        Ok(())
    });
}

#[test]
fn kubectl_completes_what_the_cluster_has() {
    run(async {
        let (tenant, shell) = ground("cli-tab").await?;
        tenant.lease("rollout", "deployer", |_| {}).await?;
        let mut command = shell.command(&shell.file("kubectl").to_string_lossy());
        command.args(["__complete", "lease", "-n", &tenant.namespace, "token", "roll"]);
        let offered = finish(command).await?.ended(0, "")?;
        ensure!(offered.stdout.lines().next() == Some("rollout"), "{offered:?}");
        Ok(())
    });
}

#[test]
fn an_init_container_brings_the_executable_along() {
    run(async {
        let (_, shell) = ground("cli-install").await?;
        let dir = shell.file("shared");
        std::fs::create_dir(&dir)?;
        shell.lease(&["install", &dir.to_string_lossy()]).await?.ended(0, "")?;
        let mut command = shell.command(&dir.join("kubectl-lease").to_string_lossy());
        command.arg("--version");
        ensure!(
            tokio::time::timeout(Duration::from_secs(10), finish(command)).await??.stdout.starts_with("kubectl-lease ")
        );
        Ok(())
    });
}
