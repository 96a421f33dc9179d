//! When the next call may begin, so that there are never more in a minute than the system's limits say.

use std::time::{Duration, Instant};

/// Spreads calls evenly.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// So many a minute; `None`: as many as there are.
    pub(super) fn per_minute(calls: Option<i32>) -> Self {
        let calls = calls.and_then(|calls| u32::try_from(calls).ok()).filter(|calls| *calls > 0);
        Self { gap: calls.map_or(Duration::ZERO, |calls| Duration::from_secs(60) / calls), next: None }
    }

    /// Takes the next turn: how long to wait for it. If that is longer than `patience` it is not taken, and the error says
    /// how long it would be.
    pub(super) fn take(&mut self, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        let turn = self.next.map_or(now, |next| next.max(now));
        let wait = turn.saturating_duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        self.next = Some(turn + self.gap);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn turns_are_spread_evenly_and_none_is_saved_up() {
        let now = Instant::now();
        let mut pace = Pace::per_minute(Some(6));
        let waits: Vec<_> = (0..4).map(|_| pace.take(now, LONG).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 30]);
        let later = now + LONG;
        assert_eq!(pace.take(later, LONG), Ok(Duration::ZERO));
        assert_eq!(pace.take(later, LONG), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn a_turn_that_is_not_waited_for_is_not_taken() {
        let now = Instant::now();
        let mut pace = Pace::per_minute(Some(1));
        assert_eq!(pace.take(now, Duration::ZERO), Ok(Duration::ZERO));
        for _ in 0..5 {
            assert_eq!(pace.take(now, Duration::from_secs(1)), Err(Duration::from_secs(60)));
        }
        assert_eq!(pace.take(now + Duration::from_secs(60), Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut pace = Pace::per_minute(None);
        let now = Instant::now();
        assert!((0..1000).all(|_| pace.take(now, Duration::ZERO) == Ok(Duration::ZERO)));
    }
}
