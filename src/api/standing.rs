//! What a lifecycle's status says about each of its standing credentials: also what its operator goes on from after a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// A standing credential: whose token is in its Secret, and which lease is to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandingStatus {
    /// Its name in the spec.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Where it is.
    pub phase: StandingPhase,
    /// The number of the newest lease, ever larger: its name is made from it. It is the time it was asked for, in unix seconds.
    pub sequence: i64,
    /// The lease whose token is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<StandingLease>,
    /// The lease that is to follow. Written before it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<StandingLease>,
    /// The Secret, and whose token was written into it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<StandingSecret>,
    /// Since when consumers are being moved, to the next lease or back to the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover_time: Option<Time>,
    /// The last lease that was given up because consumers did not become healthy with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<StandingLease>,
    /// How many leases in a row came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// Before when the next one is not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
    /// What the last one came to nothing for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

/// Where a standing credential is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StandingPhase {
    /// The next lease is asked for, and not issued yet.
    #[default]
    Issuing,
    /// The next lease's token goes into the Secret, and consumers are being moved to it.
    RollingOut,
    /// Consumers did not become healthy, and are being moved back.
    RollingBack,
    /// The current lease's token is in the Secret, and every consumer that Leasehold moves has it.
    Settled,
    /// It is no longer in the spec: its lease ends, and its Secret is deleted.
    Withdrawn,
}

/// One lease of a standing credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandingLease {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its UID, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
}

/// The Secret of a standing credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandingSecret {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// The lease whose token is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub lease: Option<String>,
    /// When it was written last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_time: Option<Time>,
    /// The token's own expiry, as the API server set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expiration_time: Option<Time>,
}

impl StandingStatus {
    /// Whether a lease of this name and UID is the one that is held, or the one that is to follow.
    #[must_use]
    pub fn names(&self, name: &str, uid: &str) -> bool {
        let is = |lease: &StandingLease| lease.name == name && lease.uid.as_ref().is_none_or(|known| known == uid);
        self.current.as_ref().is_some_and(is) || self.next.as_ref().is_some_and(is)
    }
}
