//! Where moments stand on the timeline, in hundredths of its width.

use crate::{
    api::Time,
    cli::report::{
        model::{Lease, State},
        window::Window,
    },
};

/// The shortest stretch that is drawn, in milliseconds.
const SHORTEST: i64 = 600_000;
/// How far the line may go beyond the window, for what lives on: as a part of its length.
const FUTURE: f64 = 0.2;
/// The most marks of the axis.
const MARKS: i64 = 8;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// From how far apart on marks name months.
const LONG: i64 = 91 * DAY;
const STEPS: [i64; 17] = [
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    LONG,
];

/// A stretch of time over the whole width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    from: i64,
    to: i64,
}

impl Scale {
    /// From the first lease, or the window's begin, to the window's end; a little further if something lives on.
    pub fn of(leases: &[Lease], window: &Window) -> Self {
        let (since, until) = (window.since.as_millis(), window.until.as_millis());
        let first = leases.iter().map(|l| l.created.as_millis()).min().unwrap_or(since).max(since);
        let from = first.min(until - SHORTEST).max(since.min(until - SHORTEST));
        let span = until - from;
        let last =
            leases.iter().filter(|l| l.state == State::Live).filter_map(|l| l.expires).map(Time::as_millis).max();
        let most = until + (span as f64 * FUTURE) as i64;
        Self { from: from - span / 50, to: last.unwrap_or(until).clamp(until, most) + span / 50 }
    }

    /// Hundredths of the width, within it.
    pub fn x(&self, time: Time) -> f64 {
        let part = (time.as_millis() - self.from) as f64 / (self.to - self.from) as f64;
        (part * 100.0).clamp(0.0, 100.0)
    }

    /// The moment at so many hundredths.
    pub fn at(&self, x: f64) -> Time {
        Time::from_millis(self.from + ((self.to - self.from) as f64 * x / 100.0) as i64)
    }

    /// Round moments and how they are written: the day where one begins, else the time of day; months where they are far apart.
    pub fn marks(&self) -> Vec<(f64, String)> {
        let step = STEPS.into_iter().find(|step| (self.to - self.from) / step <= MARKS).unwrap_or(365 * DAY);
        let mut at = (self.from.div_euclid(step) + 1) * step;
        let mut marks = vec![];
        while at < self.to {
            let time = Time::from_millis(at);
            let whole = time.to_string();
            let part = |skip: usize, take: usize| whole.chars().skip(skip).take(take).collect::<String>();
            let text = match step {
                _ if step >= LONG => part(0, 7),
                _ if at % DAY == 0 => part(5, 5),
                _ => part(11, 5),
            };
            marks.push((self.x(time), text));
            at += step;
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn marks_are_round_few_and_inside() {
        for (since, until) in [
            ("2026-11-24T11:59:00Z", "2026-11-24T12:00:00Z"),
            ("2026-11-24T06:00:00Z", "2026-11-24T12:00:00Z"),
            ("2026-11-17T12:00:00Z", "2026-11-24T12:00:00Z"),
            ("2016-11-24T12:00:00Z", "2026-11-24T12:00:00Z"),
        ] {
            let scale = Scale::of(&[], &Window { since: time(since), until: time(until) });
            let marks = scale.marks();
            assert!((2..=12).contains(&marks.len()), "{since}: {marks:?}");
            assert!(marks.iter().all(|(x, _)| (0.0..=100.0).contains(x)), "{since}: {marks:?}");
        }
        let scale =
            Scale::of(&[], &Window { since: time("2026-11-23T20:00:00Z"), until: time("2026-11-24T04:00:00Z") });
        assert!(scale.marks().iter().any(|(_, text)| text == "11-24"), "{:?}", scale.marks());
        assert!(scale.marks().iter().any(|(_, text)| text == "22:00"), "{:?}", scale.marks());
    }

    #[test]
    fn what_lies_outside_stands_at_the_edge() {
        let window = Window { since: time("2026-11-24T00:00:00Z"), until: time("2026-11-24T12:00:00Z") };
        let scale = Scale::of(&[], &window);
        assert_eq!((scale.x(time("2020-01-01T00:00:00Z")), scale.x(time("2030-01-01T00:00:00Z"))), (0.0, 100.0));
        let noon = scale.x(time("2026-11-24T06:00:00Z"));
        assert!((49.0..51.0).contains(&noon), "{noon}");
        assert!(scale.at(noon).since(time("2026-11-24T06:00:00Z")).abs() < 1000);
    }
}
