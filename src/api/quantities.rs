//! Durations and points in time, as they are written in specs and statuses.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The rule of the schema for the life of a lease: half a minute to a year. One rule for spelling and bounds: a pattern would be
/// reported as a regular expression, and `duration()` of what is none as a failed conversion, and neither tells what to write.
pub(crate) const TTL_RULE: &str = "self.matches('^([0-9]{1,5}(h|m|s)){1,3}$') && duration(self) >= duration('30s') && duration(self) <= duration('8760h')";
/// What whoever breaks [`TTL_RULE`] reads.
pub(crate) const TTL_MESSAGE: &str = "write a ttl from 30s to 8760h, as one to three numbers of at most five digits, each with h, m or s, like 90s, 15m or 1h30m";

/// The rule of the schema for how long somebody may wait for something.
pub(crate) const WAIT_RULE: &str = "self.matches('^([0-9]{1,5}(h|m|s)){1,3}$') && duration(self) >= duration('5s') && duration(self) <= duration('8760h')";
/// What whoever breaks [`WAIT_RULE`] reads.
pub(crate) const WAIT_MESSAGE: &str = "write a duration from 5s to 8760h, as one to three numbers of at most five digits, each with h, m or s, like 90s, 15m or 1h30m";

/// A length of time in whole seconds, written like `90s`, `15m` or `1h30m`.
///
/// Two spellings of the same length are equal: values are compared, not texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(i64);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a duration: write up to three of a number (at most five digits) and h, m or s, like 90s, 15m or 1h30m"
)]
pub struct BadDuration(String);

impl Duration {
    /// A duration of so many seconds; negative counts become zero.
    #[must_use]
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds.max(0))
    }

    /// The length in seconds.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0
    }
}

impl FromStr for Duration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let bad = || BadDuration(text.chars().take(32).collect());
        let (mut total, mut number, mut digits, mut parts) = (0_i64, 0_i64, 0, 0);
        for c in text.chars() {
            if let Some(digit) = c.to_digit(10) {
                digits += 1;
                number = number * 10 + i64::from(digit);
                if digits > 5 {
                    return Err(bad());
                }
                continue;
            }
            let unit = match c {
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return Err(bad()),
            };
            if digits == 0 || parts == 3 {
                return Err(bad());
            }
            total += number * unit;
            (number, digits, parts) = (0, 0, parts + 1);
        }
        // What takes more digits once it is summed up could not be read again.
        let written = total / 3600 <= 99_999;
        if parts == 0 || digits > 0 || !written { Err(bad()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if h > 0 {
            write!(f, "{h}h")?;
        }
        if m > 0 {
            write!(f, "{m}m")?;
        }
        if s > 0 || self.0 == 0 {
            write!(f, "{s}s")?;
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 18,
            "description": "A length of time like 90s, 15m or 1h30m.",
        })
    }
}

/// A point in time, RFC 3339 in UTC; milliseconds are kept, finer parts are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// From milliseconds since the epoch; what lies outside the years jiff can hold becomes its nearest end.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        let end = if millis < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(end))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The point so many milliseconds later.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.as_millis().saturating_add(millis))
    }

    /// The point one duration later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_millis(duration.as_secs().saturating_mul(1000))
    }

    /// Milliseconds from `earlier` to this point; negative if it is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.as_millis().saturating_sub(earlier.as_millis())
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(timestamp: jiff::Timestamp) -> Self {
        Self::from_millis(timestamp.as_millisecond())
    }
}

impl From<Time> for jiff::Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl From<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> for Time {
    fn from(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Self {
        time.0.into()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(Self::from)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
    }
}

/// Milliseconds as seconds with three decimals, as lags are recorded in statuses.
#[must_use]
pub fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_schema_says() {
        for (text, seconds) in
            [("30s", 30), ("15m", 900), ("1h30m", 5400), ("0s", 0), ("1m1m1m", 180), ("99999h", 359_996_400)]
        {
            assert_eq!(text.parse::<Duration>().map(Duration::as_secs), Ok(seconds), "{text}");
        }
        for text in ["", "90", "90d", "s", "-5m", "1h 2m", "1.5h", "100000s", "1s1s1s1s", "５m", "1H"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_in_its_shortest_form() {
        for (seconds, text) in [(0, "0s"), (90, "1m30s"), (3600, "1h"), (3661, "1h1m1s")] {
            assert_eq!(Duration::from_secs(seconds).to_string(), text);
        }
    }

    #[test]
    fn a_length_that_could_not_be_written_is_not_read() {
        assert_eq!("99999h59m59s".parse::<Duration>().map(|d| d.to_string()), Ok("99999h59m59s".into()));
        for text in ["99999h60m", "99999h99999h", "99999h59m60s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_keep_milliseconds_and_no_more() {
        let time: Time = "2026-11-24T10:00:00.1239Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-24T10:00:00.123Z");
        assert_eq!(time.plus(Duration::from_secs(1)).since(time), 1000);
    }

    #[test]
    fn lags_are_seconds_with_milliseconds() {
        assert_eq!((seconds(9), seconds(12_345), seconds(-7)), ("0.009".into(), "12.345".into(), "-0.007".into()));
    }
}
