//! What a report says: values, made from what was read and from the time; every form it is written in shows these.

mod decision;
mod lags;
mod lease;
mod lifecycle;
mod summary;

use serde::{Serialize, Serializer};

pub use decision::Decision;
pub use lags::{Bucket, Lags, Spread};
pub use lease::{Lease, Origin, State, Trail};
pub use lifecycle::{Finding, Lifecycle, Standing, Urgency};
pub use summary::{Attention, Refusals, Summary};

use super::{gather::Gathered, window::Window};
use crate::api::Time;

/// The name of the JSON form; it changes when a field changes its meaning or goes away.
pub const FORMAT: &str = "leasehold.dev/report/v1";

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    pub made: Made,
    pub summary: Summary,
    /// What somebody should look at, the worst first.
    pub attention: Vec<Attention>,
    /// Leases whose life touches the window, the newest first.
    pub leases: Vec<Lease>,
    /// Decisions in the window, and about its leases, the newest first.
    pub decisions: Vec<Decision>,
    pub lags: Lags,
    /// The most frequent first.
    pub refusals: Vec<Refusals>,
    /// Lifecycles as they are now.
    pub lifecycles: Vec<Lifecycle>,
    pub standing: Vec<Standing>,
    pub policies: Vec<Policy>,
}

/// How a report was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// By the clock of whoever made it.
    pub time: Time,
    /// Who made it, as the API server knows him.
    pub by: String,
    /// The API server: host and port.
    pub server: String,
    /// Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub window: Window,
    /// How the leases were selected, besides the window; empty if by nothing.
    pub filter: Vec<String>,
    /// The version of this program.
    pub version: &'static str,
    pub sources: Vec<Source>,
}

/// One thing that a report was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub what: String,
    /// How many objects, or records, it had; absent if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<usize>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted: Option<String>,
}

/// A guardrail of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub name: String,
    /// None, Hold or HoldAndRevoke.
    pub stop: &'static str,
    /// Lifecycles that it guards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycles: Option<i32>,
    /// Of these, lifecycles that grant what it forbids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violating: Option<i32>,
    pub ready: bool,
}

/// Milliseconds, written in JSON as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub i64);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

/// In seconds, with three digits after the point.
impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::api::quantities::seconds(self.0))
    }
}

/// Makes the report.
#[must_use]
pub fn build(made: Made, gathered: &Gathered) -> Report {
    let (now, window) = (made.time, made.window);
    let leases = lease::all(gathered, &window, now);
    let decisions = decision::all(gathered, &leases, &window);
    let lifecycles = lifecycle::all(gathered, &leases, now);
    let standing = lifecycle::standing(gathered, now);
    let summary = Summary::of(&leases);
    let policies = gathered.policies.iter().map(summary::policy).collect();
    Report {
        format: FORMAT,
        attention: summary::attention(&leases, &lifecycles, &standing, &made.sources),
        lags: Lags::of(&leases),
        refusals: summary::refusals(&leases),
        made,
        summary,
        leases,
        decisions,
        lifecycles,
        standing,
        policies,
    }
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
