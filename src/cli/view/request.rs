//! A request as somebody reads it who is asked to agree.

use std::collections::BTreeMap;

use super::{facts::Facts, lease, text, when};
use crate::{
    api::{
        CredentialLease, Time,
        lifecycle::DeliveryType,
        names,
        reasons::Outlives,
        status::{PolicyRule, ResolvedDelivery, ResolvedGrant, ResolvedRequest},
        workflow::{OnFailure, ResolvedStep, StepTime},
    },
    domain::rbac,
};

/// What is shown beside the lease itself.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Rules of roles that are too long for a status, by grant: read from the cluster, and their digest compared.
    pub rules: BTreeMap<String, Vec<PolicyRule>>,
    /// The last agreed request of the same requester and lifecycle: who agreed to which lease, and what is different.
    pub before: Option<(String, Vec<String>)>,
}

/// A request as it is shown: everything that its digest covers, but for the UIDs, and what the lease says besides.
#[must_use]
pub fn facts(lease: &CredentialLease, request: &ResolvedRequest, beside: &Beside, now: Time) -> Facts {
    let (spec, status) = (&lease.spec, lease.status.clone().unwrap_or_default());
    let mut facts = Facts::default();
    facts.say("Lease", lease::title(lease));
    facts.say("Lifecycle", &request.lifecycle.name);
    facts.say("Requester", &request.requester.username);
    if !request.requester.groups.is_empty() {
        facts.more(format!("in groups {}", request.requester.groups.join(", ")));
    }
    if let Some(pod) = &spec.requested_by.pod_name {
        facts.more(format!("from pod {pod}"));
    }
    if let Some(id) = &spec.requested_by.credential_id {
        facts.more(format!("with credential {id}"));
    }
    facts.say("Reason", &spec.reason);
    facts.maybe("Ticket", spec.ticket.as_ref());
    facts.say("Life", format!("{} from the moment it is agreed", request.ttl));
    if let Some(at) = request.not_before {
        facts.more(format!("and not before {at}"));
    }
    for grant in &request.grants {
        grant_facts(&mut facts, grant, beside.rules.get(&grant.name));
    }
    facts.say("Audiences", text::list(&request.audiences, "the API server"));
    delivery(&mut facts, lease::name(lease), lease::namespace(lease), &request.delivery);
    if let Some(what) = &request.completion {
        facts.say("Made for", format!("{} {}: the lease ends when that ends", what.kind.as_str(), what.name));
    }
    if let Some(standing) = &request.standing {
        facts.say("Standing", format!("{}: the next lease takes its place before it ends", standing.name));
    }
    for step in &request.workflow {
        workflow_step(&mut facts, step);
    }
    facts.say("Policies", text::list(&status.policies, "none guards it"));
    if let Some(approvals) = &status.approvals {
        facts.say("Approvals", format!("{} of {}", approvals.have, approvals.required));
        if let Some(until) = approvals.until {
            facts.more(format!("an answer counts until {until} ({})", when::relative(until, now)));
        }
    }
    if let Some((title, changes)) = &beside.before {
        let none = changes.is_empty();
        facts.say("Changes", if none { format!("nothing beyond {title}") } else { format!("since {title}:") });
        for change in changes {
            facts.more(format!("! {change}"));
        }
    }
    facts
}

fn grant_facts(facts: &mut Facts, grant: &ResolvedGrant, read: Option<&Vec<PolicyRule>>) {
    facts.say("Grant", grant_title(grant));
    let rules = if grant.rules.is_empty() { read.map_or(&[][..], Vec::as_slice) } else { &grant.rules };
    for rule in rules {
        facts.more(format!("  {rule}"));
    }
    if grant.rules_digest == rbac::digest(&[]) {
        facts.more("  the role allows nothing");
    } else if rules.is_empty() {
        facts.more(format!(
            "  ! its rules cannot be shown here (digest {}), read them before you agree: kubectl get {} {} -n {} -o yaml",
            grant.rules_digest,
            grant.role_ref.kind.as_str().to_lowercase(),
            grant.role_ref.name,
            grant.namespace
        ));
    }
    for mark in &grant.outlives {
        facts.more(format!("  ! {}", outlives(*mark)));
    }
}

/// What is called in another system.
fn workflow_step(facts: &mut Facts, step: &ResolvedStep) {
    facts.say(&format!("At {}", step.at.as_str()), format!("{}: {}/{}", step.name, step.system.name, step.operation));
    for (name, value) in &step.with {
        facts.more(format!("  {name}: {value}"));
    }
    if let Some(undo) = &step.undo {
        facts.more(format!("  taken back at the end by {undo}"));
    }
    if step.on_failure == OnFailure::Continue && step.at != StepTime::Revoke {
        facts.more("  may fail");
    }
}

/// A grant in one line.
#[must_use]
pub fn grant_title(grant: &ResolvedGrant) -> String {
    format!("{}: {} {} in namespace {}", grant.name, grant.role_ref.kind.as_str(), grant.role_ref.name, grant.namespace)
}

/// What an approver should know of a grant by which something can outlive the lease.
#[must_use]
pub fn outlives(mark: Outlives) -> String {
    let what = match mark {
        Outlives::Watch => "a watch that was opened goes on",
        Outlives::Exec => "exec, attach or port-forward: an open stream goes on, and what was started in a pod runs on",
        Outlives::Workloads => "pods it makes or changes run on, as any account of their namespace",
        Outlives::Secrets => "Secrets it has read stay known, and a token Secret it makes never expires",
        Outlives::Tokens => "tokens it mints for other accounts live as long as was asked",
        Outlives::Rbac => "roles and bindings it changes stay changed",
        Outlives::Impersonate => "what it does as somebody else is theirs",
        Outlives::Certificates => "client certificates it gets are valid until they expire",
    };
    format!("a holder can leave something behind: {what}")
}

fn delivery(facts: &mut Facts, lease: &str, namespace: &str, delivery: &ResolvedDelivery) {
    match delivery.kind {
        DeliveryType::TokenRequest => facts.say("Delivery", "TokenRequest: the requester mints, nothing is at rest"),
        DeliveryType::Secret => {
            let chosen = delivery.secret.as_ref().map(|s| s.name.clone());
            let name = chosen.clone().unwrap_or_else(|| names::default_secret(lease));
            facts.say("Delivery", format!("Secret {name} in namespace {namespace}"));
            facts.more(format!("readable by everyone with get secrets in {namespace}"));
            if chosen.is_some() {
                facts.more("the requester chose its name: what else reads a Secret of that name?");
            }
        }
    }
}

/// A delivery in a word or two.
#[must_use]
pub fn delivery_name(delivery: &ResolvedDelivery) -> String {
    match &delivery.secret {
        Some(secret) => format!("{} {}", delivery.kind.as_str(), secret.name),
        None => delivery.kind.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::lease::tests::waiting, *};

    fn now() -> Time {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn shown(change: impl FnOnce(&mut serde_json::Value), beside: &Beside) -> String {
        let lease = waiting(change);
        facts(&lease, lease::request(&lease).unwrap(), beside, now()).plain()
    }

    #[test]
    fn everything_that_is_agreed_to_is_shown() {
        let before = Some(("payments/rollout-1, approved by alice".into(), vec!["the ttl was 8h and is 10m".into()]));
        let text = shown(|_| {}, &Beside { before, ..Beside::default() });
        let expected = "\
Lease      payments/rollout
Lifecycle  payments-deployer
Requester  system:serviceaccount:payments:ci
           in groups ci
           from pod runner-1
           with credential JTI=1
Reason     Roll out 2.3
Ticket     CHG-1234
Life       10m from the moment it is agreed
Grant      deploy: ClusterRole payments-deploy in namespace payments-prod
             get,patch on deployments of apps
             create on pods/exec of core
             ! a holder can leave something behind: exec, attach or port-forward: an open stream goes on, and what was started in a pod runs on
Audiences  the API server
Delivery   TokenRequest: the requester mints, nothing is at rest
Policies   production
Approvals  0 of 2
           an answer counts until 2026-11-24T13:00:00Z (in 60m)
Changes    since payments/rollout-1, approved by alice:
           ! the ttl was 8h and is 10m
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_secret_says_who_can_read_it() {
        let text = shown(
            |lease| lease["status"]["request"]["delivery"] = json!({"type": "Secret", "secret": {"name": "argo"}}),
            &Beside::default(),
        );
        assert!(text.contains("Secret argo in namespace payments"), "{text}");
        assert!(text.contains("readable by everyone with get secrets in payments"), "{text}");
        assert!(text.contains("the requester chose its name"), "{text}");
    }

    #[test]
    fn rules_that_no_status_holds_are_those_that_were_read() {
        let unrecorded = waiting(|lease| lease["status"]["request"]["grants"][0]["rules"] = json!([]));
        let mut request = lease::request(&unrecorded).unwrap().clone();
        let shown = |request: &ResolvedRequest, beside: &Beside| facts(&unrecorded, request, beside, now()).plain();
        assert!(shown(&request, &Beside::default()).contains("the role allows nothing"));
        request.grants[0].rules_digest = "sha256:1".into();
        assert!(shown(&request, &Beside::default()).contains("kubectl get clusterrole payments-deploy"));
        let rule = PolicyRule {
            verbs: vec!["*".into()],
            resources: vec!["*".into()],
            api_groups: vec!["*".into()],
            ..PolicyRule::default()
        };
        let beside = Beside { rules: BTreeMap::from([("deploy".into(), vec![rule])]), ..Beside::default() };
        assert!(shown(&request, &beside).contains("* on * of *"));
    }
}
