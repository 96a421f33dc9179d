//! The metrics, read off what the operator serves.

use std::{collections::BTreeMap, fmt::Write};

use http::Method;
use leasehold::runtime::metrics::{ApiCall, Metrics};

use super::cell;

pub fn page() -> String {
    let text = served();
    let mut out = String::from(
        "# Metrics\n\nServed at `/metrics` in the OpenMetrics text format. Labels have closed sets of values: no tenant can make a new time series.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        }
    }
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else { continue };
        let kind = kinds.get(name).copied().unwrap_or("unknown");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels = labels(&text, name);
        _ = writeln!(out, "| `{name}{suffix}` | {kind} | {} | {} |", labels.join(", "), cell(help));
    }
    out.push_str("\nHow to scrape them, alerts and a dashboard: [monitoring](../monitoring.md).\n");
    out
}

/// What an operator serves that has met everything once: a metric with labels is not served before.
fn served() -> String {
    let metrics = Metrics::new();
    metrics.api_call(ApiCall::of(&Method::GET, &http::Uri::from_static("/api/v1/secrets")), 200);
    metrics.render().unwrap_or_default()
}

fn labels(text: &str, name: &str) -> Vec<String> {
    let sample = text.lines().find(|line| !line.starts_with('#') && line.starts_with(name));
    let inside =
        sample.and_then(|s| s.split_once('{')).and_then(|(_, rest)| rest.split_once('}')).map_or("", |(l, _)| l);
    inside
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, _)| format!("`{k}`"))
        .filter(|k| k != "`le`")
        .collect()
}
