//! What is asked once more before a refusal is said, and what is cleared away on the way to a credential.

use super::*;
use crate::api::{reasons::Phase, status::PolicyRule};
use crate::domain::{
    observed::{Known, Memory, ObjectId, RoleSeen},
    steps::WorkState,
    workflow_tests,
    world::{Fault, START, World, facts, rule},
};

fn seen() -> Observed {
    confirmed(&World::new("TokenRequest"))
}

/// As the API server itself has said that it is.
fn confirmed(world: &World) -> Observed {
    let mut seen = world.observe(&Memory::default());
    facts(&mut seen).confirmed = true;
    seen
}

fn object(name: &str) -> ObjectId {
    ObjectId { namespace: "ns".into(), name: name.into(), uid: name.into() }
}

#[test]
fn a_missing_role_is_read_once_before_that_is_said() {
    let missing = [Refusal::RoleNotFound { grant: "a".into(), role: "Role reader".into(), namespace: "ns".into() }];
    let mut seen = seen();
    assert_eq!(confirmations(&seen, &missing), [Call::ReadRole { grant: "a".into() }]);
    seen.learned.roles_confirmed.insert("a".into());
    assert_eq!(confirmations(&seen, &missing), []);
}

#[test]
fn a_system_that_is_applied_with_the_lease_is_waited_for_and_nothing_else_is() {
    let seen = seen();
    let step = [Refusal::StepInvalid { step: "told".into(), why: "no ConnectedSystem chat".into() }];
    let until = Time::from_millis(START + SYSTEM_LAG_MILLIS);
    assert_eq!(system_may_come(&seen, Time::from_millis(START), &step), Some(until));
    assert_eq!(system_may_come(&seen, until, &step), None);
    assert_eq!(system_may_come(&seen, Time::from_millis(START), &[Refusal::NoPolicy]), None);
}

#[test]
fn what_would_give_authority_where_it_has_none_is_cleared_away_once_all_is_listed() {
    let mut seen = seen();
    let (old, held) = (Child::Binding("old".into()), Child::Binding("held".into()));
    seen.strays = vec![(old.clone(), object("old")), (Child::Job, object("job"))];
    seen.claims = vec![(held.clone(), object("held"))];
    seen.synced = false;
    assert_eq!(tidy(&seen), [], "what is missing is not known yet");
    seen.synced = true;
    assert_eq!(
        tidy(&seen),
        [Call::Inspect { child: held, id: object("held") }, Call::Delete { child: old, id: object("old") }]
    );
}

#[test]
fn a_secret_counts_as_delivered_once_this_process_knows_what_is_in_it() {
    let mut seen = World::new("Secret").observe(&Memory::default());
    let there = Known::Present(object("secret"));
    seen.children.insert(Child::Secret, there.clone());
    let again = delivery(&seen);
    assert!(matches!(&again, Some(Next::Do(_, calls)) if *calls == [Call::Create(Child::Secret)]), "{again:?}");
    seen.memory.secret = Some(there);
    assert_eq!(delivery(&seen), None);
}

#[test]
fn nobody_is_asked_before_a_gate_has_answered_once() {
    let (mut world, mut memory) =
        (workflow_tests::world("TokenRequest", false).asking(serde_json::json!({})), Memory::default());
    world.run(&mut memory, |w| !w.board.is_empty());
    let mut seen = world.observe(&memory);
    for work in seen.works.values_mut() {
        work.state = WorkState::Running;
    }
    let next = gates(&seen, world.now());
    assert!(matches!(next, Some(Next::Rest { .. })), "it is waited for: {next:?}");
}

#[test]
fn a_first_failure_that_may_pass_soon_is_not_told_and_any_other_is() {
    let told = |class: Class, retry_after: Option<u64>, failed_before: bool| {
        let mut seen = seen();
        let failure = Failure { retry_after: retry_after.map(Duration::from_secs), ..Failure::new(class, "no") };
        seen.learned.failed = vec![(Call::CheckAccess, failure)];
        seen.failed_before = failed_before;
        match advance(&seen, Time::from_millis(START)) {
            Next::Rest { backoff: Some(Lane::Issue), .. } => false,
            Next::Do(Lane::Issue, calls) => matches!(&calls[..], [Call::WriteStatus(_)]),
            other => panic!("{class:?} {retry_after:?} {failed_before}: {other:?}"),
        }
    };
    for class in [Class::Conflict, Class::Throttled, Class::Transient] {
        assert!(!told(class, None, false), "{class:?}");
        assert!(!told(class, Some(5), false), "{class:?}");
        assert!(told(class, Some(6), false), "{class:?}");
        assert!(told(class, None, true), "{class:?}");
    }
    assert!(told(Class::Forbidden, None, false));
    assert!(told(Class::Invalid, None, false));
}

#[test]
fn a_failure_is_told_if_one_beside_it_will_not_pass_or_if_nothing_was_told_for_long() {
    let mut seen = seen();
    seen.learned.failed = vec![(Call::CheckAccess, Failure::new(Class::Throttled, "no"))];
    let age = |millis: i64| Time::from_millis(START + millis);
    assert!(is_a_stumble(&seen, age(29_999)));
    assert!(!is_a_stumble(&seen, age(30_000)));
    seen.lease.status.phase = Some(Phase::AwaitingApproval);
    assert!(is_a_stumble(&seen, age(30_000)), "its requester has a word");
    seen.learned.failed.push((Call::Evaluate, Failure::new(Class::Forbidden, "never")));
    assert!(!is_a_stumble(&seen, age(0)));
}

#[test]
fn a_lease_that_stumbles_once_is_issued_in_as_many_writes_as_one_that_does_not() {
    let writes = |faults: Vec<(usize, Fault)>| {
        let (mut world, mut memory) = (World::new("TokenRequest"), Memory::default());
        world.faults = faults;
        world.run(&mut memory, |w| w.status.issue_time.is_some());
        world.calls.iter().filter(|call| matches!(call, Call::WriteStatus(_))).count()
    };
    let undisturbed = writes(vec![]);
    assert_eq!(writes(vec![(1, Fault::Error)]), undisturbed);
    assert_eq!(writes(vec![(1, Fault::Error), (2, Fault::Error)]), undisturbed + 1, "the second is told");
}

#[test]
fn nothing_is_asked_or_made_before_policies_and_lifecycles_are_known() {
    type Change = fn(&mut Observed);
    let unknown: [Change; 2] =
        [|seen| seen.enforcement = Enforcement::Unknown, |seen| seen.lifecycle = LifecycleSeen::Unknown];
    for change in unknown {
        let mut seen = seen();
        change(&mut seen);
        let next = advance(&seen, Time::from_millis(START));
        let Next::Do(_, calls) = &next else { panic!("{next:?}") };
        let [Call::WriteStatus(status)] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!(status.phase, Some(Phase::Pending));
        seen.lease.status = *status.clone();
        assert!(matches!(advance(&seen, Time::from_millis(START)), Next::Rest { backoff: None, .. }));
    }
}

#[test]
fn validations_are_evaluated_once_a_visit_if_there_are_any() {
    let mut world = World::new("TokenRequest");
    world.lifecycle.as_mut().unwrap()["terms"]["validations"] =
        serde_json::json!([{"expression": "true", "message": "never"}]);
    let mut seen = world.observe(&Memory::default());
    seen.learned.access = Some(true);
    assert_eq!(questions(&seen), [Call::Evaluate]);
    seen.learned.violations = Some(vec![]);
    assert_eq!(questions(&seen), []);
    seen.learned.access = None;
    assert_eq!(questions(&seen), [Call::CheckAccess]);
}

#[test]
fn the_rules_are_asked_before_people_are_and_not_while_all_that_is_missing_is_their_word() {
    let asks = |kind: &str| World::new("TokenRequest").asking(serde_json::json!({"type": kind}));
    let (mut waiting, mut memory) = (asks("Required"), Memory::default());
    assert_eq!(questions(&waiting.observe(&memory)), [Call::CheckAccess], "nothing is shown to anybody yet");
    waiting.run(&mut memory, |w| w.status.request.is_some());
    let shown = waiting.status.request.clone();
    assert_eq!(questions(&waiting.observe(&memory)), []);
    let mut begun = asks("Retrospective").observe(&Memory::default());
    begun.lease.status.request = shown;
    assert_eq!(questions(&begun), [Call::CheckAccess], "nobody's word is missing for it to be issued");
}

#[test]
fn nothing_is_refused_before_the_policies_are_known_to_be_in_force() {
    let mut seen = seen();
    seen.learned.access = Some(false);
    assert!(refusal(&seen, Time::from_millis(START)).is_some());
    for enforcement in [Enforcement::Unknown, Enforcement::Missing("one".into())] {
        seen.enforcement = enforcement;
        assert_eq!(refusal(&seen, Time::from_millis(START)), None);
    }
}

#[test]
fn a_refusal_names_everything_so_every_rule_is_asked_first() {
    let mut world = World::new("TokenRequest");
    world.ttl = Some("2h");
    let mut seen = confirmed(&world);
    assert_eq!(refusal(&seen, Time::from_millis(START)), None, "whether the requester may lease is not known");
    seen.learned.access = Some(false);
    assert_eq!(refusal(&seen, Time::from_millis(START)).map(|refusals| refusals.len()), Some(2));
}

#[test]
fn a_system_that_may_come_is_waited_for_before_a_refusal() {
    let mut world = workflow_tests::world("TokenRequest", false);
    world.systems.clear();
    let mut seen = confirmed(&world);
    seen.learned.access = Some(true);
    assert_eq!(refusal(&seen, Time::from_millis(START)), None);
    assert!(refusal(&seen, Time::from_millis(START + SYSTEM_LAG_MILLIS)).is_some());
}

#[test]
fn the_job_that_would_end_an_account_is_made_before_it_and_not_after_it() {
    let mut seen = seen();
    let made = |seen: &Observed| match objects(seen) {
        Some(Next::Do(_, calls)) => calls,
        other => panic!("{other:?}"),
    };
    assert_eq!(made(&seen), [Call::Create(Child::Job)]);
    seen.children.insert(Child::Account, Known::Present(object("account")));
    let bindings = ["a", "b"].map(|grant| Call::Create(Child::Binding(grant.into())));
    assert_eq!(made(&seen), bindings, "an owner that comes later owns nothing");
    let mut world = World::new("TokenRequest");
    world.lifecycle.as_mut().unwrap()["terms"]["backstop"] = "None".into();
    let without = [&[Call::Create(Child::Account)], &bindings[..]].concat();
    assert_eq!(made(&confirmed(&world)), without, "none is wanted");
}

#[test]
fn each_role_is_compared_with_what_its_own_grant_was_agreed_to_with() {
    let of = |verbs: &[&str]| RoleSeen { rules: vec![rule(verbs)], ..seen().roles["a"].clone() };
    let mut seen = seen();
    seen.roles.insert("b".into(), of(&["list"]));
    let read = |roles: [(&str, &[&str]); 2]| roles.map(|(grant, verbs)| (grant.to_owned(), Some(of(verbs)))).into();
    seen.learned.roles_after = read([("a", &["get"]), ("b", &["list"])]);
    assert_eq!(stale(&seen), None);
    seen.learned.roles_after = read([("a", &["get"]), ("b", &["get"])]);
    assert!(stale(&seen).is_some_and(|why| why.contains("grant b")), "{:?}", stale(&seen));
}

#[test]
fn a_role_that_no_status_may_hold_is_compared_with_what_was_watched() {
    let names =
        |count: usize| PolicyRule { resource_names: (0..count).map(|n| format!("{n}")).collect(), ..rule(&["get"]) };
    let of = |count: usize| RoleSeen { rules: vec![names(count)], ..seen().roles["a"].clone() };
    let mut seen = seen();
    seen.roles.insert("a".into(), of(70));
    seen.learned.roles_after = [("a".to_owned(), Some(of(66)))].into();
    assert_eq!(stale(&seen), None, "it has lost rights");
    seen.learned.roles_after = [("a".to_owned(), Some(of(71)))].into();
    assert!(stale(&seen).is_some());
}
