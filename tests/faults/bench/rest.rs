//! Until a lease is at its end, and whether it stays there.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{
    PATIENCE, Run,
    world::{World, is_at_rest},
};
use crate::flow::End;

/// An API server remembers a token for 10 s; the operator proves the death 12 s after the deletion.
const PROOF: Duration = Duration::from_millis(13_500);
/// How long a lease at rest is watched for whether it rests.
const REST: Duration = Duration::from_secs(2);

impl Run<'_, '_> {
    /// Waits until all is over, and proven; what is wrong if it does not come to that.
    pub(super) async fn rest(&self, uid: &str, begun: Instant) -> Option<String> {
        let deleted = self.script().end == End::Deleted;
        let done = |world: &World| {
            let fresh = world.seen.is_some_and(|at| at >= begun);
            let at_rest =
                if deleted { !world.leases.contains_key(uid) } else { world.leases.get(uid).is_some_and(is_at_rest) };
            fresh && at_rest && !world.made.contains_key(uid)
        };
        let ends = async || Ok(timeout(PATIENCE, self.bench.world.clone().wait_for(done)).await.map(drop)?);
        let mut wrong = None;
        if self.patiently(ends).await.is_err() {
            let world = self.bench.world.borrow();
            let lease = world.leases.get(uid).and_then(|l| serde_json::to_string(&l.status).ok());
            let left = world.made.get(uid);
            wrong = Some(format!("not at its end after {PATIENCE:?}: {lease:?}, left {left:?}"));
        }
        sleep(PROOF.saturating_sub(begun.elapsed())).await;
        // An outage at the very end: whoever comes after it must have had time to do harm.
        while self.is_disturbed() {
            sleep(Duration::from_millis(100)).await;
        }
        wrong
    }

    fn is_disturbed(&self) -> bool {
        self.bench.proxy.slots().is_dying(self.slot.number) || !self.bench.runner.is_settled()
    }

    /// What is written about a lease that is at rest, if nobody disturbs the operator meanwhile.
    pub(super) async fn quiet(&self, uid: &str) -> Vec<String> {
        let (slots, outages) = (self.bench.proxy.slots(), self.bench.runner.outages());
        let at_rest = self.bench.world.borrow().leases.get(uid).is_none_or(is_at_rest);
        let before = slots.calls(self.slot.number).len();
        sleep(REST).await;
        if !at_rest || self.bench.runner.outages() != outages || self.is_disturbed() {
            return vec![];
        }
        let calls = slots.calls(self.slot.number).into_iter().skip(before).map(|call| call.key);
        calls.filter(|key| !key.starts_with("get ") && !key.ends_with("?dry") && !key.contains("reviews")).collect()
    }
}
