//! Calls in other systems, beside the visits: a visit starts one and goes on, and the answer wakes its lease.
//!
//! So a system that hangs holds up no visit, and with that no end. What is known of the calls is kept here and nowhere else; it
//! is lost at a restart, and the statuses tell which calls may have been made.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::index::{Index, Wish};
use crate::{
    api::{
        ConnectedSystem, Time,
        names::LeaseUid,
        workflow::{ResolvedStep, StepTime},
    },
    cluster::{execute::Execute, render::Endpoint, token::Vault},
    domain::{
        agenda::Lane,
        call::{Answer, Class, Failure},
        observed::Observed,
        outcome::Outcome,
        steps::{self, Part, Task, Work, WorkState, Works},
        workflow,
    },
    runtime::clock::Clock,
    systems::{
        Problem, Request, Systems,
        facts::{self, Facts, TokenFact},
    },
};

/// What calls are made with.
pub struct With {
    pub index: Arc<Index>,
    pub execute: Arc<Execute>,
    pub vault: Arc<Vault>,
    pub systems: Systems,
    pub endpoint: Endpoint,
    pub clock: Clock,
    /// Where the wish goes to visit a lease whose call has ended.
    pub visits: mpsc::UnboundedSender<Wish>,
    /// When the process stops, calls are left: the statuses tell that they may have been made.
    pub stop: CancellationToken,
}

/// The calls of this process.
pub struct Calls {
    with: With,
    board: Mutex<HashMap<LeaseUid, Works>>,
}

/// A call that is to be made.
struct Job {
    task: Task,
    tries: i32,
    document: String,
    key: String,
    step: Option<ResolvedStep>,
    facts: Option<Facts>,
    /// How long the step may take yet; `None`: taking back is tried for ever.
    left: Option<Duration>,
    lane: Lane,
    lease: LeaseUid,
    namespace: String,
}

impl Calls {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(with: With) -> Self {
        Self { with, board: Mutex::default() }
    }

    fn board(&self) -> MutexGuard<'_, HashMap<LeaseUid, Works>> {
        // Every use is one insert or one read.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the calls of a lease.
    #[must_use]
    pub fn of(&self, lease: &LeaseUid) -> Works {
        self.board().get(lease).cloned().unwrap_or_default()
    }

    /// Tells a visit what is known of the calls of its lease. Of a lease that is gone its ledger tells which steps there were.
    pub fn tell(&self, seen: &mut Observed, now: Time) {
        seen.works = self.of(&seen.lease.uid);
        if seen.lease.spec.is_none() && seen.lease.status.steps.is_empty() {
            seen.lease.status.steps =
                steps::from_ledger(&self.with.index.ledger(&seen.lease.uid).steps, &seen.works, now);
        }
        if seen.memory.ledger.is_none() {
            seen.memory.ledger = self.with.index.ledger(&seen.lease.uid).workflow;
        }
    }

    /// Drops what is known of a lease that is gone.
    pub fn forget(&self, lease: &LeaseUid) {
        self.board().remove(lease);
    }

    /// Starts a call.
    pub fn start(self: &Arc<Self>, seen: &Observed, task: &Task, (tries, document): (i32, &str), now: Time) -> Answer {
        let step = steps::of(seen).into_iter().find(|s| s.name == task.step);
        let ended = seen.lease.status.end_time.is_some();
        {
            let mut board = self.board();
            let works = board.entry(seen.lease.uid).or_default();
            let again = works.get(task).filter(|work| work.tries == tries && work.document == document);
            let calls = again.map_or(1, |work| work.calls.saturating_add(1));
            works.insert(task.clone(), Work { document: document.to_owned(), tries, calls, state: WorkState::Running });
        }
        let job = Job {
            task: task.clone(),
            tries,
            document: document.to_owned(),
            key: key(seen, task, step.as_ref(), now),
            facts: step.as_ref().and_then(|step| facts::of(seen, step, self.token(seen), &self.with.endpoint, now)),
            left: time_left(seen, task, step.as_ref(), now),
            step,
            lane: if ended { Lane::Retry } else { Lane::Issue },
            lease: seen.lease.uid,
            namespace: seen.lease.namespace.clone(),
        };
        let this = self.clone();
        tokio::spawn(async move {
            let (lease, namespace, lane) = (job.lease, job.namespace.clone(), job.lane);
            let (task, tries, document) = (job.task.clone(), job.tries, job.document.clone());
            let worker = this.clone();
            let stop = worker.with.stop.clone();
            let made = tokio::spawn(async move { stop.run_until_cancelled_owned(worker.make(job)).await }).await;
            let made = made.transpose();
            let Some(made) = made else { return };
            let outcome = made.unwrap_or_else(|error| {
                tracing::error!(%error, "a call of another system panicked: this is a bug; it is made again");
                Outcome::Again { message: "the operator failed while it made the call".into(), after: None }
            });
            if let Outcome::Again { message, .. } | Outcome::Refused { message } = &outcome {
                tracing::warn!(lease = %lease, step = %task.step, %message, "a step did not do what it is for");
            }
            this.answered(&lease, &task, (tries, &document), outcome);
            // A receiver that is gone means that the process is stopping.
            _ = this.with.visits.send(Wish { lease, namespace, lane, at: None });
        });
        Answer::Started
    }

    fn answered(&self, lease: &LeaseUid, task: &Task, (tries, document): (i32, &str), outcome: Outcome) {
        let at = self.with.clock.now();
        let mut board = self.board();
        let work = board.get_mut(lease).and_then(|works| works.get_mut(task));
        let work = work.filter(|work| work.tries == tries && work.document == document);
        if let Some(work) = work {
            work.state = WorkState::Answered { outcome, at };
        }
    }

    fn token(&self, seen: &Observed) -> TokenFact {
        self.with.vault.get(&seen.lease.uid).map_or(TokenFact::Absent, TokenFact::Held)
    }

    async fn make(&self, job: Job) -> Outcome {
        let request = match job.task.part {
            Part::Do => self.request(&job).await,
            Part::Undo => self.undo_request(&job).await,
        };
        match request {
            Ok((system, request)) => {
                let call = self.with.systems.call(&system, &request, &job.key);
                match job.left {
                    None => call.await,
                    Some(left) => tokio::time::timeout(left, call)
                        .await
                        .unwrap_or_else(|_| again("no answer within the step's timeout".into())),
                }
            }
            Err(outcome) => outcome,
        }
    }

    /// The system of a step, if it is the one that was agreed to.
    fn system(&self, step: &ResolvedStep) -> Result<Arc<ConnectedSystem>, Outcome> {
        let name = &step.system.name;
        let system =
            self.with.index.system(name).filter(|s| s.metadata.uid.as_deref() == Some(step.system.uid.as_str()));
        system.ok_or_else(|| again(format!("system {name} is not there (any more)")))
    }

    async fn request(&self, job: &Job) -> Result<(Arc<ConnectedSystem>, Request), Outcome> {
        let Some(step) = &job.step else { return Err(refused("the workflow has no such step (any more)")) };
        let system = self.system(step)?;
        let now = workflow::definition_digest(&system.spec, &step.operation, step.undo.as_deref());
        // What tells of an end is told as well as it can be; everything else is exactly what was agreed to.
        if step.at != StepTime::Revoke && now.as_ref() != Some(&step.definition_digest) {
            return Err(refused("the operation was changed since it was agreed to: ask again"));
        }
        let Some(operation) = system.spec.operation(&step.operation) else {
            return Err(refused("the system has no such operation (any more)"));
        };
        let request = self.render(operation, job).await?;
        Ok((system, request))
    }

    async fn render(&self, operation: &crate::api::system::Operation, job: &Job) -> Result<Request, Outcome> {
        let Some(facts) = &job.facts else { return Err(again("the lease or its lifecycle is not known".into())) };
        let mut facts = facts.clone();
        facts.params.retain(|name, _| operation.params.contains(name));
        self.with.systems.render(operation, &facts).await.map_err(|problem| cannot_be_rendered(&problem))
    }

    /// How a step is taken back: as it was written down before it was made; else as it would be written down now, if that is
    /// still what was agreed to.
    async fn undo_request(&self, job: &Job) -> Result<(Arc<ConnectedSystem>, Request), Outcome> {
        let written = self.with.execute.read_ledger(&job.lease, &job.task.step).await;
        let written = written.map_err(|failure| again(format!("the ledger cannot be read: {}", failure.message)))?;
        if let Some(entry) = written {
            let entry: Undo = serde_json::from_str(&entry).map_err(|_| refused("the ledger's entry cannot be read"))?;
            let system = self.with.index.system(&entry.system);
            let system = system.ok_or_else(|| again(format!("system {} is not there (any more)", entry.system)))?;
            // What another system says that has the name by now tells nothing of what was done in this one.
            if entry.place != place(&system) {
                return Err(again(format!("system {} is another one since, or elsewhere", entry.system)));
            }
            return Ok((system, entry.request));
        }
        let Some(step) = &job.step else { return Err(again("nothing tells how to take it back".into())) };
        let system = self.system(step)?;
        let now = workflow::definition_digest(&system.spec, &step.operation, step.undo.as_deref());
        let operation = step.undo.as_deref().and_then(|undo| system.spec.operation(undo));
        let Some(operation) = operation.filter(|_| now.as_ref() == Some(&step.definition_digest)) else {
            return Err(again("the ledger is gone, and the operation was changed since".into()));
        };
        let request = self.render(operation, job).await?;
        Ok((system, request))
    }

    /// Writes down how every step is taken back, before the first is called.
    pub async fn write_ledger(&self, seen: &Observed, now: Time) -> Answer {
        let mut undos = vec![];
        for step in steps::of(seen).into_iter().filter(|s| s.at == StepTime::Issue && s.undo.is_some()) {
            match self.undo_entry(seen, &step, now).await {
                Ok(entry) => undos.push((step.name.clone(), entry)),
                Err(failure) => return Answer::Failed(failure),
            }
        }
        self.with.execute.create_ledger(seen, &undos).await
    }

    async fn undo_entry(&self, seen: &Observed, step: &ResolvedStep, now: Time) -> Result<String, Failure> {
        let invalid = |why: &str| Failure::new(Class::Invalid, format!("step {}: {why}", step.name));
        let system =
            self.with.index.system(&step.system.name).ok_or_else(|| invalid("its system is not there any more"))?;
        let operation = step.undo.as_deref().and_then(|undo| system.spec.operation(undo));
        let operation = operation.ok_or_else(|| invalid("its undo operation is not there any more"))?;
        let mut facts = facts::of(seen, step, TokenFact::Absent, &self.with.endpoint, now)
            .ok_or_else(|| invalid("the lease or its lifecycle is not known"))?;
        facts.params.retain(|name, _| operation.params.contains(name));
        let request = self.with.systems.render(operation, &facts).await.map_err(|problem| Failure {
            class: if may_pass(&problem) { Class::Transient } else { Class::Invalid },
            ..invalid(&format!("its undo: {problem}"))
        })?;
        let entry = Undo { system: step.system.name.clone(), place: place(&system), request };
        serde_json::to_string(&entry).map_err(|_| invalid("its undo cannot be written down"))
    }
}

/// How a step is taken back, as a ledger has it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Undo {
    system: String,
    place: Place,
    request: Request,
}

/// Which system it is, and where what is done in it is.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Place {
    uid: String,
    at: Vec<String>,
}

fn place(system: &ConnectedSystem) -> Place {
    Place {
        uid: system.metadata.uid.clone().unwrap_or_default(),
        at: workflow::place(&system.spec).into_iter().map(str::to_owned).collect(),
    }
}

/// The Idempotency-Key: the same for every try, but for a gate, which changes nothing and wants a new answer each time.
fn key(seen: &Observed, task: &Task, step: Option<&ResolvedStep>, now: Time) -> String {
    let key = format!("{}/{}", seen.lease.uid, task.step);
    match (task.part, step.map(|s| s.at)) {
        (Part::Undo, _) => format!("{key}/undo"),
        (Part::Do, Some(StepTime::Request)) => format!("{key}/{}", now.as_millis()),
        (Part::Do, _) => key,
    }
}

/// How long the call of a step may take, so that all its tries together stay within its timeout; a second at least.
fn time_left(seen: &Observed, task: &Task, step: Option<&ResolvedStep>, now: Time) -> Option<Duration> {
    let step = step.filter(|_| task.part == Part::Do)?;
    let begun = seen.lease.status.steps.iter().find(|s| s.name == task.step)?.start_time;
    let left = begun.plus(step.timeout).since(now).max(1_000);
    Some(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
}

/// Whether what cannot be rendered now may be, later: no thread was free, or the token is not here yet.
fn may_pass(problem: &Problem) -> bool {
    problem.passes() || matches!(problem, Problem::TokenNotHeld(_))
}

fn cannot_be_rendered(problem: &Problem) -> Outcome {
    if may_pass(problem) { again(problem.to_string()) } else { refused(&problem.to_string()) }
}

fn again(message: String) -> Outcome {
    Outcome::Again { message, after: None }
}

fn refused(message: &str) -> Outcome {
    Outcome::Refused { message: message.to_owned() }
}
