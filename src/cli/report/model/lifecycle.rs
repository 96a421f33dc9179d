//! Lifecycles as they are now, and what about them wants a person's look.

use serde::Serialize;

use super::{Lease, lease::State};
use crate::{
    api::{
        ConditionStatus, ServiceAccountLifecycle, Time, condition,
        lifecycle::{ApprovalType, Class},
        reasons::ConditionType,
        standing::StandingPhase,
    },
    cli::{report::gather::Gathered, view::lifecycle},
    domain::review::{self, Standing as Review},
};

/// How far ahead an end is worth a look, and how long an identity may be unused before it is, in milliseconds: 30 days.
const LOOK_MILLIS: i64 = 30 * 86_400_000;

/// One lifecycle.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    pub namespace: String,
    pub name: String,
    pub class: Class,
    pub team: String,
    pub contact: String,
    pub purpose: String,
    /// `grant: Kind name in namespace`.
    pub grants: Vec<String>,
    #[serde(rename = "maxTTL")]
    pub max_ttl: String,
    pub approval: ApprovalType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// When its owners are to look at it next, if the lifecycle says how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_review: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_lease: Option<Time>,
    /// Leases of the report.
    pub leases: usize,
    /// Of these, those whose credential can be used now.
    pub live: usize,
    /// The most urgent first.
    pub findings: Vec<Finding>,
}

/// Something about a lifecycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub urgency: Urgency,
    pub what: String,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Urgency {
    /// Somebody has to do something.
    Act,
    /// Its owner should say whether it is still right.
    Review,
    /// Worth knowing.
    Know,
}

/// A credential that must always be there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub namespace: String,
    pub lifecycle: String,
    pub name: String,
    /// Issuing, RollingOut, RollingBack, Settled, Withdrawn.
    pub phase: StandingPhase,
    pub secret: String,
    /// The lease whose token it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The lease that is to follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<Time>,
    /// How many leases in a row came to nothing.
    pub failures: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether a good token is in the Secret now.
    pub held: bool,
}

/// Every lifecycle, those with the most urgent findings first.
pub(super) fn all(gathered: &Gathered, leases: &[Lease], now: Time) -> Vec<Lifecycle> {
    let mut all: Vec<Lifecycle> = gathered.lifecycles.iter().map(|l| of(l, leases, now)).collect();
    all.sort_by_key(|l| {
        let urgency = l.findings.first().map_or(Urgency::Know, |f| f.urgency);
        (urgency, l.namespace.clone(), l.name.clone())
    });
    all
}

fn of(object: &ServiceAccountLifecycle, leases: &[Lease], now: Time) -> Lifecycle {
    let (spec, metadata) = (&object.spec, &object.metadata);
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let own = || leases.iter().filter(|l| l.lifecycle == name && l.namespace == namespace);
    let newest = own().filter_map(|l| l.issued).max();
    let last_lease = object.status.as_ref().and_then(|s| s.last_lease_time).max(newest);
    let created = metadata.creation_timestamp.as_ref().map(Time::from);
    let grant = |g: &crate::api::lifecycle::Grant| {
        let target = g.namespace.as_deref().unwrap_or(&namespace);
        format!("{}: {} {} in {target}", g.name, g.role_ref.kind.as_str(), g.role_ref.name)
    };
    Lifecycle {
        class: spec.class,
        team: spec.owner.team.clone(),
        contact: spec.owner.contact.clone(),
        purpose: spec.purpose.clone(),
        grants: spec.grants.iter().map(grant).collect(),
        max_ttl: spec.terms.ttl.max.to_string(),
        approval: spec.terms.approval.as_ref().map_or(ApprovalType::Required, crate::api::lifecycle::Approval::kind),
        expiration: spec.expiration_time,
        next_review: spec.review.as_ref().map(review::next),
        last_lease,
        leases: own().count(),
        live: own().filter(|l| l.state == State::Live).count(),
        findings: findings(object, last_lease.max(created), last_lease.is_none(), now),
        namespace,
        name,
    }
}

/// What wants a look, the most urgent first. `used`: when it was used last, or made.
fn findings(object: &ServiceAccountLifecycle, used: Option<Time>, never: bool, now: Time) -> Vec<Finding> {
    let mut out = vec![];
    let mut say = |urgency, what: String| out.push(Finding { urgency, what });
    match object.spec.expiration_time {
        Some(at) if at <= now => say(Urgency::Review, format!("it ended at {at}: delete it, or move expirationTime")),
        Some(at) if at.since(now) <= LOOK_MILLIS => {
            say(Urgency::Review, format!("it ends at {at}: renew it, or let it end"));
        }
        Some(_) => {}
        None => say(Urgency::Know, "it has no expirationTime: it stays until somebody deletes it".into()),
    }
    match review::standing(object.spec.review.as_ref(), now) {
        Review::NotAsked => say(Urgency::Know, "it says nothing about reviews (spec.review)".into()),
        Review::Current => {}
        Review::DueSoon => say(Urgency::Review, "its review is due within two weeks".into()),
        Review::Due { until } => say(Urgency::Review, format!("its review is due: from {until} on nothing is leased")),
        // What Leasable says of it is said below.
        Review::Overdue { .. } | Review::Ahead => {}
    }
    if used.is_some_and(|at| now.since(at) > LOOK_MILLIS) {
        let since = if never { "it was never leased" } else { "it was not leased" };
        say(Urgency::Review, format!("{since} for more than 30 days: is it still needed?"));
    }
    let conditions = object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let says = |kind: ConditionType| condition::find(conditions, kind.as_str());
    // What has ended by its own time is told above.
    let ended = object.spec.expiration_time.is_some_and(|at| at <= now);
    for condition in
        lifecycle::WELL.into_iter().filter(|kind| *kind != ConditionType::Leasable || !ended).filter_map(says)
    {
        if condition.status != ConditionStatus::True {
            let status = format!("{:?}", condition.status);
            say(Urgency::Act, format!("{} is {status} ({}): {}", condition.kind, condition.reason, condition.message));
        }
    }
    if conditions.is_empty() {
        say(Urgency::Act, "the operator has not looked at it yet".into());
    }
    if let Some(ambient) = says(ConditionType::AmbientRights).filter(|c| c.status == ConditionStatus::True) {
        say(Urgency::Review, format!("ambient rights: {}", ambient.message));
    }
    out.sort_by_key(|finding| finding.urgency);
    out
}

/// Every standing credential; those that are not held first.
pub(super) fn standing(gathered: &Gathered, now: Time) -> Vec<Standing> {
    let of = |lifecycle: &ServiceAccountLifecycle| {
        let namespace = lifecycle.metadata.namespace.clone().unwrap_or_default();
        let name = lifecycle.metadata.name.clone().unwrap_or_default();
        let all = lifecycle.status.iter().flat_map(|s| s.standing.clone()).collect::<Vec<_>>();
        all.into_iter().map(move |s| {
            let secret = s.secret.unwrap_or_default();
            let good = secret.token_expiration_time.is_some_and(|at| at > now);
            Standing {
                namespace: namespace.clone(),
                lifecycle: name.clone(),
                name: s.name,
                phase: s.phase,
                secret: secret.name,
                held: s.current.is_some() && secret.lease.is_some() && good,
                lease: s.current.map(|l| l.name),
                next: s.next.map(|l| l.name),
                written: secret.write_time,
                token_expires: secret.token_expiration_time,
                failures: s.failures.unwrap_or_default(),
                message: s.message,
            }
        })
    };
    let mut all: Vec<Standing> = gathered.lifecycles.iter().flat_map(of).collect();
    all.sort_by_key(|s| (s.held, s.namespace.clone(), s.lifecycle.clone(), s.name.clone()));
    all
}
