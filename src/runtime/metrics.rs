//! Prometheus metrics: stable names, closed labels, no label that a tenant chooses.
//!
//! What is counted while the operator works is here; what is counted over everything that it knows, whenever somebody
//! scrapes, is [`census`]. A label's values are all there from the start, at zero: a rate sees the first one.

mod api_call;
mod census;

pub use api_call::ApiCall;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    api::{
        decision::DecisionType,
        reasons::{EndReason, Evidence},
        system::SystemType,
    },
    controllers::index::Census,
    domain::{agenda::Lane, outcome::Outcome, refusal::Refusal},
    version,
};
use census::Counted;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiAnswer {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabel {
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
    commit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvidenceLabel {
    evidence: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SystemCall {
    r#type: &'static str,
    outcome: &'static str,
}

/// Every metric of the operator.
pub struct Metrics {
    registry: Mutex<Registry>,
    api: Family<ApiAnswer, Counter>,
    counted: Counted,
    refusals: Family<RuleLabel, Counter>,
    decisions: Family<DecisionLabel, Counter>,
    ended: Family<ReasonLabel, Counter>,
    issue: Histogram,
    revocation: Family<EvidenceLabel, Histogram, fn() -> Histogram>,
    not_begun: Gauge,
    queue: Family<LaneLabel, Gauge>,
    failing: Gauge,
    standing: Gauge,
    enforced: Gauge,
    leading: Gauge,
    tokens: Gauge,
    panics: Counter<u64, AtomicU64>,
    system_calls: Family<SystemCall, Counter>,
    system_call: Histogram,
    systems_unavailable: Gauge,
}

fn issue_buckets() -> Histogram {
    Histogram::new([0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0])
}

fn revocation_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0])
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("leasehold");
        let metrics = Self {
            registry: Mutex::default(),
            api: Family::default(),
            counted: Counted::default(),
            refusals: Family::default(),
            decisions: Family::default(),
            ended: Family::default(),
            issue: issue_buckets(),
            revocation: Family::new_with_constructor(revocation_buckets as fn() -> Histogram),
            not_begun: Gauge::default(),
            queue: Family::default(),
            failing: Gauge::default(),
            standing: Gauge::default(),
            enforced: Gauge::default(),
            leading: Gauge::default(),
            tokens: Gauge::default(),
            panics: Counter::default(),
            system_calls: Family::default(),
            system_call: issue_buckets(),
            systems_unavailable: Gauge::default(),
        };
        registry.register(
            "api_requests",
            "Requests to the API server by verb, resource and HTTP code; code 0: no answer",
            metrics.api.clone(),
        );
        metrics.counted.register(&mut registry);
        registry.register(
            "refusals",
            "Rules that refused requests were against; a request counts once for each",
            metrics.refusals.clone(),
        );
        registry.register("decisions", "Decisions that counted, by what was decided", metrics.decisions.clone());
        registry.register(
            "ended_leases",
            "Leases that ended, were denied or failed, by what ended them",
            metrics.ended.clone(),
        );
        let build: Family<VersionLabel, Gauge> = Family::default();
        build.get_or_create(&VersionLabel { version: version::VERSION, commit: version::COMMIT }).set(1);
        registry.register("build_info", "The version that runs; always 1", build);
        registry.register(
            "issue_duration_seconds",
            "Seconds from the moment from which a lease runs (asked, agreed, or its notBefore, in whole seconds) to a usable credential",
            metrics.issue.clone(),
        );
        registry.register(
            "revocation_duration_seconds",
            "Seconds from a lease's end to the deletion of its account, by the evidence of its death",
            metrics.revocation.clone(),
        );
        registry.register(
            "ends_not_begun",
            "Leases whose end is due and of which nothing has been taken down yet",
            metrics.not_begun.clone(),
        );
        registry.register("queue_depth", "Visits that are due and wait for a place, by lane", metrics.queue.clone());
        registry.register(
            "failing_ends",
            "Leases whose end has failed at least once and is being tried again",
            metrics.failing.clone(),
        );
        registry.register(
            "standing_overdue",
            "Standing credentials that nothing is held of, or whose next lease is late, for more than a minute",
            metrics.standing.clone(),
        );
        registry.register(
            "policies_enforced",
            "Whether the admission policies that Leasehold rests on are in force (1) or not (0)",
            metrics.enforced.clone(),
        );
        registry.register(
            "leading",
            "Whether this replica leads (1), or stands by (0). What only the one that works knows is 0 in who stands by: take the \
             max of gauges over replicas",
            metrics.leading.clone(),
        );
        registry.register("tokens_held", "Tokens in this process's memory", metrics.tokens.clone());
        registry.register("visit_panics", "Visits that ended in a panic: each is a bug", metrics.panics.clone());
        registry.register(
            "system_calls",
            "Calls of connected systems by the system's type and what they came to: done, again (not yet, or no answer), refused",
            metrics.system_calls.clone(),
        );
        registry.register(
            "system_call_duration_seconds",
            "Seconds that a call of a connected system took, with waiting for its turn",
            metrics.system_call.clone(),
        );
        registry.register(
            "systems_unavailable",
            "Connected systems that did not answer several times in a row, and are left alone for a while",
            metrics.systems_unavailable.clone(),
        );
        metrics.all_at_zero();
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        Arc::new(metrics)
    }

    fn all_at_zero(&self) {
        for reason in EndReason::ALL {
            drop(self.ended.get_or_create(&ReasonLabel { reason: reason.as_str() }));
        }
        for evidence in Evidence::ALL {
            drop(self.revocation.get_or_create(&EvidenceLabel { evidence: evidence.as_str() }));
        }
        for rule in Refusal::RULES {
            drop(self.refusals.get_or_create(&RuleLabel { rule }));
        }
        for decision in [DecisionType::Approved, DecisionType::Denied, DecisionType::Revoked] {
            drop(self.decisions.get_or_create(&DecisionLabel { decision: decision.as_str() }));
        }
        for lane in [Lane::Issue, Lane::End, Lane::Retry] {
            self.queue(lane, 0);
        }
        for kind in [SystemType::Http, SystemType::Vault] {
            for outcome in ["done", "again", "refused"] {
                drop(self.system_calls.get_or_create(&SystemCall { r#type: kind.as_str(), outcome }));
            }
        }
    }

    /// A request was answered; `code` 0: it was not.
    pub fn api_call(&self, call: ApiCall, code: u16) {
        self.api.get_or_create(&ApiAnswer { verb: call.verb, resource: call.resource, code }).inc();
    }

    /// What was counted over everything that is known.
    pub fn counted(&self, census: &Census) {
        self.counted.set(census);
    }

    /// A request was refused for breaking this rule, perhaps among others.
    pub fn refused(&self, refusal: &Refusal) {
        self.refusals.get_or_create(&RuleLabel { rule: refusal.rule() }).inc();
    }

    /// A decision counted.
    pub fn decided(&self, decision: DecisionType) {
        self.decisions.get_or_create(&DecisionLabel { decision: decision.as_str() }).inc();
    }

    /// A credential became usable so many milliseconds after the moment from which its lease runs.
    pub fn issued(&self, millis: i64) {
        self.issue.observe(secs(millis));
    }

    /// How many standing credentials are late.
    pub fn standing_overdue(&self, count: usize) {
        self.standing.set(number(count));
    }

    /// A lease ended.
    pub fn ended(&self, reason: EndReason) {
        self.ended.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// A revocation was proven; it had come so many milliseconds after the end.
    pub fn revoked(&self, evidence: Evidence, millis: i64) {
        self.revocation.get_or_create(&EvidenceLabel { evidence: evidence.as_str() }).observe(secs(millis));
    }

    /// How many ends are due and not begun, and how many have failed before.
    pub fn ends(&self, not_begun: usize, failing: usize) {
        self.not_begun.set(number(not_begun));
        self.failing.set(number(failing));
    }

    /// How many visits wait in a lane.
    pub fn queue(&self, lane: Lane, waiting: usize) {
        let lane = match lane {
            Lane::Issue => "issue",
            Lane::End => "end",
            Lane::Retry => "retry",
        };
        self.queue.get_or_create(&LaneLabel { lane }).set(number(waiting));
    }

    /// Whether the policies are in force.
    pub fn enforced(&self, enforced: bool) {
        self.enforced.set(i64::from(enforced));
    }

    /// Whether this replica leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// How many tokens are held.
    pub fn tokens(&self, held: usize) {
        self.tokens.set(number(held));
    }

    /// A visit panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A connected system was called, or was to be.
    pub fn system_call(&self, kind: SystemType, outcome: &Outcome, took: std::time::Duration) {
        let outcome = match outcome {
            Outcome::Done => "done",
            Outcome::Again { .. } => "again",
            Outcome::Refused { .. } => "refused",
        };
        self.system_calls.get_or_create(&SystemCall { r#type: kind.as_str(), outcome }).inc();
        self.system_call.observe(took.as_secs_f64());
    }

    /// How many connected systems are left alone because they do not answer.
    pub fn systems_unavailable(&self, count: usize) {
        self.systems_unavailable.set(number(count));
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// If it cannot be formatted.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a lag are far below 2^52")]
fn secs(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scraped_has_the_documented_names() {
        let metrics = Metrics::new();
        metrics.revoked(Evidence::TokenReviewRefused, 12);
        let text = metrics.render().unwrap();
        for name in [
            "leasehold_leases{phase=\"Active\"} 0",
            "leasehold_revocation_duration_seconds_sum{evidence=\"TokenReviewRefused\"} 0.012",
            "leasehold_overdue_ends 0",
            "leasehold_ended_leases_total{reason=\"RoleWidened\"} 0",
            "leasehold_refusals_total{rule=\"TtlAboveMax\"} 0",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
