//! Who is not visited, or not written, for now: the API server asked to wait, whatever changes meanwhile.

use std::{collections::HashMap, hash::Hash};

use crate::{api::Time, domain::call::Failure};

/// Keys, each with the moment until which it is held.
#[derive(Debug)]
pub struct Held<K>(HashMap<K, Time>);

impl<K> Default for Held<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Held<K> {
    /// Holds a key until then.
    pub fn hold(&mut self, key: K, until: Time) {
        let held = self.0.entry(key).or_insert(until);
        *held = until.max(*held);
    }

    /// Lets go whoever has waited long enough.
    pub fn release(&mut self, now: Time) {
        self.0.retain(|_, until| *until > now);
    }

    /// Until when it is held, if it is.
    #[must_use]
    pub fn until(&self, key: &K) -> Option<Time> {
        self.0.get(key).copied()
    }

    /// Whether it may be visited.
    #[must_use]
    pub fn is_free(&self, key: &K) -> bool {
        !self.0.contains_key(key)
    }

    /// When the next one is let go.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.0.values().copied().min()
    }
}

/// Until when the API server asked to wait, if it did.
#[must_use]
pub fn until(failure: &Failure, now: Time) -> Option<Time> {
    let asked = failure.retry_after?;
    Some(now.plus_millis(i64::try_from(asked.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::call::Class;

    #[test]
    fn whoever_was_asked_to_wait_is_not_visited_before_that_is_over() {
        let (start, mut held) = (Time::from_millis(0), Held::default());
        let throttled = Failure {
            class: Class::Transient,
            message: "too many requests".into(),
            retry_after: Some(Duration::from_secs(2)),
        };
        let over = until(&throttled, start).unwrap();
        held.hold("a", over);
        held.hold("a", start.plus_millis(500));
        held.release(start.plus_millis(1_999));
        assert!(!held.is_free(&"a") && held.is_free(&"b"), "a shorter pause later does not shorten it");
        assert_eq!(held.next(), Some(over));
        held.release(over);
        assert!(held.is_free(&"a"));
        assert_eq!(until(&Failure::new(Class::Transient, "no"), start), None);
    }
}
