//! `check`: what would happen if I asked? Nothing is created.

use std::{collections::BTreeMap, sync::Arc};

use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ListParams, PostParams},
};

use super::{
    connect::{Cluster, Global, connect, creating},
    doctor::finding::Unread,
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
    api::{
        ConnectedSystem, CredentialLease, CredentialLeasePolicy, ServiceAccountLifecycle, lifecycle::Grant,
        reasons::Phase, status::ResolvedRequest,
    },
    domain::{guards::Labels, workflow::Systems},
    systems::seen::seen,
};

pub mod finding;
pub mod plan;
pub mod rules;
pub mod workflow;

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
    /// Shows what the workflow would call, in order, with the requests as they would be sent; nothing is called.
    #[arg(long)]
    pub workflow: bool,
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
    let calls = match asked.lifecycle.as_ref().filter(|_| flags.workflow) {
        Some(lifecycle) => Some(workflow::rehearse(&asked, lifecycle).await?),
        None => None,
    };
    let text = match flags.output {
        Some(format) => {
            let mut document = serde_json::json!({"outcome": outcome, "findings": findings});
            if let (Some(calls), Some(document)) = (&calls, document.as_object_mut()) {
                document.insert("workflow".into(), serde_json::json!(calls));
            }
            output::document(format, &document)?
        }
        None => {
            let style = Style::stdout(global.no_color);
            let calls = calls.map(|calls| workflow::text(&calls, style)).unwrap_or_default();
            format!("{}{calls}", table(&findings, outcome, style))
        }
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
    let (everything, everyones) = (ListParams::default(), Filter::default());
    let (policies, may_lease, admission, leases) = tokio::join!(
        fetch::all(&policies, &everything),
        fetch::may(cluster, "lease", &cluster.namespace, &wanted.lifecycle),
        admission(cluster, &lease),
        fetch::leases(cluster, false, &everyones),
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
    let leases = leases.map_err(|failure| Unread(failure.to_string()));
    let api_audiences = leases.as_deref().map(api_audiences).unwrap_or_default();
    let live = leases.map(|leases| live(&leases, &lease));
    let now = fetch::now();
    let (systems, systems_unread) = systems(cluster, lifecycle.as_ref()).await;
    Ok(Asked {
        lease,
        lifecycle,
        systems,
        systems_unread,
        policies,
        labels,
        roles,
        live,
        api_audiences,
        may_lease,
        admission,
        now,
    })
}

/// The connected systems that the workflow names, and the names of those that cannot be read.
async fn systems(cluster: &Cluster, lifecycle: Option<&ServiceAccountLifecycle>) -> (Systems, Vec<String>) {
    let api: Api<ConnectedSystem> = Api::all(cluster.client.clone());
    let mut names: Vec<&String> = lifecycle.iter().flat_map(|l| &l.spec.workflow).map(|step| &step.system).collect();
    names.sort_unstable();
    names.dedup();
    let (mut read, mut unread) = (Systems::new(), vec![]);
    for name in names {
        match api.get_opt(name).await {
            Ok(Some(system)) => drop(read.insert(name.clone(), Arc::new(seen(&system)))),
            Ok(None) => {}
            // What was not looked at is said; `plan` judges the rest.
            Err(_) => unread.push(name.clone()),
        }
    }
    (read, unread)
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
fn live(all: &[CredentialLease], asked: &CredentialLease) -> (usize, usize) {
    let holds = |l: &&CredentialLease| matches!(lease::phase(l), Phase::Issuing | Phase::Active | Phase::Ending);
    let live: Vec<_> = all.iter().filter(|l| l.spec.lifecycle_ref == asked.spec.lifecycle_ref).filter(holds).collect();
    let own = live.iter().filter(|l| l.spec.requested_by.username == asked.spec.requested_by.username).count();
    (live.len(), own)
}

/// The API server's own audiences: those of any lease that named none. Without such a lease they are not known.
fn api_audiences(all: &[CredentialLease]) -> Vec<String> {
    let unnamed = all.iter().filter(|lease| lease.spec.audiences.is_empty());
    let known = |request: &&ResolvedRequest| !request.audiences.is_empty();
    unnamed.filter_map(lease::request).find(known).map(|request| request.audiences.clone()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn the_api_servers_audiences_are_those_of_a_lease_that_named_none() {
        let lease = |asked: serde_json::Value, resolved: &[&str]| {
            waiting(|l| {
                l["spec"]["audiences"] = asked;
                l["status"]["request"]["audiences"] = json!(resolved);
            })
        };
        let named = lease(json!(["sts"]), &["sts"]);
        assert!(api_audiences(&[named.clone(), waiting(|_| {})]).is_empty());
        assert_eq!(api_audiences(&[named, lease(json!([]), &["https://api"])]), ["https://api"]);
    }

    #[test]
    fn live_leases_are_those_of_the_lifecycle() {
        let lease = |phase: &str, lifecycle: &str, by: &str| {
            waiting(|l| {
                l["status"]["phase"] = json!(phase);
                l["spec"]["lifecycleRef"]["name"] = json!(lifecycle);
                l["spec"]["requestedBy"]["username"] = json!(by);
            })
        };
        let all = [
            lease("Active", "a", "ci"),
            lease("Issuing", "a", "alice"),
            lease("Expired", "a", "ci"),
            lease("Active", "b", "ci"),
        ];
        assert_eq!(live(&all, &lease("Pending", "a", "ci")), (2, 1));
    }
}
