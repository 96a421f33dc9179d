//! Everything that is known, counted: for metrics. What it costs grows with the leases, so it is taken when somebody scrapes.

use std::collections::BTreeMap;

use super::{Index, Inner, rows::Row};
use crate::{
    api::{
        Time,
        condition::find,
        lifecycle::Class,
        names::LeaseUid,
        reasons::{ConditionType, LifecycleReason, Phase},
    },
    domain::review,
};

/// Where a lease counts whose lifecycle is gone, and a lifecycle that nobody has looked at.
const UNKNOWN: &str = LifecycleReason::Unknown.as_str();
const CLASSES: [Class; 5] = [Class::Workload, Class::Pipeline, Class::Agent, Class::ThirdParty, Class::BreakGlass];
/// What condition Leasable says.
const LEASABLE: [LifecycleReason; 9] = [
    LifecycleReason::Leasable,
    LifecycleReason::Stopped,
    LifecycleReason::PolicyStopped,
    LifecycleReason::Held,
    LifecycleReason::NotReady,
    LifecycleReason::Expired,
    LifecycleReason::ReviewOverdue,
    LifecycleReason::PolicyNotEnforced,
    LifecycleReason::Unknown,
];

/// How many wait for something, and how long the oldest has, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    pub count: usize,
    pub oldest_millis: i64,
}

impl Waits {
    fn add(&mut self, millis: i64) {
        self.count += 1;
        self.oldest_millis = self.oldest_millis.max(millis);
    }
}

/// Everything that is known, counted. Every value of each label is there, also with nothing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Leases by phase; those without a status count as Pending.
    pub phases: BTreeMap<Phase, usize>,
    /// Leases that hold a credential, by the class of their lifecycle.
    pub live: BTreeMap<&'static str, usize>,
    /// Leases of which nothing is issued before somebody decides; their wait began when they were created.
    pub asked: Waits,
    /// Leases that were issued before anybody agreed, and nobody has answered for.
    pub unanswered: Waits,
    /// Leases whose end has come and whose account is still there.
    pub overdue: Waits,
    /// Leases of which a step could not be taken back yet.
    pub failing_undos: usize,
    /// Lifecycles by the reason of their condition Leasable.
    pub lifecycles: BTreeMap<&'static str, usize>,
    /// Lifecycles by where they stand between two reviews.
    pub reviews: BTreeMap<&'static str, usize>,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            phases: Phase::ALL.iter().map(|phase| (*phase, 0)).collect(),
            live: CLASSES.iter().map(|class| class.as_str()).chain([UNKNOWN]).map(|class| (class, 0)).collect(),
            asked: Waits::default(),
            unanswered: Waits::default(),
            overdue: Waits::default(),
            failing_undos: 0,
            lifecycles: LEASABLE.iter().map(|reason| (reason.as_str(), 0)).collect(),
            reviews: review::Standing::LABELS.iter().map(|label| (*label, 0)).collect(),
        }
    }
}

impl Index {
    /// Counts everything that is known.
    #[must_use]
    pub fn census(&self, now: Time) -> Census {
        let (inner, mut census) = (self.inner(), Census::default());
        for (uid, row) in &inner.leases {
            inner.count_lease(uid, row, now, &mut census);
        }
        for row in inner.lifecycles.values() {
            let conditions = row.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
            let said = find(conditions, ConditionType::Leasable.as_str()).map_or(UNKNOWN, |c| c.reason.as_str());
            let reason = LEASABLE.iter().map(|reason| reason.as_str()).find(|reason| *reason == said);
            *census.lifecycles.entry(reason.unwrap_or(UNKNOWN)).or_default() += 1;
            let state = review::standing(row.object.spec.review.as_ref(), now).label();
            *census.reviews.entry(state).or_default() += 1;
        }
        census
    }
}

impl Inner {
    fn count_lease(&self, uid: &LeaseUid, row: &Row, now: Time, census: &mut Census) {
        if row.packed.is_some() {
            *census.phases.entry(row.phase.unwrap_or(Phase::Pending)).or_default() += 1;
        }
        if row.issued && !row.ended {
            let lifecycle = self.lifecycles.get(&(row.namespace.clone(), row.lifecycle.clone()));
            let class = lifecycle.map_or(UNKNOWN, |l| l.object.spec.class.as_str());
            *census.live.entry(class).or_default() += 1;
        }
        if row.phase == Some(Phase::AwaitingApproval) {
            census.asked.add(now.since(row.created));
        }
        if row.owed.is_some() {
            census.unanswered.add(now.since(row.created));
        }
        census.failing_undos += usize::from(row.undo_fails);
        // Bindings of an account that is gone give nobody anything.
        if let Some(end) = row.end.or(row.expires).filter(|end| *end <= now && self.has_account(uid)) {
            census.overdue.add(now.since(end));
        }
    }
}
