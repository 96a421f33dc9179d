//! What is shipped for those who watch: every query of the dashboard and of the alerts gets an answer from a real Prometheus
//! that scrapes a real operator, and every name in them is one that the operator knows.

mod prometheus;
mod shipped;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    condition::ConditionStatus,
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Look, assets, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Lab, Person, Tenant, run};
use prometheus::Prometheus;

/// How long everything may take to be scraped, evaluated and answered.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn each_alert_fires_when_it_must_and_is_quiet_otherwise() {
    run(async {
        let promtool = assets::debian_unpacked("promtool", "prometheus").await?;
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("rules.yaml"), shipped::rules()?)?;
        std::fs::copy(shipped::path("tests/prometheus/alerts.yaml"), dir.path().join("alerts.yaml"))?;
        for args in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
            let output = tokio::process::Command::new(&promtool).args(args).current_dir(dir.path()).output().await?;
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() && said.contains("SUCCESS"), "promtool {args:?}: {said}");
        }
        let tests = std::fs::read_to_string(shipped::path("tests/prometheus/alerts.yaml"))?;
        for alert in shipped::alerts()? {
            ensure!(tests.contains(&format!("\"{alert}\", alertstate=\"firing\"")), "no test has {alert} fire");
        }
        Ok(())
    });
}

/// Leases in every state that the dashboard draws.
async fn scene(tenant: &Tenant<'_>) -> Result<()> {
    let review = |last: &str| json!({"everyDays": 30, "graceDays": 7, "lastReviewed": last});
    tenant.lifecycle("free", |spec| spec["review"] = review(&jiff::Timestamp::now().to_string()[..10])).await?;
    tenant.lifecycle("asked", |spec| spec["terms"]["approval"] = json!({"type": "Required"})).await?;
    tenant.lifecycle("forgotten", |spec| spec["review"] = review("2020-02-29")).await?;

    tenant.lease("live", "free", |spec| spec["ttl"] = json!("10m")).await?;
    tenant.lease_in("live", Phase::Active).await?;
    tenant.lease("delivered", "free", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
    tenant.lease_in("delivered", Phase::Active).await?;
    let requester = Person::requester(tenant).await?;
    requester.decides(&tenant.lease_in("delivered", Phase::Active).await?, "Revoked").await?;
    tenant.lease_in("delivered", Phase::Revoked).await?;

    tenant.lease("too-long", "free", |spec| spec["ttl"] = json!("2h")).await?;
    tenant.lease_in("too-long", Phase::Denied).await?;
    tenant.lease("unreviewed", "forgotten", |_| {}).await?;
    let denied = tenant.lease_in("unreviewed", Phase::Denied).await?;
    let status = denied.status.context("no status")?;
    ensure!(status.end_reason == Some(EndReason::Denied), "{:?}", status.end_reason);
    let lifecycle = tenant.lifecycle_says("forgotten", "Leasable", ConditionStatus::False, "ReviewOverdue").await?;
    let next = lifecycle.status.and_then(|s| s.next_review_time).context("no next review")?;
    ensure!(next.to_string() == "2020-03-30T00:00:00Z", "{next}");

    let alice = Person::approver(tenant, "alice").await?;
    tenant.lease("agreed", "asked", |_| {}).await?;
    alice.decides(&tenant.lease_in("agreed", Phase::AwaitingApproval).await?, "Approved").await?;
    tenant.lease_in("agreed", Phase::Active).await?;
    tenant.lease("waits", "asked", |spec| spec["ttl"] = json!("1m")).await?;
    tenant.lease_in("waits", Phase::AwaitingApproval).await?;
    Ok(())
}

#[test]
fn every_query_is_answered_from_what_a_real_operator_serves() {
    run(async {
        let lab = Lab::shared().await?;
        let prometheus = Prometheus::scraping(lab).await?;
        prometheus.has("leasehold_build_info", |value| value >= 1.0, PATIENCE).await?;
        let tenant = lab.tenant("seen").await?;
        scene(&tenant).await?;

        for (query, least) in [
            ("max(leasehold_leading)", 1.0),
            ("leasehold_live_leases{class=\"Pipeline\"}", 1.0),
            ("leasehold_approvals_waiting{type=\"Required\"}", 1.0),
            ("leasehold_approvals_oldest_wait_seconds{type=\"Required\"}", 0.5),
            ("leasehold_lifecycles{reason=\"ReviewOverdue\"}", 1.0),
            ("leasehold_lifecycle_reviews{state=\"Overdue\"}", 1.0),
            ("leasehold_lifecycle_reviews{state=\"Current\"}", 1.0),
            ("leasehold_refusals_total{rule=\"ReviewOverdue\"}", 1.0),
            ("leasehold_refusals_total{rule=\"TtlAboveMax\"}", 1.0),
            ("leasehold_decisions_total{decision=\"Approved\"}", 1.0),
            ("leasehold_decisions_total{decision=\"Revoked\"}", 1.0),
            ("increase(leasehold_ended_leases_total{reason=\"DecisionRevoked\"}[1m])", 0.1),
            ("leasehold_revocation_duration_seconds_count{evidence=\"TokenReviewRefused\"}", 1.0),
        ] {
            prometheus.has(query, |value| value >= least, PATIENCE).await?;
        }
        let queries = shipped::queries()?;
        ensure!(queries.len() >= 30, "{} queries", queries.len());
        for query in queries {
            // A quantile of nothing is NaN: these have something to tell.
            prometheus.has(&query, |value| value.is_finite(), PATIENCE).await?;
        }
        eventually_seeing("every rule to be evaluated", PATIENCE, || async {
            let rules = prometheus.rules().await?;
            ensure!(rules.len() == shipped::alerts()?.len(), "{rules:?}");
            let bad = rules.iter().filter(|rule| rule["health"] != "ok").map(Value::to_string).collect::<Vec<_>>();
            // What is overdue is seen, and not told before it has lasted.
            let state = |name: &str| rules.iter().find(|rule| rule["name"] == name).map(|rule| rule["state"].clone());
            let said = (state("LeaseholdReviewOverdue"), state("LeaseholdNotLeading"));
            let right = said == (Some(json!("pending")), Some(json!("inactive")));
            Ok::<_, anyhow::Error>(if bad.is_empty() && right {
                Look::Done(())
            } else {
                Look::NotYet(format!("{said:?} {}", bad.join("\n")))
            })
        })
        .await
    });
}

/// The keys of a line of the audit stream as Loki's `json` names them.
fn labels(prefix: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let below = |key: &String| if prefix.is_empty() { key.clone() } else { format!("{prefix}_{key}") };
            members.iter().for_each(|(key, value)| labels(&below(key), value, found));
        }
        _ => found.push(prefix.to_owned()),
    }
}

#[test]
fn the_audit_stream_has_every_field_that_the_dashboard_reads_of_it() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("streamed").await?;
        tenant.lifecycle("free", |_| {}).await?;
        tenant.lease("asked", "free", |_| {}).await?;
        tenant.lease_in("asked", Phase::Active).await?;
        let said = lab.said()?;
        let mine = |line: &Value| line["target"] == "audit" && line["lease"]["namespace"] == tenant.namespace.as_str();
        let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(mine);
        let line = lines.find(|line| line["event"] == "Requested").context("nothing tells that it was asked for")?;
        ensure!(line["actor"] == tenant.requester.name.as_str(), "who asked is not told: {line}");
        let mut known = vec![];
        labels("", &line, &mut known);
        let read = shipped::fields_of_the_stream()?;
        ensure!(read.iter().any(|field| field == "actor"), "{read:?}");
        for field in read {
            ensure!(field == "replayed" || known.contains(&field), "no line has {field}: {known:?}");
        }
        Ok(())
    });
}
