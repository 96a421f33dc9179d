//! What is shipped, as texts: rules, dashboard, runbooks, documentation. Every name in them is one that there is.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use http::{Method, Uri};
use leasehold::runtime::metrics::{ApiCall, Metrics};
use leasehold_harness::ControlPlane;
use serde_json::Value;

use crate::support::{Lab, run};

const RULES: &str = "config/prometheus/prometheusrule.yaml";
const DASHBOARD: &str = "config/dashboards/leasehold.json";

/// A file of the repository.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> Result<String> {
    std::fs::read_to_string(path(name)).with_context(|| name.to_owned())
}

fn spec() -> Result<Value> {
    let mut rule: Value = serde_saphyr::from_str(&text(RULES)?)?;
    Ok(rule["spec"].take())
}

fn each_rule() -> Result<Vec<Value>> {
    let spec = spec()?;
    let groups = spec["groups"].as_array().context("no groups")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

/// The rules as Prometheus reads them from a file.
pub fn rules() -> Result<String> {
    Ok(spec()?.to_string())
}

/// The names of the alerts.
pub fn alerts() -> Result<Vec<String>> {
    each_rule()?.iter().map(|rule| Ok(rule["alert"].as_str().context("a rule that is no alert")?.to_owned())).collect()
}

/// Every query of the dashboard to a datasource of this type.
fn asks(of: &str) -> Result<Vec<String>> {
    fn look(value: &Value, of: &str, found: &mut Vec<String>) {
        if let Some(query) = value["expr"].as_str().filter(|_| value["datasource"]["type"] == of) {
            found.push(query.to_owned());
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| look(member, of, found)),
            Value::Array(items) => items.iter().for_each(|item| look(item, of, found)),
            _ => {}
        }
    }
    let mut found = vec![];
    look(&serde_json::from_str(&text(DASHBOARD)?)?, of, &mut found);
    // Alerts that fire are marked on the panels: there are none where all is well.
    found.retain(|query| !query.starts_with("ALERTS"));
    Ok(found)
}

/// Every query that the dashboard asks of Prometheus, with its variables filled in as Grafana would.
pub fn queries() -> Result<Vec<String>> {
    let filled =
        |query: String| query.replace("$__rate_interval", "1m").replace("$__range", "5m").replace("$job", ".*");
    Ok(asks("prometheus")?.into_iter().map(filled).collect())
}

/// Every field of the audit stream that the dashboard reads.
pub fn fields_of_the_stream() -> Result<BTreeSet<String>> {
    let mut fields = BTreeSet::new();
    for query in asks("loki")? {
        fields.extend(query.split("{{.").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned())));
        for stage in query.split('|').skip(2) {
            fields.extend(stage.split_once(['=', '!']).map(|(name, _)| name.trim().to_owned()));
        }
        if let Some((by, _)) = query.split_once("sum by (").and_then(|(_, rest)| rest.split_once(')')) {
            fields.extend(by.split(", ").map(str::to_owned));
        }
    }
    fields.retain(|field| !field.is_empty() && !field.contains(' '));
    Ok(fields)
}

/// Every name of a series that the operator serves.
fn served() -> Result<BTreeSet<String>> {
    let metrics = Metrics::new();
    // The one whose labels are not all there from the start: not every code is ever answered.
    metrics.api_call(ApiCall::of(&Method::GET, &Uri::from_static("/api/v1/secrets")), 200);
    let text = metrics.render()?;
    let mut names = BTreeSet::new();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        names.extend(match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
            _ => vec![name.to_owned()],
        });
        if kind == "histogram" {
            names.insert(name.to_owned());
        }
    }
    ensure!(names.len() > 20, "{names:?}");
    Ok(names)
}

/// Every word in a text that is named like a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("leasehold_") && *word != "leasehold_harness").map(str::to_owned).collect()
}

fn pages(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_metric_that_is_named_anywhere_is_served() {
    run(async {
        let known = served()?;
        let mut texts = vec![path(RULES), path(DASHBOARD), path("tests/prometheus/alerts.yaml"), path("README.md")];
        pages(&path("docs"), &mut texts)?;
        for file in texts {
            let names = named(&std::fs::read_to_string(&file)?);
            let unknown: Vec<_> = names.difference(&known).collect();
            ensure!(unknown.is_empty(), "{} names {unknown:?}, which nothing serves", file.display());
        }
        Ok(())
    });
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    run(async {
        for rule in each_rule()? {
            let alert = rule["alert"].as_str().context("no name")?;
            let page = format!("docs/runbooks/{alert}.md");
            ensure!(rule["annotations"]["runbook_url"] == page.as_str(), "{alert}: {}", rule["annotations"]);
            for said in ["summary", "description"] {
                ensure!(rule["annotations"][said].as_str().is_some_and(|s| s.ends_with('.')), "{alert} has no {said}");
            }
            let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
            ensure!(["critical", "warning", "info"].contains(&severity), "{alert}: severity {severity}");
            let text = text(&page)?;
            ensure!(text.starts_with(&format!("# {alert}\n")), "{page} is headed otherwise");
            for part in ["## What it means", "## Look", "## Do", "## When it is harmless"] {
                ensure!(text.contains(part), "{page} has no part {part}");
            }
        }
        let mut found = vec![];
        pages(&path("docs/runbooks"), &mut found)?;
        let stems: BTreeSet<_> = found.iter().filter_map(|page| page.file_stem()?.to_str()).collect();
        let alerts = alerts()?;
        ensure!(stems == alerts.iter().map(String::as_str).collect(), "pages {stems:?}, alerts {alerts:?}");
        let told = text("docs/monitoring.md")?;
        for alert in alerts {
            ensure!(told.contains(&format!("(runbooks/{alert}.md)")), "docs/monitoring.md does not tell of {alert}");
        }
        Ok(())
    });
}

#[test]
fn the_dashboard_names_no_datasource_of_anybody() {
    run(async {
        let dashboard: Value = serde_json::from_str(&text(DASHBOARD)?)?;
        let mut ids = BTreeSet::new();
        let mut all = vec![];
        for panel in dashboard["panels"].as_array().context("no panels")? {
            all.push(panel.clone());
            all.extend(panel["panels"].as_array().cloned().unwrap_or_default());
        }
        for panel in &all {
            ensure!(ids.insert(panel["id"].as_i64().context("a panel without id")?), "two panels with one id: {panel}");
            let of = panel["datasource"]["uid"].as_str().unwrap_or("${datasource}");
            ensure!(["${datasource}", "${logs}"].contains(&of), "{}: {of}", panel["title"]);
        }
        ensure!(dashboard["uid"].is_null() && dashboard["id"].is_null(), "an id of somebody's Grafana");
        ensure!(all.len() > 20);
        Ok(())
    });
}

/// The runbooks' URL is changed in one place: an overlay of three lines, as docs/monitoring.md has it.
#[test]
fn an_overlay_makes_links_of_the_runbooks() {
    run(async {
        let lab = Lab::shared().await?;
        let page = text("docs/monitoring.md")?;
        let overlay = page.split("```yaml\n").find(|block| block.contains("sourceValue:")).context("no overlay")?;
        let overlay = overlay.split_once("```").context("no end")?.0;
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("prometheus"))?;
        for file in ["kustomization.yaml", "servicemonitor.yaml", "prometheusrule.yaml"] {
            std::fs::copy(path(&format!("config/prometheus/{file}")), dir.path().join("prometheus").join(file))?;
        }
        std::fs::create_dir(dir.path().join("overlay"))?;
        let overlay = overlay.replace("path/to/leasehold/config/prometheus", "../prometheus");
        std::fs::write(dir.path().join("overlay/kustomization.yaml"), overlay)?;
        let dir = dir.path().join("overlay");
        let built = kustomize(&lab.plane, dir.to_str().context("a path that is no text")?).await?;
        ensure!(
            built.contains(
                "runbook_url: https://git.example.com/platform/leasehold/blob/main/docs/runbooks/LeaseholdEndOverdue.md"
            ),
            "{built}"
        );
        ensure!(!built.contains("runbook_url: docs/"), "{built}");
        ensure!(built.contains("kind: ServiceMonitor"), "{built}");
        Ok(())
    });
}

async fn kustomize(plane: &ControlPlane, dir: &str) -> Result<String> {
    plane.kubectl(plane.admin_kubeconfig(), &["kustomize", dir], None).await?.ok()
}
