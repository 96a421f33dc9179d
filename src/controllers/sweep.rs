//! Deletes decisions of leases that are long gone: nobody else does, and they are never in Git.

use std::{sync::Arc, time::Duration};

use super::index::Index;
use crate::{cluster::execute::Execute, runtime::clock::Clock};

/// How often it is looked for some.
const EVERY: Duration = Duration::from_secs(600);

/// Runs for ever. What cannot be deleted is tried again the next time.
pub async fn run(index: Arc<Index>, execute: Arc<Execute>, clock: Clock) {
    loop {
        for decision in index.stale_decisions(clock.now()) {
            if let Err(failure) = execute.delete_decision(&decision).await {
                let name = format!("{}/{}", decision.namespace, decision.name);
                tracing::warn!(decision = %name, error = %failure.message, "an old decision could not be deleted and is tried again later");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
