//! The policies that guard a request, and the terms that follow: the stricter wins. Pure.

use std::collections::BTreeMap;

use crate::{
    api::{
        CredentialLeasePolicy, ServiceAccountLifecycle,
        lifecycle::{Approval, ApprovalType, Grant, StopPolicy, Terms},
        policy::{CredentialLeasePolicySpec, CrossNamespaceType, Operator, PolicyTerms, Selector},
        status::PolicyRule,
    },
    domain::rbac,
};

/// Labels of namespaces, as far as they could be read.
pub type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// What policies make of a lifecycle.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The lifecycle under the terms in force.
    pub lifecycle: ServiceAccountLifecycle,
    /// The policies that guard the request.
    pub policies: Vec<String>,
    /// What each of them narrows.
    pub narrowed: Vec<String>,
    /// What they forbid.
    pub forbidden: Vec<String>,
    /// Policies that select by labels which could not be read: they may guard it or not.
    pub unknown: Vec<String>,
}

/// What is looked at.
pub struct Looked<'a> {
    pub namespace: &'a str,
    /// The grants that are asked for.
    pub grants: Vec<&'a Grant>,
    pub labels: &'a Labels,
    /// The rules of the grants' roles, as far as they could be read.
    pub rules: &'a BTreeMap<String, Vec<PolicyRule>>,
}

/// The lifecycle as the policies leave it.
#[must_use]
pub fn guard(lifecycle: &ServiceAccountLifecycle, policies: &[CredentialLeasePolicy], at: &Looked) -> Guarded {
    let mut out = Guarded {
        lifecycle: lifecycle.clone(),
        policies: vec![],
        narrowed: vec![],
        forbidden: vec![],
        unknown: vec![],
    };
    let mut opened: Vec<&str> = vec![];
    for policy in policies {
        let name = policy.metadata.name.clone().unwrap_or_default();
        let grants = match guarded_by(&policy.spec, at) {
            Some(Ok(grants)) => grants,
            None => continue,
            Some(Err(Unreadable)) => {
                out.unknown.push(name);
                continue;
            }
        };
        if let Some(terms) = &policy.spec.terms {
            narrow(&mut out.lifecycle.spec.terms, terms, &name, &mut out.narrowed);
        }
        if policy.spec.stop() != StopPolicy::None {
            out.forbidden.push(format!(
                "policy {name} stops everything it matches ({:?}): ask the platform team",
                policy.spec.stop()
            ));
        }
        forbidden(&policy.spec, &name, at, &grants, &mut opened, &mut out.forbidden);
        out.policies.push(name);
    }
    let may_open = |p: &&CredentialLeasePolicy| {
        out.unknown.iter().any(|name| p.metadata.name.as_ref() == Some(name))
            && p.spec.grants.as_ref().is_some_and(|g| g.cross_namespace.is_some())
    };
    let perhaps_opened = policies.iter().any(|p| may_open(&p));
    let others = at.grants.iter().filter(|g| into(g, at.namespace) != at.namespace);
    for grant in others.filter(|g| !perhaps_opened && !opened.contains(&g.name.as_str())) {
        out.forbidden.push(format!(
            "grant {} reaches into namespace {}, which no policy opens: ask the platform team for a CredentialLeasePolicy with grants.crossNamespace",
            grant.name,
            into(grant, at.namespace)
        ));
    }
    out
}

/// The namespace of a grant.
#[must_use]
pub fn into<'a>(grant: &'a Grant, home: &'a str) -> &'a str {
    grant.namespace.as_deref().unwrap_or(home)
}

/// Labels that a selector asks for could not be read.
struct Unreadable;

/// The grants that a policy guards; `None` if it does not guard the request.
fn guarded_by<'a>(policy: &CredentialLeasePolicySpec, at: &Looked<'a>) -> Option<Result<Vec<&'a Grant>, Unreadable>> {
    let meets = |selector: &Option<Selector>, namespace: &str| match (selector, at.labels.get(namespace)) {
        (None, _) => Some(true),
        (Some(selector), Some(labels)) => Some(selects(selector, labels)),
        (Some(selector), None) => (*selector == Selector::default()).then_some(true),
    };
    let matched = policy.r#match.clone().unwrap_or_default();
    match meets(&matched.lifecycle_namespaces, at.namespace) {
        Some(false) => return None,
        None => return Some(Err(Unreadable)),
        Some(true) => {}
    }
    let met: Vec<_> = at.grants.iter().map(|g| (*g, meets(&matched.grant_namespaces, into(g, at.namespace)))).collect();
    if met.iter().any(|(_, met)| met.is_none()) {
        return Some(Err(Unreadable));
    }
    let grants: Vec<_> = met.into_iter().filter(|(_, met)| *met == Some(true)).map(|(grant, _)| grant).collect();
    (matched.grant_namespaces.is_none() || !grants.is_empty()).then_some(Ok(grants))
}

/// Whether labels meet a selector.
#[must_use]
pub fn selects(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(|r| {
            let value = labels.get(&r.key);
            match r.operator {
                Operator::In => value.is_some_and(|v| r.values.contains(v)),
                Operator::NotIn => value.is_none_or(|v| !r.values.contains(v)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
}

fn narrow(terms: &mut Terms, by: &PolicyTerms, policy: &str, said: &mut Vec<String>) {
    let mut say = |what: String| said.push(format!("policy {policy}: {what}"));
    if let Some(ttl) = by.ttl.as_ref().filter(|ttl| ttl.max < terms.ttl.max) {
        terms.ttl.max = ttl.max;
        terms.ttl.default = terms.ttl.default.map(|default| default.min(ttl.max));
        say(format!("ttl at most {}", ttl.max));
    }
    for (own, new, name) in [
        (&mut terms.max_active, by.max_active, "maxActive"),
        (&mut terms.max_active_per_requester, by.max_active_per_requester, "maxActivePerRequester"),
    ] {
        if let Some(new) = new.filter(|new| own.is_none_or(|own| *new < own)) {
            *own = Some(new);
            say(format!("{name} {new}"));
        }
    }
    if keep(&mut terms.delivery, by.delivery.as_deref()) {
        say(format!("delivery {}", terms.delivery.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", ")));
    }
    if keep(&mut terms.secret_names, by.secret_names.as_deref()) {
        say("fewer names of Secrets".into());
    }
    if keep(&mut terms.audiences, by.audiences.as_deref()) {
        say("fewer audiences".into());
    }
    if !by.validations.is_empty() {
        say(format!("{} more validation(s)", by.validations.len()));
        terms.validations.extend(by.validations.iter().cloned());
    }
    if let Some(approval) = &by.approval {
        let own = terms.approval.clone().unwrap_or_default();
        let merged = stricter(&own, approval);
        if (merged.kind(), merged.count()) != (own.kind(), own.count()) {
            say(format!("approval {} by {}", merged.kind().as_str(), merged.count()));
        }
        terms.approval = Some(merged);
    }
}

/// Keeps what both lists have; whether that took something away.
fn keep<T: PartialEq>(list: &mut Vec<T>, with: Option<&[T]>) -> bool {
    let before = list.len();
    if let Some(with) = with {
        list.retain(|entry| with.contains(entry));
    }
    list.len() < before
}

/// Both kinds of approval at once. Those who ask nobody say nothing about how to ask.
fn stricter(a: &Approval, b: &Approval) -> Approval {
    let asking: Vec<&Approval> = [a, b].into_iter().filter(|x| x.kind() != ApprovalType::NotRequired).collect();
    if asking.is_empty() {
        return a.clone();
    }
    Approval {
        kind: Some(a.kind().min(b.kind())),
        count: asking.iter().map(|x| x.count()).max(),
        timeout: asking.iter().filter_map(|x| x.timeout).min(),
        contact: asking.iter().find_map(|x| x.contact.clone()),
        max_repeat: asking.iter().map(|x| x.max_repeat).min().flatten(),
        independence: asking.iter().filter_map(|x| x.independence).min(),
    }
}

fn forbidden<'a>(
    policy: &CredentialLeasePolicySpec,
    name: &str,
    at: &Looked<'a>,
    grants: &[&'a Grant],
    opened: &mut Vec<&'a str>,
    out: &mut Vec<String>,
) {
    let Some(rules) = &policy.grants else { return };
    let role = |grant: &Grant| format!("{} {}", grant.role_ref.kind.as_str(), grant.role_ref.name);
    for grant in grants.iter().copied() {
        if rules.forbid_roles.contains(&grant.role_ref) {
            out.push(format!("policy {name} forbids {} (grant {})", role(grant), grant.name));
        }
        let held = at.rules.get(&grant.name).map(Vec::as_slice).unwrap_or_default();
        for rule in rules.forbid_rules.iter().filter(|rule| touches(held, rule)) {
            out.push(format!("policy {name} forbids {rule}, which {} of grant {} contains", role(grant), grant.name));
        }
        let target = into(grant, at.namespace);
        let Some(consent) = rules.cross_namespace.as_ref().filter(|_| target != at.namespace) else { continue };
        let label = |namespace: &str| {
            at.labels.get(namespace).and_then(|l| l.get(consent.label.as_deref().unwrap_or_default()))
        };
        match consent.kind {
            CrossNamespaceType::Forbid => {
                out.push(format!("policy {name} forbids grants from other namespaces into {target}"))
            }
            CrossNamespaceType::Allow => opened.push(&grant.name),
            CrossNamespaceType::SameLabel => {
                opened.push(&grant.name);
                let same = label(at.namespace).is_some_and(|own| !own.is_empty() && label(target) == Some(own));
                if !same {
                    let label = consent.label.as_deref().unwrap_or_default();
                    out.push(format!(
                        "policy {name} asks that {} and {target} have the same value of label {label}",
                        at.namespace
                    ));
                }
            }
        }
    }
}

/// Whether a role's rules give something of what is forbidden: one single right of either is within the other.
fn touches(held: &[PolicyRule], forbidden: &PolicyRule) -> bool {
    let within = |whole: &[PolicyRule], parts: &PolicyRule| {
        single(parts).iter().any(|right| rbac::covers(whole, std::slice::from_ref(right)))
    };
    within(held, forbidden) || held.iter().any(|rule| within(std::slice::from_ref(forbidden), rule))
}

/// A rule in single rights.
fn single(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut out = vec![];
    for verb in &rule.verbs {
        for (group, resource) in rule.api_groups.iter().flat_map(|g| rule.resources.iter().map(move |r| (g, r))) {
            let names = if rule.resource_names.is_empty() {
                vec![vec![]]
            } else {
                rule.resource_names.iter().map(|n| vec![n.clone()]).collect()
            };
            out.extend(names.into_iter().map(|resource_names| PolicyRule {
                verbs: vec![verb.clone()],
                api_groups: vec![group.clone()],
                resources: vec![resource.clone()],
                resource_names,
                non_resource_urls: vec![],
            }));
        }
        out.extend(rule.non_resource_urls.iter().map(|url| PolicyRule {
            verbs: vec![verb.clone()],
            non_resource_urls: vec![url.clone()],
            ..PolicyRule::default()
        }));
    }
    out
}
