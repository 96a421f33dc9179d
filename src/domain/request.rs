//! The resolved document: exactly what is issued, to whom and for how long. People agree to its digest.

use super::{digest, observed::Observed, outlives, rbac, workflow};
use crate::api::{
    lease::Identity,
    status::{ObjectIdentity, ResolvedDelivery, ResolvedGrant, ResolvedRequest},
};

/// The document with the digest that people agree to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub request: ResolvedRequest,
    pub digest: String,
    /// What is different from the document that the status shows, if that can no longer be what is issued.
    pub changes: Vec<String>,
}

/// Which state of the roles is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// As the watches have them: what is decided on.
    Watched,
    /// As they were read after their bindings were in force: what is issued.
    Bound,
}

/// Resolves the request; `None` where there is no spec or no lifecycle.
#[must_use]
pub fn resolve(seen: &Observed, roles: Roles) -> Option<ResolvedRequest> {
    let (spec, lifecycle) = (seen.lease.spec.as_ref()?, seen.lifecycle()?);
    let grants = spec.grants.iter().filter_map(|name| {
        let grant = lifecycle.spec.grant(name)?;
        let bound = seen.learned.roles_after.get(name).and_then(Option::as_ref).filter(|_| roles == Roles::Bound);
        let role = bound.or_else(|| seen.roles.get(name))?;
        Some(ResolvedGrant {
            name: name.clone(),
            namespace: grant.namespace.clone().unwrap_or_else(|| seen.lease.namespace.clone()),
            role_ref: grant.role_ref.clone(),
            role_uid: role.uid.clone(),
            rules_digest: rbac::digest(&role.rules),
            rules: if rbac::recordable(&role.rules) { role.rules.clone() } else { vec![] },
            outlives: outlives::of(&role.rules),
        })
    });
    let by = &spec.requested_by;
    // Groups are a set: authenticators keep no order.
    let mut groups = by.groups.clone();
    groups.sort();
    Some(ResolvedRequest {
        requester: Identity { username: by.username.clone(), uid: by.uid.clone(), groups, ..Identity::default() },
        lifecycle: ObjectIdentity { name: spec.lifecycle_ref.name.clone(), uid: lifecycle.uid.clone() },
        grants: grants.collect(),
        ttl: seen.ttl()?,
        audiences: seen.audiences(),
        delivery: ResolvedDelivery { kind: spec.delivery.kind, secret: spec.delivery.secret.clone() },
        not_before: spec.not_before,
        workflow: workflow::resolve(&lifecycle.spec.workflow, &seen.systems),
        // What shortens a lease only for the pod that asked for it need not be agreed to: equal requests of many pods stay equal.
        completion: spec.completion_ref.clone().filter(|_| !spec.ends_with_own_pod()),
        standing: spec.standing_ref.clone(),
    })
}

/// The document that people agree to now: the one that the status shows, as long as what would be issued is that or less.
/// A role that lost rights voids nothing; aggregated roles change with every chart.
#[must_use]
pub fn current(seen: &Observed) -> Option<Resolved> {
    if let Some(issued) = seen.lease.status.request.as_ref().filter(|_| seen.issued()) {
        // What was issued is what is agreed to afterwards, whatever has become of the roles.
        return Some(Resolved { request: issued.clone(), digest: digest_of(issued)?, changes: vec![] });
    }
    let fresh = resolve(seen, Roles::Watched)?;
    let shown = seen.lease.status.request.as_ref();
    let changes = shown.map(|shown| changes(shown, &fresh)).unwrap_or_default();
    let request = match shown {
        Some(shown) if changes.is_empty() => shown.clone(),
        _ => fresh,
    };
    let digest = digest_of(&request)?;
    Some(Resolved { request, digest, changes })
}

/// `sha256:` of the canonical JSON of a document.
#[must_use]
pub fn digest_of(request: &ResolvedRequest) -> Option<String> {
    digest::canonical(request).ok().map(|text| digest::sha256(&text))
}

/// What was agreed to and is no longer so, as sentences. What became less is no change.
#[must_use]
pub fn changes(agreed: &ResolvedRequest, now: &ResolvedRequest) -> Vec<String> {
    let mut out = vec![];
    let mut differs = |what: &str, before: String, after: String| {
        if before != after {
            out.push(format!("{what} was {before} and is {after}"));
        }
    };
    differs("the requester", who(&agreed.requester), who(&now.requester));
    differs("the lifecycle", agreed.lifecycle.name.clone(), now.lifecycle.name.clone());
    differs("the ttl", agreed.ttl.to_string(), now.ttl.to_string());
    differs("the audiences", agreed.audiences.join(", "), now.audiences.join(", "));
    differs("the delivery", delivery(&agreed.delivery), delivery(&now.delivery));
    let time = |request: &ResolvedRequest| request.not_before.map_or_else(|| "not set".into(), |at| at.to_string());
    differs("notBefore", time(agreed), time(now));
    if agreed.lifecycle.uid != now.lifecycle.uid && agreed.lifecycle.name == now.lifecycle.name {
        out.push(format!("lifecycle {} was deleted and created again", now.lifecycle.name));
    }
    for grant in &now.grants {
        match agreed.grants.iter().find(|g| g.name == grant.name) {
            None => out.push(format!("grant {} was added", grant.name)),
            Some(before) => out.extend(grant_change(before, grant)),
        }
    }
    out.extend(steps_changed(agreed, now));
    let gone = agreed.grants.iter().filter(|before| !now.grants.iter().any(|g| g.name == before.name));
    out.extend(gone.map(|before| format!("grant {} is gone", before.name)));
    out
}

/// Steps that were agreed to and are no longer so.
fn steps_changed(agreed: &ResolvedRequest, now: &ResolvedRequest) -> Vec<String> {
    let find = |of: &ResolvedRequest, name: &str| of.workflow.iter().find(|s| s.name == name).cloned();
    let changed = now.workflow.iter().filter_map(|step| match find(agreed, &step.name) {
        None => Some(format!("step {} was added to the workflow", step.name)),
        Some(before) if before != *step => Some(format!("step {} of the workflow was changed", step.name)),
        Some(_) => None,
    });
    let gone = agreed.workflow.iter().filter(|s| find(now, &s.name).is_none());
    let mut out: Vec<String> = changed.collect();
    out.extend(gone.map(|s| format!("step {} of the workflow is gone", s.name)));
    let order = |of: &ResolvedRequest| of.workflow.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    if out.is_empty() && order(agreed) != order(now) {
        out.push("the workflow has another order".into());
    }
    out
}

fn who(requester: &Identity) -> String {
    format!("{} ({})", requester.username, requester.groups.join(", "))
}

fn delivery(delivery: &ResolvedDelivery) -> String {
    match &delivery.secret {
        Some(secret) => format!("{} {}", delivery.kind.as_str(), secret.name),
        None => delivery.kind.as_str().to_owned(),
    }
}

fn grant_change(before: &ResolvedGrant, now: &ResolvedGrant) -> Option<String> {
    let place = |g: &ResolvedGrant| format!("{} {} in {}", g.role_ref.kind.as_str(), g.role_ref.name, g.namespace);
    if place(before) != place(now) {
        return Some(format!("grant {} was for {} and is for {}", now.name, place(before), place(now)));
    }
    if before.role_uid != now.role_uid {
        return Some(format!("the role of grant {} was deleted and created again", now.name));
    }
    if before.rules_digest == now.rules_digest {
        return None;
    }
    let unknown = |grant: &ResolvedGrant| grant.rules.is_empty() && grant.rules_digest != rbac::digest(&[]);
    if unknown(before) || unknown(now) {
        return Some(format!("the role of grant {} changed, and has too many rules to compare", now.name));
    }
    let gained = rbac::gained(&before.rules, &now.rules);
    (!gained.is_empty())
        .then(|| format!("the role of grant {} gained rights: {}", now.name, super::ending::describe(&gained)))
}
