//! Policies that were taken away, unbound or weakened, and rights that the cluster gives to everybody: each in a cluster of its own.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::PostParams};
use leasehold::api::{
    CredentialLease, CredentialLeaseDecision,
    condition::{self, ConditionStatus},
    names::LABEL_LEASE_UID,
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::{Value, json};

use super::{
    call::Call,
    shapes::{binding, cluster_binding, decision, decisions, fresh, group, lease, leases},
};
use crate::support::{Lab, Operator, Person, Tenant, run};

const POLICY: &str = "leasehold-self-limit";

/// How the policies are broken: what is wrong then, and kubectl's words for it.
const WEAKENINGS: &[(&str, &[&str])] = &[
    ("leasehold-self-limit is missing", &["delete", "validatingadmissionpolicy", POLICY]),
    ("leasehold-self-limit has no binding", &["delete", "validatingadmissionpolicybinding", POLICY]),
    (
        "leasehold-self-limit is bound so that it denies nothing",
        &[
            "patch",
            "validatingadmissionpolicybinding",
            POLICY,
            "--type=merge",
            "-p",
            r#"{"spec":{"validationActions":["Audit"]}}"#,
        ],
    ),
    (
        "leasehold-self-limit is bound to less than everything",
        &[
            "patch",
            "validatingadmissionpolicybinding",
            POLICY,
            "--type=merge",
            "-p",
            r#"{"spec":{"matchResources":{"namespaceSelector":{"matchLabels":{"a":"b"}}}}}"#,
        ],
    ),
    // One that no probe touches: seen by comparison alone.
    (
        "leasehold-lease-subjects has lost a validation",
        &[
            "patch",
            "validatingadmissionpolicy",
            "leasehold-lease-subjects",
            "--type=merge",
            "-p",
            r#"{"spec":{"validations":[{"expression":"true"}]}}"#,
        ],
    ),
    (
        "leasehold-decision-independence has other match conditions",
        &[
            "patch",
            "validatingadmissionpolicy",
            "leasehold-decision-independence",
            "--type=merge",
            "-p",
            r#"{"spec":{"matchConditions":[{"name":"never","expression":"false"}]}}"#,
        ],
    ),
    (
        "leasehold-status lets requests pass when it fails",
        &[
            "patch",
            "validatingadmissionpolicy",
            "leasehold-status",
            "--type=merge",
            "-p",
            r#"{"spec":{"failurePolicy":"Ignore"}}"#,
        ],
    ),
];

#[test]
fn without_its_policies_nothing_is_issued_and_everything_still_ends() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("unguarded").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        for (n, (what, how)) in WEAKENINGS.iter().enumerate() {
            broken(&lab, &tenant, &format!("held-{n}"), (what, how)).await.with_context(|| (*what).to_owned())?;
        }
        tenant.lease("live", "nightly", |_| {}).await?;
        let live = tenant.lease_in("live", Phase::Active).await?;
        let (_, missing) = WEAKENINGS[0];
        lab.kubectl(missing, None).await?;
        tenant.lifecycle_says("nightly", "Leasable", ConditionStatus::False, "PolicyNotEnforced").await?;
        let gone = |l: &CredentialLease| {
            l.status.as_ref().and_then(|s| s.credential.as_ref()).is_some_and(|c| c.revocation_time.is_some())
        };
        let ended = tenant.lease_is("live", "taken down", gone).await?;
        on_time(&live, &ended)?;
        let log = lab.said()?;
        ensure!(log.contains("nothing is issued"), "the operator's log does not say that it stopped");
        lab.stop().await
    });
}

/// While it is broken, a lease waits and says so; once it is mended, that one is refused, and the next is issued.
async fn broken(lab: &Lab, tenant: &Tenant<'_>, name: &str, (what, how): (&str, &[&str])) -> Result<()> {
    lab.kubectl(how, None).await?;
    let lifecycle = tenant.lifecycle_says("nightly", "Leasable", ConditionStatus::False, "PolicyNotEnforced").await?;
    let said =
        condition::find(&lifecycle.status.context("no status")?.conditions, "Leasable").map(|c| c.message.clone());
    ensure!(
        said.as_deref().is_some_and(|m| m.contains(what)
            && m.contains("kubectl apply -k config/policies && kubectl replace -k config/policies")),
        "{said:?}"
    );
    tenant.lease(name, "nightly", |_| {}).await?;
    let waits = |lease: &CredentialLease| {
        let conditions = lease.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        condition::find(conditions, "Allowed").is_some_and(|c| c.reason == "PolicyNotEnforced")
    };
    let lease = tenant.lease_is(name, "waiting for the policies", waits).await?;
    ensure!(lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Pending), "{:?}", lease.status);
    // Long enough for whoever would issue in spite of it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let uid = lease.metadata.uid.context("no uid")?.replace('-', "");
    let made = lab
        .kubectl(&["get", "serviceaccounts,jobs,roles,rolebindings", "-n", "leasehold-leases", "-o", "name"], None)
        .await?;
    ensure!(!made.contains(&uid), "something was made for it: {made}");
    // As the condition says.
    for verb in ["apply", "replace"] {
        lab.kubectl(&[verb, "-k", &lab.config("policies")], None).await?;
    }
    // Nobody knows who created it while the policies were not in force; whoever did asks again.
    let lease = tenant.lease_in(name, Phase::Denied).await?;
    ensure!(lease.status.is_some_and(|s| s.end_reason == Some(EndReason::CreatedUnproven)), "it was believed");
    tenant.lifecycle_says("nightly", "Leasable", ConditionStatus::True, "Leasable").await?;
    let again = format!("{name}-again");
    tenant.lease(&again, "nightly", |_| {}).await?;
    tenant.lease_in(&again, Phase::Active).await?;
    tenant.delete_lease(&again).await
}

/// Nobody watches while the policies are taken away and put back.
#[test]
fn what_was_created_while_nobody_watched_the_policies_counts_for_nothing() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("unproven").await?;
        tenant.lifecycle("nightly", |spec| spec["terms"]["approval"] = json!({"type": "Required"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("asked", "nightly", |_| {}).await?;
        let asked = tenant.lease_in("asked", Phase::AwaitingApproval).await?;
        lab.take_operator()?.kill()?;

        let files =
            ["lease-request", "decision", "decision-independence"].map(|p| format!("policies/leasehold-{p}.yaml"));
        for file in &files {
            lab.kubectl(&["delete", "-f", &lab.config(file)], None).await?;
        }
        // As somebody who may create both, in the name of others; refused as long as the policies bite.
        let admin = tenant.admin.clone();
        let forged_lease = serde_json::from_value(tenant.lease_json("forged", "nightly", |_| {}))?;
        let leases: Api<CredentialLease> = Api::namespaced(admin.clone(), &tenant.namespace);
        let decisions: Api<CredentialLeaseDecision> = Api::namespaced(admin, &tenant.namespace);
        let forgery = PostParams::default();
        let forged_word = serde_json::from_value(alice.word(&asked, "Approved", |_| {})?)?;
        passes("the forged request", || leases.create(&forgery, &forged_lease)).await?;
        passes("the forged word", || decisions.create(&forgery, &forged_word)).await?;
        for file in &files {
            lab.kubectl(&["apply", "--server-side", "-f", &lab.config(file)], None).await?;
        }
        lab.start_operator("second", &[]).await?;
        let forged = tenant.lease_in("forged", Phase::Denied).await?;
        ensure!(forged.status.and_then(|s| s.end_reason) == Some(EndReason::CreatedUnproven));
        // What was asked before, and judged, still waits; the forged word does not count; a real one does.
        let unproven = |l: &CredentialLease| {
            let conditions = l.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
            condition::find(conditions, "Approved").is_some_and(|c| c.message.contains("policies were not in force"))
        };
        let asked = tenant.lease_is("asked", "told that a word does not count", unproven).await?;
        ensure!(asked.status.as_ref().and_then(|s| s.phase) == Some(Phase::AwaitingApproval));
        tokio::time::sleep(Duration::from_secs(2)).await;
        alice.decides(&asked, "Approved").await?;
        tenant.lease_in("asked", Phase::Active).await?;
        lab.stop().await
    });
}

/// Tries until it is let through.
async fn passes<T, F>(what: &str, attempt: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = kube::Result<T>>,
{
    eventually_seeing(&format!("{what} to pass"), Duration::from_secs(15), || async {
        Ok::<_, anyhow::Error>(match attempt().await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

fn on_time(live: &CredentialLease, ended: &CredentialLease) -> Result<()> {
    let due = live.status.as_ref().and_then(|s| s.expiration_time).context("no expirationTime")?;
    let status = ended.status.as_ref().context("no status")?;
    let lag: f64 =
        status.credential.as_ref().and_then(|c| c.revocation_lag_seconds.as_deref()).context("no lag")?.parse()?;
    ensure!(status.end_reason == Some(EndReason::Expired) && status.end_time == Some(due) && lag < 1.0, "{status:?}");
    Ok(())
}

#[test]
fn what_the_cluster_gives_to_every_account_is_said_on_each_lifecycle() {
    run(async {
        let lab = Lab::installed(Options::default()).await?;
        let tenant = lab.tenant("ambient").await?;
        let give = async |binding: Value| {
            lab.kubectl(&["apply", "--namespace", &tenant.namespace, "-f", "-"], Some(&binding.to_string())).await
        };
        give(cluster_binding("everybody-views", "view", json!([group("system:serviceaccounts")]))).await?;
        give(binding("everybody-edits", ("ClusterRole", "edit"), json!([group("system:authenticated")]))).await?;
        let operator = Operator::start(&lab.plane, "operator", &[]).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        let api = tenant.lifecycles();
        let is_said = async |named: &str| {
            leasehold_harness::eventually(named, Duration::from_secs(30), || async {
                let lifecycle = api.get("nightly").await?;
                let conditions = lifecycle.status.map(|s| s.conditions).unwrap_or_default();
                let said = condition::find(&conditions, "AmbientRights");
                let holds = said.is_some_and(|c| c.status == ConditionStatus::True && c.message.contains(named));
                Ok::<_, kube::Error>(holds.then_some(()))
            })
            .await
        };
        is_said("ClusterRoleBinding everybody-views (ClusterRole view)").await?;
        is_said("RoleBinding everybody-edits (ClusterRole edit)").await?;
        // Whoever may bind a role may write that label.
        let mut hidden = binding("everybody-rules", ("ClusterRole", "admin"), json!([group("system:serviceaccounts")]));
        hidden["metadata"]["labels"] = json!({LABEL_LEASE_UID: "11111111-2222-3333-4444-555555555555"});
        give(hidden).await?;
        is_said("RoleBinding everybody-rules (ClusterRole admin)").await?;
        drop(operator);
        lab.stop().await
    });
}

/// An upgrade in place leaves no gap: each policy is another one from one write to the next, and never none.
#[test]
fn no_forged_request_passes_while_the_policies_are_upgraded() {
    const UPGRADES: usize = 8;
    run(async {
        let lab = Lab::installed(Options::default()).await?;
        let tenant = lab.tenant("upgrade").await?;
        let forged = |n: usize| {
            let by = json!({"username": "mallory"});
            let (path, body) = if n.is_multiple_of(2) {
                (leases(&tenant.namespace), lease(&fresh("forged"), by))
            } else {
                (decisions(&tenant.namespace), decision(&fresh("forged"), "Denied", "dev", by))
            };
            Call::post(format!("{path}?dryRun=All"), body)
        };
        for n in [0, 1] {
            leasehold_harness::eventually("the policies to bite", Duration::from_secs(10), || async {
                let answer = forged(n).send(&tenant.admin).await?;
                Ok::<_, anyhow::Error>((answer.code == 403).then_some(()))
            })
            .await?;
        }
        let shipped = lab.kubectl(&["kustomize", &lab.config("policies")], None).await?;
        // Another text of every expression and message that names the user.
        let next = shipped.replace("request.userInfo.username", "(request.userInfo.username)");
        ensure!(next != shipped, "the next version is this one");
        let done = AtomicBool::new(false);
        let upgrade = async {
            for n in 0..UPGRADES {
                let version = if n.is_multiple_of(2) { &next } else { &shipped };
                lab.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(version)).await?;
            }
            done.store(true, Ordering::Relaxed);
            Ok::<_, anyhow::Error>(())
        };
        let attack = async {
            let mut tries = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = forged(tries).send(&tenant.admin).await?;
                ensure!(answer.code == 403, "one of {tries} passed: {}", answer.brief());
                tries += 1;
            }
            Ok(tries)
        };
        let ((), tries) = tokio::try_join!(upgrade, attack)?;
        ensure!(tries > 100, "only {tries} tries: no race");
        lab.stop().await
    });
}
