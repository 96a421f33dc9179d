//! The platform's guardrails: which policies guard what, the terms that follow, and what they forbid.
//!
//! One rule merges everything: the stricter wins. The lower number, the intersection of lists, every validation, the stricter
//! approval, the stronger stop.

use std::{collections::BTreeMap, sync::Arc};

use super::{rbac, refusal::Refusal};
use crate::api::{
    Duration,
    lifecycle::{
        Approval, ApprovalType, Backstop, DEFAULT_APPROVALS, DeliveryType, Independence, OnRoleChange, RoleRef,
        StopPolicy, Terms, Validation,
    },
    policy::{
        CredentialLeasePolicySpec, CrossNamespaceType, GrantRules, OnViolation, Operator, PolicyApproval, PolicyTerms,
        Requirement, Selector,
    },
    status::PolicyRule,
};

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// A policy as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySeen {
    pub name: String,
    pub spec: CredentialLeasePolicySpec,
}

/// One grant, as far as guardrails need it.
#[derive(Clone, Debug)]
pub struct GrantSeen<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub role: &'a RoleRef,
    /// The role's rules now, if it is there.
    pub rules: Option<&'a [PolicyRule]>,
}

/// What is looked at: grants of a lifecycle in its namespace, whether all of them or those of one lease.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    pub home: &'a str,
    pub grants: Vec<GrantSeen<'a>>,
    /// Labels of the namespaces involved. One that is missing has no labels here: whoever asks makes sure that it is known, or
    /// known not to be there.
    pub namespaces: &'a BTreeMap<String, Labels>,
}

/// A policy that guards a scope, with the grants that it guards.
#[derive(Clone, Debug)]
pub struct Guard<'a> {
    pub policy: &'a PolicySeen,
    pub grants: Vec<GrantSeen<'a>>,
}

/// Whether labels meet a selector.
#[must_use]
pub fn selects(selector: &Selector, labels: &Labels) -> bool {
    let meets = |r: &Requirement| {
        let value = labels.get(&r.key);
        match r.operator {
            Operator::In => value.is_some_and(|v| r.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !r.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    };
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(meets)
}

/// The policies that guard a scope: both selectors must match, that for granted namespaces on at least one grant.
#[must_use]
pub fn guarding<'a>(policies: &'a [Arc<PolicySeen>], scope: &Scope<'a>) -> Vec<Guard<'a>> {
    let none = Labels::new();
    let labels = |namespace: &str| scope.namespaces.get(namespace).unwrap_or(&none);
    let guard = |policy: &'a Arc<PolicySeen>| {
        let of = policy.spec.r#match.as_ref();
        let home = of.and_then(|m| m.lifecycle_namespaces.as_ref());
        if home.is_some_and(|selector| !selects(selector, labels(scope.home))) {
            return None;
        }
        let into = of.and_then(|m| m.grant_namespaces.as_ref());
        let guarded = |grant: &&GrantSeen| into.is_none_or(|selector| selects(selector, labels(grant.namespace)));
        let grants: Vec<GrantSeen<'a>> = scope.grants.iter().filter(guarded).cloned().collect();
        (into.is_none() || !grants.is_empty()).then_some(Guard { policy: policy.as_ref(), grants })
    };
    policies.iter().filter_map(guard).collect()
}

/// A value, and the policy that set it; `None`: the lifecycle itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    pub value: T,
    pub by: Option<String>,
}

impl<T> Bound<T> {
    fn own(value: T) -> Self {
        Self { value, by: None }
    }

    fn tighten(&mut self, value: T, policy: &str, stricter: impl Fn(&T, &T) -> bool) {
        if stricter(&value, &self.value) {
            *self = Self { value, by: Some(policy.to_owned()) };
        }
    }
}

/// Who has to agree, with everything said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub kind: Bound<ApprovalType>,
    pub count: i32,
    pub timeout: Duration,
    pub contact: Option<String>,
    /// `None`: no decision covers another request.
    pub max_repeat: Option<Duration>,
    pub independence: Independence,
}

/// The terms in force: the lifecycle's, narrowed by every policy that guards it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub ttl_max: Bound<Duration>,
    pub ttl_default: Duration,
    pub max_active: Option<Bound<i32>>,
    pub max_active_per_requester: Option<Bound<i32>>,
    pub delivery: Vec<DeliveryType>,
    pub secret_names: Vec<String>,
    pub audiences: Vec<String>,
    /// The policies that took something out of these lists.
    pub narrowed_by: Vec<String>,
    pub backstop: Backstop,
    pub on_role_change: OnRoleChange,
    pub approval: Agreement,
    pub validations: Vec<Validation>,
    /// The policies that guard it.
    pub policies: Vec<String>,
}

impl Effective {
    /// The lifecycle's terms under these guards.
    #[must_use]
    pub fn of(terms: &Terms, guards: &[Guard]) -> Self {
        let own = |limit: Option<i32>| limit.map(Bound::own);
        let mut all = Self {
            ttl_max: Bound::own(terms.ttl.max),
            ttl_default: terms.default_ttl(),
            max_active: own(terms.max_active),
            max_active_per_requester: own(terms.max_active_per_requester),
            delivery: terms.delivery.clone(),
            secret_names: terms.secret_names.clone(),
            audiences: terms.audiences.clone(),
            narrowed_by: vec![],
            backstop: terms.backstop(),
            on_role_change: terms.on_role_change(),
            approval: agreement(&terms.approval.clone().unwrap_or_default(), guards),
            validations: terms.validations.clone(),
            policies: guards.iter().map(|g| g.policy.name.clone()).collect(),
        };
        for guard in guards {
            if let Some(terms) = &guard.policy.spec.terms {
                all.narrow(terms, &guard.policy.name);
            }
        }
        all.ttl_default = all.ttl_default.min(all.ttl_max.value);
        all
    }

    fn narrow(&mut self, terms: &PolicyTerms, policy: &str) {
        if let Some(ttl) = &terms.ttl {
            self.ttl_max.tighten(ttl.max, policy, |new, old| new < old);
        }
        lower(&mut self.max_active, terms.max_active, policy);
        lower(&mut self.max_active_per_requester, terms.max_active_per_requester, policy);
        let narrowed = [
            intersect(&mut self.delivery, terms.delivery.as_deref()),
            intersect(&mut self.secret_names, terms.secret_names.as_deref()),
            intersect(&mut self.audiences, terms.audiences.as_deref()),
        ];
        if narrowed.contains(&true) {
            self.narrowed_by.push(policy.to_owned());
        }
        if terms.backstop == Some(Backstop::Job) {
            self.backstop = Backstop::Job;
        }
        if terms.on_role_change == Some(OnRoleChange::RevokeIfWidened) {
            self.on_role_change = OnRoleChange::RevokeIfWidened;
        }
        self.validations.extend(terms.validations.iter().cloned());
    }
}

fn lower(limit: &mut Option<Bound<i32>>, new: Option<i32>, policy: &str) {
    let Some(new) = new else { return };
    if limit.as_ref().is_none_or(|old| new < old.value) {
        *limit = Some(Bound { value: new, by: Some(policy.to_owned()) });
    }
}

/// Keeps what both lists have; whether that took something away.
fn intersect<T: PartialEq>(list: &mut Vec<T>, with: Option<&[T]>) -> bool {
    let before = list.len();
    if let Some(with) = with {
        list.retain(|entry| with.contains(entry));
    }
    list.len() < before
}

/// A lifecycle that asks nobody says nothing about how to ask; a policy says what it names.
fn agreement(own: &Approval, guards: &[Guard]) -> Agreement {
    let mut kind = Bound::own(own.kind());
    let said: Vec<(&str, &PolicyApproval)> = guards
        .iter()
        .filter_map(|g| Some((g.policy.name.as_str(), g.policy.spec.terms.as_ref()?.approval.as_ref()?)))
        .collect();
    for (policy, approval) in &said {
        kind.tighten(approval.kind(), policy, |new, old| new < old);
    }
    let own = Some(own).filter(|own| own.kind() != ApprovalType::NotRequired);
    let others = || said.iter().map(|(_, a)| *a).filter(|a| a.kind() != ApprovalType::NotRequired);
    let asks = kind.value != ApprovalType::NotRequired;
    let counts = own.map(Approval::count).into_iter().chain(others().filter_map(|a| a.count));
    let timeouts = own.and_then(|a| a.timeout).into_iter().chain(others().filter_map(|a| a.timeout));
    // A lifecycle that asks and does not speak of repeats wants none.
    let repeats = own.map(|a| a.max_repeat).into_iter().chain(others().filter_map(|a| a.max_repeat.map(Some)));
    let independence = own.map(Approval::independence).into_iter().chain(others().filter_map(|a| a.independence));
    Agreement {
        kind,
        count: if asks { counts.max().unwrap_or(DEFAULT_APPROVALS) } else { 0 },
        timeout: timeouts.min().unwrap_or_else(|| Approval::default().timeout()),
        contact: own.and_then(|a| a.contact.clone()).or_else(|| others().find_map(|a| a.contact.clone())),
        max_repeat: repeats.min().flatten(),
        independence: independence.min().unwrap_or(Independence::Required),
    }
}

/// The strongest stop of the guards, and whose it is.
#[must_use]
pub fn stop(guards: &[Guard]) -> Option<(StopPolicy, String)> {
    let rank = |stop: StopPolicy| match stop {
        StopPolicy::None => 0,
        StopPolicy::Hold => 1,
        StopPolicy::HoldAndRevoke => 2,
    };
    let stops = guards.iter().map(|g| (g.policy.spec.stop(), g.policy.name.clone()));
    stops.filter(|(stop, _)| *stop != StopPolicy::None).max_by_key(|(stop, _)| rank(*stop))
}

/// What the guards forbid of the grants, each with the policy that does, and whether that policy revokes for it.
#[must_use]
pub fn violations(scope: &Scope, guards: &[Guard]) -> Vec<(OnViolation, Refusal)> {
    let mut out = vec![];
    for guard in guards {
        let on = guard.policy.spec.on_violation();
        let forbidden = |rules: &GrantRules, grant: &GrantSeen| forbidden(rules, grant, &guard.policy.name);
        let found =
            guard.policy.spec.grants.iter().flat_map(|rules| guard.grants.iter().flat_map(|g| forbidden(rules, g)));
        out.extend(found.map(|refusal| (on, refusal)));
    }
    for grant in scope.grants.iter().filter(|g| g.namespace != scope.home) {
        out.extend(consent(scope, guards, grant));
    }
    out
}

fn forbidden(rules: &GrantRules, grant: &GrantSeen, policy: &str) -> Vec<Refusal> {
    let role = format!("{} {}", grant.role.kind.as_str(), grant.role.name);
    let by_name = rules.forbid_roles.contains(grant.role).then(|| Refusal::RoleForbidden {
        grant: grant.name.to_owned(),
        role: role.clone(),
        policy: policy.to_owned(),
    });
    let shared = rbac::overlap(grant.rules.unwrap_or_default(), &rules.forbid_rules);
    let by_rule = (!shared.is_empty()).then(|| Refusal::RuleForbidden {
        grant: grant.name.to_owned(),
        role,
        policy: policy.to_owned(),
        rules: super::ending::describe(&shared),
    });
    by_name.into_iter().chain(by_rule).collect()
}

/// Consent to a grant into another namespace: at least one guard must open it, and none that speaks of it may refuse.
fn consent(scope: &Scope, guards: &[Guard], grant: &GrantSeen) -> Option<(OnViolation, Refusal)> {
    let mut opened = false;
    let refused = |policy: Option<&PolicySeen>, why: String| {
        let refusal = Refusal::CrossNamespace {
            grant: grant.name.to_owned(),
            namespace: grant.namespace.to_owned(),
            policy: policy.map(|p| p.name.clone()),
            why,
        };
        Some((policy.map_or(OnViolation::Report, |p| p.spec.on_violation()), refusal))
    };
    for guard in guards.iter().filter(|g| g.grants.iter().any(|guarded| guarded.name == grant.name)) {
        let Some(said) = guard.policy.spec.grants.as_ref().and_then(|g| g.cross_namespace.as_ref()) else { continue };
        match said.kind {
            CrossNamespaceType::Forbid => return refused(Some(guard.policy), "it forbids them".into()),
            CrossNamespaceType::Allow => opened = true,
            CrossNamespaceType::SameLabel => {
                let label = said.label.as_deref().unwrap_or_default();
                let value = |namespace: &str| scope.namespaces.get(namespace).and_then(|labels| labels.get(label));
                if value(scope.home).is_none_or(|own| own.is_empty() || value(grant.namespace) != Some(own)) {
                    return refused(
                        Some(guard.policy),
                        format!("both namespaces must have the same value of label {label}"),
                    );
                }
                opened = true;
            }
        }
    }
    if opened { None } else { refused(None, String::new()) }
}

#[cfg(test)]
mod tests;
