//! The steps of one lease: what is called next in other systems, and what is taken back.
//!
//! Every try is recorded in the status before it is made, so that a restart knows what may have happened at the other side; what
//! was begun and not answered is tried again under the same Idempotency-Key. A gate (at Request) changes nothing, so only its
//! first try is recorded. Calls run beside visits: a visit starts one and rests, and its answer wakes the lease.

use std::collections::BTreeMap;

use super::{
    call::Call,
    digest,
    observed::{Child, Known, Observed, Presence},
    outcome::Outcome,
    request, workflow,
};
use crate::api::{
    Duration, Time, condition,
    workflow::{OnFailure, ResolvedStep, StepState, StepStatus, StepTime},
};

/// The longest pause between two tries of a step, in milliseconds.
const MAX_PAUSE_MILLIS: i64 = 15_000;
/// The longest pause between two tries to take a step back, in milliseconds.
const MAX_UNDO_PAUSE_MILLIS: i64 = 60_000;
/// The first pause, in milliseconds.
const FIRST_PAUSE_MILLIS: i64 = 1_000;
/// The longest message of a step, in bytes, as its schema says.
const MAX_MESSAGE: usize = 512;

/// Which of a step's two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What the step does.
    Do,
    /// What takes it back.
    Undo,
}

/// One call of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    pub step: String,
    pub part: Part,
}

/// What this process knows of a call of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The digest of the document that the step is a part of: an answer about another one tells nothing.
    pub document: String,
    /// Which try it is, as the status counts them.
    pub tries: i32,
    /// How often this try was made: more than once only of a gate.
    pub calls: u32,
    pub state: WorkState,
}

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkState {
    Running,
    Answered { outcome: Outcome, at: Time },
}

/// What is known of every call of a lease's steps; lost at a restart.
pub type Works = BTreeMap<Task, Work>;

/// What the steps of one moment need now.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Nothing: each is done, or has failed and may.
    Settled,
    /// These states are to be recorded before anything else is done.
    Record(Vec<StepStatus>),
    /// These calls are to be started.
    Start(Vec<Call>),
    /// An answer, or one of these moments.
    Wait(Vec<Time>),
}

/// The steps of the lease as they run: those that were agreed to, once it is issued.
#[must_use]
pub fn of(seen: &Observed) -> Vec<ResolvedStep> {
    match seen.lease.status.request.as_ref().filter(|_| seen.issued()) {
        Some(request) => request.workflow.clone(),
        None => request::current(seen).map(|resolved| resolved.request.workflow).unwrap_or_default(),
    }
}

/// The digest of the document that the steps are a part of; empty where nothing tells of one.
#[must_use]
pub fn document(seen: &Observed) -> String {
    let shown = || seen.lease.status.request_digest.clone();
    let current = || request::current(seen).map(|resolved| resolved.digest);
    let known = if seen.issued() { shown() } else { current().or_else(shown) };
    known.unwrap_or_default()
}

/// What is recorded of a step.
fn status<'a>(seen: &'a Observed, name: &str) -> Option<&'a StepStatus> {
    seen.lease.status.steps.iter().find(|s| s.name == name)
}

/// A message as a status holds it: what is compared with one is cut as that was.
#[must_use]
pub fn bounded(message: &str) -> String {
    let mut text = message.to_owned();
    condition::bound(&mut text, MAX_MESSAGE);
    text
}

/// Whether what is recorded of gates was recorded for what would be issued now.
fn is_current(seen: &Observed) -> bool {
    seen.issued()
        || seen.lease.status.steps.is_empty()
        || request::current(seen).is_some_and(|resolved| {
            resolved.changes.is_empty() && seen.lease.status.request.as_ref() == Some(&resolved.request)
        })
}

/// What the steps at `at` need next, in their order.
#[must_use]
pub fn forward(seen: &Observed, now: Time, at: StepTime) -> Progress {
    let current = is_current(seen);
    let mut records = vec![];
    for step in of(seen).into_iter().filter(|step| step.at == at) {
        let Some(status) = status(seen, &step.name).filter(|s| current && s.at == step.at) else {
            records.push(begun(&step, now));
            return Progress::Record(records);
        };
        match status.state {
            StepState::Done | StepState::Undoing | StepState::Undone => {}
            StepState::Failed if step.on_failure == OnFailure::Continue => {}
            StepState::Failed => break,
            StepState::Running => match running(seen, now, &step, status) {
                One::Settled(state) => {
                    let stop = state.state == StepState::Failed && step.on_failure == OnFailure::RollBack;
                    records.push(state);
                    if stop {
                        return Progress::Record(records);
                    }
                }
                One::Record(state) => {
                    records.push(state);
                    return Progress::Record(records);
                }
                // What is known of those before it is recorded first.
                _ if !records.is_empty() => return Progress::Record(records),
                One::Start(call) => return Progress::Start(vec![call]),
                One::Wait(until) => return Progress::Wait(until.into_iter().collect()),
            },
        }
    }
    if records.is_empty() { Progress::Settled } else { Progress::Record(records) }
}

/// What one step needs.
enum One {
    /// It is done, or failed for good.
    Settled(StepStatus),
    Record(StepStatus),
    Start(Call),
    Wait(Option<Time>),
}

fn begun(step: &ResolvedStep, now: Time) -> StepStatus {
    StepStatus {
        name: step.name.clone(),
        at: step.at,
        state: StepState::Running,
        tries: 1,
        start_time: now,
        end_time: None,
        undo_tries: None,
        undo_time: None,
        message: String::new(),
    }
}

/// What is known of a try, if this process made it.
fn work<'a>(seen: &'a Observed, step: &str, part: Part, tries: i32) -> Option<&'a Work> {
    let work = seen.works.get(&Task { step: step.to_owned(), part })?;
    (work.tries == tries && work.document == document(seen)).then_some(work)
}

fn start(seen: &Observed, step: &str, part: Part, tries: i32) -> Call {
    Call::Start { task: Task { step: step.to_owned(), part }, tries, document: document(seen) }
}

/// The pause after so many tries, at least as long as the other side asked.
fn pause(tries: u32, longest: i64, asked: Option<std::time::Duration>) -> i64 {
    let grown = FIRST_PAUSE_MILLIS.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(longest);
    let asked = asked.map_or(0, |a| i64::try_from(a.as_millis()).unwrap_or(i64::MAX));
    grown.max(asked)
}

fn running(seen: &Observed, now: Time, step: &ResolvedStep, status: &StepStatus) -> One {
    let Some(work) = work(seen, &step.name, Part::Do, status.tries) else {
        return One::Start(start(seen, &step.name, Part::Do, status.tries));
    };
    let WorkState::Answered { outcome, at } = &work.state else { return One::Wait(None) };
    let settled = |state, message: String| StepStatus { state, message, end_time: Some(now), ..status.clone() };
    match outcome {
        Outcome::Done => One::Settled(settled(StepState::Done, String::new())),
        Outcome::Refused { message } => One::Settled(settled(StepState::Failed, bounded(message))),
        Outcome::Again { message, after } => {
            let last = status.start_time.plus(step.timeout);
            if *at >= last {
                return One::Settled(settled(StepState::Failed, gave_up(step.timeout, message)));
            }
            let message = bounded(message);
            if message != status.message {
                return One::Record(StepStatus { message, ..status.clone() });
            }
            let gate = step.at == StepTime::Request;
            let tries = if gate { work.calls } else { u32::try_from(status.tries).unwrap_or_default() };
            let due = at.plus_millis(pause(tries, MAX_PAUSE_MILLIS, *after)).min(last);
            if now < due {
                One::Wait(Some(due))
            } else if gate {
                One::Start(start(seen, &step.name, Part::Do, status.tries))
            } else {
                One::Record(StepStatus { tries: status.tries.saturating_add(1), ..status.clone() })
            }
        }
    }
}

fn gave_up(timeout: Duration, message: &str) -> String {
    bounded(&format!("not within {timeout}: {message}"))
}

/// Steps at Issue that were begun, and can be taken back, from the last to the first.
fn to_undo(seen: &Observed) -> Vec<&StepStatus> {
    // Whoever deletes a lease and its ledger has taken it upon himself.
    if seen.synced && seen.lease.presence == Presence::Gone && seen.child(&Child::Ledger) == &Known::Absent {
        return vec![];
    }
    let names: Vec<String> = if seen.issued() || seen.lease.status.request.is_some() {
        let steps = seen.lease.status.request.iter().flat_map(|r| &r.workflow);
        steps.filter(|s| s.at == StepTime::Issue && s.undo.is_some()).map(|s| s.name.clone()).collect()
    } else {
        // Only what was written down for taking back tells of them.
        let issue = seen.lease.status.steps.iter().filter(|s| s.at == StepTime::Issue);
        issue.map(|s| s.name.clone()).collect()
    };
    names.iter().rev().filter_map(|name| status(seen, name)).collect()
}

/// What taking back needs next: from the last step to the first, each begun when the one after it is taken back, or could not
/// be at first. What cannot be taken back is tried for ever, and holds up no other.
#[must_use]
pub fn back(seen: &Observed, now: Time) -> Progress {
    let (mut records, mut calls, mut wishes, mut waits) = (vec![], vec![], vec![], false);
    for status in to_undo(seen) {
        if status.state == StepState::Undone {
            continue;
        }
        if work(seen, &status.name, Part::Do, status.tries).is_some_and(|w| w.state == WorkState::Running) {
            // What is under way could still arrive after it was taken back.
            waits = true;
            break;
        }
        let tries = status.undo_tries.unwrap_or(0);
        if status.state != StepState::Undoing {
            records.push(StepStatus {
                state: StepState::Undoing,
                undo_tries: Some(1),
                message: String::new(),
                ..status.clone()
            });
            break;
        }
        match work(seen, &status.name, Part::Undo, tries).map(|work| &work.state) {
            None => {
                calls.push(start(seen, &status.name, Part::Undo, tries));
                if tries <= 1 {
                    break;
                }
            }
            Some(WorkState::Running) => {
                waits = true;
                if tries <= 1 {
                    break;
                }
            }
            Some(WorkState::Answered { outcome: Outcome::Done, .. }) => records.push(StepStatus {
                state: StepState::Undone,
                undo_time: Some(now),
                message: String::new(),
                ..status.clone()
            }),
            Some(WorkState::Answered {
                outcome: Outcome::Again { message, .. } | Outcome::Refused { message },
                at,
            }) => {
                let message = bounded(message);
                let asked = match seen.works.get(&Task { step: status.name.clone(), part: Part::Undo }) {
                    Some(Work { state: WorkState::Answered { outcome: Outcome::Again { after, .. }, .. }, .. }) => {
                        *after
                    }
                    _ => None,
                };
                let due = at.plus_millis(pause(u32::try_from(tries).unwrap_or_default(), MAX_UNDO_PAUSE_MILLIS, asked));
                if now >= due {
                    let tries = Some(tries.saturating_add(1));
                    records.push(StepStatus { undo_tries: tries, message, ..status.clone() });
                } else {
                    wishes.push(due);
                    if message != status.message {
                        records.push(StepStatus { message, ..status.clone() });
                    }
                }
            }
        }
    }
    if !records.is_empty() {
        Progress::Record(records)
    } else if !calls.is_empty() {
        Progress::Start(calls)
    } else if waits || !wishes.is_empty() {
        Progress::Wait(wishes)
    } else {
        Progress::Settled
    }
}

/// Whether nothing is left to take back.
#[must_use]
pub fn all_undone(seen: &Observed) -> bool {
    to_undo(seen).iter().all(|status| status.state == StepState::Undone)
}

/// Whether each step that has to be taken back is, or could not be when it was tried first: nothing more is worth waiting for.
#[must_use]
pub fn undo_was_tried(seen: &Observed) -> bool {
    to_undo(seen).iter().all(|status| {
        status.state == StepState::Undone || (status.state == StepState::Undoing && !status.message.is_empty())
    })
}

/// The step that failed for good and may not, with what it came to.
#[must_use]
pub fn failed(seen: &Observed, at: StepTime) -> Option<(ResolvedStep, &StepStatus)> {
    if !is_current(seen) {
        return None;
    }
    let of = of(seen).into_iter().filter(|step| step.at == at && step.on_failure == OnFailure::RollBack);
    of.filter_map(|step| Some((step.clone(), status(seen, &step.name)?)))
        .find(|(_, status)| status.state == StepState::Failed)
}

/// When the last gate passed; `None` while one has not. The time of creation where there is none.
#[must_use]
pub fn gates_passed(seen: &Observed) -> Option<Time> {
    let lifecycle = seen.lifecycle()?;
    let gates: Vec<_> = lifecycle.spec.workflow.iter().filter(|step| step.at == StepTime::Request).collect();
    if gates.is_empty() {
        return Some(seen.lease.created);
    }
    if !is_current(seen) {
        return None;
    }
    gates.iter().try_fold(seen.lease.created, |latest, gate| {
        let status = status(seen, &gate.name)?;
        let may_fail = gate.on_failure() == OnFailure::Continue;
        let settled = status.state == StepState::Done || (status.state == StepState::Failed && may_fail);
        Some(latest.max(status.end_time.filter(|_| settled)?))
    })
}

/// The gate that has not passed yet, and what its last try came to.
#[must_use]
pub fn open_gate(seen: &Observed) -> Option<&StepStatus> {
    let open = |s: &&StepStatus| s.at == StepTime::Request && s.state == StepState::Running;
    seen.lease.status.steps.iter().find(open)
}

/// The digest of the steps as they run: what a ledger is written for.
#[must_use]
pub fn workflow_digest(seen: &Observed) -> Option<String> {
    digest::canonical(&of(seen)).ok().map(|text| digest::sha256(&text))
}

/// Whether some step at Issue can be taken back: then how is written down before it is begun.
#[must_use]
pub fn needs_ledger(seen: &Observed) -> bool {
    of(seen).iter().any(|step| step.at == StepTime::Issue && step.undo.is_some())
}

/// Whether a call to be started needs the token.
#[must_use]
pub fn needs_token(seen: &Observed, calls: &[Call]) -> bool {
    let steps = of(seen);
    calls.iter().any(|call| {
        let Call::Start { task: Task { step, part: Part::Do }, .. } = call else { return false };
        let Some(step) = steps.iter().find(|s| s.name == *step) else { return false };
        let uses = seen.systems.get(&step.system.name).and_then(|system| system.operations.get(&step.operation));
        matches!(uses, Some(Ok(workflow::Uses { token: true, .. })))
    })
}

/// What is known of the steps of a lease that is gone, from what was written down for taking them back.
#[must_use]
pub fn from_ledger(names: &[String], works: &Works, now: Time) -> Vec<StepStatus> {
    let one = |name: &String| {
        let work = works.get(&Task { step: name.clone(), part: Part::Undo });
        let undone = matches!(work, Some(Work { state: WorkState::Answered { outcome: Outcome::Done, .. }, .. }));
        let message = match work.map(|w| &w.state) {
            Some(WorkState::Answered {
                outcome: Outcome::Again { message, .. } | Outcome::Refused { message },
                ..
            }) => bounded(message),
            _ => String::new(),
        };
        StepStatus {
            name: name.clone(),
            at: StepTime::Issue,
            state: match work {
                _ if undone => StepState::Undone,
                Some(_) => StepState::Undoing,
                None => StepState::Running,
            },
            tries: 1,
            start_time: now,
            end_time: None,
            undo_tries: work.map(|w| w.tries),
            undo_time: undone.then_some(now),
            message,
        }
    };
    names.iter().map(one).collect()
}
