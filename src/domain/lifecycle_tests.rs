//! A status is written where something is different, and a restart is nothing different.

use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn at(millis: i64) -> Time {
    Time::from_millis(NOW + millis)
}

/// What is known once everything is listed.
fn seen(status: ServiceAccountLifecycleStatus) -> LifecycleObserved {
    let spec = json!({
        "owner": {"team": "t", "contact": "c"}, "purpose": "p", "class": "Pipeline",
        "terms": {"ttl": {"max": "1h"}, "delivery": ["TokenRequest"], "approval": {"type": "NotRequired"}},
    });
    LifecycleObserved {
        namespace: "ns".into(),
        generation: 1,
        spec: serde_json::from_value(spec).unwrap(),
        status,
        enforcement: Enforcement::Enforced,
        broken_validation: None,
        rights: Rights::Lacking(vec![]),
        ambient: None,
        guarded: Guarded::default(),
        workflow: vec![],
        unlisted: false,
        held_by: None,
        active: 0,
        last_lease: Some(at(-10_000)),
        counted: None,
    }
}

#[test]
fn a_restart_writes_nothing_where_nothing_differs() {
    let stored = status(&seen(ServiceAccountLifecycleStatus::default()), at(0));
    // The last lease was deleted meanwhile, so that only an older one tells, or none.
    for last_lease in [Some(at(-10_000)), Some(at(-20_000)), None] {
        let again = LifecycleObserved { last_lease, ..seen(stored.clone()) };
        assert_eq!(status(&again, at(60_000)), stored);
        assert_eq!(look_again(&again, at(60_000)), None, "nor is it looked at for nothing");
    }
}

#[test]
fn what_was_said_stays_until_as_much_is_known_again() {
    let stored = status(&seen(ServiceAccountLifecycleStatus::default()), at(0));
    let knows = |generation, listed, enforcement| knows_enough(Some(&stored), generation, listed, &enforcement, 59_999);
    assert!(!knows(1, false, Enforcement::Enforced), "an absence may only be one of lists");
    assert!(!knows(1, true, Enforcement::Unknown));
    assert!(knows(1, true, Enforcement::Enforced));
    assert!(knows(1, true, Enforcement::Missing("a policy".into())));
    assert!(knows(2, false, Enforcement::Unknown), "of another spec nothing was said");
    assert!(knows_enough(None, 1, false, &Enforcement::Unknown, 0), "nor of a new lifecycle");
    assert!(knows_enough(Some(&stored), 1, false, &Enforcement::Unknown, 60_000), "what stays unknown is said");
}
