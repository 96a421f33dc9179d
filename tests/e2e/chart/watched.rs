//! What is made for the Prometheus operator, held against its own definitions by a real API server.

use anyhow::{Result, ensure};

use super::template;
use crate::{
    gitops_samples::{Module, define, forget},
    support::{Lab, run},
};

/// Where its kinds are defined.
const PROMETHEUS_OPERATOR: Module = (
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    &[
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ],
);

/// Everything about both kinds that can be set.
const VALUES: &str = "observability: {
    serviceMonitor: {enabled: true, labels: {release: prometheus}},
    prometheusRule: {enabled: true, labels: {release: prometheus}, runbooks: 'https://git.example.com/leasehold/docs/runbooks'}}";

/// What the API server makes of objects without keeping them: a field that it does not know is an error.
async fn taken(lab: &Lab, flags: &[&str], stdin: Option<&str>) -> Result<Vec<String>> {
    let args = [&["create", "--dry-run=server", "--validate=strict", "-o", "name"], flags].concat();
    let mut names: Vec<String> = lab.kubectl(&args, stdin).await?.lines().map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

async fn both_are_taken(lab: &Lab) -> Result<()> {
    let expected = ["prometheusrule.monitoring.coreos.com/leasehold", "servicemonitor.monitoring.coreos.com/leasehold"];
    let shipped = taken(lab, &["-k", &lab.config("prometheus")], None).await?;
    ensure!(shipped == expected, "config/prometheus: {shipped:?}");
    let mut rendered = template(&lab.plane, VALUES, &[]).await?;
    rendered.retain(|_, object| object["apiVersion"] == "monitoring.coreos.com/v1");
    for (name, object) in &rendered {
        ensure!(object["metadata"]["labels"]["release"] == "prometheus", "{name} cannot be found: {object}");
    }
    let text: Vec<String> = rendered.values().map(ToString::to_string).collect();
    let rendered = taken(lab, &["-f", "-"], Some(&text.join("\n---\n"))).await?;
    ensure!(rendered == expected, "the chart: {rendered:?}");
    Ok(())
}

#[test]
fn the_prometheus_operator_takes_what_is_made_for_it() {
    run(async {
        let lab = Lab::shared().await?;
        define(lab, PROMETHEUS_OPERATOR).await?;
        let outcome = both_are_taken(lab).await;
        forget(lab, PROMETHEUS_OPERATOR).await?;
        outcome
    });
}
