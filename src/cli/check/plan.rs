//! What would happen to a request: every rule that speaks, and what follows. Pure.

use std::collections::BTreeMap;

use super::{
    finding::{Finding, Says},
    rules::{self, Said},
};
use crate::{
    api::{
        ConditionStatus, CredentialLease, CredentialLeasePolicy, ServiceAccountLifecycle, Time, condition,
        lifecycle::ApprovalType,
        reasons::{ConditionType, LifecycleReason},
        status::PolicyRule,
    },
    cli::{
        doctor::finding::{Seen, Unread},
        view::text,
    },
    domain::{
        guards::{Bound, Effective, Labels},
        refusal::Refusal,
        workflow::Systems,
    },
};

/// What is asked, and what is known about it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The lease as it would be created.
    pub lease: CredentialLease,
    pub lifecycle: Option<ServiceAccountLifecycle>,
    pub policies: Seen<Vec<CredentialLeasePolicy>>,
    /// The connected systems that its workflow names, as far as they could be read.
    pub systems: Systems,
    /// Those that could not.
    pub systems_unread: Vec<String>,
    /// Labels of the namespaces involved, as far as they could be read.
    pub labels: BTreeMap<String, Labels>,
    /// The rules of each grant's role; `None`: it does not exist.
    pub roles: BTreeMap<String, Seen<Option<Vec<PolicyRule>>>>,
    /// Live leases of the lifecycle: all, and the caller's.
    pub live: Seen<(usize, usize)>,
    /// The API server's own audiences; empty: not known.
    pub api_audiences: Vec<String>,
    /// Whether the caller has the verb `lease`.
    pub may_lease: bool,
    /// What admission says to a dry run.
    pub admission: Result<(), String>,
    pub now: Time,
}

/// Every rule that speaks.
#[must_use]
pub fn plan(asked: &Asked) -> Vec<Finding> {
    let mut out = Plan(vec![]);
    let name = &asked.lease.spec.lifecycle_ref.name;
    let Some(lifecycle) = &asked.lifecycle else {
        out.say(Says::No, "lifecycle", Refusal::LifecycleNotFound { name: name.clone() }.to_string());
        return out.0;
    };
    out.say(
        Says::Yes,
        "lifecycle",
        format!(
            "{name}: {} (owner {}, {})",
            lifecycle.spec.purpose, lifecycle.spec.owner.team, lifecycle.spec.owner.contact
        ),
    );
    if asked.may_lease {
        out.say(Says::Yes, "right", format!("{} may lease it", asked.lease.spec.requested_by.username));
    } else {
        let username = asked.lease.spec.requested_by.username.clone();
        out.say(Says::No, "right", Refusal::RequesterMayNotLease { username, lifecycle: name.clone() }.to_string());
    }
    out.conditions(lifecycle);
    let known = out.roles(asked, lifecycle);
    if let Some(said) = rules::judge(asked, lifecycle, &known) {
        out.policies(asked, &said);
        out.terms(asked, &said);
        out.approval(asked, lifecycle, &said.terms);
    }
    match &asked.admission {
        Ok(()) => out.say(Says::Yes, "admission", "the API server would take the lease (dry run)"),
        Err(message) => out.say(Says::No, "admission", message),
    }
    if let Some(at) = asked.lease.spec.not_before.filter(|at| *at > asked.now) {
        out.say(Says::Note, "notBefore", format!("nothing is issued before {at}"));
    }
    out.0
}

struct Plan(Vec<Finding>);

impl Plan {
    fn say(&mut self, says: Says, rule: &'static str, text: impl AsRef<str>) {
        self.0.push(Finding { says, rule, text: text.as_ref().to_owned() });
    }

    /// What the operator says of the lifecycle, but for what the terms' own rules say as well.
    fn conditions(&mut self, lifecycle: &ServiceAccountLifecycle) {
        let conditions = lifecycle.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        if conditions.is_empty() {
            self.say(Says::Note, "conditions", "no operator has looked at this lifecycle yet");
            return;
        }
        let said_elsewhere = [
            LifecycleReason::Stopped,
            LifecycleReason::Expired,
            LifecycleReason::ReviewOverdue,
            LifecycleReason::PolicyStopped,
        ];
        let kinds = [
            ConditionType::Ready,
            ConditionType::GrantsAllowed,
            ConditionType::PoliciesSatisfied,
            ConditionType::Leasable,
        ];
        let mut fine = true;
        for c in kinds.iter().filter_map(|kind| condition::find(conditions, kind.as_str())) {
            let repeated = said_elsewhere.iter().any(|reason| reason.as_str() == c.reason);
            if c.status != ConditionStatus::True && !repeated {
                fine = false;
                let says = if c.status == ConditionStatus::False { Says::No } else { Says::Note };
                self.say(says, "conditions", format!("{} is {:?} ({}): {}", c.kind, c.status, c.reason, c.message));
            }
        }
        if fine {
            self.say(Says::Yes, "conditions", "the operator may bind its roles, and issues");
        }
    }

    /// The rules of the roles that are known to exist. A role that cannot be read is taken to be there: admission of the
    /// lifecycle and its condition GrantsAllowed speak of it.
    fn roles(&mut self, asked: &Asked, lifecycle: &ServiceAccountLifecycle) -> BTreeMap<String, Vec<PolicyRule>> {
        let mut known = BTreeMap::new();
        for grant in asked.lease.spec.grants.iter().filter(|g| lifecycle.spec.grant(g).is_some()) {
            match asked.roles.get(grant) {
                Some(Ok(Some(rules))) => drop(known.insert(grant.clone(), rules.clone())),
                Some(Ok(None)) => {}
                None | Some(Err(_)) => {
                    self.say(
                        Says::Note,
                        "grants",
                        format!("the role of grant {grant} cannot be read by you: what it allows was not looked at"),
                    );
                    known.insert(grant.clone(), vec![]);
                }
            }
        }
        known
    }

    fn policies(&mut self, asked: &Asked, said: &Said) {
        if let Err(Unread(why)) = &asked.policies {
            self.say(Says::Note, "policies", format!("not looked at: {why}; they may narrow what follows"));
        }
        for text in narrowed(&said.terms) {
            self.say(Says::Note, "policies", text);
        }
        if !said.unknown.is_empty() {
            let names = said.unknown.join(", ");
            let text = format!("{names} may guard it or not: you may not read the labels of every namespace involved");
            self.say(Says::Note, "policies", text);
        }
    }

    fn terms<'a>(&mut self, asked: &Asked, said: &'a Said) {
        let (spec, terms) = (&asked.lease.spec, &said.terms);
        let limit = |max: &Option<Bound<i32>>| {
            max.as_ref().map_or("no limit".to_owned(), |max| format!("at most {}", max.value))
        };
        let live = asked.live.as_ref().map(|(all, own)| {
            format!(
                "{all} live ({}), {own} of them yours ({})",
                limit(&terms.max_active),
                limit(&terms.max_active_per_requester)
            )
        });
        let ttl = spec.ttl.unwrap_or(terms.ttl_default);
        let rules = terms.validations.len();
        let steps = asked.lifecycle.as_ref().map_or(0, |l| l.spec.workflow.len());
        let runs = steps > 0 && asked.systems_unread.is_empty();
        let met: [(&str, Option<String>); 9] = [
            ("state", Some("not stopped, not ended".into())),
            ("policies", asked.policies.is_ok().then(|| format!("guarded by {}", text::list(&terms.policies, "none")))),
            ("grants", Some(spec.grants.join(", "))),
            ("ttl", Some(format!("{ttl}, at most {}", terms.ttl_max.value))),
            ("delivery", Some(spec.delivery.kind.as_str().into())),
            ("audiences", Some(text::list(&spec.audiences, "the API server"))),
            ("quotas", live.ok()),
            ("workflow", runs.then(|| format!("{} can run", text::count(steps, "step")))),
            ("validations", (rules > 0).then(|| format!("{} met", text::count(rules, "rule")))),
        ];
        for (topic, fine) in met {
            let of_topic = |refusals: &'a [Refusal]| refusals.iter().filter(move |r| topic_of(r) == topic);
            let about: Vec<&Refusal> = of_topic(&said.refusals).collect();
            for refusal in &about {
                self.say(Says::No, topic, refusal.to_string());
            }
            if let Some(fine) = fine.filter(|_| about.is_empty() && of_topic(&said.unjudged).next().is_none()) {
                self.say(Says::Yes, topic, fine);
            }
        }
        for refusal in &said.unjudged {
            let text = "cannot be judged from here, since no lease you can read shows the API server's own audiences; unless yours are";
            self.say(Says::Note, topic_of(refusal), format!("{text} among them: {refusal}"));
        }
        if !asked.systems_unread.is_empty() {
            let names = asked.systems_unread.join(", ");
            self.say(
                Says::Note,
                "workflow",
                format!("connected systems that you may not read were not looked at: {names}"),
            );
        }
        if let Err(Unread(why)) = &asked.live {
            self.say(Says::Note, "quotas", format!("live leases were not counted: {why}"));
        }
    }

    fn approval(&mut self, asked: &Asked, lifecycle: &ServiceAccountLifecycle, terms: &Effective) {
        let approval = &terms.approval;
        let contact = approval.contact.as_ref().unwrap_or(&lifecycle.spec.owner.contact);
        let people = if approval.count == 1 { "1 person".to_owned() } else { format!("{} people", approval.count) };
        let who = format!(
            "{people} with the verb approve on {}, not you (ask {contact})",
            asked.lease.spec.lifecycle_ref.name
        );
        let wait = approval.timeout;
        match approval.kind.value {
            ApprovalType::NotRequired => self.say(Says::Yes, "approval", "nobody has to agree"),
            ApprovalType::Retrospective => {
                let text = format!(
                    "issued at once; it is revoked and the lifecycle held unless within {wait} it is agreed to by {who}"
                );
                self.say(Says::Yes, "approval", text);
            }
            ApprovalType::Required => {
                self.say(Says::Wait, "approval", format!("to be agreed to within {wait} by {who}"))
            }
        }
    }
}

/// What policies make stricter.
fn narrowed(terms: &Effective) -> Vec<String> {
    let mut out = vec![];
    let mut say = |by: Option<&String>, what: String| out.extend(by.map(|policy| format!("policy {policy}: {what}")));
    say(terms.ttl_max.by.as_ref(), format!("a ttl of at most {}", terms.ttl_max.value));
    for (name, limit) in [("maxActive", &terms.max_active), ("maxActivePerRequester", &terms.max_active_per_requester)]
    {
        if let Some(limit) = limit {
            say(limit.by.as_ref(), format!("{name} {}", limit.value));
        }
    }
    let kind = &terms.approval.kind;
    say(kind.by.as_ref(), format!("approval {}", kind.value.as_str()));
    for policy in &terms.narrowed_by {
        say(Some(policy), "fewer deliveries, names of Secrets or audiences".into());
    }
    out
}

/// What a refusal is about.
fn topic_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::PolicyStopped { .. }
        | Refusal::NoPolicy
        | Refusal::RoleForbidden { .. }
        | Refusal::RuleForbidden { .. }
        | Refusal::CrossNamespace { .. } => "policies",
        Refusal::NoGrants { .. }
        | Refusal::GrantUnknown { .. }
        | Refusal::RoleNotFound { .. }
        | Refusal::NamespaceNotFound { .. }
        | Refusal::NamespaceForbidden { .. } => "grants",
        Refusal::TtlAboveMax { .. } | Refusal::TtlTooShortOffline { .. } | Refusal::NotBeforeTooFar => "ttl",
        Refusal::DeliveryNotAllowed { .. } | Refusal::SecretNameNotAllowed { .. } => "delivery",
        Refusal::AudienceNotAllowed { .. } => "audiences",
        Refusal::TooManyActive { .. } | Refusal::TooManyForRequester { .. } => "quotas",
        Refusal::StepInvalid { .. } => "workflow",
        Refusal::ValidationFailed { .. } | Refusal::ValidationBroken { .. } => "validations",
        _ => "state",
    }
}

#[cfg(test)]
mod tests;
