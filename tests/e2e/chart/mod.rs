//! The Helm chart: what it renders, what it refuses, and the life of a release, with Helm itself.

mod flags;
mod objects;
mod release;
mod renders;
mod typos;
mod watched;

use anyhow::Result;
use leasehold_harness::ControlPlane;

/// Where it is.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/leasehold");

/// The only namespace in which it installs.
const NAMESPACE: &str = "leasehold-system";

/// Helm, as the cluster's administrator, in the operator's namespace; what it prints.
async fn helm(plane: &ControlPlane, args: &[&str], values: Option<&str>) -> Result<String> {
    plane.helm(plane.admin_kubeconfig(), &[args, &["--namespace", NAMESPACE]].concat(), values).await?.ok()
}

/// What the chart renders without a cluster, with these values as YAML and flags.
async fn template(plane: &ControlPlane, values: &str, flags: &[&str]) -> Result<objects::Objects> {
    let args = [&["template", "leasehold", CHART, "--values", "-"], flags].concat();
    objects::read(&helm(plane, &args, Some(values)).await?)
}
