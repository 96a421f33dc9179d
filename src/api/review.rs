//! When people look whether an identity is still needed.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Time;

/// How long after a review was due leases are still issued if nothing is said, in days.
pub const DEFAULT_GRACE_DAYS: i32 = 14;

/// How often people look whether the identity is still needed, and still needs all it may hold. A review is the commit that
/// moves `lastReviewed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The next review is due so many days after the last one.
    #[schemars(range(min = 1, max = 3650))]
    pub every_days: i32,
    /// So many days after a review was due, nothing more is leased until it was made. Absent means 14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 365))]
    pub grace_days: Option<i32>,
    /// The day of the last review, such as 2026-11-01; of a new identity the day on which it was written.
    pub last_reviewed: Date,
}

impl Review {
    /// The days after which nothing more is leased.
    #[must_use]
    pub fn grace_days(&self) -> i32 {
        self.grace_days.unwrap_or(DEFAULT_GRACE_DAYS)
    }
}

/// A day of the calendar, RFC 3339 full-date; it begins at 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(jiff::civil::Date);

impl Date {
    /// When the day begins. The last day that can be written is later than any time: it begins at the last one.
    #[must_use]
    pub fn begins(self) -> Time {
        self.0.to_zoned(jiff::tz::TimeZone::UTC).map_or(Time::from_millis(i64::MAX), |day| day.timestamp().into())
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Date {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Date {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Date".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date", "maxLength": 10 })
    }
}
