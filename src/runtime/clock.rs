//! The clock. Nothing else reads the wall clock.
//!
//! Leases end by the API server's time: it set their start. The local wall clock can be wrong, by a step or from the beginning, so
//! it is kept within what the `Date` headers of the server's answers prove. Each answer bounds the difference between the server's
//! clock and the local monotonic one; a few answers narrow it well below the header's second.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::api::Time;

/// How fast two quartz clocks drift apart at most, in parts of a million: what is known widens by that much as it ages.
const DRIFT_PPM: i64 = 200;
const SECOND: i64 = 1_000_000;

/// Where time comes from.
pub trait Source: Send + Sync + 'static {
    /// The local wall clock.
    fn wall(&self) -> Time;
    /// The monotonic clock.
    fn monotonic(&self) -> Instant;
}

/// The clocks of this machine.
struct Machine;

impl Source for Machine {
    fn wall(&self) -> Time {
        jiff::Timestamp::now().into()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The time, as close to the API server's as its answers allow. Clones share what they know.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    source: Box<dyn Source>,
    start: Instant,
    known: Mutex<Option<Offset>>,
}

/// Bounds of (server's time since the epoch - monotonic time since the start), in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    low: i64,
    high: i64,
    /// When it was learned, monotonic.
    at: i64,
}

impl Offset {
    /// What is left of it later.
    fn aged(self, now: i64) -> Self {
        let drift = now.saturating_sub(self.at).max(0).saturating_mul(DRIFT_PPM) / SECOND;
        Self { low: self.low.saturating_sub(drift), high: self.high.saturating_add(drift), at: now.max(self.at) }
    }

    /// What both say. If they contradict each other, a clock was set or the machine slept: the newer one is right.
    fn narrowed(self, newer: Self) -> Self {
        let (low, high) = (self.low.max(newer.low), self.high.min(newer.high));
        if low <= high { Self { low, high, at: newer.at } } else { newer }
    }
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::from_source(Machine)
    }

    /// A clock on another source, for tests.
    #[must_use]
    pub fn from_source(source: impl Source) -> Self {
        let start = source.monotonic();
        Self(Arc::new(Inner { source: Box::new(source), start, known: Mutex::new(None) }))
    }

    /// The local wall clock, within the bounds of the server's time if these are known.
    ///
    /// A sane local clock is used at its full resolution. A wrong one, or one that was stepped, costs no more than the width of
    /// the bounds: [`Self::uncertainty_millis`].
    #[must_use]
    pub fn now(&self) -> Time {
        let wall = self.0.source.wall();
        match self.bounds() {
            // Rounded to the inside, so that the time given is one that the server's clock could show.
            Some((low, high)) => {
                let (low, high) = ((low + 999).div_euclid(1000), high.div_euclid(1000));
                Time::from_millis(wall.as_millis().min(high).max(low))
            }
            None => wall,
        }
    }

    /// Milliseconds of the monotonic clock since this clock was made.
    #[must_use]
    pub fn since_start(&self) -> i64 {
        self.micros(self.0.source.monotonic()) / 1000
    }

    /// Learns from an answer of the API server: when the request was sent, when the answer's head was there, and its `Date`.
    ///
    /// The server read its clock in between, and cut it to whole seconds. False: that was no date, or no order of time, and
    /// nothing was learned.
    pub fn observe_date(&self, sent: Instant, received: Instant, date_header: &str) -> bool {
        let Some(date) = http_date(date_header).filter(|_| sent <= received) else { return false };
        let (sent, received) = (self.micros(sent), self.micros(received));
        let newer = Offset {
            low: date.saturating_sub(received),
            high: date.saturating_add(SECOND).saturating_sub(sent),
            at: received,
        };
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(newer, |older| older.aged(received).narrowed(newer)));
        true
    }

    /// How far [`Self::now`] can be from the server's time, in milliseconds. `None` before the first answer.
    #[must_use]
    pub fn uncertainty_millis(&self) -> Option<i64> {
        self.bounds().map(|(low, high)| (high - low) / 1000)
    }

    /// The earliest and latest that the server's clock can show now, in microseconds since the epoch.
    fn bounds(&self) -> Option<(i64, i64)> {
        let now = self.micros(self.0.source.monotonic());
        let known = (*self.0.known.lock().unwrap_or_else(PoisonError::into_inner))?.aged(now);
        Some((now.saturating_add(known.low), now.saturating_add(known.high)))
    }

    /// Microseconds since this clock was made; negative before.
    fn micros(&self, at: Instant) -> i64 {
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.0.start) {
            Some(after) => micros(after),
            None => -micros(self.0.start.duration_since(at)),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("known", &self.0.known).finish_non_exhaustive()
    }
}

/// Microseconds since the epoch of an IMF-fixdate (RFC 9110, 5.6.7), the only form that servers may send.
fn http_date(header: &str) -> Option<i64> {
    const FORM: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let form = header.len() == FORM.len() && header.ends_with(" GMT");
    let date = jiff::fmt::rfc2822::parse(header).ok().filter(|_| form)?;
    Some(date.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Times in milliseconds; the server's true time is `EPOCH` + the monotonic time.
    const EPOCH: i64 = 1_764_000_000_000;

    #[derive(Clone)]
    struct Fake(Arc<Mutex<(i64, u64)>>, Instant);

    impl Source for Fake {
        fn wall(&self) -> Time {
            Time::from_millis(self.0.lock().unwrap().0)
        }

        fn monotonic(&self) -> Instant {
            self.at(self.0.lock().unwrap().1)
        }
    }

    impl Fake {
        fn at(&self, millis: u64) -> Instant {
            self.1 + Duration::from_millis(millis)
        }

        fn set(&self, wall: i64, monotonic: u64) {
            *self.0.lock().unwrap() = (wall, monotonic);
        }
    }

    fn clock() -> (Clock, Fake) {
        let fake = Fake(Arc::new(Mutex::new((EPOCH, 0))), Instant::now() + Duration::from_hours(1));
        (Clock::from_source(fake.clone()), fake)
    }

    fn date(millis: i64) -> String {
        jiff::Timestamp::from_millisecond(millis).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// An answer of a server whose clock is `ahead` of the true time.
    fn answer(clock: &Clock, fake: &Fake, sent: u64, received: u64, ahead: i64) {
        let server = EPOCH + i64::try_from(u64::midpoint(sent, received)).unwrap() + ahead;
        assert!(clock.observe_date(fake.at(sent), fake.at(received), &date(server)));
    }

    #[test]
    fn without_an_answer_the_local_clock_is_all_there_is() {
        let (clock, fake) = clock();
        fake.set(EPOCH + 77, 5);
        assert_eq!(
            (clock.now(), clock.uncertainty_millis(), clock.since_start()),
            (Time::from_millis(EPOCH + 77), None, 5)
        );
    }

    #[test]
    fn a_sane_local_clock_is_used_at_full_resolution() {
        let (clock, fake) = clock();
        answer(&clock, &fake, 100, 110, 0);
        for millis in [110_u64, 123, 5_000, 60_000] {
            let wall = EPOCH + i64::try_from(millis).unwrap();
            fake.set(wall, millis);
            assert_eq!(clock.now(), Time::from_millis(wall));
        }
    }

    #[test]
    fn a_step_of_the_wall_costs_at_most_the_width_of_the_bounds() {
        let (clock, fake) = clock();
        for sent in [0, 700, 1_400, 2_100] {
            answer(&clock, &fake, sent, sent + 10, 0);
        }
        let width = clock.uncertainty_millis().unwrap();
        assert!(width <= 400, "several answers narrow the second: {width} ms");
        for step in [-3_600_000, 3_600_000, -200, 200] {
            fake.set(EPOCH + 3_000 + step, 3_000);
            let width = clock.uncertainty_millis().unwrap();
            let error = clock.now().since(Time::from_millis(EPOCH + 3_000)).abs();
            assert!(error <= width, "a step of {step} ms moves the time by {error} ms, with a width of {width} ms");
        }
    }

    #[test]
    fn the_servers_time_is_always_within_the_bounds() {
        let (clock, fake) = clock();
        for n in 0..500_u64 {
            // Answers of 1 to 900 ms, at odd times; the server's clock runs 100 ppm fast.
            let (sent, took) = (n * 1_337, 1 + n * n % 900);
            let ahead = i64::try_from(sent + took / 2).unwrap() / 10_000;
            answer(&clock, &fake, sent, sent + took, ahead);
            fake.set(0, sent + took);
            let truth = (EPOCH + i64::try_from(sent + took).unwrap() + ahead) * 1_000;
            let (low, high) = clock.bounds().unwrap();
            assert!(low <= truth && truth <= high, "answer {n}: {low} <= {truth} <= {high}");
        }
    }

    #[test]
    fn what_is_known_widens_with_its_age() {
        let (clock, fake) = clock();
        answer(&clock, &fake, 0, 0, 0);
        fake.set(EPOCH, 0);
        assert_eq!(clock.uncertainty_millis(), Some(1_000));
        fake.set(EPOCH, 3_600_000);
        assert_eq!(clock.uncertainty_millis(), Some(1_000 + 2 * 720));
    }

    #[test]
    fn a_contradiction_is_settled_by_the_newest_answer() {
        let (clock, fake) = clock();
        answer(&clock, &fake, 0, 10, 0);
        answer(&clock, &fake, 1_000, 1_010, 3_600_000);
        fake.set(EPOCH, 1_010);
        let error = clock.now().since(Time::from_millis(EPOCH + 3_600_000 + 1_010)).abs();
        assert!(error <= clock.uncertainty_millis().unwrap(), "{error} ms");
    }

    #[test]
    fn an_answer_from_before_the_clock_was_made_counts_too() {
        let (clock, fake) = clock();
        let before = fake.at(0).checked_sub(Duration::from_millis(50)).unwrap();
        assert!(clock.observe_date(before, fake.at(0), &date(EPOCH)));
        assert_eq!(clock.uncertainty_millis(), Some(1_050));
    }

    #[test]
    fn what_is_no_date_teaches_nothing() {
        let (clock, fake) = clock();
        for header in [
            "",
            "x",
            "0",
            "2025-11-24T16:00:00Z",
            "Mon, 24 Nov 2025 16:00:00 +0000",
            "Tue, 24 Nov 2025 16:00:00 GMT",
            "Mon, 24 Nov 2025 25:00:00 GMT",
            "Monday, 24-Nov-25 16:00:00 GMT",
            "Mon Nov 24 16:00:00 2025",
            " Mon, 24 Nov 2025 16:00:00 GM",
            "Mon, 24 Nov 2025 16:00:00 GMT ",
        ] {
            assert!(!clock.observe_date(fake.at(0), fake.at(1), header), "{header}");
        }
        assert!(!clock.observe_date(fake.at(2), fake.at(1), &date(EPOCH)), "received before it was sent");
        assert_eq!(clock.uncertainty_millis(), None);
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000_000));
    }

    #[test]
    fn clones_share_what_they_know() {
        let (clock, fake) = clock();
        answer(&clock.clone(), &fake, 0, 10, 0);
        assert!(clock.uncertainty_millis().is_some());
    }
}
