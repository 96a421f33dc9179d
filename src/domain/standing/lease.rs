//! A lease that was made for a standing credential: what founds it, and what ends it.

use crate::{
    api::{CredentialLeaseSpec, lifecycle::DeliveryType, names, workflow::Standing},
    domain::observed::{LifecycleFacts, Observed},
};

/// How a lease was left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Succession {
    /// Another lease is held, or the credential is no longer to be there.
    Superseded,
    /// It was given up: consumers did not become healthy with it, and why.
    RolledBack(String),
}

/// Whether the lease was made for a standing credential.
#[must_use]
pub fn is_standing(seen: &Observed) -> bool {
    seen.lease.spec.as_ref().is_some_and(|spec| spec.standing_ref.is_some())
}

/// Why the lease is not what its lifecycle says must be there; `None` if it is.
///
/// Nobody is asked whether the requester may lease: the lifecycle's declaration is the right. So it is compared whole, and the
/// status has to name the lease, which bounds an operator that makes leases for itself to two of each declared one.
#[must_use]
pub fn unfounded(seen: &Observed, spec: &CredentialLeaseSpec, lifecycle: &LifecycleFacts) -> Option<&'static str> {
    let name = &spec.standing_ref.as_ref()?.name;
    if spec.requested_by.username != names::OPERATOR_USERNAME {
        return Some("only the operator makes such leases");
    }
    let Some(entry) = lifecycle.spec.standing.iter().find(|entry| entry.name == *name) else {
        return Some("the lifecycle has none of that name");
    };
    if !is_of(spec, entry) {
        return Some("the lifecycle declares other grants, another ttl or another Secret by now");
    }
    let named = lifecycle
        .standing
        .iter()
        .any(|status| status.name == *name && status.names(&seen.lease.name, &seen.lease.uid.text()));
    (!named).then_some("the lifecycle's status names another lease")
}

/// Whether a lease asks for what the entry declares, and for nothing else.
#[must_use]
pub fn is_of(spec: &CredentialLeaseSpec, entry: &Standing) -> bool {
    let sorted = |grants: &[String]| {
        let mut grants = grants.to_vec();
        grants.sort();
        grants
    };
    let secret = spec.delivery.secret.as_ref().map(|secret| &secret.name);
    sorted(&spec.grants) == sorted(&entry.grants)
        && spec.ttl == Some(entry.ttl)
        && spec.delivery.kind == DeliveryType::Secret
        && secret == Some(&entry.secret)
        && spec.audiences.is_empty()
        && spec.not_before.is_none()
        && spec.completion_ref.is_none()
}

/// How an issued lease was left behind, if it was, as far as the lifecycle's status is known.
#[must_use]
pub fn succession(seen: &Observed) -> Option<Succession> {
    let of = seen.lease.spec.as_ref()?.standing_ref.as_ref().filter(|_| seen.issued())?;
    let lifecycle = seen.lifecycle()?;
    let status = lifecycle.standing.iter().find(|status| status.name == of.name);
    let (name, uid) = (&seen.lease.name, seen.lease.uid.text());
    if status.is_some_and(|status| status.names(name, &uid)) {
        return None;
    }
    let given_up = status.filter(|status| status.rolled_back.as_ref().is_some_and(|lease| lease.name == *name));
    Some(given_up.map_or(Succession::Superseded, |status| Succession::RolledBack(status.message.clone())))
}

/// Whether the lease seems to be left behind, and the API server has not confirmed it yet: the watch of the lifecycle may lag behind
/// that of the lease.
#[must_use]
pub fn to_be_confirmed(seen: &Observed) -> bool {
    seen.lifecycle().is_some_and(|l| !l.confirmed) && succession(seen).is_some()
}
