//! What a lease says of the steps of its workflow.

use super::draft::Draft;
use crate::{
    api::{
        ConditionStatus, Time, condition,
        reasons::{ConditionType, Happening, LeaseReason, Phase},
        status::CredentialLeaseStatus,
        workflow::{OnFailure, ResolvedStep, StepState, StepStatus, StepTime},
    },
    domain::{observed::Observed, request, steps},
};

/// Steps have come into these states.
#[must_use]
pub fn stepped(seen: &Observed, now: Time, states: &[StepStatus]) -> CredentialLeaseStatus {
    let mut draft = Draft::new(seen, now);
    if !seen.issued() && seen.lease.status.end_time.is_none() {
        draft.gated(states);
    }
    draft.steps(states);
    draft.done()
}

impl Draft<'_> {
    /// Takes in the states of steps, each change recorded once.
    pub(super) fn steps(&mut self, states: &[StepStatus]) {
        let workflow = self.workflow();
        for state in states {
            let mut state = state.clone();
            state.message = steps::bounded(&state.message);
            let before = self.status.steps.iter().find(|s| s.name == state.name).cloned();
            let step = workflow.iter().find(|s| s.name == state.name);
            self.tell_step(step, before.as_ref(), &state);
            match self.status.steps.iter_mut().find(|s| s.name == state.name) {
                Some(known) => *known = state,
                None => self.status.steps.push(state),
            }
        }
        self.dependents(&workflow);
        self.rolled_back(&workflow);
    }

    /// The steps as they run.
    fn workflow(&self) -> Vec<ResolvedStep> {
        self.status.request.as_ref().map(|request| request.workflow.clone()).unwrap_or_default()
    }

    /// A gate is looked at before anybody has agreed: the document it is a part of is written down, and whatever was recorded for
    /// another one is gone.
    fn gated(&mut self, states: &[StepStatus]) {
        if let Some(resolved) = request::current(self.seen) {
            self.show(resolved);
        }
        let open = states.iter().find(|s| s.state == StepState::Running);
        let message = open.map_or_else(|| "the gates have been asked".to_owned(), awaits);
        self.policies();
        self.condition(
            ConditionType::Allowed,
            ConditionStatus::Unknown,
            LeaseReason::AwaitingGate.as_str(),
            message.clone(),
        );
        if self.status.phase != Some(Phase::AwaitingApproval) {
            self.phase(Phase::Pending, message.clone());
        }
        self.condition(ConditionType::Reconciling, ConditionStatus::True, LeaseReason::AwaitingGate.as_str(), message);
    }

    fn tell_step(&mut self, step: Option<&ResolvedStep>, before: Option<&StepStatus>, state: &StepStatus) {
        let what = step.map_or_else(
            || state.name.clone(),
            |step| match state.state {
                StepState::Undoing | StepState::Undone => {
                    let undo = step.undo.as_deref().unwrap_or_default();
                    format!("{}: {}/{undo}", step.name, step.system.name)
                }
                _ => format!("{}: {}/{}", step.name, step.system.name, step.operation),
            },
        );
        let was = before.map(|b| b.state);
        let failed_first = before.is_some_and(|b| b.message.is_empty()) && !state.message.is_empty();
        let told = |text: &str| if text.is_empty() { what.clone() } else { format!("{what}: {text}") };
        match state.state {
            StepState::Done if was != Some(StepState::Done) => {
                let event = if state.at == StepTime::Request { Happening::GatePassed } else { Happening::StepDone };
                self.record(event, &told(""));
            }
            StepState::Failed if was != Some(StepState::Failed) => {
                self.record(Happening::StepFailed, &told(&state.message));
            }
            StepState::Undone if was != Some(StepState::Undone) => {
                self.record(Happening::StepUndone, &told(""));
            }
            StepState::Undoing if was == Some(StepState::Undoing) && failed_first => {
                self.record(Happening::UndoFailed, &told(&state.message));
            }
            _ => {}
        }
    }

    /// Whether what depends on the credential was brought up to date: as it was when the lease ended. A step that failed and is taken
    /// back has failed all the same.
    fn dependents(&mut self, workflow: &[ResolvedStep]) {
        let at_issue: Vec<&ResolvedStep> = workflow.iter().filter(|s| s.at == StepTime::Issue).collect();
        if at_issue.is_empty() || (!self.seen.issued() && self.status.issue_time.is_none()) {
            return;
        }
        let state = |step: &ResolvedStep| self.status.steps.iter().find(|s| s.name == step.name);
        let failed =
            |step: &&&ResolvedStep| state(step).is_some_and(|s| s.end_time.is_some() && s.state == StepState::Failed);
        let fatal = at_issue.iter().find(|step| failed(step) && step.on_failure == OnFailure::RollBack);
        let settled = |step: &&ResolvedStep| state(step).is_some_and(|s| s.end_time.is_some());
        let kind = ConditionType::DependentsUpdated;
        if let Some(step) = fatal {
            let why = state(step).map(|s| s.message.clone()).unwrap_or_default();
            let message = format!("step {} failed: {why}", step.name);
            self.condition(kind, ConditionStatus::False, Happening::StepFailed.as_str(), message);
        } else if self.status.end_time.is_some() {
            // What it said at the end stands.
        } else if at_issue.iter().all(settled) {
            let missed: Vec<&str> = at_issue.iter().filter(failed).map(|step| step.name.as_str()).collect();
            let message = if missed.is_empty() {
                "every step at Issue is done".to_owned()
            } else {
                format!("done, but for steps that may fail: {}", missed.join(", "))
            };
            self.condition(kind, ConditionStatus::True, LeaseReason::StepsDone.as_str(), message);
        } else {
            let running = at_issue.iter().filter_map(|step| state(step)).find(|s| s.state == StepState::Running);
            let message = running.map_or_else(|| "steps at Issue are being called".to_owned(), awaits);
            self.condition(kind, ConditionStatus::Unknown, LeaseReason::StepsRunning.as_str(), message);
        }
    }

    /// Whether what the workflow did is taken back.
    fn rolled_back(&mut self, workflow: &[ResolvedStep]) {
        if self.status.end_time.is_none() {
            return;
        }
        let undoable = |name: &str| workflow.is_empty() || workflow.iter().any(|s| s.name == name && s.undo.is_some());
        let begun: Vec<&StepStatus> =
            self.status.steps.iter().filter(|s| s.at == StepTime::Issue && undoable(&s.name)).collect();
        if begun.is_empty() {
            return;
        }
        let left: Vec<String> = begun
            .iter()
            .filter(|s| s.state == StepState::Undoing && !s.message.is_empty())
            .map(|s| format!("{} ({})", s.name, s.message))
            .collect();
        let kind = ConditionType::RolledBack;
        if begun.iter().all(|s| s.state == StepState::Undone) {
            let message = "what the workflow did in other systems is taken back";
            self.condition(kind, ConditionStatus::True, LeaseReason::Undone.as_str(), message);
        } else if left.is_empty() {
            let message = "what the workflow did in other systems is being taken back";
            self.condition(kind, ConditionStatus::Unknown, LeaseReason::Undoing.as_str(), message);
        } else {
            let message = format!("could not be taken back yet, and is tried for ever: {}", left.join("; "));
            self.condition(kind, ConditionStatus::False, LeaseReason::UndoFailing.as_str(), message);
        }
    }

    /// The lease has ended: what was being called is not called any more. What is taken back is left for that.
    pub(super) fn interrupted(&mut self) {
        let workflow = self.workflow();
        let undoable = |name: &str| workflow.iter().any(|s| s.name == name && s.undo.is_some());
        let running = self.status.steps.iter().filter(|s| s.state == StepState::Running && !undoable(&s.name));
        let stopped: Vec<StepStatus> = running
            .map(|s| StepStatus {
                state: StepState::Failed,
                end_time: Some(self.now),
                message: "the lease ended first".into(),
                ..s.clone()
            })
            .collect();
        self.steps(&stopped);
        let kind = ConditionType::DependentsUpdated;
        let unknown = condition::find(&self.status.conditions, kind.as_str())
            .is_some_and(|c| c.status == ConditionStatus::Unknown);
        if unknown {
            let message = "the lease ended before every step at Issue was done";
            self.condition(kind, ConditionStatus::False, Happening::Ended.as_str(), message);
        }
    }

    /// The steps at Issue are settled: the credential is usable, and whoever depends on it has it.
    pub(super) fn settled(&mut self) {
        let settled = steps::of(self.seen)
            .iter()
            .filter(|s| s.at == StepTime::Issue)
            .all(|step| self.status.steps.iter().any(|s| s.name == step.name && s.end_time.is_some()));
        if self.status.phase == Some(Phase::Issuing) && settled {
            let end = self.status.expiration_time.map(|end| end.to_string()).unwrap_or_default();
            self.phase(Phase::Active, format!("usable until {end}")).without(ConditionType::Reconciling);
        }
    }
}

/// What a running step waits for.
fn awaits(step: &StepStatus) -> String {
    if step.message.is_empty() {
        format!("step {} is being called", step.name)
    } else {
        format!("step {} is tried again: {}", step.name, step.message)
    }
}
