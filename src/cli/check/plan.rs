//! What would happen to a request: every rule that speaks, and what follows. Pure.

use std::{collections::BTreeMap, fmt};

use super::{
    guard::{self, Guarded, Labels, Looked},
    rules,
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
    domain::terms::Refusal,
};

/// What is asked, and what is known about it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The lease as it would be created.
    pub lease: CredentialLease,
    pub lifecycle: Option<ServiceAccountLifecycle>,
    pub policies: Seen<Vec<CredentialLeasePolicy>>,
    /// Labels of the namespaces involved.
    pub labels: Labels,
    /// The rules of each grant's role; `None`: it does not exist.
    pub roles: BTreeMap<String, Seen<Option<Vec<PolicyRule>>>>,
    /// Live leases of the lifecycle: all, and the caller's.
    pub live: Seen<(usize, usize)>,
    /// Whether the caller has the verb `lease`.
    pub may_lease: bool,
    /// What admission says to a dry run.
    pub admission: Result<(), String>,
    /// The API server's own audiences, as far as they are known.
    pub api_audiences: Vec<String>,
    pub now: Time,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It is met.
    Yes,
    /// It is not met.
    No,
    /// Somebody has to agree.
    Wait,
    /// Good to know.
    Note,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "OK",
            Self::No => "NO",
            Self::Wait => "WAIT",
            Self::Note => "NOTE",
        })
    }
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub says: Says,
    pub rule: &'static str,
    pub text: String,
}

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Granted,
    Waits,
    Refused,
}

/// What follows from all findings.
#[must_use]
pub fn outcome(findings: &[Finding]) -> Outcome {
    let any = |says| findings.iter().any(|f| f.says == says);
    if any(Says::No) {
        Outcome::Refused
    } else if any(Says::Wait) {
        Outcome::Waits
    } else {
        Outcome::Granted
    }
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
    let guarded = out.policies(asked, lifecycle, &known);
    out.terms(asked, &guarded, &known);
    out.approval(asked, &guarded);
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
        let said_elsewhere = [LifecycleReason::Stopped, LifecycleReason::Expired, LifecycleReason::PolicyStopped];
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

    fn policies(
        &mut self,
        asked: &Asked,
        lifecycle: &ServiceAccountLifecycle,
        known: &BTreeMap<String, Vec<PolicyRule>>,
    ) -> Guarded {
        let namespace = asked.lease.metadata.namespace.clone().unwrap_or_default();
        let grants = asked.lease.spec.grants.iter().filter_map(|g| lifecycle.spec.grant(g)).collect();
        let at = Looked { namespace: &namespace, grants, labels: &asked.labels, rules: known };
        let none = vec![];
        let policies = match &asked.policies {
            Ok(policies) => policies,
            Err(Unread(why)) => {
                self.say(Says::Note, "policies", format!("not looked at: {why}; they may narrow what follows"));
                &none
            }
        };
        let mut guarded = guard::guard(lifecycle, policies, &at);
        if asked.policies.is_err() {
            // What opens other namespaces is not known.
            guarded.forbidden.clear();
        }
        for text in &guarded.forbidden {
            self.say(Says::No, "policies", text);
        }
        for text in &guarded.narrowed {
            self.say(Says::Note, "policies", text);
        }
        if !guarded.unknown.is_empty() {
            let text = format!(
                "{} may guard it or not: you may not read the labels of every namespace involved",
                guarded.unknown.join(", ")
            );
            self.say(Says::Note, "policies", text);
        }
        if asked.policies.is_ok() && guarded.forbidden.is_empty() {
            self.say(Says::Yes, "policies", format!("guarded by {}", text::list(&guarded.policies, "none")));
        }
        guarded
    }

    fn terms(&mut self, asked: &Asked, guarded: &Guarded, known: &BTreeMap<String, Vec<PolicyRule>>) {
        let refused = rules::refusals(asked, &guarded.lifecycle, known);
        let (spec, terms) = (&asked.lease.spec, &guarded.lifecycle.spec.terms);
        let live = asked.live.as_ref().map(|(all, own)| {
            let limit = |max: Option<i32>| max.map_or("no limit".to_owned(), |max| format!("at most {max}"));
            format!(
                "{all} live ({}), {own} of them yours ({})",
                limit(terms.max_active),
                limit(terms.max_active_per_requester)
            )
        });
        let ttl = spec.ttl.unwrap_or_else(|| terms.default_ttl());
        let met: [(&str, Option<String>); 7] = [
            ("state", Some("not stopped, not ended".into())),
            ("grants", Some(spec.grants.join(", "))),
            ("ttl", Some(format!("{ttl}, at most {}", terms.ttl.max))),
            ("delivery", Some(spec.delivery.kind.as_str().into())),
            ("audiences", Some(text::list(&spec.audiences, "the API server"))),
            ("quotas", live.ok()),
            (
                "validations",
                (!terms.validations.is_empty()).then(|| text::count(terms.validations.len(), "rule") + " met"),
            ),
        ];
        for (topic, fine) in met {
            let about: Vec<&Refusal> = refused.iter().filter(|r| topic_of(r) == topic).collect();
            for refusal in &about {
                self.say(Says::No, topic, refusal.to_string());
            }
            if let Some(fine) = fine.filter(|_| about.is_empty()) {
                self.say(Says::Yes, topic, fine);
            }
        }
        if let Err(Unread(why)) = &asked.live {
            self.say(Says::Note, "quotas", format!("live leases were not counted: {why}"));
        }
    }

    fn approval(&mut self, asked: &Asked, guarded: &Guarded) {
        let spec = &guarded.lifecycle.spec;
        let approval = spec.terms.approval.clone().unwrap_or_default();
        let contact = approval.contact.clone().unwrap_or_else(|| spec.owner.contact.clone());
        let people = text::count(usize::try_from(approval.count()).unwrap_or(1), "person").replace("persons", "people");
        let who = format!(
            "{people} with the verb approve on {}, not you; ask {contact}",
            asked.lease.spec.lifecycle_ref.name
        );
        match approval.kind() {
            ApprovalType::NotRequired => self.say(Says::Yes, "approval", "nobody has to agree"),
            ApprovalType::Retrospective => {
                let text = format!(
                    "issued at once; within {} {who} must have agreed, or it is revoked and the lifecycle held",
                    approval.timeout()
                );
                self.say(Says::Yes, "approval", text);
            }
            ApprovalType::Required => {
                self.say(Says::Wait, "approval", format!("needs {who}; an answer counts for {}", approval.timeout()))
            }
        }
    }
}

/// What a refusal is about.
fn topic_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoGrants { .. } | Refusal::GrantUnknown { .. } | Refusal::RoleNotFound { .. } => "grants",
        Refusal::TtlAboveMax { .. } | Refusal::TtlTooShortOffline { .. } => "ttl",
        Refusal::DeliveryNotAllowed { .. } | Refusal::SecretNameNotAllowed { .. } => "delivery",
        Refusal::AudienceNotAllowed { .. } => "audiences",
        Refusal::TooManyActive { .. } | Refusal::TooManyForRequester { .. } => "quotas",
        Refusal::ValidationFailed { .. } | Refusal::ValidationBroken { .. } => "validations",
        _ => "state",
    }
}

#[cfg(test)]
mod tests;
