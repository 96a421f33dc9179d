//! What held calls wait for: that the lease is ended, or the operator taken away.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{Bench, Run, lock, operator::GATHER};
use crate::{
    fault::Fault,
    proxy::{Hit, What},
};

impl<'a> Bench<'a> {
    /// Does what held calls wait for. Returns only if that fails.
    pub(super) async fn attend(&self, runs: &[Run<'_, 'a>]) -> anyhow::Error {
        let mut hits = self.hits.lock().await;
        loop {
            let Some(hit) = hits.recv().await else { return anyhow::anyhow!("the proxy is gone") };
            let mut held = vec![hit];
            let what = held[0].what;
            if what == What::End {
                if let Err(error) = end_held(&held[0], runs).await {
                    return error;
                }
            } else {
                let ends = match self.gather(&mut hits, &mut held).await {
                    Ok(ends) => ends,
                    Err(error) => return error,
                };
                let done = if what == What::Kill { self.kill().await } else { self.stop(&mut held).await };
                if let Err(error) = done {
                    return error.context("take the operator away");
                }
                for hit in ends {
                    if let Err(error) = end_held(&hit, runs).await {
                        return error;
                    }
                    hit.go.send(()).ok();
                }
            }
            for hit in held {
                // A receiver that has gone has given up waiting.
                hit.go.send(()).ok();
            }
        }
    }

    /// Waits a little for other leases to come to where they would take the operator away too; those that want an end meanwhile.
    async fn gather(&self, hits: &mut mpsc::UnboundedReceiver<Hit>, held: &mut Vec<Hit>) -> Result<Vec<Hit>> {
        let (what, until) = (held[0].what, Instant::now() + GATHER);
        let is = |fault: Fault| if what == What::Kill { fault.crashes() } else { fault.is_felt_by_all() };
        let mut ends = vec![];
        while self.proxy.slots().waiting(is) > 0 {
            match timeout_at(until, hits.recv()).await {
                Ok(Some(hit)) if hit.what == what => held.push(hit),
                Ok(Some(hit)) => ends.push(hit),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(ends)
    }

    async fn kill(&self) -> Result<()> {
        self.runner.kill(|| self.proxy.slots().revive()).await
    }

    /// The answers are there when the operator wakes up.
    async fn stop(&self, held: &mut Vec<Hit>) -> Result<()> {
        let answer = || {
            self.proxy.slots().revive();
            for hit in held.drain(..) {
                hit.go.send(()).ok();
            }
        };
        self.runner.stop(answer).await
    }
}

async fn end_held(hit: &Hit, runs: &[Run<'_, '_>]) -> Result<()> {
    let Some(run) = runs.get(hit.slot) else { return Ok(()) };
    // The call may come before the creation of the lease was answered to us.
    for _ in 0..40 {
        if lock(&run.shared.lease).is_some() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    run.end().await
}
