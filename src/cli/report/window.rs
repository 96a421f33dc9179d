//! Which stretch of time a report is about.

use std::str::FromStr;

use serde::Serialize;

use crate::api::Time;

/// A moment as it is asked for: so long ago, or a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many milliseconds before now.
    Ago(i64),
    At(Time),
}

/// Why a text is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write how long ago, as a number with m, h, d or w, like 90m, 24h or 7d; or a time like 2026-11-24T12:00:00Z")]
pub struct BadMoment;

impl FromStr for Moment {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let unit = match text.chars().last() {
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            Some('w') => 7 * 86_400_000,
            _ => return Err(BadMoment),
        };
        let number = text.strip_suffix(['m', 'h', 'd', 'w']).unwrap_or_default();
        let plain = (1..=5).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        number.parse::<i64>().ok().filter(|_| plain).map(|n| Self::Ago(n * unit)).ok_or(BadMoment)
    }
}

impl Moment {
    fn before(self, now: Time) -> Time {
        match self {
            Self::Ago(millis) => now.plus_millis(-millis),
            Self::At(time) => time,
        }
    }
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    pub since: Time,
    pub until: Time,
}

impl Window {
    /// From one moment to another. None if it would end before it begins.
    #[must_use]
    pub fn of(since: Moment, until: Option<Moment>, now: Time) -> Option<Self> {
        let window = Self { since: since.before(now), until: until.map_or(now, |moment| moment.before(now)) };
        (window.since < window.until).then_some(window)
    }

    /// Whether something that lasted so long touches it. What has not ended lasts on.
    #[must_use]
    pub fn touches(&self, begin: Time, end: Option<Time>) -> bool {
        begin <= self.until && end.is_none_or(|end| end >= self.since)
    }

    /// Whether a moment is in it.
    #[must_use]
    pub fn has(&self, at: Time) -> bool {
        self.touches(at, Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn moments_are_ages_or_times() {
        let at = Moment::At(time("2026-11-24T12:00:00Z"));
        let table = [
            ("90m", Ok(Moment::Ago(5_400_000))),
            ("7d", Ok(Moment::Ago(604_800_000))),
            ("2w", Ok(Moment::Ago(1_209_600_000))),
            ("2026-11-24T12:00:00Z", Ok(at)),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Moment>(), expected, "{text}");
        }
        for bad in ["", "7", "d", "-7d", "7y", "999999d", "2026-11-24", "7 d", "ü"] {
            assert_eq!(bad.parse::<Moment>(), Err(BadMoment), "{bad}");
        }
    }

    #[test]
    fn a_window_holds_what_lasted_into_it() {
        let now = time("2026-11-24T12:00:00Z");
        let window = Window::of(Moment::Ago(3_600_000), None, now).unwrap();
        let (before, within, after) =
            (time("2026-11-24T10:00:00Z"), time("2026-11-24T11:30:00Z"), time("2026-11-24T13:00:00Z"));
        assert!(window.touches(before, None) && window.touches(before, Some(within)) && window.has(window.since));
        assert!(!window.touches(before, Some(before)) && !window.touches(after, None) && !window.has(after));
        assert_eq!(Window::of(Moment::Ago(60_000), Some(Moment::Ago(3_600_000)), now), None);
    }
}
