//! How long the API server takes to answer at the moment, and from when on an answer is late.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::runtime::clock::Clock;

/// No answer is late before that: until then a slow call keeps a place from others.
const LATE: Duration = Duration::from_millis(100);
/// Nor before it has taken so many times what answers usually take: where all are slow, a place that is given away brings nobody
/// forward, and everybody in it gets less.
const TIMES: u64 = 8;
/// After that every answer is late, however slow all of them are.
const LATE_AT_LAST: Duration = Duration::from_secs(1);
/// Each answer moves what is usual by this part of it: some dozens do where the API server has become twice as slow.
const STEP: u64 = 16;

/// What answers usually take: about their median, so that a few that take very long do not change it.
#[derive(Debug)]
pub struct Pace {
    micros: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { micros: AtomicU64::new(micros(LATE) / TIMES) }
    }
}

impl Pace {
    /// Waits for an answer, and takes in how long it took.
    pub async fn timed<T>(&self, clock: &Clock, answer: impl Future<Output = T>) -> T {
        let asked = clock.since_start();
        let answer = answer.await;
        self.took(Duration::from_millis(u64::try_from(clock.since_start() - asked).unwrap_or_default()));
        answer
    }

    fn took(&self, time: Duration) {
        let (time, usual) = (micros(time), self.micros.load(Ordering::Relaxed));
        let moved = if time > usual { usual + usual / STEP } else { usual - usual / STEP };
        // Two at once may count as one.
        self.micros.store(moved.clamp(micros(LATE) / TIMES, micros(LATE_AT_LAST) / TIMES), Ordering::Relaxed);
    }

    /// How long an answer may take until it is late.
    #[must_use]
    pub fn late(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed) * TIMES)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: impl Iterator<Item = u64>) -> Duration {
        let pace = Pace::default();
        times.for_each(|millis| pace.took(Duration::from_millis(millis)));
        pace.late()
    }

    #[test]
    fn an_answer_is_late_once_it_takes_much_longer_than_others() {
        assert_eq!(after((0..100).map(|_| 3)), LATE, "quick ones leave it where it is");
        assert_eq!(
            after((0..300).map(|n| if n % 3 == 0 { 10_000 } else { 3 })),
            LATE,
            "a third that hangs does not count"
        );
        let slow = after((0..200).map(|n| if n % 10 == 9 { 2_000 } else { 40 }));
        assert!((Duration::from_millis(280)..Duration::from_millis(380)).contains(&slow), "{slow:?}");
        assert_eq!(after((0..200).map(|_| 5_000)), LATE_AT_LAST, "where nothing is answered, everything is late");
        assert_eq!(after((0..300).map(|n| if n < 200 { 5_000 } else { 3 })), LATE, "it comes back");
    }
}
