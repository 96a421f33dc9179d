//! Whoever holds the token: gets it, and tries it until it is refused.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use leasehold::api::CredentialLease;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Run, life::Accepted};
use crate::{
    flow::{Delivery, Terms},
    support::Holder,
};

impl Run<'_, '_> {
    /// A grant for another namespace is none here: 403 is from somebody who is known.
    fn good(&self) -> u16 {
        if self.script().terms == Terms::Cross { 403 } else { 200 }
    }

    /// The token of an active lease, as its holder gets it.
    pub(super) async fn token(&self, lease: &CredentialLease) -> Result<String> {
        if self.script().delivery == Delivery::Secret {
            return self.slot.home.token(lease).await;
        }
        let account = lease.status.as_ref().and_then(|s| s.credential.as_ref()?.service_account.clone());
        let account = account.context("an active lease without an account")?.name;
        let mut tried = 0;
        loop {
            match self.slot.home.mint(&account).await {
                // The authorizer's own watch may be behind the binding.
                Err(_) if tried < 20 => sleep(Duration::from_millis(100)).await,
                answer => return answer,
            }
            tried += 1;
        }
    }

    /// The token that the other system was given last, if it was given one.
    pub(super) fn token_elsewhere(&self) -> Result<Option<String>> {
        let put = |call: &leasehold_harness::Call| call.what == "PUT /values/token";
        let Some(call) = self.slot.other()?.calls("token").into_iter().rfind(put) else { return Ok(None) };
        let body: Value = serde_json::from_str(&call.body)?;
        Ok(body["value"].as_str().map(str::to_owned))
    }

    /// Whether the holder is known by now, within a few seconds.
    pub(super) async fn is_good(&self, holder: &Holder) -> Result<()> {
        holder.until(&[self.good()], Duration::from_millis(100), Duration::from_secs(5)).await.map(drop)
    }

    /// Until when the token was accepted, and until when its bearer was known at all.
    pub(super) async fn accepted(&self, holder: &Holder, end: Timestamp) -> Result<Accepted> {
        let (good, begun) = (self.good(), Instant::now());
        let (mut allowed, mut known) = (None, None);
        while begun.elapsed() < Duration::from_secs(60) {
            let sent = Timestamp::now();
            let code = holder.reads().await?;
            if code == 401 {
                break;
            }
            known = Some(sent);
            if code == good {
                allowed = Some(sent);
            }
            sleep(Duration::from_millis(500)).await;
        }
        let after = |last: Option<Timestamp>| {
            let last = last.filter(|last| *last > end)?;
            Some(last.duration_since(end).as_secs_f64() - self.bench.runner.seconds_down(end, last))
        };
        Ok(Accepted { allowed: after(allowed), known: after(known) })
    }
}
