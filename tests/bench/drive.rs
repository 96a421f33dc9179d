//! What users do, many at once, whoever acts on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};

use crate::{
    arm::{Arm, Kind},
    eyes::Seen,
    field::{Asked, Field, PATIENCE},
    figures::millis,
};

/// Users that ask at the same time.
const ASKERS: usize = 16;

impl Field {
    /// Everything of a turn: whoever acts is started, `act` is done, and all is taken away again, also if it failed: what is left
    /// would spoil the turns after it.
    pub async fn turn<T>(&self, kind: Kind, act: impl AsyncFnOnce(&Arm) -> Result<T>) -> Result<T> {
        self.eyes.forget();
        let arm = Arm::start(self, kind).await?;
        let found = act(&arm).await.with_context(|| format!("while {} acted", kind.label()));
        let stopped = arm.stop().await;
        self.clear().await?;
        let found = found?;
        stopped?;
        Ok(found)
    }

    /// Asks for so many leases, spread over the namespaces, and waits until all are active.
    pub async fn issued(&self, count: usize) -> Result<Vec<Asked>> {
        let asked: Vec<Asked> = stream::iter(0..count).map(|n| self.ask_in(n)).buffered(ASKERS).try_collect().await?;
        try_join_all(asked.iter().map(|lease| self.eyes.until(&lease.uid, PATIENCE, "active", |seen| seen.active)))
            .await?;
        Ok(asked)
    }

    /// From the moment the request was answered until the token works, in milliseconds, for so many requests at once.
    pub async fn burst(&self, count: usize) -> Result<Vec<f64>> {
        let one = |n: usize| async move {
            let namespace = &self.namespaces[n % self.namespaces.len()];
            let lease = self.lease(namespace, "Secret", "1h");
            let asked = self.ask(&lease).await?;
            let begun = Instant::now();
            let token = self.eyes.until(&asked.uid, PATIENCE, "delivered", |seen| seen.token.clone()).await?;
            let pace = Duration::from_millis(1);
            let (_, at) = self.eyes.until_answered(&token, &asked.namespace, &[200], pace, PATIENCE).await?;
            anyhow::Ok(millis(begun, at))
        };
        try_join_all((0..count).map(one)).await
    }

    /// Whole lives, one after the other in each of `width` places: asked for, used, ended by who asked, proven. How many a second
    /// came to their proof, from the one after as many as there are places until none was asked for any more: meanwhile every place
    /// is taken, and they do not all begin at once any more.
    pub async fn lives(&self, count: usize, width: usize) -> Result<f64> {
        ensure!(count >= 3 * width, "{count} lives are too few for {width} places");
        let next = Arc::new(AtomicUsize::new(0));
        let askers = tokio::sync::Semaphore::new(ASKERS);
        let place = || async {
            let mut ends = vec![];
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(ends);
                }
                let asking = askers.acquire().await?;
                let lease = self.ask_in(n).await?;
                drop(asking);
                self.eyes.until(&lease.uid, PATIENCE, "active", |seen| seen.active).await?;
                let deciding = askers.acquire().await?;
                self.revoke(&lease).await?;
                drop(deciding);
                ends.push(self.eyes.until(&lease.uid, PATIENCE, "proven", |seen| seen.proven).await?);
            }
        };
        let mut ends: Vec<Instant> = try_join_all((0..width).map(|_| place())).await?.concat();
        ends.sort();
        let (first, last) = (width, count - width);
        let took = ends[last].duration_since(ends[first]).as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        Ok((last - first) as f64 / took)
    }

    /// Waits until a moment has been seen of each of these leases.
    pub async fn all(
        &self,
        uids: &[String],
        what: &str,
        is: impl Fn(&Seen) -> Option<Instant>,
    ) -> Result<Vec<Instant>> {
        try_join_all(uids.iter().map(|uid| self.eyes.until(uid, PATIENCE, what, &is))).await
    }
}

/// The order of a repeat: the one who goes first is another one each time.
pub fn turns(kinds: &[Kind], repeat: usize) -> Vec<Kind> {
    let mut kinds = kinds.to_vec();
    let first = repeat % kinds.len();
    kinds.rotate_left(first);
    kinds
}
