//! `check`: what would happen if I asked? Nothing is created.

use std::collections::BTreeMap;

use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ListParams, PostParams},
};

use super::{
    connect::{Cluster, Global, connect, creating},
    doctor::finding::{Seen, Unread},
    exit::{Failure, code},
    fetch,
    output::{self, Format, Hue, Style, Table},
    view::{
        lease::{self, Filter},
        text::safe,
    },
    wanted::{Delivered, Wanted},
};
use crate::{
    api::{CredentialLease, CredentialLeasePolicy, ServiceAccountLifecycle, lifecycle::Grant, reasons::Phase},
    domain::guards::Labels,
};

pub mod finding;
pub mod plan;
pub mod rules;

use finding::{Finding, Outcome, Says};
use plan::Asked;

/// Flags of `check`: those of a request.
#[derive(Args, Clone, Debug)]
pub struct Check {
    #[command(flatten)]
    pub wanted: Wanted,
    #[command(flatten)]
    pub delivered: Delivered,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "a check of what would happen")]
    pub reason: String,
    /// As JSON or YAML.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_findings())]
    pub output: Option<Format>,
}

/// Says what would happen. Exit code 120 if the request would be refused.
///
/// # Errors
/// If the cluster cannot be asked.
pub async fn run(global: &Global, flags: &Check) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let asked = ask(&cluster, flags).await?;
    let findings = plan::plan(&asked);
    let outcome = finding::outcome(&findings);
    let text = match flags.output {
        Some(format) => output::document(format, &serde_json::json!({"outcome": outcome, "findings": findings}))?,
        None => table(&findings, outcome, Style::stdout(global.no_color)),
    };
    output::emit(&text)?;
    Ok(if outcome == Outcome::Refused { code::REFUSED } else { 0 })
}

fn table(findings: &[Finding], outcome: Outcome, style: Style) -> String {
    let mut table = Table::default();
    for finding in findings {
        let hue = match finding.says {
            Says::Yes => Hue::Good,
            Says::No => Hue::Bad,
            Says::Wait => Hue::Waiting,
            Says::Note => Hue::Faint,
        };
        table.row([style.paint(hue, &finding.says.to_string()), finding.rule.to_owned(), safe(&finding.text)]);
    }
    let (hue, verdict) = match outcome {
        Outcome::Granted => (Hue::Good, "It would be granted."),
        Outcome::Waits => (Hue::Waiting, "It would wait for people to agree."),
        Outcome::Refused => (Hue::Bad, "It would be refused."),
    };
    format!("{}\n{}\n", table.render(), style.paint(hue, verdict))
}

async fn ask(cluster: &Cluster, flags: &Check) -> Result<Asked, Failure> {
    let wanted = &flags.wanted;
    let delivery = flags.delivered.delivery()?;
    let lifecycle = fetch::lifecycle(cluster, &wanted.lifecycle).await?;
    let grants = lifecycle.as_ref().map_or_else(|| wanted.grants.clone(), |lifecycle| wanted.chosen(lifecycle));
    let me = cluster.whoami().await?;
    let mut lease = wanted.lease(&cluster.namespace, grants, &flags.reason, delivery, me);
    lease.metadata.generate_name = Some("check-".into());
    let policies: Api<CredentialLeasePolicy> = Api::all(cluster.client.clone());
    let everything = ListParams::default();
    let (policies, may_lease, admission, live) = tokio::join!(
        fetch::all(&policies, &everything),
        fetch::may(cluster, "lease", &cluster.namespace, &wanted.lifecycle),
        admission(cluster, &lease),
        live(cluster, &lease),
    );
    let grants = lifecycle.as_ref().map(|l| asked_for(l, &lease.spec.grants)).unwrap_or_default();
    let mut roles = BTreeMap::new();
    for grant in &grants {
        let namespace = into(grant, &cluster.namespace);
        let read = fetch::role(cluster, grant.role_ref.kind, namespace, &grant.role_ref.name).await;
        roles.insert(grant.name.clone(), read.map_err(Unread::from));
    }
    let labels = labels(cluster, &grants).await;
    let (admission, may_lease) = (admission?, may_lease?);
    let policies = policies.map_err(Unread::from);
    Ok(Asked { lease, lifecycle, policies, labels, roles, live, may_lease, admission, now: fetch::now() })
}

fn asked_for(lifecycle: &ServiceAccountLifecycle, names: &[String]) -> Vec<Grant> {
    names.iter().filter_map(|name| lifecycle.spec.grant(name)).cloned().collect()
}

/// What admission says: its refusal is an answer.
async fn admission(cluster: &Cluster, lease: &CredentialLease) -> Result<Result<(), String>, Failure> {
    let api: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PostParams { dry_run: true, ..creating() };
    match api.create(&params, lease).await.map_err(|e| fetch::installed(e, "credentialleases")) {
        Ok(_) => Ok(Ok(())),
        Err(Failure::Refused(message)) => Ok(Err(message)),
        Err(other) => Err(other),
    }
}

/// Live leases of the lifecycle, and the caller's among them, as their phases tell: the operator's own count is exact.
async fn live(cluster: &Cluster, asked: &CredentialLease) -> Seen<(usize, usize)> {
    let filter = Filter { lifecycle: Some(asked.spec.lifecycle_ref.name.clone()), ..Filter::default() };
    let leases = fetch::leases(cluster, false, &filter).await.map_err(|f| Unread(f.to_string()))?;
    let holds = |l: &&CredentialLease| matches!(lease::phase(l), Phase::Issuing | Phase::Active | Phase::Ending);
    let live: Vec<_> = leases.iter().filter(holds).collect();
    let own = live.iter().filter(|l| l.spec.requested_by.username == asked.spec.requested_by.username).count();
    Ok((live.len(), own))
}

/// The namespace of a grant.
fn into<'a>(grant: &'a Grant, home: &'a str) -> &'a str {
    grant.namespace.as_deref().unwrap_or(home)
}

/// Labels of the namespaces involved, where the caller may read them.
async fn labels(cluster: &Cluster, grants: &[Grant]) -> BTreeMap<String, Labels> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let mut out = BTreeMap::new();
    let own = std::iter::once(cluster.namespace.as_str());
    for name in own.chain(grants.iter().map(|g| into(g, &cluster.namespace))) {
        if out.contains_key(name) {
            continue;
        }
        // Without them, `plan` names the policies of which it cannot be told whether they guard the request.
        if let Ok(Some(namespace)) = api.get_opt(name).await {
            out.insert(name.to_owned(), namespace.metadata.labels.unwrap_or_default());
        }
    }
    out
}
