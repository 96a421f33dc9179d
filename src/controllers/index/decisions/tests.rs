use serde_json::json;

use super::*;

const LEASE: &str = "5f2c8a8e-0000-4000-8000-000000000000";
const OTHER: &str = "6f2c8a8e-0000-4000-8000-000000000000";
const NOW: i64 = 1_800_000_000_000;

/// A decision made so many seconds after the lease was created.
fn decision(
    name: &str,
    lease: &str,
    kind: &str,
    after: i64,
    change: impl FnOnce(&mut serde_json::Value),
) -> DecisionSeen {
    let mut spec = json!({
        "leaseRef": {"name": "lease", "uid": lease}, "lifecycleRef": {"name": "lc"}, "requester": "ci",
        "decision": kind, "reason": "r", "decidedBy": {"username": name},
    });
    change(&mut spec);
    DecisionSeen {
        uid: name.into(),
        name: name.into(),
        created: Time::from_millis(NOW + after * 1000),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

fn seen(decisions: &Decisions) -> Vec<String> {
    let lease = LeaseUid::parse(LEASE).unwrap();
    let about = About {
        lease: &lease,
        lifecycle: &("ns".into(), "lc".into()),
        requester: "ci",
        created: Time::from_millis(NOW),
    };
    decisions.about(&about).into_iter().map(|d| d.name).collect()
}

#[test]
fn old_repeats_and_mistaken_words_crowd_out_nothing() {
    let mut all = Decisions::default();
    for n in 0..200 {
        // Still covering, from before; over; of another lifecycle; about another requester.
        let repeats = |spec: &mut serde_json::Value| spec["repeatFor"] = json!("24h");
        all.insert("ns", decision(&format!("repeats-{n}"), OTHER, "Approved", -600 - n, repeats), 0);
        let over = |spec: &mut serde_json::Value| spec["repeatFor"] = json!("5m");
        all.insert("ns", decision(&format!("over-{n}"), OTHER, "Approved", -600 - n, over), 0);
        let elsewhere = |spec: &mut serde_json::Value| spec["lifecycleRef"]["name"] = json!("other");
        all.insert("ns", decision(&format!("elsewhere-{n}"), LEASE, "Revoked", 1, elsewhere), 0);
        let foreign = |spec: &mut serde_json::Value| spec["requester"] = json!("somebody");
        all.insert("ns", decision(&format!("foreign-{n}"), LEASE, "Approved", 1, foreign), 0);
    }
    all.insert("ns", decision("alice", LEASE, "Approved", 10, |_| {}), 0);
    all.insert("ns", decision("officer", LEASE, "Revoked", 20, |_| {}), 0);
    all.insert("other-namespace", decision("stranger", LEASE, "Revoked", 1, |_| {}), 0);
    let found = seen(&all);
    assert!(found.contains(&"alice".to_owned()) && found.contains(&"officer".to_owned()), "{found:?}");
    assert!(!found.iter().any(|name| name.starts_with("over-") || name == "stranger"), "{found:?}");
    assert!(found.len() <= MOST + 3 * MOST_MISTAKEN, "{}", found.len());
}

#[test]
fn the_first_word_against_a_lease_is_seen_however_many_follow() {
    let mut all = Decisions::default();
    for n in 0..100 {
        all.insert("ns", decision(&format!("late-{n}"), LEASE, "Revoked", 100 + n, |_| {}), 0);
        // A requester cannot deny his own; such words are not what ends it.
        all.insert(
            "ns",
            decision(&format!("ci-{n}"), LEASE, "Denied", n, |spec| spec["decidedBy"]["username"] = json!("ci")),
            0,
        );
    }
    all.insert("ns", decision("first", LEASE, "Revoked", 5, |_| {}), 0);
    all.insert("ns", decision("denies", LEASE, "Denied", 50, |_| {}), 0);
    let found = seen(&all);
    assert!(found.contains(&"first".to_owned()) && found.contains(&"denies".to_owned()), "{found:?}");
}

#[test]
fn a_decision_that_is_gone_is_not_found_by_anything() {
    let mut all = Decisions::default();
    all.insert("ns", decision("alice", OTHER, "Approved", -10, |spec| spec["repeatFor"] = json!("1h")), 0);
    assert_eq!(seen(&all), ["alice"]);
    assert!(all.remove("alice").is_some() && all.remove("alice").is_none());
    assert_eq!(seen(&all), [""; 0]);
    assert!(all.by_lease.is_empty() && all.repeating.is_empty());
}

#[test]
fn a_word_against_a_lease_of_another_namespace_takes_nothing_back() {
    let mut all = Decisions::default();
    let repeats = |spec: &mut serde_json::Value| spec["repeatFor"] = json!("1h");
    all.insert("ns", decision("alice", OTHER, "Approved", -10, repeats), 0);
    all.insert("elsewhere", decision("stranger", OTHER, "Denied", -5, |_| {}), 0);
    all.insert("ns", decision("ci", OTHER, "Revoked", -5, |spec| spec["decidedBy"]["username"] = json!("ci")), 0);
    assert_eq!(seen(&all), ["alice"], "nor does the requester who ended his own");
    all.insert("ns", decision("bob", OTHER, "Revoked", -4, |_| {}), 0);
    assert_eq!(seen(&all), [""; 0]);
    assert!(all.has_approval_for(&all.rows["bob"].seen), "it is kept as long as what it takes back");
}
