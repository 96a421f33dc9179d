//! Whether a system is called at all: one that does not answer is left alone for a while, and then tried by one call.

use std::time::{Duration, Instant};

/// So many failures in a row, and it is left alone.
const FAILURES: u32 = 5;
/// For how long at first; twice as long after each trial that fails.
const FIRST: Duration = Duration::from_secs(5);
/// For how long at most.
const LONGEST: Duration = Duration::from_secs(60);
/// For how long after that it is told of: whoever needs it has called it by then.
const TOLD: Duration = Duration::from_secs(120);

/// Counts failures: no answer, or a status of 5xx.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    shut: Option<Shut>,
}

#[derive(Debug)]
struct Shut {
    until: Instant,
    pause: Duration,
    /// Whether a trial is on its way.
    trial: bool,
}

/// What a call that was let through is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Free,
    /// The one that tells whether the system is back.
    Trial,
}

impl Breaker {
    /// For how long nothing is let through, at most; `None` if something is.
    pub(super) fn shut_for(&self, now: Instant) -> Option<Duration> {
        self.shut.as_ref().filter(|shut| shut.trial || now < shut.until).map(|shut| shut.pause)
    }

    /// Lets a call through, or says for how long none is, at most.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let Some(pause) = self.shut_for(now) {
            return Err(pause);
        }
        Ok(self.shut.as_mut().map_or(Pass::Free, |shut| {
            shut.trial = true;
            Pass::Trial
        }))
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A call failed.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        match (&mut self.shut, pass) {
            (Some(shut), Pass::Trial) => {
                let pause = (shut.pause * 2).min(LONGEST);
                *shut = Shut { until: now + pause, pause, trial: false };
            }
            // It was on its way before: nothing new.
            (Some(_), Pass::Free) => {}
            (None, _) if self.failures >= FAILURES => {
                self.shut = Some(Shut { until: now + FIRST, pause: FIRST, trial: false });
            }
            (None, _) => {}
        }
    }

    /// A call ended without telling anything about the system.
    pub(super) fn given_up(&mut self, pass: Pass) {
        if let (Some(shut), Pass::Trial) = (&mut self.shut, pass) {
            shut.trial = false;
        }
    }

    /// Whether the system is left alone, or has just been. Where nobody has called it for long since, nothing tells that it still
    /// does not answer.
    pub(super) fn is_shut(&self, now: Instant) -> bool {
        self.shut.as_ref().is_some_and(|shut| shut.trial || now < shut.until + TOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shut(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(now), Ok(Pass::Free));
            breaker.failed(Pass::Free, now);
        }
        breaker
    }

    #[test]
    fn an_answer_between_failures_begins_the_count_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                breaker.failed(Pass::Free, now);
            }
            breaker.answered();
        }
        assert_eq!(breaker.admit(now), Ok(Pass::Free));
    }

    #[test]
    fn after_each_failed_trial_it_is_left_alone_for_twice_as_long_up_to_a_minute() {
        let mut now = Instant::now();
        let mut breaker = shut(now);
        for pause in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
            assert_eq!(breaker.admit(now + pause - Duration::from_millis(1)), Err(pause));
            now += pause;
            assert_eq!(breaker.admit(now), Ok(Pass::Trial));
            breaker.failed(Pass::Trial, now);
        }
        now += LONGEST;
        assert_eq!(breaker.admit(now), Ok(Pass::Trial));
        breaker.answered();
        assert!(!breaker.is_shut(now) && breaker.admit(now) == Ok(Pass::Free));
    }

    #[test]
    fn one_that_nobody_calls_any_more_is_not_told_of_for_ever() {
        let now = Instant::now();
        let mut breaker = shut(now);
        assert!(breaker.is_shut(now + FIRST) && breaker.is_shut(now + FIRST + TOLD - Duration::from_millis(1)));
        assert!(!breaker.is_shut(now + FIRST + TOLD));
        // Who calls it again and again in vain keeps it told of.
        let mut at = now + FIRST;
        for _ in 0..10 {
            assert!(breaker.is_shut(at));
            assert_eq!(breaker.admit(at), Ok(Pass::Trial));
            assert!(breaker.is_shut(at + LONGEST * 10), "a trial is on its way");
            breaker.failed(Pass::Trial, at);
            at += LONGEST + Duration::from_secs(30);
        }
    }

    #[test]
    fn one_trial_is_made_at_a_time_and_one_that_is_given_up_makes_way() {
        let now = Instant::now();
        let mut breaker = shut(now);
        let later = now + FIRST;
        assert_eq!(breaker.admit(later), Ok(Pass::Trial));
        assert_eq!(breaker.admit(later), Err(FIRST));
        breaker.given_up(Pass::Free);
        assert_eq!(breaker.admit(later), Err(FIRST));
        breaker.given_up(Pass::Trial);
        assert_eq!(breaker.admit(later), Ok(Pass::Trial));
    }

    #[test]
    fn calls_that_were_on_their_way_before_do_not_make_it_longer() {
        let now = Instant::now();
        let mut breaker = shut(now);
        for _ in 0..10 {
            breaker.failed(Pass::Free, now);
        }
        assert_eq!(breaker.admit(now + FIRST), Ok(Pass::Trial));
    }
}
