//! Whether an operator runs, by what it does. Pure.
//!
//! Who leads renews its Lease every two seconds. An operator without an election has none: it takes in the stop that was made
//! just now, and whatever it works on changes.

use std::time::{Duration, Instant};

/// What one look tells of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// Holder and version of the election's Lease, if somebody holds it.
    pub(super) lease: Option<(String, String)>,
    /// Whether an operator has taken in the stop.
    pub(super) taken_in: bool,
}

/// What has been seen so far.
#[derive(Debug)]
pub(super) struct Signs {
    /// Whether the stop was made just now: only then it tells something that it was taken in.
    made: bool,
    last: Option<(Glance, String)>,
    alive: Instant,
    /// An operator without an election has taken in the stop: nothing more will tell whether it still runs.
    unelected: bool,
}

impl Signs {
    pub(super) fn new(begun: Instant, made: bool) -> Self {
        Self { made, last: None, alive: begun, unelected: false }
    }

    /// Takes in a look, and what was left at that time.
    pub(super) fn saw(&mut self, glance: &Glance, left: &str, now: Instant) {
        let moved = match &self.last {
            Some((before, was)) => {
                (glance.lease.is_some() && glance.lease != before.lease)
                    || was != left
                    || (self.made && glance.taken_in && !before.taken_in)
            }
            None => self.made && glance.taken_in,
        };
        if moved {
            self.alive = now;
        }
        self.unelected |= self.made && glance.taken_in && glance.lease.is_none();
        self.last = Some((glance.clone(), left.to_owned()));
    }

    /// For how long there has been no sign of an operator.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        if self.unelected { Duration::ZERO } else { now.saturating_duration_since(self.alive) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str) -> Glance {
        Glance { lease: Some(("a".into(), version.into())), taken_in: false }
    }

    /// How long it is silent at the end, in seconds, after these looks, one a second.
    fn silent(made: bool, looks: &[(Glance, &str)]) -> u64 {
        let begun = Instant::now();
        let mut signs = Signs::new(begun, made);
        let mut now = begun;
        for (glance, left) in looks {
            now += Duration::from_secs(1);
            signs.saw(glance, left, now);
        }
        signs.silent_for(now).as_secs()
    }

    #[test]
    fn whoever_renews_or_gets_on_is_alive_and_nobody_else() {
        let (none, taken) = (Glance::default(), Glance { lease: None, taken_in: true });
        assert_eq!(
            silent(true, &[(lease("1"), "x"), (lease("1"), "x"), (lease("1"), "x")]),
            3,
            "a Lease of one who died"
        );
        assert_eq!(silent(false, &[(lease("1"), "x"), (lease("1"), "x"), (lease("2"), "x")]), 0);
        assert_eq!(silent(false, &[(none.clone(), "x"), (none.clone(), "y"), (none.clone(), "y")]), 1);
        assert_eq!(silent(false, &[(taken.clone(), "x"), (taken.clone(), "x")]), 2, "it was taken in some day");
        assert_eq!(silent(true, &[(none.clone(), "x"), (taken.clone(), "x"), (taken, "x")]), 0, "there is no election");
        assert_eq!(silent(true, &[(none.clone(), "x"), (none, "x")]), 2);
    }
}
