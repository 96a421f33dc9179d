//! Each rule refuses what breaks it, and nothing else does.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::*;
use crate::domain::{
    guards::PolicySeen,
    observed::{Held, Memory},
    world::{START, World, facts},
};

fn into_a_secret_of_its_choice(seen: &mut Observed) {
    spec(seen).delivery.secret = Some(serde_json::from_value(json!({"name": "mine"})).unwrap());
}

/// What a request breaks, how its world differs, and what is seen of it.
type Case = (&'static [&'static str], fn(&mut World), fn(&mut Observed));

fn start() -> Time {
    Time::from_millis(START)
}

fn lifecycle(world: &mut World) -> &mut serde_json::Value {
    world.lifecycle.as_mut().unwrap()
}

fn spec(seen: &mut Observed) -> &mut CredentialLeaseSpec {
    seen.lease.spec.as_mut().unwrap()
}

const CASES: &[Case] = &[
    (&["LifecycleNotFound"], |w| w.lifecycle = None, |_| {}),
    (&["LifecycleDeleting"], |_| {}, |seen| facts(seen).deleting = true),
    (&["LifecycleStopped"], |w| lifecycle(w)["stopPolicy"] = json!("Hold"), |_| {}),
    (&["LifecycleStopped"], |w| lifecycle(w)["stopPolicy"] = json!("HoldAndRevoke"), |_| {}),
    (&["LifecycleExpired"], |w| lifecycle(w)["expirationTime"] = json!(start().to_string()), |_| {}),
    (&["ReviewOverdue"], |w| lifecycle(w)["review"] = json!({"everyDays": 30, "lastReviewed": "2020-01-01"}), |_| {}),
    (&["LifecycleHeld"], |_| {}, |seen| seen.held_by = Some(Held { lease: "owed".into(), since: start() })),
    (
        &["CrossNamespace", "LifecycleNamespaceForbidden"],
        |_| {},
        |seen| {
            seen.lease.namespace = "kube-system".into();
            for grant in &mut facts(seen).spec.grants {
                grant.namespace = Some("ns".into());
            }
        },
    ),
    (&["NoGrants"], |_| {}, |seen| spec(seen).grants.clear()),
    (&["GrantUnknown"], |_| {}, |seen| spec(seen).grants.push("c".into())),
    (&["RoleNotFound"], |_| {}, |seen| _ = seen.roles.remove("a")),
    (&["NamespaceNotFound"], |_| {}, |seen| _ = seen.learned.namespaces_absent.insert("ns".into())),
    (
        &["CrossNamespace", "NamespaceForbidden"],
        |w| lifecycle(w)["grants"][0]["namespace"] = json!("leasehold-leases"),
        |_| {},
    ),
    (&["NoPolicy"], |_| {}, |seen| seen.settings.require_policy = true),
    (
        &[],
        |w| {
            let spec = serde_json::from_value(json!({})).unwrap();
            w.policies.push(Arc::new(PolicySeen { name: "everything".into(), spec }));
        },
        |seen| seen.settings.require_policy = true,
    ),
    (&["NotBeforeTooFar"], |_| {}, |seen| spec(seen).not_before = Some(start().plus_millis(MAX_AHEAD_MILLIS + 1))),
    (&["TtlAboveMax"], |w| w.ttl = Some("61m"), |_| {}),
    (
        &["TtlTooShortOffline"],
        |w| {
            w.audiences = vec!["vault"];
            lifecycle(w)["terms"]["audiences"] = json!(["vault"]);
        },
        |_| {},
    ),
    (&["DeliveryNotAllowed"], |w| lifecycle(w)["terms"]["delivery"] = json!(["Secret"]), |_| {}),
    (&["SecretNameNotAllowed"], |w| w.delivery = "Secret", into_a_secret_of_its_choice),
    (
        &[],
        |w| {
            w.delivery = "Secret";
            lifecycle(w)["terms"]["secretNames"] = json!(["mine"]);
        },
        into_a_secret_of_its_choice,
    ),
    (
        // Nothing is written into a Secret.
        &[],
        |_| {},
        into_a_secret_of_its_choice,
    ),
    (
        &["AudienceNotAllowed"],
        |w| {
            w.audiences = vec!["vault"];
            w.ttl = Some("30m");
        },
        |_| {},
    ),
    (&["RequesterMayNotLease"], |_| {}, |seen| seen.learned.access = Some(false)),
    (&["NotStanding"], |w| w.standing_ref = Some("held"), |_| {}),
    (&["TooManyActive"], |w| lifecycle(w)["terms"]["maxActive"] = json!(2), |seen| seen.live = Some((2, 0))),
    (
        &["TooManyForRequester"],
        |w| lifecycle(w)["terms"]["maxActivePerRequester"] = json!(2),
        |seen| seen.live = Some((5, 2)),
    ),
    (
        &["StepInvalid"],
        |w| lifecycle(w)["workflow"] = json!([{"name": "told", "at": "Revoke", "system": "none", "operation": "tell"}]),
        |_| {},
    ),
    (
        // It was judged when it was issued.
        &[],
        |w| lifecycle(w)["workflow"] = json!([{"name": "told", "at": "Revoke", "system": "none", "operation": "tell"}]),
        |seen| seen.lease.status.issue_time = Some(start()),
    ),
    (
        &["ValidationFailed"],
        |_| {},
        |seen| {
            seen.learned.violations = Some(vec![Refusal::ValidationFailed { message: "say why".into() }]);
        },
    ),
];

fn broken(world: &World, see: fn(&mut Observed)) -> BTreeSet<&'static str> {
    let mut seen = world.observe(&Memory::default());
    see(&mut seen);
    refusals(&seen, start()).iter().map(Refusal::rule).collect()
}

#[test]
fn each_rule_refuses_what_breaks_it_and_no_other_does() {
    assert_eq!(broken(&World::new("TokenRequest"), |_| {}), BTreeSet::new());
    for (rules, arrange, see) in CASES {
        let mut world = World::new("TokenRequest");
        arrange(&mut world);
        assert_eq!(broken(&world, *see), rules.iter().copied().collect());
    }
}

#[test]
fn a_place_is_not_asked_for_twice() {
    let mut world = World::new("TokenRequest");
    lifecycle(&mut world)["terms"]["maxActive"] = json!(2);
    assert_eq!(broken(&world, |seen| (seen.live, seen.memory.reserved) = (Some((2, 0)), true)), BTreeSet::new());
}

#[test]
fn a_policy_judges_what_was_issued_by_its_life_its_delivery_and_foreign_audiences() {
    let mut world = World::new("TokenRequest");
    (world.audiences, world.ttl) = (vec!["vault", "api"], Some("10m"));
    lifecycle(&mut world)["terms"]["audiences"] = json!(["vault"]);
    world.run(&mut Memory::default(), |w| w.status.issue_time.is_some());
    let held = world.status.request.clone().unwrap();
    let told = |terms: serde_json::Value, audiences: &[&str]| -> Vec<&'static str> {
        let spec = serde_json::from_value(json!({"terms": terms})).unwrap();
        let policy = guards::PolicySeen { name: "p".into(), spec };
        let guard = Guard { policy: &policy, grants: vec![] };
        let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
        violated(&guard, &held, held.ttl, &audiences).iter().map(|(_, refusal)| refusal.rule()).collect()
    };
    assert_eq!(told(json!({"ttl": {"max": "9m"}}), &["api"]), ["TtlAboveMax"]);
    assert_eq!(told(json!({"delivery": ["Secret"]}), &["api"]), ["DeliveryNotAllowed"]);
    assert_eq!(told(json!({"audiences": ["other"]}), &["api"]), ["AudienceNotAllowed"], "its own are never foreign");
    assert_eq!(told(json!({"audiences": []}), &[]), [""; 0], "its own are not known");
    let allowed = json!({"ttl": {"max": "10m"}, "delivery": ["TokenRequest"], "audiences": ["vault"]});
    assert_eq!(told(allowed, &["api"]), [""; 0]);
}

#[test]
fn a_lifecycle_says_of_itself_why_it_cannot_be_leased() {
    let told = |word: &str, value: serde_json::Value| {
        let mut world = World::new("TokenRequest");
        lifecycle(&mut world)[word] = value;
        let spec = serde_json::from_value(lifecycle(&mut world).clone()).unwrap();
        not_leasable(&spec, start()).map(|(reason, _)| reason)
    };
    assert_eq!(told("purpose", json!("another")), None);
    assert_eq!(told("stopPolicy", json!("Hold")), Some(LifecycleReason::Stopped));
    assert_eq!(told("expirationTime", json!(start().to_string())), Some(LifecycleReason::Expired));
    assert_eq!(told("expirationTime", json!(start().plus_millis(1000).to_string())), None);
    let review = json!({"everyDays": 30, "lastReviewed": "2020-01-01"});
    assert_eq!(told("review", review), Some(LifecycleReason::ReviewOverdue));
}
