//! Workflows against the model: every call made to fail in every way, every answer of another system, at each the process killed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    call::{Call, Class},
    observed::{Child, Memory},
    outcome::Outcome,
    steps::{Part, Task},
    task::{TaskEnd, TaskSeen},
    workflow::{SystemSeen, Uses},
    world::{Fault, START, World, active},
};
use crate::api::{
    ConditionStatus, Time, condition,
    reasons::{EndReason, Phase},
    workflow::{StepState, StepStatus},
};

/// Whether a call is of interest.
type Which = fn(&Call) -> bool;

pub fn system(token: bool) -> SystemSeen {
    let operation = |name: &str, access: &str, method: &str| json!({"name": name, "access": access, "method": method, "path": "'/x'"});
    let spec = json!({
        "type": "HTTP", "http": {"url": "https://other.example.com"}, "namespaces": {"from": "All"},
        "operations": [operation("ask", "ReadOnly", "GET"), operation("set", "ReadWrite", "PUT"), operation("unset", "ReadWrite", "DELETE"), operation("tell", "ReadWrite", "POST")],
    });
    let uses =
        |name: &str| (name.to_owned(), Ok(Uses { token: token && name == "set", credential: token && name == "set" }));
    SystemSeen {
        name: "other".into(),
        uid: "system".into(),
        spec: serde_json::from_value(spec).unwrap(),
        operations: ["ask", "set", "unset", "tell"].map(uses).into(),
    }
}

/// A lease under a workflow: a gate, two steps that can be taken back, and one that tells of the end.
pub fn world(delivery: &'static str, token: bool) -> World {
    let mut world = World::new(delivery);
    let step = |name: &str, at: &str, operation: &str| json!({"name": name, "at": at, "system": "other", "operation": operation, "timeout": "30s"});
    let undo = |name: &str| {
        let mut step = step(name, "Issue", "set");
        step["undo"] = json!("unset");
        step
    };
    world.lifecycle.as_mut().unwrap()["workflow"] =
        json!([step("gate", "Request", "ask"), undo("one"), undo("two"), step("told", "Revoke", "tell")]);
    world.systems = BTreeMap::from([("other".to_owned(), Arc::new(system(token)))]);
    world
}

fn task(step: &str, part: Part) -> Task {
    Task { step: step.into(), part }
}

fn called(world: &World) -> String {
    let word = |t: &Task| if t.part == Part::Do { t.step.clone() } else { format!("-{}", t.step) };
    world.called.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn state<'a>(world: &'a World, step: &str) -> Option<&'a StepStatus> {
    world.status.steps.iter().find(|s| s.name == step)
}

/// Ended, everything told, and everything taken back.
fn over(world: &World) -> bool {
    let undone = |name: &str| state(world, name).is_none_or(|s| s.state == StepState::Undone);
    let told = world.status.issue_time.is_none() || state(world, "told").is_some_and(|s| s.end_time.is_some());
    let taken_back = undone("one") && undone("two") && world.ours().is_empty();
    world.status.phase.is_some_and(Phase::is_final) && taken_back && told
}

fn says(world: &World, kind: &str) -> Option<ConditionStatus> {
    condition::find(&world.status.conditions, kind).map(|c| c.status)
}

fn again(message: &str) -> Outcome {
    Outcome::Again { message: message.into(), after: None }
}

fn no() -> Outcome {
    Outcome::Refused { message: "status 400".into() }
}

fn live(world: &mut World) {
    let mut memory = Memory::default();
    world.run(&mut memory, over);
}

#[test]
fn a_workflow_runs_in_order_and_is_taken_back_in_reverse() {
    for (delivery, token) in [("Secret", true), ("Secret", false), ("TokenRequest", false)] {
        let mut world = world(delivery, token);
        let mut memory = Memory::default();
        world.run(&mut memory, active);
        assert_eq!(called(&world), "gate one two");
        assert_eq!(says(&world, "DependentsUpdated"), Some(ConditionStatus::True));
        world.run(&mut memory, over);
        assert_eq!(called(&world), "gate one two -two -one told");
        assert_eq!(world.status.phase, Some(Phase::Expired));
        assert_eq!(says(&world, "RolledBack"), Some(ConditionStatus::True));
        assert!(world.ours().is_empty(), "{:?}", world.ours());
    }
}

#[test]
fn nothing_is_called_twice_without_a_fault_and_no_status_is_written_in_vain() {
    let mut world = world("Secret", true);
    live(&mut world);
    let writes = world.calls.iter().filter(|c| matches!(c, Call::WriteStatus(_))).count();
    // gate begun, gate passed; issued with the first begun, second begun, second done (active);
    // revoked, undo of two, of one, both done; final; told begun, told done.
    assert!(writes <= 13, "{writes} writes");
}

/// The account is dead, and everything is done or everything is taken back.
fn all_or_nothing(world: &World, what: &str) {
    assert_eq!(world.live_tokens(), 0, "{what}");
    assert!(over(world), "{what}: {:?} {:?}", world.status.phase, world.status.steps);
    assert!(world.ours().is_empty(), "{what} leaves {:?}", world.ours());
    for step in ["one", "two"] {
        let did = world.called.iter().rposition(|t| *t == task(step, Part::Do));
        let undid = world.called.iter().rposition(|t| *t == task(step, Part::Undo));
        assert!(did.is_none() || did < undid, "{what}: {step} was done after it was taken back: {}", called(world));
    }
}

#[test]
fn a_fault_at_any_call_leaves_all_done_or_all_undone() {
    for (delivery, token) in [("Secret", true), ("TokenRequest", false)] {
        let mut unfaulted = world(delivery, token);
        live(&mut unfaulted);
        for at in 1..=unfaulted.calls.len() {
            for fault in Fault::ALL {
                let mut faulted = world(delivery, token);
                faulted.faults = vec![(at, fault)];
                live(&mut faulted);
                all_or_nothing(&faulted, &format!("{delivery}: {fault:?} at call {at}"));
            }
        }
    }
}

#[test]
fn two_faults_leave_all_done_or_all_undone() {
    let mut unfaulted = world("Secret", true);
    live(&mut unfaulted);
    let calls = unfaulted.calls.len() + 4;
    for first in 1..=calls {
        // Every pair of places that can matter to each other: the second within the recovery from the first.
        for second in first + 1..=(first + 4).min(calls) {
            for (f, g) in Fault::ALL.map(|g| (Fault::CrashAfter, g)) {
                let mut faulted = world("Secret", true);
                faulted.faults = vec![(first, f), (second, g)];
                live(&mut faulted);
                all_or_nothing(&faulted, &format!("{f:?} at {first}, {g:?} at {second}"));
            }
        }
    }
}

#[test]
fn a_step_that_fails_for_good_at_any_place_with_a_crash_at_any_call_takes_everything_back() {
    for failing in ["one", "two"] {
        let broken = || {
            let mut world = world("Secret", true);
            world.answers.insert(task(failing, Part::Do), vec![again("no answer"), no()]);
            world
        };
        let mut unfaulted = broken();
        live(&mut unfaulted);
        assert_eq!(unfaulted.status.end_reason, Some(EndReason::StepFailed));
        assert_eq!(unfaulted.status.phase, Some(Phase::Failed));
        let expected = if failing == "one" { "gate one one -one told" } else { "gate one two two -two -one told" };
        assert_eq!(called(&unfaulted), expected, "what may have been done is taken back as well");
        for at in 1..=unfaulted.calls.len() {
            for fault in [Fault::CrashBefore, Fault::CrashAfter] {
                let mut faulted = broken();
                faulted.faults = vec![(at, fault)];
                live(&mut faulted);
                all_or_nothing(&faulted, &format!("{failing} fails, {fault:?} at call {at}"));
                assert_eq!(says(&faulted, "RolledBack"), Some(ConditionStatus::True), "{failing} {fault:?} at {at}");
            }
        }
    }
}

#[test]
fn a_step_that_failed_is_said_to_have_failed_also_after_it_was_taken_back() {
    for failing in ["one", "two"] {
        let mut world = world("Secret", true);
        world.answers.insert(task(failing, Part::Do), vec![no()]);
        live(&mut world);
        assert_eq!(state(&world, failing).unwrap().state, StepState::Undone);
        assert_eq!(says(&world, "DependentsUpdated"), Some(ConditionStatus::False), "{failing}");
    }
}

#[test]
fn a_step_that_may_fail_is_recorded_and_the_lease_lives() {
    let mut world = world("Secret", false);
    world.lifecycle.as_mut().unwrap()["workflow"][1]["onFailure"] = json!("Continue");
    world.answers.insert(task("one", Part::Do), vec![no()]);
    let mut memory = Memory::default();
    world.run(&mut memory, active);
    assert_eq!(state(&world, "one").unwrap().state, StepState::Failed);
    assert_eq!(says(&world, "DependentsUpdated"), Some(ConditionStatus::True));
    world.run(&mut memory, over);
    assert_eq!(world.status.phase, Some(Phase::Expired));
}

#[test]
fn a_gate_that_says_no_denies_and_nothing_was_made() {
    let mut world = world("Secret", true);
    world.answers.insert(task("gate", Part::Do), vec![no()]);
    live(&mut world);
    assert_eq!((world.status.phase, world.status.end_reason), (Some(Phase::Denied), Some(EndReason::GateRefused)));
    assert!(world.tokens.is_empty() && world.objects.is_empty() && called(&world) == "gate");
}

#[test]
fn a_gate_is_asked_until_it_passes_and_the_lease_runs_from_then() {
    let mut world = world("Secret", true);
    world.answers.insert(task("gate", Part::Do), vec![again("not yet"); 4]);
    let mut memory = Memory::default();
    world.run(&mut memory, active);
    assert_eq!(called(&world), "gate gate gate gate gate one two");
    let passed = state(&world, "gate").unwrap().end_time.unwrap();
    assert!(passed > Time::from_millis(START));
    assert_eq!(world.status.expiration_time, Some(passed.plus(crate::api::Duration::from_secs(60))));
    assert_eq!(state(&world, "gate").unwrap().tries, 1, "a gate changes nothing: not every try is written down");
}

#[test]
fn people_are_asked_while_a_gate_that_has_answered_does_not_pass_yet() {
    let (mut world, mut memory) = (world("TokenRequest", false).asking(json!({})), Memory::default());
    world.answers.insert(task("gate", Part::Do), vec![again("not yet"); 100]);
    let asks = |w: &World| w.status.phase == Some(Phase::AwaitingApproval);
    world.run(&mut memory, |w| asks(w) || w.status.phase.is_some_and(Phase::is_final));
    assert!(asks(&world) && state(&world, "gate").unwrap().end_time.is_none(), "{:?}", world.status.phase);
}

#[test]
fn a_gate_that_never_passes_denies_at_its_timeout() {
    let mut world = world("Secret", true);
    world.answers.insert(task("gate", Part::Do), vec![again("not yet"); 100]);
    live(&mut world);
    assert_eq!(world.status.end_reason, Some(EndReason::GateRefused));
    let waited = state(&world, "gate").unwrap().end_time.unwrap().since(Time::from_millis(START));
    assert!((30_000..31_000).contains(&waited), "{waited}");
}

#[test]
fn what_cannot_be_taken_back_is_loud_tried_for_ever_and_holds_up_nothing() {
    let mut world = world("Secret", true);
    world.answers.insert(task("two", Part::Undo), vec![again("no answer"); 40]);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final));
    assert_eq!(world.status.phase, Some(Phase::Expired));
    assert_eq!(says(&world, "Revoked"), Some(ConditionStatus::True));
    assert_eq!(says(&world, "RolledBack"), Some(ConditionStatus::False));
    assert_eq!(state(&world, "one").unwrap().state, StepState::Undone, "the other one is taken back meanwhile");
    assert_eq!(world.ours(), [&Child::Ledger], "how to take it back stays until it is");
    world.run(&mut memory, over);
    assert_eq!(says(&world, "RolledBack"), Some(ConditionStatus::True));
    assert!(world.ours().is_empty());
    assert!(state(&world, "two").unwrap().undo_tries.unwrap() > 40);
}

#[test]
fn a_lease_that_is_deleted_is_taken_back_too() {
    let mut unfaulted = world("Secret", true);
    let mut memory = Memory::default();
    unfaulted.run(&mut memory, active);
    for crash in [false, true] {
        let mut world = world("Secret", true);
        let mut memory = Memory::default();
        world.run(&mut memory, active);
        world.exists = false;
        if crash {
            memory = Memory::default();
            world.board.clear();
        }
        world.run(&mut memory, |w| w.objects.is_empty());
        assert!(called(&world).contains("-two -one"), "{}", called(&world));
    }
}

#[test]
fn whoever_deletes_a_lease_and_its_ledger_has_taken_it_upon_himself() {
    let mut world = world("Secret", true);
    world.answers.insert(task("two", Part::Undo), vec![again("no answer"); 1000]);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final));
    world.exists = false;
    world.objects.remove(&Child::Ledger);
    let tried = world.called.len();
    world.run(&mut memory, |_| false);
    assert!(world.called.len() <= tried + 1, "{}", called(&world));
}

#[test]
fn a_changed_workflow_has_its_gates_asked_again() {
    let mut world = world("Secret", true);
    world.not_before = Some(100);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Scheduled));
    assert_eq!(called(&world), "gate");
    world.lifecycle.as_mut().unwrap()["workflow"][0]["with"] = json!({});
    world.lifecycle.as_mut().unwrap()["workflow"][0]["timeout"] = json!("20s");
    world.run(&mut memory, active);
    assert_eq!(called(&world), "gate gate one two");
}

#[test]
fn a_step_that_cannot_run_refuses_the_request_and_says_why() {
    let mut world = world("TokenRequest", true);
    live(&mut world);
    let message = &condition::find(&world.status.conditions, "Allowed").unwrap().message;
    assert!(message.contains("credential.token") && message.contains("ask for delivery Secret"), "{message}");
    assert!(world.called.is_empty());
}

#[test]
fn an_end_comes_at_once_while_a_step_hangs() {
    let mut world = world("Secret", true);
    world.answers.insert(task("one", Part::Do), vec![again("no answer"); 100]);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Issuing) && w.called.len() > 2);
    world.exists = false;
    let before = world.now;
    world.run(&mut memory, |w| w.live_tokens() == 0);
    assert_eq!(world.now, before);
}

#[test]
fn what_a_lease_is_for_ends_it() {
    let uid = || "job".to_owned();
    let end = |completed, at| Some(TaskEnd { completed, at: Time::from_millis(at) });
    let there = TaskSeen::Present { uid: uid(), end: None, deleting: false };
    for (later, reason) in [
        (TaskSeen::Present { uid: uid(), end: end(true, START + 10), deleting: false }, EndReason::TaskCompleted),
        (TaskSeen::Present { uid: uid(), end: end(false, START + 10), deleting: false }, EndReason::TaskFailed),
        (TaskSeen::Present { uid: uid(), end: None, deleting: true }, EndReason::TaskDeleted),
        (TaskSeen::Present { uid: "another".into(), end: None, deleting: false }, EndReason::TaskDeleted),
        (TaskSeen::Absent, EndReason::TaskDeleted),
    ] {
        for crash in [false, true] {
            let (mut world, mut memory) = (World::new("Secret"), Memory::default());
            (world.completion, world.task) = (true, there.clone());
            world.run(&mut memory, active);
            if crash {
                memory = Memory::default();
            }
            world.task = later.clone();
            world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final));
            assert_eq!(
                (world.status.phase, world.status.end_reason),
                (Some(Phase::Completed), Some(reason)),
                "{later:?}"
            );
            assert_eq!(world.live_tokens(), 0);
        }
    }
}

#[test]
fn what_is_not_there_yet_or_had_ended_before_is_no_end() {
    let old = Some(TaskEnd { completed: true, at: Time::from_millis(START - 5) });
    for task in
        [TaskSeen::Absent, TaskSeen::Unknown, TaskSeen::Present { uid: "old".into(), end: old, deleting: false }]
    {
        let (mut world, mut memory) = (World::new("Secret"), Memory::default());
        (world.completion, world.task) = (true, task);
        world.run(&mut memory, active);
        world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final));
        assert_eq!(world.status.end_reason, Some(EndReason::Expired));
    }
}

#[test]
fn a_pause_that_the_other_side_asked_for_is_kept() {
    let mut world = world("Secret", true);
    let asked = Outcome::Again { message: "status 429".into(), after: Some(Duration::from_secs(7)) };
    world.answers.insert(task("one", Part::Do), vec![asked]);
    let mut memory = Memory::default();
    world.run(&mut memory, active);
    let one = state(&world, "one").unwrap();
    assert!(one.end_time.unwrap().since(one.start_time) >= 7_000);
}

#[test]
fn a_ledger_that_cannot_be_written_fails_before_anything_is_called() {
    let mut world = world("Secret", true);
    let ledger: Which = |call| matches!(call, Call::Create(Child::Ledger));
    world.broken.push((ledger, Class::Invalid));
    live(&mut world);
    assert_eq!((world.status.phase, called(&world).as_str()), (Some(Phase::Failed), "gate"));
}

#[test]
fn every_gate_of_a_changed_workflow_is_asked_again() {
    let mut world = world("Secret", true);
    let gate = world.lifecycle.as_ref().unwrap()["workflow"][0].clone();
    let mut second = gate.clone();
    second["name"] = json!("second");
    world.lifecycle.as_mut().unwrap()["workflow"].as_array_mut().unwrap().insert(1, second);
    world.not_before = Some(100);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Scheduled));
    assert_eq!(called(&world), "gate second");
    world.lifecycle.as_mut().unwrap()["workflow"][1]["timeout"] = json!("20s");
    world.run(&mut memory, active);
    assert_eq!(called(&world), "gate second gate second one two");
}

#[test]
fn a_step_at_issue_is_called_though_a_gate_that_was_asked_once_had_its_name() {
    let mut world = world("Secret", true);
    world.not_before = Some(100);
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.status.phase == Some(Phase::Scheduled));
    let workflow = world.lifecycle.as_mut().unwrap()["workflow"].as_array_mut().unwrap();
    workflow.remove(0);
    workflow[1]["name"] = json!("gate");
    // The change is seen while it still waits: the new document is shown.
    world.now += 1000;
    let before = world.status.request.clone();
    world.run(&mut memory, |w| w.status.request != before);
    world.run(&mut memory, active);
    assert_eq!(called(&world), "gate one gate");
}

#[test]
fn a_gate_whose_message_is_longer_than_a_status_holds_is_asked_again() {
    let mut world = world("Secret", true);
    world.answers.insert(task("gate", Part::Do), vec![again(&"x".repeat(600)); 2]);
    let mut memory = Memory::default();
    for _ in 0..60 {
        if active(&world) || world.now > START + 60_000 {
            break;
        }
        let until = world.now + 1000;
        world.run(&mut memory, |w| active(w) || w.now >= until);
    }
    assert_eq!(called(&world), "gate gate gate one two");
}

#[test]
fn an_undo_whose_message_is_longer_than_a_status_holds_keeps_no_proof_back() {
    let mut world = world("Secret", true);
    world.answers.insert(task("two", Part::Undo), vec![again(&"x".repeat(600)); 40]);
    let mut memory = Memory::default();
    let mut steps = 0;
    while !world.status.phase.is_some_and(Phase::is_final) && steps < 200 {
        steps += 1;
        let until = world.now + 1000;
        world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final) || w.now >= until);
    }
    let after = (world.now - START) / 1000;
    assert!(after <= 73, "final {after} s after the start: a life of 60 s and a proof that takes 12 s");
}

#[test]
fn a_ledger_tells_of_the_workflow_that_is_issued() {
    let mut world = world("Secret", true);
    world.broken = vec![(|call| matches!(call, Call::Create(Child::Secret)), Class::Transient)];
    let mut memory = Memory::default();
    world.run(&mut memory, |w| w.calls.iter().any(|c| matches!(c, Call::Create(Child::Secret))));
    world.broken.clear();
    let before = world.calls.len();
    for step in [1, 2] {
        world.lifecycle.as_mut().unwrap()["workflow"][step]["timeout"] = json!("20s");
        world.lifecycle.as_mut().unwrap()["workflow"][step]["with"] = json!({"key": "new"});
    }
    world.run(&mut memory, |w| w.status.phase.is_some_and(Phase::is_final) || active(w));
    let rewritten = world.calls[before..].iter().any(|c| matches!(c, Call::Create(Child::Ledger)));
    assert!(rewritten || !active(&world), "issued with a ledger that was written for another workflow");
}
