//! Who decided what, and when.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Lease, lease::Origin};
use crate::{
    api::{
        Time,
        decision::DecisionType,
        lifecycle::Independence,
        reasons::{EndReason, Happening},
        status::Record,
    },
    cli::report::{gather::Gathered, window::Window},
};

/// One person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    pub time: Time,
    pub by: String,
    pub decision: DecisionType,
    pub namespace: String,
    pub lease: String,
    pub lifecycle: String,
    pub requester: String,
    /// Why; absent where only the lease or the stream tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(rename = "maxTTL", skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_for: Option<String>,
    /// Whether the decider could act as the requester, and the decision says so.
    pub recorded: bool,
    /// Whether it counted for its lease: it stands in the lease's status.
    pub counts: bool,
    pub origin: Origin,
}

/// Decisions made in the window or about its leases, the newest first.
pub(super) fn all(gathered: &Gathered, leases: &[Lease], window: &Window) -> Vec<Decision> {
    let mut known: BTreeMap<&str, Decision> = BTreeMap::new();
    for object in &gathered.decisions {
        let (Some(uid), spec) = (object.metadata.uid.as_deref(), &object.spec) else { continue };
        let Some(time) = object.metadata.creation_timestamp.as_ref().map(Time::from) else { continue };
        let decision = Decision {
            time,
            by: spec.decided_by.username.clone(),
            decision: spec.decision,
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            lease: spec.lease_ref.name.clone(),
            lifecycle: spec.lifecycle_ref.name.clone(),
            requester: spec.requester.clone(),
            reason: Some(spec.reason.clone()),
            max_ttl: spec.max_ttl.map(|d| d.to_string()),
            repeat_for: spec.repeat_for.map(|d| d.to_string()),
            recorded: spec.independence == Some(Independence::Recorded),
            counts: false,
            origin: Origin::Cluster,
        };
        known.insert(uid, decision);
    }
    for lease in &gathered.leases {
        for said in lease.status.iter().flat_map(|s| &s.decisions) {
            let decision = known.entry(&said.uid).or_insert_with(|| Decision {
                time: said.time,
                by: said.by.clone(),
                decision: said.decision,
                namespace: lease.metadata.namespace.clone().unwrap_or_default(),
                lease: lease.metadata.name.clone().unwrap_or_default(),
                lifecycle: lease.spec.lifecycle_ref.name.clone(),
                requester: lease.spec.requested_by.username.clone(),
                reason: None,
                max_ttl: said.max_ttl.map(|d| d.to_string()),
                repeat_for: None,
                recorded: said.independence == Some(Independence::Recorded),
                counts: false,
                origin: Origin::Cluster,
            });
            decision.counts = true;
        }
    }
    let by_uid: BTreeMap<&str, &Lease> = leases.iter().map(|lease| (lease.uid.as_str(), lease)).collect();
    let told = gathered.gone().flat_map(|(uid, told)| {
        let lease = by_uid.get(uid).copied();
        told.records().filter_map(move |record| of_record(lease?, record))
    });
    let mut all: Vec<Decision> = known.into_values().chain(told).collect();
    let here: BTreeSet<(&str, &str)> = leases.iter().map(|l| (l.namespace.as_str(), l.name.as_str())).collect();
    all.retain(|d| window.has(d.time) || here.contains(&(d.namespace.as_str(), d.lease.as_str())));
    all.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.lease.cmp(&b.lease)));
    all
}

/// The word that a record of the stream tells of. The operator's own refusals are nobody's word.
fn of_record(lease: &Lease, record: &Record) -> Option<Decision> {
    let revokes = record.detail.starts_with(EndReason::DecisionRevoked.as_str());
    let decision = match record.event {
        Happening::Approved => DecisionType::Approved,
        Happening::Denied if record.actor != crate::api::names::MANAGER => DecisionType::Denied,
        Happening::Ended if revokes && record.actor != crate::api::names::MANAGER => DecisionType::Revoked,
        _ => return None,
    };
    Some(Decision {
        time: record.time,
        by: record.actor.clone(),
        decision,
        namespace: lease.namespace.clone(),
        lease: lease.name.clone(),
        lifecycle: lease.lifecycle.clone(),
        requester: lease.requester.clone(),
        reason: (!record.detail.is_empty()).then(|| record.detail.clone()),
        max_ttl: None,
        repeat_for: None,
        recorded: false,
        counts: true,
        origin: Origin::Stream,
    })
}
