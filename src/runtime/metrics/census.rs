//! What is counted over everything that is known, whenever somebody scrapes.
//!
//! It comes from watches alone, so a replica that stands by says the same as the one that works.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{number, secs};
use crate::controllers::index::Census;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

/// The gauges.
#[derive(Default)]
pub(super) struct Counted {
    leases: Family<PhaseLabel, Gauge>,
    live: Family<ClassLabel, Gauge>,
    waiting: Family<TypeLabel, Gauge>,
    oldest_wait: Family<TypeLabel, Seconds>,
    overdue: Gauge,
    oldest_overdue: Seconds,
    failing_undos: Gauge,
    lifecycles: Family<ReasonLabel, Gauge>,
    reviews: Family<StateLabel, Gauge>,
}

impl Counted {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("leases", "Leases by phase", self.leases.clone());
        registry.register(
            "live_leases",
            "Leases that hold a credential now, by the class of their lifecycle",
            self.live.clone(),
        );
        registry.register(
            "approvals_waiting",
            "Leases that wait for people to decide: before anything is issued (Required), or after it was (Retrospective)",
            self.waiting.clone(),
        );
        registry.register(
            "approvals_oldest_wait_seconds",
            "Seconds since the oldest of the leases that wait for people was asked for; 0: none waits",
            self.oldest_wait.clone(),
        );
        registry.register(
            "overdue_ends",
            "Leases whose end has come and whose account is still there",
            self.overdue.clone(),
        );
        registry.register(
            "overdue_ends_oldest_seconds",
            "Seconds since the end of the lease that is overdue longest; 0: none is",
            self.oldest_overdue.clone(),
        );
        registry.register(
            "failing_undos",
            "Leases of which a step in another system could not be taken back yet",
            self.failing_undos.clone(),
        );
        registry.register(
            "lifecycles",
            "Lifecycles by the reason of their condition Leasable; Unknown: no operator has looked yet",
            self.lifecycles.clone(),
        );
        registry.register(
            "lifecycle_reviews",
            "Lifecycles by where they stand between two reviews; DueSoon: within 14 days, Due: in the days of grace, Overdue: nothing is leased",
            self.reviews.clone(),
        );
        self.set(&Census::default());
    }

    pub(super) fn set(&self, census: &Census) {
        for (phase, count) in &census.phases {
            self.leases.get_or_create(&PhaseLabel { phase: phase.as_str() }).set(number(*count));
        }
        for (class, count) in &census.live {
            self.live.get_or_create(&ClassLabel { class }).set(number(*count));
        }
        for (kind, waits) in [("Required", census.asked), ("Retrospective", census.unanswered)] {
            self.waiting.get_or_create(&TypeLabel { r#type: kind }).set(number(waits.count));
            self.oldest_wait.get_or_create(&TypeLabel { r#type: kind }).set(secs(waits.oldest_millis));
        }
        self.overdue.set(number(census.overdue.count));
        self.oldest_overdue.set(secs(census.overdue.oldest_millis));
        self.failing_undos.set(number(census.failing_undos));
        for (reason, count) in &census.lifecycles {
            self.lifecycles.get_or_create(&ReasonLabel { reason }).set(number(*count));
        }
        for (state, count) in &census.reviews {
            self.reviews.get_or_create(&StateLabel { state }).set(number(*count));
        }
    }
}
