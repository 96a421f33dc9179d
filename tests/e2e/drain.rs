//! `leasehold drain`, as the account that is shipped for it and with no other right: before a removal every lease ends, with
//! proof; and also where no operator runs, no token outlives it.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::RoleBinding};
use kube::{Api, api::ListParams};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Act, Options, Other, eventually};
use serde_json::{Value, json};

use crate::support::{Holder, Lab, Tenant, run};

/// Drains as its own account.
struct Drain {
    kubeconfig: PathBuf,
}

impl Drain {
    async fn new(lab: &Lab) -> Result<Self> {
        // Everything of it is accepted; the Job itself would need a node.
        for directory in ["drain", "drain/finish"] {
            lab.kubectl(&["apply", "--dry-run=server", "-k", &lab.config(directory)], None).await?;
        }
        lab.kubectl(&["apply", "-f", &lab.config("drain/rbac.yaml")], None).await?;
        let args = ["create", "token", "leasehold-drain", "-n", "leasehold-system", "--duration=2h"];
        let token = lab.kubectl(&args, None).await?;
        Ok(Self { kubeconfig: lab.plane.token_kubeconfig("drain", token.trim())? })
    }

    /// Exit code and what was said.
    async fn run(&self, args: &[&str]) -> Result<(i32, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.env("KUBECONFIG", &self.kubeconfig).arg("drain").args(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(output.stdout.is_empty(), "nothing of it is a result");
        Ok((output.status.code().unwrap_or(-1), String::from_utf8(output.stderr)?))
    }

    async fn succeeds(&self, args: &[&str]) -> Result<String> {
        let (code, said) = self.run(args).await?;
        ensure!(code == 0, "{code}: {said}");
        Ok(said)
    }
}

async fn ask(tenant: &Tenant<'_>, name: &str, lifecycle: &str, delivery: &str) -> Result<CredentialLease> {
    let change = |spec: &mut Value| {
        spec["ttl"] = json!("30m");
        spec["delivery"] = json!({"type": delivery});
    };
    tenant.lease(name, lifecycle, change).await
}

async fn leases(lab: &Lab) -> Result<Vec<CredentialLease>> {
    Ok(Api::all(lab.plane.admin()).list(&ListParams::default()).await?.items)
}

fn phase(lease: &CredentialLease) -> Option<Phase> {
    lease.status.as_ref()?.phase
}

async fn nothing_is_there(lab: &Lab) -> Result<()> {
    let ours = ListParams::default().labels("leasehold.dev/lease-uid");
    let accounts: Api<ServiceAccount> = Api::namespaced(lab.plane.admin(), "leasehold-leases");
    let bindings: Api<RoleBinding> = Api::all(lab.plane.admin());
    let mut left: Vec<_> = bindings.list(&ours).await?.items.into_iter().filter_map(|b| b.metadata.name).collect();
    left.extend(accounts.list(&ours).await?.items.into_iter().filter_map(|a| a.metadata.name));
    ensure!(left == ["forged"], "accounts and RoleBindings of leases are left: {left:?}");
    Ok(())
}

/// Whoever has taken over the account that drains gets no right beyond it.
async fn its_name_gives_nothing_else(lab: &Lab) -> Result<()> {
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "leasehold-drain", "namespace": "leasehold-leases"}, "rules": rules});
    let binding = |subject: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "leasehold-drain", "namespace": "leasehold-leases"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leasehold-drain"}, "subjects": [subject]})
    };
    let refused = [
        role(json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}])),
        role(json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "create"]}])),
        role(json!([{"apiGroups": ["", "batch"], "resources": ["serviceaccounts"], "verbs": ["list"]}])),
        binding(json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"})),
        binding(json!({"kind": "ServiceAccount", "name": "leasehold-drain", "namespace": "default"})),
    ];
    for object in refused {
        let answer = lab.kubectl(&["apply", "--dry-run=server", "-f", "-"], Some(&object.to_string())).await;
        let said = answer.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(said.contains("leasehold-leases is written by Leasehold only"), "{object} was let through: {said}");
    }
    Ok(())
}

/// Every kind of lease there is, live; and one that waits.
async fn every_kind(tenant: &Tenant<'_>, system: &str) -> Result<()> {
    tenant.lifecycle("plain", |_| ()).await?;
    tenant
        .lifecycle("asked", |spec| spec["terms"]["approval"] = json!({"type": "Required", "contact": "#leads"}))
        .await?;
    let standing = json!([{"name": "agent", "grants": ["read"], "secret": "agent-token", "ttl": "30m"}]);
    tenant.lifecycle("standing", |spec| spec["standing"] = standing).await?;
    let step = json!({"name": "registered", "at": "Issue", "system": system, "operation": "set", "with": {"key": "fact"}, "timeout": "8s", "undo": "unset"});
    tenant.lifecycle("steps", |spec| spec["workflow"] = json!([step])).await?;
    tenant.lifecycle_says("steps", "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;

    ask(tenant, "minted", "plain", "TokenRequest").await?;
    ask(tenant, "delivered", "plain", "Secret").await?;
    ask(tenant, "waits", "asked", "TokenRequest").await?;
    ask(tenant, "stepped", "steps", "Secret").await?;
    for name in ["minted", "delivered", "stepped"] {
        tenant.lease_in(name, Phase::Active).await?;
    }
    tenant.lease_in("waits", Phase::AwaitingApproval).await?;
    let live = ListParams::default().labels("leasehold.dev/standing=agent");
    eventually("a standing credential to be held", Duration::from_secs(60), || async {
        let leases = tenant.leases().list(&live).await?;
        Ok::<_, anyhow::Error>(leases.items.iter().any(|l| phase(l) == Some(Phase::Active)).then_some(()))
    })
    .await
}

/// An operator runs: it ends everything, what cannot be taken back is named, and the next drain goes on where the last one was.
async fn with_an_operator(tenant: &Tenant<'_>, drain: &Drain, other: &Other) -> Result<()> {
    let lab = tenant.lab;
    let holder = Holder::new(tenant, &tenant.token(&tenant.leases().get("minted").await?).await?)?;
    ensure!(holder.reads().await? == 200);
    other.always("DELETE /values/fact", Act::Status(500));
    let (code, said) = drain.run(&["--timeout", "16s"]).await?;
    let named =
        said.contains(&format!("CredentialLease {}/stepped: Revoked: could not be taken back yet", tenant.namespace));
    ensure!(code == 1 && named && said.contains("kubectl delete namespace leasehold-leases"), "{code}: {said}");
    ensure!(!said.contains("/minted: "), "one that is over is not named: {said}");
    other.mend("DELETE /values/fact");
    let said = drain.succeeds(&["--timeout", "2m"]).await?;
    ensure!(said.contains("every lease has ended, that is proven"), "{said}");
    nothing_is_there(lab).await?;
    ensure!(other.value("fact").is_none(), "what the workflow did is taken back");
    ensure!(holder.reads().await? == 401, "the token is dead");
    for lease in leases(lab).await? {
        let (name, status) =
            (lease.metadata.name.clone().unwrap_or_default(), lease.status.clone().unwrap_or_default());
        ensure!(status.phase.is_some_and(Phase::is_final), "{name}: {:?}", status.phase);
        if status.issue_time.is_some() {
            let revoked = condition::find(&status.conditions, "Revoked").context("no condition Revoked")?;
            let proven = revoked.status == ConditionStatus::True;
            ensure!(proven && status.end_reason == Some(EndReason::PolicyStopped), "{name}: {revoked:?}");
        }
    }
    // Nothing comes after it, and again it is the same.
    ask(tenant, "late", "plain", "TokenRequest").await?;
    tenant.lease_in("late", Phase::Denied).await?;
    drain.succeeds(&[]).await.map(drop)
}

/// No operator runs: the accounts go all the same, and what stays behind is told.
async fn without_one(tenant: &Tenant<'_>, drain: &Drain) -> Result<()> {
    let lab = tenant.lab;
    let said = drain.succeeds(&["--finish"]).await?;
    ensure!(said.contains("policy leasehold-drain is gone"), "{said}");
    drain.succeeds(&["--finish"]).await?;
    ask(tenant, "again", "plain", "TokenRequest").await?;
    let lease = tenant.lease_in("again", Phase::Active).await?;
    let holder = Holder::new(tenant, &tenant.token(&lease).await?)?;
    ensure!(holder.reads().await? == 200);
    lab.take_operator()?.kill()?;
    let said = drain.succeeds(&["--timeout", "2m"]).await?;
    for part in ["no operator runs", "every account of a lease is gone", "/again: Active", "RoleBinding "] {
        ensure!(said.contains(part), "{part} is not in {said}");
    }
    ensure!(holder.reads().await? == 401, "the token is dead");
    let said = drain.succeeds(&["--finish", "--delete-namespace", "--timeout", "60s"]).await?;
    ensure!(said.contains("namespace leasehold-leases is gone"), "{said}");
    drain.succeeds(&["--finish", "--delete-namespace"]).await.map(drop)
}

#[test]
fn a_drain_leaves_no_lease_live_whether_an_operator_runs_or_not() {
    run(async {
        let (lab, other) = (Lab::start(Options::default(), &[]).await?, Other::start().await?);
        let drain = Drain::new(&lab).await?;
        its_name_gives_nothing_else(&lab).await?;
        lab.kubectl(&["apply", "-f", "-"], Some(&other.system("drain-other").to_string())).await?;
        lab.kubectl(&["wait", "csys", "drain-other", "--for=condition=Ready", "--timeout=60s"], None).await?;
        let tenant = lab.tenant("drain").await?;
        every_kind(&tenant, "drain-other").await?;
        // A tenant's own, which only looks like one of a lease: it keeps nobody from a removal.
        let forged = ["create", "rolebinding", "forged", "-n", &tenant.namespace, "--role=reader", "--user=somebody"];
        lab.kubectl(&forged, None).await?;
        let label = "leasehold.dev/lease-uid=5f2c8a8e-0000-4000-8000-000000000000";
        lab.kubectl(&["label", "rolebinding", "forged", "-n", &tenant.namespace, label], None).await?;
        with_an_operator(&tenant, &drain, &other).await?;
        without_one(&tenant, &drain).await?;
        lab.stop().await
    });
}

#[test]
fn a_drain_trusts_neither_silence_nor_noise() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("noise").await?;
        tenant.lifecycle("plain", |_| ()).await?;
        tenant.lifecycle_says("plain", "Leasable", ConditionStatus::True, "Leasable").await?;
        let drain = Drain::new(&lab).await?;
        // Nothing is left, and the operator has not heard of the stop: it would issue what is asked for now.
        let operator = lab.take_operator()?;
        operator.pause()?;
        let (code, said) = drain.run(&["--timeout", "5s"]).await?;
        ensure!(code == 1 && said.contains("has not taken in the policy leasehold-drain"), "{code}: {said}");
        ask(&tenant, "meanwhile", "plain", "TokenRequest").await?;
        operator.resume()?;
        drain.succeeds(&["--timeout", "1m"]).await?;
        ensure!(phase(&tenant.leases().get("meanwhile").await?).is_some_and(Phase::is_final), "it is over");
        // No operator runs, and somebody asks for one lease after the other: that is no sign of an operator.
        drain.succeeds(&["--finish"]).await?;
        ask(&tenant, "live", "plain", "TokenRequest").await?;
        let lease = tenant.lease_in("live", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        operator.kill()?;
        let noise = async {
            for number in 0.. {
                ask(&tenant, &format!("noise-{number}"), "plain", "TokenRequest").await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Ok::<_, anyhow::Error>(String::new())
        };
        let said = tokio::select! { said = drain.succeeds(&["--timeout", "70s"]) => said?, said = noise => said? };
        ensure!(said.contains("every account of a lease is gone"), "{said}");
        ensure!(holder.reads().await? == 401, "the token is dead");
        lab.stop().await
    });
}

#[test]
fn a_kind_that_is_deleted_takes_its_leases_with_it_and_waits_for_nothing() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("crd").await?;
        tenant.lifecycle("plain", |_| ()).await?;
        ask(&tenant, "live", "plain", "TokenRequest").await?;
        let lease = tenant.lease_in("live", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        ensure!(holder.reads().await? == 200);
        lab.kubectl(&["delete", "crd", "credentialleases.leasehold.dev", "--timeout=30s"], None).await?;
        lab.nothing_left_of(&lease.metadata.uid.context("no UID")?).await?;
        holder.until(&[401], Duration::from_millis(100), Duration::from_secs(15)).await?;
        let drain = Drain::new(&lab).await?;
        let said = drain.succeeds(&["--timeout", "30s"]).await?;
        ensure!(said.contains("nothing is left"), "{said}");
        lab.stop().await
    });
}
