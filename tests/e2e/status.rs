//! What a lease and its lifecycle say about themselves, and where else it is said.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use leasehold::{
    api::{
        Condition, ConditionStatus, CredentialLease, condition,
        reasons::{EndReason, Phase},
        status::CredentialLeaseStatus,
    },
    domain::digest,
};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::json;

use crate::support::{Lab, is_conform, run, trail};

fn status(lease: &CredentialLease) -> Result<&CredentialLeaseStatus> {
    lease.status.as_ref().context("no status")
}

fn says(status: &CredentialLeaseStatus, kind: &str) -> Option<Condition> {
    condition::find(&status.conditions, kind).cloned()
}

#[test]
fn every_phase_is_conform_and_the_record_is_the_same_everywhere() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("record").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("denied", "nightly", |spec| spec["ttl"] = json!("2h")).await?;
        tenant.lease("whole", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        is_conform(&tenant.lease_in("denied", Phase::Denied).await?)?;
        is_conform(&tenant.lease_in("whole", Phase::Active).await?)?;
        is_conform(&tenant.lease_in("whole", Phase::Ending).await?)?;
        let lease = tenant.lease_in("whole", Phase::Expired).await?;
        is_conform(&lease)?;

        let history = status(&lease)?.history.clone().context("no history")?;
        ensure!(digest::verify(&history), "the chain is broken");
        let uid = lease.metadata.uid.clone().context("no uid")?;
        let told = trail::trail(&lab.said()?, &uid);
        ensure!(told.len() == history.records.len(), "{} lines for {} records", told.len(), history.records.len());
        let mut previous = history.seed.clone();
        for (record, line) in history.records.iter().zip(told) {
            previous = digest::link(&previous, record);
            ensure!(line.record == *record && line.hash == previous, "{line:?} is not {record:?}");
        }
        ensure!(previous == history.head, "the chain does not lead to its head");

        let events: Api<Event> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        eventually_seeing("an Event for each thing that happened", std::time::Duration::from_secs(20), || async {
            let events = events.list(&ListParams::default()).await?;
            let of = |e: &&Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some("whole");
            let mut reasons: Vec<String> = events.iter().filter(of).filter_map(|e| e.reason.clone()).collect();
            reasons.sort();
            let done = reasons == ["Allowed", "Ended", "Issued", "Removed", "Revoked"];
            Ok::<_, anyhow::Error>(if done { Look::Done(()) } else { Look::NotYet(format!("{reasons:?}")) })
        })
        .await
    });
}

#[test]
fn a_lifecycle_counts_its_live_leases() {
    run(async {
        let tenant = Lab::shared().await?.tenant("counted").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        for name in ["one", "two"] {
            tenant.lease(name, "nightly", |spec| spec["ttl"] = json!("10m")).await?;
            tenant.lease_in(name, Phase::Active).await?;
        }
        let lifecycles = tenant.lifecycles();
        // Counters are written at most once a minute.
        eventually_seeing("both leases to be counted", std::time::Duration::from_secs(75), || async {
            let lifecycle = lifecycles.get("nightly").await?;
            let status = lifecycle.status.clone().unwrap_or_default();
            let counted = status.active_leases == Some(2) && status.last_lease_time.is_some();
            Ok::<_, anyhow::Error>(if counted { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
        })
        .await?;
        let lifecycle = lifecycles.get("nightly").await?;
        let status = lifecycle.status.context("no status")?;
        ensure!(status.observed_generation == lifecycle.metadata.generation, "{:?}", status.observed_generation);
        Ok(())
    });
}

#[test]
fn a_missing_right_is_told_with_the_manifest_that_mends_it() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("rights").await?;
        let namespace = tenant.namespace.as_str();
        lab.kubectl(&["delete", "rolebinding", "leasehold-bind", "leasehold-granter", "-n", namespace], None).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        let says = tenant.lifecycle_says("nightly", "GrantsAllowed", ConditionStatus::False, "MissingRight").await?;
        tenant.lease("early", "nightly", |_| {}).await?;
        let lease = tenant.lease_in("early", Phase::Failed).await?;
        ensure!(status(&lease)?.end_reason == Some(EndReason::MissingRight), "{:?}", status(&lease)?.end_reason);
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await?;
        is_conform(&lease)?;

        let conditions = says.status.context("no status")?.conditions;
        let message = condition::find(&conditions, "GrantsAllowed").context("no GrantsAllowed")?.message.clone();
        let (_, manifest) = message.split_once(":\n").context("no manifest in the message")?;
        lab.kubectl(&["apply", "-f", "-"], Some(manifest)).await?;
        tenant.lifecycle_says("nightly", "GrantsAllowed", ConditionStatus::True, "Allowed").await?;
        tenant.lease("late", "nightly", |_| {}).await?;
        tenant.lease_in("late", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn a_namespace_that_has_not_opted_in_gets_no_secret_and_is_told_how() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("delivery").await?;
        lab.kubectl(&["delete", "rolebinding", "leasehold-delivery", "-n", &tenant.namespace], None).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("one", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        let lease = tenant.lease_in("one", Phase::Failed).await?;
        let issued = says(status(&lease)?, "Issued").context("no condition Issued")?;
        ensure!(
            issued.reason == "MissingRight" && issued.message.contains("--clusterrole=leasehold-delivery"),
            "{issued:?}"
        );
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}

#[test]
fn a_strangers_secret_is_never_touched() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("stranger").await?;
        let namespace = tenant.namespace.as_str();
        lab.kubectl(&["create", "secret", "generic", "lease-one", "-n", namespace, "--from-literal=token=mine"], None)
            .await?;
        let version =
            ["get", "secret", "lease-one", "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion} {.data.token}"];
        let before = lab.kubectl(&version, None).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("one", "nightly", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        let lease = tenant.lease_in("one", Phase::Failed).await?;
        ensure!(status(&lease)?.end_reason == Some(EndReason::NameCollision), "{:?}", status(&lease)?.end_reason);
        ensure!(lab.kubectl(&version, None).await? == before, "the stranger's Secret was changed");
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await
    });
}

#[test]
fn an_ended_lease_goes_after_its_retention_and_a_stop_is_graceful() {
    run(async {
        let lab = Lab::start(Options::default(), &["--retention", "5s"]).await?;
        let tenant = lab.tenant("retention").await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("short", "nightly", |_| {}).await?;
        tenant.lease_in("short", Phase::Active).await?;
        let operator = lab.take_operator()?;
        let text = operator.get("metrics").await?;
        ensure!(text.contains("leasehold_leases{phase=\"Active\"} 1"), "{text}");
        ensure!(text.contains("leasehold_issue_duration_seconds_count 1"), "{text}");
        let code = operator.terminate().await?;
        ensure!(code.success(), "SIGTERM: {code}");

        let next = crate::support::Operator::start(&lab.plane, "operator-next", &["--retention", "5s"]).await?;
        let leases = tenant.leases();
        eventually_seeing("the ended lease to be removed", std::time::Duration::from_secs(90), || async {
            let left = leases.get_opt("short").await?;
            Ok::<_, anyhow::Error>(
                left.map_or(Look::Done(()), |lease| Look::NotYet(format!("{:?}", lease.status.and_then(|s| s.phase)))),
            )
        })
        .await?;
        let text = next.get("metrics").await?;
        ensure!(
            text.contains("leasehold_revocation_duration_seconds_count{evidence=\"AccountGoneAndWaited\"} 1"),
            "{text}"
        );
        ensure!(text.contains("leasehold_tokens_held 0"), "{text}");
        drop(next);
        lab.stop().await
    });
}
