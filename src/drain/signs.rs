//! Whether an operator runs, by what it does. Pure.
//!
//! Who leads renews its Lease every two seconds. An operator without an election has none: it takes in the stop that was made
//! just now, and writes the statuses of leases. What anybody else can do is no sign: asking for leases and deleting them.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::Hasher,
    time::{Duration, Instant},
};

use crate::api::CredentialLease;

/// What stands in the statuses of leases, by UID: a number for each, which another status seldom has.
pub(super) type Written = BTreeMap<String, u64>;

/// What only an operator can have written.
pub(super) fn written(leases: &[CredentialLease]) -> Written {
    let status = |lease: &CredentialLease| {
        let mut number = DefaultHasher::new();
        number.write(&serde_json::to_vec(lease.status.as_ref()?).ok()?);
        Some((lease.metadata.uid.clone()?, number.finish()))
    };
    leases.iter().filter_map(status).collect()
}

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
    last: Option<(Glance, Written)>,
    alive: Instant,
    /// An operator without an election has taken in the stop: nothing more will tell whether it still runs.
    unelected: bool,
}

impl Signs {
    pub(super) fn new(begun: Instant, made: bool) -> Self {
        Self { made, last: None, alive: begun, unelected: false }
    }

    /// Takes in a look, and what stood in the statuses of leases at that time.
    pub(super) fn saw(&mut self, glance: &Glance, written: Written, now: Instant) {
        let moved = match &self.last {
            Some((before, was)) => {
                (glance.lease.is_some() && glance.lease != before.lease)
                    || written.iter().any(|(lease, status)| was.get(lease) != Some(status))
                    || (self.made && glance.taken_in && !before.taken_in)
            }
            None => self.made && glance.taken_in,
        };
        if moved {
            self.alive = now;
        }
        self.unelected |= self.made && glance.taken_in && glance.lease.is_none();
        self.last = Some((glance.clone(), written));
    }

    /// For how long there has been no sign of an operator.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        if self.unelected { Duration::ZERO } else { now.saturating_duration_since(self.alive) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(version: &str) -> Glance {
        Glance { lease: Some(("a".into(), version.into())), taken_in: false }
    }

    /// Leases of these UIDs, in these phases; without one: that nobody has looked at.
    fn leases(phases: &[(&str, Option<&str>)]) -> Written {
        let lease = |(uid, phase): &(&str, Option<&str>)| {
            serde_json::from_value(json!({
                "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"uid": uid},
                "spec": {"lifecycleRef": {"name": "lc"}, "reason": "r", "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": "ci"}},
                "status": phase.map(|phase| json!({"phase": phase})),
            }))
            .unwrap()
        };
        written(&phases.iter().map(lease).collect::<Vec<_>>())
    }

    /// How long it is silent at the end, in seconds, after these looks, one a second.
    fn silent(made: bool, looks: &[(Glance, Written)]) -> u64 {
        let begun = Instant::now();
        let mut signs = Signs::new(begun, made);
        let mut now = begun;
        for (glance, written) in looks {
            now += Duration::from_secs(1);
            signs.saw(glance, written.clone(), now);
        }
        signs.silent_for(now).as_secs()
    }

    #[test]
    fn whoever_renews_or_gets_on_is_alive_and_nobody_else() {
        let (none, taken) = (Glance::default(), Glance { lease: None, taken_in: true });
        let same = |glance: &Glance, looks: usize| vec![(glance.clone(), leases(&[("x", Some("Active"))])); looks];
        assert_eq!(silent(true, &same(&lease("1"), 3)), 3, "a Lease of one who died");
        assert_eq!(silent(false, &[same(&lease("1"), 2), same(&lease("2"), 1)].concat()), 0);
        let ending = vec![(none.clone(), leases(&[("x", Some("Ending"))])); 2];
        assert_eq!(silent(false, &[same(&none, 1), ending].concat()), 1);
        assert_eq!(silent(false, &same(&taken, 2)), 2, "it was taken in some day");
        assert_eq!(silent(true, &[same(&none, 1), same(&taken, 2)].concat()), 0, "there is no election");
        assert_eq!(silent(true, &same(&none, 2)), 2);
    }

    #[test]
    fn what_others_can_do_is_no_sign_of_an_operator() {
        let none = Glance::default();
        let looks = [
            vec![("a", Some("Active"))],
            vec![("a", Some("Active")), ("new", None)],
            vec![("a", Some("Active")), ("newer", None)],
            vec![("newest", None)],
        ];
        let looks = looks.map(|phases| (none.clone(), leases(&phases)));
        assert_eq!(silent(false, &looks), 4, "leases are asked for and deleted");
        let first = [(none.clone(), leases(&[])), (none, leases(&[("a", Some("Denied"))]))];
        assert_eq!(silent(false, &first), 0, "a new lease was looked at");
    }
}
