//! How long ending took: from the end until nothing gave the credential any right, and until its death was proven.

use serde::Serialize;

use super::{Lease, Millis};

/// Upper ends of the buckets, in milliseconds; the last bucket has none.
const EDGES: [i64; 12] = [10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000, 15_000, 30_000, 60_000];

/// Both lags of the leases in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lags {
    /// From the end until account and bindings were gone.
    pub removal: Spread,
    /// From the end until the credential's death was proven.
    pub proof: Spread,
}

/// How one lag is spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    pub count: usize,
    #[serde(rename = "medianSeconds", skip_serializing_if = "Option::is_none")]
    pub median: Option<Millis>,
    /// Nineteen of twenty are at most that.
    #[serde(rename = "p95Seconds", skip_serializing_if = "Option::is_none")]
    pub p95: Option<Millis>,
    #[serde(rename = "maxSeconds", skip_serializing_if = "Option::is_none")]
    pub max: Option<Millis>,
    /// From the first bucket that has any to the last.
    pub buckets: Vec<Bucket>,
}

/// How many are at most so long, and longer than the bucket before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Absent: longer than the longest bucket.
    #[serde(rename = "upToSeconds", skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Millis>,
    pub count: usize,
}

impl Lags {
    pub(super) fn of(leases: &[Lease]) -> Self {
        Self {
            removal: Spread::of(leases.iter().filter_map(|l| l.removal_lag).collect()),
            proof: Spread::of(leases.iter().filter_map(|l| l.proof_lag).collect()),
        }
    }
}

impl Spread {
    fn of(mut lags: Vec<Millis>) -> Self {
        lags.sort();
        let count = lags.len();
        // The smallest value that so many in a hundred are at most.
        let rank = |percent: usize| lags.get((count * percent).div_ceil(100).saturating_sub(1)).copied();
        let edges = EDGES.iter().map(|edge| Some(Millis(*edge))).chain([None]);
        let mut below = i64::MIN;
        let buckets = edges.map(|up_to| {
            let top = up_to.map_or(i64::MAX, |m| m.0);
            let count = lags.iter().filter(|lag| lag.0 > below && lag.0 <= top).count();
            below = top;
            Bucket { up_to, count }
        });
        let buckets: Vec<Bucket> = buckets.collect();
        let first = buckets.iter().position(|b| b.count > 0).unwrap_or(buckets.len());
        let after = buckets.iter().rposition(|b| b.count > 0).map_or(first, |last| last + 1);
        let buckets = buckets.get(first..after).unwrap_or_default().to_vec();
        Self { count, median: rank(50), p95: rank(95), max: lags.last().copied(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lag_is_in_one_bucket_and_ranks_are_values_that_occurred() {
        let spread = Spread::of([15, 12, 9, 800, 70_000].map(Millis).to_vec());
        assert_eq!((spread.count, spread.median, spread.max), (5, Some(Millis(15)), Some(Millis(70_000))));
        assert_eq!(spread.p95, Some(Millis(70_000)));
        assert_eq!(spread.buckets.iter().map(|b| b.count).sum::<usize>(), 5);
        assert_eq!(spread.buckets.first().unwrap(), &Bucket { up_to: Some(Millis(10)), count: 1 });
        assert_eq!(spread.buckets.last().unwrap(), &Bucket { up_to: None, count: 1 });
        let hundred = Spread::of((1..=100).map(Millis).collect());
        assert_eq!((hundred.median, hundred.p95), (Some(Millis(50)), Some(Millis(95))));
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
