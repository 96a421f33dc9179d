//! What is made of what was seen. Pure.

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::Deployment,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::ResourceExt;

use super::finding::{Finding, Level, Seen, judge};
use crate::{
    api::{
        ConditionStatus, ConnectedSystem, CredentialLeasePolicy, GROUP, ServiceAccountLifecycle, Time, condition,
        lifecycle::StopPolicy, names, reasons::ConditionType,
    },
    cli::{
        operator,
        view::{lifecycle, text},
    },
    cluster::policies::Shipped,
    domain::ambient,
    version,
};

/// The oldest Kubernetes that works, as minor version of 1.
const OLDEST_MINOR: u32 = 34;
/// The largest difference of clocks that is no concern, in milliseconds; the header it is read from has whole seconds.
const CLOCKS_MILLIS: i64 = 5_000;
/// How long an operator may take to look at something new, in milliseconds.
const LOOKS_MILLIS: i64 = 60_000;
/// The most objects that one line names.
const NAMED: usize = 8;

/// What was seen of a cluster.
pub struct Seeing {
    pub now: Time,
    /// Major and minor version.
    pub server: Seen<(String, String)>,
    /// Local clock before and after, and the server's between.
    pub clocks: Seen<(Time, Time, Time)>,
    /// The served kinds of the group; `None`: the group is not served.
    pub kinds: Seen<Option<Vec<String>>>,
    /// Which of our namespaces are there.
    pub namespaces: Seen<Vec<String>>,
    pub policies: Seen<(Vec<ValidatingAdmissionPolicy>, Vec<ValidatingAdmissionPolicyBinding>)>,
    pub operator: Seen<Option<Deployment>>,
    pub flow: Seen<bool>,
    pub cluster_bindings: Seen<Vec<ClusterRoleBinding>>,
    pub bindings: Seen<Vec<RoleBinding>>,
    pub lifecycles: Seen<Vec<ServiceAccountLifecycle>>,
    pub guards: Seen<Vec<CredentialLeasePolicy>>,
    pub systems: Seen<Vec<ConnectedSystem>>,
}

/// Everything there is to say.
#[must_use]
pub fn examine(seen: &Seeing) -> Vec<Finding> {
    [
        judge("server", &seen.server, |(major, minor)| vec![server(major, minor)]),
        judge("clock", &seen.clocks, |(before, server, after)| vec![clock(*before, *server, *after)]),
        judge("kinds", &seen.kinds, |kinds| vec![served(kinds.as_deref())]),
        judge("namespaces", &seen.namespaces, |there| vec![namespaces(there)]),
        judge("policies", &seen.policies, |(policies, bindings)| vec![enforced(policies, bindings)]),
        judge("operator", &seen.operator, |deployment| operator(deployment.as_ref())),
        judge("flow schema", &seen.flow, |there| vec![flow(*there)]),
        ambient_rights(&seen.cluster_bindings, &seen.bindings),
        judge("lifecycles", &seen.lifecycles, |all| lifecycles(all, seen.now)),
        judge("stops", &seen.guards, |all| vec![stops(all)]),
        judge("systems", &seen.systems, |all| systems(all)),
    ]
    .concat()
}

fn server(major: &str, minor: &str) -> Finding {
    let number: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match number.parse::<u32>() {
        Ok(n) if major == "1" && n >= OLDEST_MINOR => {
            Finding::new(Level::Ok, "server", format!("Kubernetes {major}.{minor}"))
        }
        _ => Finding::new(
            Level::Fail,
            "server",
            format!(
                "Kubernetes {major}.{minor} is older than 1.{OLDEST_MINOR}, which Leasehold needs: upgrade the cluster"
            ),
        ),
    }
}

fn clock(before: Time, server: Time, after: Time) -> Finding {
    // Within the second that the header stands for, and the time the answer took, nothing is known.
    let (ahead, behind) = (before.since(server.plus_millis(1_000)), server.since(after));
    let off = ahead.max(behind).max(0);
    if off > CLOCKS_MILLIS {
        let which = if ahead > behind { "ahead of" } else { "behind" };
        let text = format!(
            "the clock here is {} s {which} the API server's: relative times are off by that; set the clock",
            off / 1000
        );
        return Finding::new(Level::Warn, "clock", text);
    }
    Finding::new(Level::Ok, "clock", "the clock here agrees with the API server's to a few seconds")
}

fn served(kinds: Option<&[String]>) -> Finding {
    let wanted = [
        "ConnectedSystem",
        "CredentialLease",
        "CredentialLeaseDecision",
        "CredentialLeasePolicy",
        "ServiceAccountLifecycle",
    ];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|kind| kinds.is_none_or(|kinds| kinds.iter().all(|k| k != kind))).collect();
    if missing.is_empty() {
        return Finding::new(Level::Ok, "kinds", format!("all {} kinds of {GROUP} are served", wanted.len()));
    }
    let text = format!("{GROUP} does not serve {}: kubectl apply --server-side -k config/default", missing.join(", "));
    Finding::new(Level::Fail, "kinds", text)
}

fn namespaces(there: &[String]) -> Finding {
    let missing: Vec<&str> = [names::OPERATOR_NAMESPACE, names::ISSUING_NAMESPACE]
        .into_iter()
        .filter(|n| there.iter().all(|t| t != n))
        .collect();
    if missing.is_empty() {
        Finding::new(
            Level::Ok,
            "namespaces",
            format!("{} and {} are there", names::OPERATOR_NAMESPACE, names::ISSUING_NAMESPACE),
        )
    } else {
        let text = format!(
            "{} is missing, so nothing can be issued: kubectl apply --server-side -k config/default",
            missing.join(", ")
        );
        Finding::new(Level::Fail, "namespaces", text)
    }
}

fn enforced(policies: &[ValidatingAdmissionPolicy], bindings: &[ValidatingAdmissionPolicyBinding]) -> Finding {
    match Shipped::read() {
        Err(unreadable) => Finding::new(Level::Fail, "policies", unreadable.to_string()),
        Ok(shipped) => match shipped.compare(policies, bindings) {
            Some(wrong) => Finding::new(Level::Fail, "policies", wrong),
            None => Finding::new(Level::Ok, "policies", "the admission policies are there, bound, and as shipped"),
        },
    }
}

fn operator(deployment: Option<&Deployment>) -> Vec<Finding> {
    let Some(deployment) = deployment else {
        let text = format!(
            "there is no Deployment {} in {}: unless the operator runs outside the cluster, nothing is issued and only the backstops end leases; kubectl apply --server-side -k config/default",
            names::OPERATOR_ACCOUNT,
            names::OPERATOR_NAMESPACE
        );
        return vec![Finding::new(Level::Fail, "operator", text)];
    };
    let conditions = deployment.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let available = conditions.iter().find(|c| c.type_ == "Available");
    let none = deployment.spec.as_ref().and_then(|s| s.replicas) == Some(0);
    let health = match available {
        _ if none => Finding::new(Level::Fail, "operator", "its Deployment is scaled to 0 replicas: scale it to 1"),
        Some(c) if c.status == "True" => Finding::new(Level::Ok, "operator", "its Deployment is available"),
        Some(c) => Finding::new(
            Level::Fail,
            "operator",
            format!(
                "its Deployment is not available ({}): see kubectl describe pods -n {}",
                c.message.as_deref().or(c.reason.as_deref()).unwrap_or("no reason given"),
                names::OPERATOR_NAMESPACE
            ),
        ),
        None => Finding::new(
            Level::Warn,
            "operator",
            "its Deployment has no status: nobody runs it here; if the operator runs outside the cluster, look at its own /readyz",
        ),
    };
    vec![health, version(deployment)]
}

fn version(deployment: &Deployment) -> Finding {
    let own = version::VERSION;
    let image = operator::image(deployment).unwrap_or_default();
    match operator::version(image) {
        Some(tag) if tag == own => {
            Finding::new(Level::Ok, "versions", format!("kubectl lease and the operator are both {own}"))
        }
        Some(tag) => Finding::new(
            Level::Warn,
            "versions",
            format!(
                "kubectl lease is {own}, the operator's image {tag}: use a plugin of the operator's version, or digests may not agree"
            ),
        ),
        None => Finding::new(
            Level::Skip,
            "versions",
            format!("kubectl lease is {own}; the operator's image ({image}) names no version"),
        ),
    }
}

fn flow(there: bool) -> Finding {
    if there {
        return Finding::new(Level::Ok, "flow schema", "the operator's requests have seats of their own");
    }
    let text = "FlowSchema leasehold is missing: tenants that storm the API server can delay every revocation; kubectl apply -k config/flowcontrol";
    Finding::new(Level::Warn, "flow schema", text)
}

fn ambient_rights(cluster: &Seen<Vec<ClusterRoleBinding>>, namespaced: &Seen<Vec<RoleBinding>>) -> Vec<Finding> {
    let about = "ambient rights";
    judge(about, cluster, |cluster| {
        judge(about, namespaced, |namespaced| {
            let wide = cluster.iter().filter(|b| {
                ambient::reaches_every_account(b.subjects.as_deref()) && !ambient::is_usual(&b.role_ref.name)
            });
            let wide = wide.map(|b| format!("ClusterRoleBinding {} ({})", b.name_any(), b.role_ref.name));
            let narrow = namespaced.iter().filter(|b| ambient::reaches_every_account(b.subjects.as_deref())).map(|b| {
                format!("RoleBinding {}/{} ({})", b.namespace().unwrap_or_default(), b.name_any(), b.role_ref.name)
            });
            let found: Vec<String> = wide.chain(narrow).collect();
            vec![if found.is_empty() {
                Finding::new(Level::Ok, about, "nothing beyond what every cluster gives to all service accounts")
            } else {
                let text = format!(
                    "every lease also holds what is bound to all service accounts: {}; bind these to whom they are meant for",
                    named(&found)
                );
                Finding::new(Level::Warn, about, text)
            }]
        })
    })
}

fn named(all: &[String]) -> String {
    let rest = all.len().saturating_sub(NAMED);
    let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if rest == 0 { first } else { format!("{first} and {rest} more") }
}

fn lifecycles(all: &[ServiceAccountLifecycle], now: Time) -> Vec<Finding> {
    let about = "lifecycles";
    let title = |l: &ServiceAccountLifecycle| format!("{}/{}", l.namespace().unwrap_or_default(), l.name_any());
    let unseen: Vec<String> = all
        .iter()
        .filter(|l| {
            let made = l.creation_timestamp().map_or(now, |t| Time::from(&t));
            now.since(made) > LOOKS_MILLIS && l.status.as_ref().is_none_or(|s| s.observed_generation.is_none())
        })
        .map(title)
        .collect();
    let mut out = vec![];
    if !unseen.is_empty() {
        let text = format!("no operator has looked at {}: does one run, and may it read them?", named(&unseen));
        out.push(Finding::new(Level::Fail, about, text));
    }
    for lifecycle in all {
        let conditions = lifecycle.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let says = lifecycle::WELL.iter().filter_map(|kind| condition::find(conditions, kind.as_str()));
        for c in says.filter(|c| c.status == ConditionStatus::False) {
            out.push(Finding::new(
                Level::Warn,
                about,
                format!("{}: {} is False ({}): {}", title(lifecycle), c.kind, c.reason, c.message),
            ));
        }
    }
    if out.is_empty() {
        out.push(Finding::new(Level::Ok, about, format!("{} can be leased", text::count(all.len(), "lifecycle"))));
    }
    out
}

fn stops(all: &[CredentialLeasePolicy]) -> Finding {
    let stopping: Vec<String> = all
        .iter()
        .filter(|p| p.spec.stop() != StopPolicy::None)
        .map(|p| format!("{} ({:?})", p.name_any(), p.spec.stop()))
        .collect();
    if stopping.is_empty() {
        return Finding::new(Level::Ok, "stops", "no policy stops anything");
    }
    let text =
        format!("policies stop what they match: {}; to take one back: kubectl lease resume NAME", named(&stopping));
    Finding::new(Level::Warn, "stops", text)
}

fn systems(all: &[ConnectedSystem]) -> Vec<Finding> {
    let about = "systems";
    let mut out = vec![];
    for system in all {
        let conditions = system.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let ready = condition::find(conditions, ConditionType::Ready.as_str());
        if let Some(c) = ready.filter(|c| c.status == ConditionStatus::False) {
            out.push(Finding::new(Level::Warn, about, format!("{}: {}: {}", system.name_any(), c.reason, c.message)));
        }
    }
    if out.is_empty() {
        out.push(Finding::new(Level::Ok, about, format!("{} connected", text::count(all.len(), "system"))));
    }
    out
}

#[cfg(test)]
mod tests;
