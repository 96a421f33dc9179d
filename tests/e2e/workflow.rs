//! Workflows and completion, on a real control plane and against another system that does what it is told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use leasehold::api::{
    ConditionStatus, CredentialLease,
    reasons::{EndReason, Happening, Phase},
    workflow::StepState,
};
use leasehold_harness::{Act, Options, Other, eventually};
use serde_json::{Value, json};

use crate::support::{Holder, Lab, Tenant, condition_of, is_conform, run};

/// How long what waits for no other system may take on a machine that does other things as well. A second is promised.
const UNDELAYED: Duration = Duration::from_secs(6);

fn step(name: &str, at: &str, system: &str, operation: &str, key: &str) -> Value {
    let mut step = json!({"name": name, "at": at, "system": system, "operation": operation, "with": {"key": key}, "timeout": "8s"});
    if at == "Issue" {
        step["undo"] = json!("unset");
    }
    step
}

async fn connect(lab: &Lab, other: &Other, name: &str) -> Result<()> {
    lab.kubectl(&["apply", "-f", "-"], Some(&other.system(name).to_string())).await.map(drop)
}

/// A lifecycle with a gate, two dependents (the second gets the token) and one that is told of the end.
async fn lifecycle(tenant: &Tenant<'_>, name: &str, system: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let key = |what: &str| format!("{name}-{what}");
    let steps = json!([
        step("approved", "Request", system, "gate", &key("gate")),
        step("registered", "Issue", system, "set", &key("fact")),
        step("variable", "Issue", system, "set-token", &key("token")),
        step("told", "Revoke", system, "tell", &key("told")),
    ]);
    tenant
        .lifecycle(name, |spec| {
            spec["workflow"] = steps;
            change(spec);
        })
        .await
        .map(drop)
}

async fn ask(tenant: &Tenant<'_>, name: &str, lifecycle: &str) -> Result<CredentialLease> {
    tenant
        .lease(name, lifecycle, |spec| {
            spec["ttl"] = json!("10m");
            spec["ticket"] = json!("CHG-1");
            spec["delivery"] = json!({"type": "Secret"});
        })
        .await
}

fn state(lease: &CredentialLease, step: &str) -> Option<StepState> {
    lease.status.as_ref()?.steps.iter().find(|s| s.name == step).map(|s| s.state)
}

fn happened(lease: &CredentialLease) -> Vec<Happening> {
    let history = lease.status.as_ref().and_then(|s| s.history.clone()).unwrap_or_default();
    history.records.into_iter().map(|record| record.event).collect()
}

/// Ended, told, and everything that was begun taken back.
fn is_over(lease: &CredentialLease) -> bool {
    let Some(status) = &lease.status else { return false };
    let undone = |s: &str| state(lease, s).is_none_or(|state| state == StepState::Undone);
    let told = status.issue_time.is_none() || state(lease, "told").is_some_and(|s| s != StepState::Running);
    status.phase.is_some_and(Phase::is_final) && undone("registered") && undone("variable") && told
}

fn token_at(other: &Other, key: &str) -> Result<String> {
    let body: Value = serde_json::from_str(&other.value(key).context("the other system has the token")?)?;
    Ok(body["value"].as_str().context("a token")?.to_owned())
}

#[test]
fn dependents_get_the_credential_and_are_taken_back_when_it_ends() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, other) = (lab.tenant("workflow").await?, Other::start().await?);
        connect(lab, &other, "workflow-whole").await?;
        lab.kubectl(&["wait", "csys", "workflow-whole", "--for=condition=Ready", "--timeout=60s"], None).await?;
        other.script("GET /gate/nightly-gate", &[Act::Status(503), Act::Status(503)]);
        lifecycle(&tenant, "nightly", "workflow-whole", |_| {}).await?;
        tenant.lifecycle_says("nightly", "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;

        ask(&tenant, "run", "nightly").await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        is_conform(&lease)?;
        ensure!(condition_of(&lease, "DependentsUpdated")?.status == ConditionStatus::True);
        let fact: Value = serde_json::from_str(&other.value("nightly-fact").context("the fact")?)?;
        ensure!(fact == json!({"value": "run", "ticket": "CHG-1"}), "{fact}");
        let holder = Holder::new(&tenant, &token_at(&other, "nightly-token")?)?;
        ensure!(holder.reads().await? == 200);
        ensure!(other.calls("nightly-gate").len() == 3, "the gate is asked until it passes");
        let ledger: Api<ConfigMap> = Api::namespaced(tenant.admin.clone(), "leasehold-leases");
        let written = ledger
            .list(
                &kube::api::ListParams::default()
                    .labels(&format!("leasehold.dev/lease-uid={}", lease.metadata.uid.clone().unwrap_or_default())),
            )
            .await?;
        let [written] = written.items.as_slice() else { anyhow::bail!("{written:?}") };
        let token = token_at(&other, "nightly-token")?;
        ensure!(!serde_json::to_string(written)?.contains(&token), "what takes a step back holds no token");

        let decision = json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision", "metadata": {"generateName": "end-", "namespace": tenant.namespace},
            "spec": {"leaseRef": {"name": "run", "uid": lease.metadata.uid}, "lifecycleRef": {"name": "nightly"}, "requester": tenant.requester.name,
                "decision": "Revoked", "reason": "done", "decidedBy": {"username": tenant.requester.name, "groups": tenant.requester.groups}},
        });
        let role = [
            "create",
            "role",
            "decide",
            "-n",
            &tenant.namespace,
            "--verb=create",
            "--resource=credentialleasedecisions.leasehold.dev",
        ];
        lab.kubectl(&role, None).await?;
        lab.kubectl(
            &[
                "create",
                "rolebinding",
                "decide",
                "-n",
                &tenant.namespace,
                "--role=decide",
                "--user",
                &tenant.requester.name,
            ],
            None,
        )
        .await?;
        let api: Api<leasehold::api::CredentialLeaseDecision> =
            Api::namespaced(tenant.requester.client.clone(), &tenant.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(decision)?).await?;

        let lease = tenant.lease_is("run", "over", is_over).await?;
        is_conform(&lease)?;
        ensure!(other.value("nightly-fact").is_none() && other.value("nightly-token").is_none());
        let undone: Vec<String> =
            other.calls("nightly-fact").into_iter().chain(other.calls("nightly-token")).map(|c| c.what).collect();
        ensure!(undone.iter().filter(|w| w.starts_with("DELETE")).count() == 2, "{undone:?}");
        ensure!(condition_of(&lease, "RolledBack")?.status == ConditionStatus::True);
        ensure!(condition_of(&lease, "Revoked")?.status == ConditionStatus::True);
        let told: Value = serde_json::from_str(&other.calls("nightly-told").pop().context("told")?.body)?;
        ensure!(told["ended"] == "DecisionRevoked" && told["evidence"] == "TokenReviewRefused", "{told}");
        let order = happened(&lease);
        for event in [
            Happening::GatePassed,
            Happening::StepDone,
            Happening::Ended,
            Happening::Removed,
            Happening::StepUndone,
            Happening::Revoked,
        ] {
            ensure!(order.contains(&event), "{event} is not in {order:?}");
        }
        ensure!(!lab.said()?.contains(&token));
        lab.nothing_left_of(lease.metadata.uid.as_deref().unwrap_or_default()).await
    });
}

/// How the second step is met, and whether the lease lives.
fn ways() -> Vec<(&'static str, Vec<Act>, Option<Act>, bool)> {
    vec![
        ("refuse", vec![Act::Status(400)], None, false),
        ("broken", vec![], Some(Act::Status(500)), false),
        ("recovers", vec![Act::Status(500), Act::Status(503)], None, true),
        ("hangs", vec![], Some(Act::Hang), false),
        ("hung", vec![Act::Hang], None, true),
        ("reset", vec![Act::Reset], None, true),
        ("garbage", vec![Act::Garbage], None, false),
        ("huge", vec![Act::Huge], None, true),
        ("redirect", vec![Act::Redirect], None, false),
    ]
}

/// A system each, whose second step is met in one of the ways, and a lease that calls it.
async fn begun(lab: &Lab, tenant: &Tenant<'_>) -> Result<Vec<Other>> {
    // One system each: what one of them does must not open the breaker of another.
    let mut others = vec![];
    for (way, script, always, _) in ways() {
        let (other, system) = (Other::start().await?, format!("{}-{way}", tenant.namespace));
        lab.kubectl(&["apply", "-f", "-"], Some(&other.system(&system).to_string())).await?;
        let what = format!("PUT /values/{way}-token");
        other.script(&what, &script);
        if let Some(act) = always {
            other.always(&what, act);
        }
        lifecycle(tenant, way, &system, |_| {}).await?;
        others.push(other);
    }
    for (way, ..) in ways() {
        tenant.lifecycle_says(way, "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
    }
    for (way, ..) in ways() {
        ask(tenant, way, way).await?;
    }
    Ok(others)
}

/// The lease is active and everything is done, until it is deleted; then everything is taken back.
async fn all_done(lab: &Lab, tenant: &Tenant<'_>, way: &str, other: &Other) -> Result<()> {
    let lease = tenant.lease_in(way, Phase::Active).await?;
    let token = token_at(other, &format!("{way}-token"))?;
    ensure!(Holder::new(tenant, &token)?.reads().await? == 200);
    ensure!(other.value(&format!("{way}-fact")).is_some());
    ensure!(other.keys("PUT", &format!("{way}-token")).len() == 1, "one Idempotency-Key for all tries");
    tenant.leases().delete(way, &DeleteParams::default()).await?;
    let left = || other.value(&format!("{way}-token")).or(other.value(&format!("{way}-fact")));
    let gone = || async { Ok::<_, anyhow::Error>(left().is_none().then_some(())) };
    eventually("everything to be taken back", Duration::from_secs(30), gone).await?;
    lab.nothing_left_of(lease.metadata.uid.as_deref().unwrap_or_default()).await
}

/// The lease has failed, everything is taken back, and the credential is dead.
async fn all_undone(lab: &Lab, tenant: &Tenant<'_>, way: &str, other: &Other) -> Result<()> {
    let lease = tenant.lease_is(way, "over", is_over).await?;
    is_conform(&lease)?;
    let status = lease.status.clone().unwrap_or_default();
    let failed = status.phase == Some(Phase::Failed) && status.end_reason == Some(EndReason::StepFailed);
    ensure!(failed, "{status:?}");
    ensure!(condition_of(&lease, "RolledBack")?.status == ConditionStatus::True);
    ensure!(condition_of(&lease, "Revoked")?.status == ConditionStatus::True);
    ensure!(other.value(&format!("{way}-token")).or(other.value(&format!("{way}-fact"))).is_none());
    for call in other.calls(&format!("{way}-token")).iter().filter(|call| call.what.starts_with("PUT")) {
        let body: Value = serde_json::from_str(&call.body)?;
        let token = body["value"].as_str().context("a token")?;
        ensure!(Holder::new(tenant, token)?.reads().await? == 401);
        let told = serde_json::to_string(&lease)?.contains(token) || lab.said()?.contains(token);
        ensure!(!told, "the token leaked");
    }
    lab.nothing_left_of(lease.metadata.uid.as_deref().unwrap_or_default()).await
}

#[test]
fn however_a_step_fails_all_is_done_or_all_is_taken_back() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("ways").await?;
        let others = begun(lab, &tenant).await?;
        for ((way, _, _, lives), other) in ways().into_iter().zip(&others) {
            let found = if lives {
                all_done(lab, &tenant, way, other).await
            } else {
                all_undone(lab, &tenant, way, other).await
            };
            found.with_context(|| format!("a step that {way}"))?;
        }
        Ok(())
    });
}

#[test]
fn however_a_step_fails_while_the_operator_is_killed_again_and_again_it_ends_the_same() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("killed").await?;
        let others = begun(&lab, &tenant).await?;
        for (number, pause) in [300, 900, 2500].into_iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            lab.take_operator()?.kill()?;
            lab.start_operator(&format!("operator-{number}"), &[]).await?;
        }
        for ((way, ..), other) in ways().into_iter().zip(&others) {
            // How much time a step had left when somebody looked again decides whether it was done.
            let settled =
                |l: &CredentialLease| l.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active) || is_over(l);
            let lease = tenant.lease_is(way, "active or over", settled).await?;
            let found = if is_over(&lease) {
                all_undone(&lab, &tenant, way, other).await
            } else {
                all_done(&lab, &tenant, way, other).await
            };
            found.with_context(|| format!("a step that {way}"))?;
        }
        lab.stop().await
    });
}

#[test]
fn a_certificate_that_expired_is_said_so_and_nothing_is_sent() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, other) = (lab.tenant("expired").await?, Other::expired().await?);
        lab.kubectl(&["apply", "-f", "-"], Some(&other.system("workflow-expired").to_string())).await?;
        lifecycle(&tenant, "nightly", "workflow-expired", |_| {}).await?;
        tenant.lifecycle_says("nightly", "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
        ask(&tenant, "run", "nightly").await?;
        let lease = tenant.lease_in("run", Phase::Denied).await?;
        let allowed = condition_of(&lease, "Allowed")?;
        ensure!(allowed.reason == "GateRefused" && allowed.message.contains("expired"), "{allowed:?}");
        ensure!(other.calls("nightly-gate").is_empty());
        lab.kubectl(&["delete", "csys", "workflow-expired"], None).await.map(drop)
    });
}

#[test]
fn an_operator_that_dies_at_any_step_leaves_all_done_or_all_taken_back() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let (tenant, other) = (lab.tenant("dies").await?, Other::start().await?);
        connect(&lab, &other, "dies").await?;
        // Each hangs at another step; then the operator is killed; then the step goes well.
        let moments = [
            "GET /gate/a-gate",
            "PUT /values/b-fact",
            "PUT /values/c-token",
            "DELETE /values/d-token",
            "POST /told/e-told",
        ];
        for (what, name) in moments.iter().zip(["a", "b", "c", "d", "e"]) {
            other.script(what, &[Act::Hang]);
            lifecycle(&tenant, name, "dies", |_| {}).await?;
            tenant.lifecycle_says(name, "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
            ask(&tenant, name, name).await?;
        }
        for name in ["d", "e"] {
            tenant.lease_in(name, Phase::Active).await?;
            tenant.leases().delete(name, &DeleteParams::default()).await?;
        }
        let hanging = || async {
            let seen =
                |what: &&str| other.calls(what.rsplit('/').next().unwrap_or_default()).iter().any(|c| c.what == **what);
            Ok::<_, anyhow::Error>(moments[..4].iter().all(seen).then_some(()))
        };
        eventually("every step to hang", Duration::from_secs(30), hanging).await?;
        lab.take_operator()?.kill()?;
        lab.start_operator("again", &[]).await?;
        for name in ["a", "b", "c"] {
            tenant.lease_in(name, Phase::Active).await?;
            let holder = Holder::new(&tenant, &token_at(&other, &format!("{name}-token"))?)?;
            ensure!(holder.reads().await? == 200 && other.value(&format!("{name}-fact")).is_some(), "{name}");
            ensure!(
                other.keys("PUT", &format!("{name}-token")).len() == 1,
                "{name}: one Idempotency-Key across the crash"
            );
            tenant.leases().delete(name, &DeleteParams::default()).await?;
        }
        let nothing = || async {
            let left = ["a", "b", "c", "d", "e"]
                .iter()
                .flat_map(|n| [format!("{n}-fact"), format!("{n}-token")])
                .find(|key| other.value(key).is_some());
            Ok::<_, anyhow::Error>(left.is_none().then_some(()))
        };
        eventually("everything to be taken back", Duration::from_secs(60), nothing).await?;
        lab.stop().await
    });
}

#[test]
fn a_lease_that_is_deleted_while_nobody_runs_is_taken_back_by_what_was_written_down() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let (tenant, other) = (lab.tenant("ledger").await?, Other::start().await?);
        connect(&lab, &other, "ledger").await?;
        lifecycle(&tenant, "nightly", "ledger", |_| {}).await?;
        tenant.lifecycle_says("nightly", "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
        ask(&tenant, "run", "nightly").await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        lab.take_operator()?.kill()?;
        tenant.leases().delete("run", &DeleteParams::default()).await?;
        lab.kubectl(&["delete", "sal", "nightly", "-n", &tenant.namespace], None).await?;
        lab.start_operator("again", &[]).await?;
        let gone = || async {
            Ok::<_, anyhow::Error>(other.value("nightly-token").or(other.value("nightly-fact")).is_none().then_some(()))
        };
        eventually("everything to be taken back", Duration::from_secs(60), gone).await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().unwrap_or_default()).await?;
        lab.stop().await
    });
}

#[test]
fn a_system_that_hangs_delays_no_other_lease_and_no_end() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let (tenant, dead, well) = (lab.tenant("hangs").await?, Other::start().await?, Other::start().await?);
        connect(&lab, &dead, "dead").await?;
        connect(&lab, &well, "well").await?;
        for number in 0..30 {
            let name = format!("stuck-{number}");
            for what in [format!("GET /gate/{name}-gate"), format!("PUT /values/{name}-fact")] {
                dead.always(&what, Act::Hang);
            }
            if number % 2 == 0 {
                dead.mend(&format!("GET /gate/{name}-gate"));
            }
            lifecycle(&tenant, &name, "dead", |spec| {
                for step in spec["workflow"].as_array_mut().into_iter().flatten() {
                    step["timeout"] = json!("10m");
                }
            })
            .await?;
            ask(&tenant, &name, &name).await?;
        }
        lifecycle(&tenant, "nightly", "well", |_| {}).await?;
        tenant.lifecycle_says("nightly", "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut slowest = Duration::ZERO;
        for number in 0..5 {
            let name = format!("run-{number}");
            let begun = Instant::now();
            ask(&tenant, &name, "nightly").await?;
            tenant.lease_in(&name, Phase::Active).await?;
            slowest = slowest.max(begun.elapsed());
            let token = token_at(&well, "nightly-token")?;
            let begun = Instant::now();
            tenant.leases().delete(&name, &DeleteParams::default()).await?;
            Holder::new(&tenant, &token)?
                .until(&[401, 403], Duration::from_millis(20), Duration::from_secs(15))
                .await?;
            slowest = slowest.max(begun.elapsed());
        }
        ensure!(slowest < UNDELAYED, "an unrelated lease took {slowest:?}");
        // An end of a lease whose own step hangs comes as quickly.
        let stuck = tenant
            .lease_is("stuck-0", "at its hanging step", |l| state(l, "registered") == Some(StepState::Running))
            .await?;
        let begun = Instant::now();
        tenant.leases().delete("stuck-0", &DeleteParams::default()).await?;
        let uid = stuck.metadata.uid.unwrap_or_default();
        let accounts = || async {
            let left = lab
                .kubectl(
                    &[
                        "get",
                        "serviceaccounts",
                        "-n",
                        "leasehold-leases",
                        "-l",
                        &format!("leasehold.dev/lease-uid={uid}"),
                        "-o",
                        "name",
                    ],
                    None,
                )
                .await?;
            Ok::<_, anyhow::Error>(left.trim().is_empty().then_some(()))
        };
        eventually("the account to be gone", Duration::from_secs(10), accounts).await?;
        ensure!(begun.elapsed() < UNDELAYED, "{:?}", begun.elapsed());
        lab.stop().await
    });
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/main"}]}})
}

#[test]
fn a_lease_ends_with_the_job_or_pod_it_is_for() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("completes").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        let ask = |name: &'static str, kind: &'static str, version: &'static str| {
            tenant.lease(name, "nightly", move |spec| {
                spec["ttl"] = json!("10m");
                spec["completionRef"] = json!({"apiVersion": version, "kind": kind, "name": name});
            })
        };
        for (name, kind, version) in
            [("done", "Pod", "v1"), ("failed", "Pod", "v1"), ("deleted", "Pod", "v1"), ("job", "Job", "batch/v1")]
        {
            ask(name, kind, version).await?;
            tenant.lease_in(name, Phase::Active).await?;
        }
        // What it is for may come later than the lease.
        let pods: Api<Pod> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        for name in ["done", "failed", "deleted"] {
            pods.create(&PostParams::default(), &serde_json::from_value(pod(name))?).await?;
            tenant
                .lease_is(name, "bound to its pod", |l| l.status.as_ref().is_some_and(|s| s.completion.is_some()))
                .await?;
        }
        for (name, phase) in [("done", "Succeeded"), ("failed", "Failed")] {
            let status = json!({"status": {"phase": phase}});
            pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        pods.delete("deleted", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        for (name, reason) in
            [("done", EndReason::TaskCompleted), ("failed", EndReason::TaskFailed), ("deleted", EndReason::TaskDeleted)]
        {
            let lease = tenant.lease_in(name, Phase::Completed).await?;
            is_conform(&lease)?;
            ensure!(lease.status.as_ref().and_then(|s| s.end_reason) == Some(reason), "{name}: {:?}", lease.status);
        }
        // The real job controller makes its pod, and completes the Job when that has succeeded.
        let jobs: Api<Job> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": pod("x")["spec"]}}});
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
        let of_job = kube::api::ListParams::default().labels("job-name=job");
        let made = || async { Ok::<_, anyhow::Error>(pods.list(&of_job).await?.items.into_iter().next()) };
        let made = eventually("the Job's pod", Duration::from_secs(30), made).await?;
        let name = made.metadata.name.context("a name")?;
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": {"phase": "Succeeded"}})))
            .await?;
        let lease = tenant.lease_in("job", Phase::Completed).await?;
        ensure!(lease.status.as_ref().and_then(|s| s.end_reason) == Some(EndReason::TaskCompleted));
        Ok(())
    });
}
