//! One visit of a lease: decide, perform, learn, until there is nothing to do now.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{events::Events, index::Index, pace::Pace, work::Calls};
use crate::{
    api::{Time, lifecycle::Validation, names::LeaseUid, reasons::EndReason, status::CredentialLeaseStatus},
    cluster::{execute::Execute, token::Vault},
    domain::{
        agenda::Lane,
        agreement,
        call::{Answer, Call, Class, Failure, Next},
        decide::{belongs, decide, end_to_come},
        ending,
        learn::learn,
        observed::{Child, Observed},
        refusal::Refusal,
        steady, terms,
        validations::Input,
    },
    runtime::{
        clock::Clock,
        evaluator::{Evaluator, Violation},
        metrics::Metrics,
    },
};
use futures::future::join_all;
use tokio::sync::mpsc;

/// How long all validations of one lease may take together.
const VALIDATIONS_DEADLINE: Duration = Duration::from_secs(2);
/// The most rounds of one visit. A straight issue takes nine; whoever needs more is not converging.
const MAX_ROUNDS: usize = 40;

/// What visits work with.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub index: Arc<Index>,
    pub execute: Arc<Execute>,
    pub vault: Arc<Vault>,
    pub calls: Arc<Calls>,
    pub evaluator: Evaluator,
    pub metrics: Arc<Metrics>,
    pub events: Events,
    pub pace: Arc<Pace>,
}

/// The key and the number of a visit whose answer is late.
pub type Late = (LeaseUid, u64);

/// What a visit and the loop that started it have to do with each other meanwhile.
pub struct Reins {
    pub key: LeaseUid,
    /// Which visit of that lease it is: what is said late must not be taken for the next one's.
    pub number: u64,
    /// Whether the last visit ended in a pause after a failure, in whatever lane.
    pub failed_before: bool,
    /// An end has come while something was being issued: stop after the current call.
    pub interrupt: Arc<AtomicBool>,
    /// Takes word of a visit whose answer is late.
    pub late: mpsc::UnboundedSender<Late>,
}

impl Reins {
    /// Waits for answers, and says so as long as they are late: there may be room for one more late visit only later.
    async fn watch<T>(&self, pace: &Pace, answers: impl Future<Output = T>) -> T {
        let mut answers = pin!(answers);
        loop {
            if let Ok(answers) = tokio::time::timeout(pace.late(), &mut answers).await {
                return answers;
            }
            // A receiver that is gone means that the process is stopping.
            _ = self.late.send((self.key, self.number));
        }
    }
}

/// When a lease wants to be visited again.
#[derive(Debug)]
pub enum Again {
    /// Never: it is gone.
    Forget,
    /// At once, in this lane, where it may have to wait for a place; and at these moments, whatever becomes of that.
    Now(Lane, Vec<(Lane, Time)>),
    /// At these moments; with `backoff` also after a pause in that lane, at least as long as the server asked.
    Rest { wishes: Vec<(Lane, Time)>, backoff: Option<(Lane, Option<Duration>)> },
}

/// Visits a lease in a lane.
pub async fn run(context: &Context, uid: &LeaseUid, lane: Lane, reins: &Reins) -> Again {
    let Some(mut seen) = context.index.observe(uid) else { return Again::Forget };
    seen.failed_before = reins.failed_before;
    context.calls.tell(&mut seen, context.clock.now());
    steady::spread_looks(&mut seen, context.clock.now());
    for _ in 0..MAX_ROUNDS {
        let now = context.clock.now();
        ending::settle(&mut seen, now);
        match decide(&seen, now) {
            Next::Forget => {
                context.vault.wipe(uid);
                context.calls.forget(uid);
                context.index.forget(uid);
                return Again::Forget;
            }
            Next::Rest { wishes, backoff } => {
                leave(context, &seen);
                let asked = seen.learned.failed.iter().filter_map(|(_, failure)| failure.retry_after).max();
                return Again::Rest { wishes, backoff: backoff.map(|lane| (lane, asked)) };
            }
            Next::Do(other, _) if !belongs(&seen, other, lane) => {
                leave(context, &seen);
                return Again::Now(other, end_to_come(&seen, now));
            }
            Next::Do(..) if reins.interrupt.load(Ordering::Relaxed) => {
                leave(context, &seen);
                return Again::Now(Lane::End, vec![]);
            }
            Next::Do(_, calls) => {
                let answers = join_all(calls.iter().map(|call| answer(context, &seen, call, now)));
                let answers = reins.watch(&context.pace, answers).await;
                let now = context.clock.now();
                for (call, answer) in calls.into_iter().zip(answers) {
                    take(context, &mut seen, call, answer, now);
                }
            }
        }
    }
    tracing::error!(lease = %format!("{}/{}", seen.lease.namespace, seen.lease.name), "a visit did not come to an end: this is a bug; the lease is visited again");
    leave(context, &seen);
    Again::Rest { wishes: vec![], backoff: Some((Lane::Retry, None)) }
}

fn leave(context: &Context, seen: &Observed) {
    let ended = &seen.lease.status;
    if ended.credential.as_ref().is_some_and(|c| c.evidence.is_some())
        || (ended.end_time.is_some() && seen.memory.account.is_none())
    {
        context.vault.wipe(&seen.lease.uid);
    }
    context.index.remember(seen);
}

async fn answer(context: &Context, seen: &Observed, call: &Call, now: Time) -> Answer {
    match call {
        Call::Reserve => context.index.reserve(&seen.lease.uid).map_or(Answer::Reserved, Answer::Full),
        Call::Evaluate => evaluate(context, seen, now).await,
        Call::Record(_) => Answer::Done,
        Call::Start { task, tries, document } => context.calls.start(seen, task, (*tries, document), now),
        Call::Create(Child::Ledger) => context.calls.write_ledger(seen, now).await,
        _ => context.pace.timed(&context.clock, context.execute.perform(seen, call, now)).await,
    }
}

fn take(context: &Context, seen: &mut Observed, call: Call, answer: Answer, now: Time) {
    context.index.note(seen, &call, &answer);
    if let Answer::Failed(failure) = &answer {
        let lease = format!("{}/{}", seen.lease.namespace, seen.lease.name);
        tracing::warn!(%lease, call = name(&call), class = failure.class.as_str(), error = %failure.message, "a call failed");
    }
    if let (Call::WriteStatus(status) | Call::Record(status), Answer::Written(_) | Answer::Done) = (&call, &answer) {
        context.events.tell(&seen.lease, status);
        measure(context, seen, status, now);
    }
    learn(seen, call, answer, now);
}

fn measure(context: &Context, seen: &Observed, status: &CredentialLeaseStatus, now: Time) {
    let before = &seen.lease.status;
    if let Some(at) = status.issue_time.filter(|_| before.issue_time.is_none()) {
        let runs = agreement::agreed(seen).map_or(seen.lease.created, |agreed| agreed.start);
        context.metrics.issued(at.since(runs));
    }
    if let Some(reason) = status.end_reason.filter(|_| before.end_reason.is_none()) {
        context.metrics.ended(reason);
        if reason == EndReason::Denied {
            terms::refusals(seen, now).iter().for_each(|refusal| context.metrics.refused(refusal));
        }
    }
    let counted = |uid: &str| before.decisions.iter().any(|known| known.uid == uid);
    for decision in status.decisions.iter().filter(|decision| !counted(&decision.uid)) {
        context.metrics.decided(decision.decision);
    }
    let credential =
        status.credential.as_ref().filter(|_| before.credential.as_ref().is_none_or(|c| c.evidence.is_none()));
    if let Some((evidence, revoked, ended)) =
        credential.and_then(|c| Some((c.evidence?, c.revocation_time?, status.end_time?)))
    {
        context.metrics.revoked(evidence, revoked.since(ended));
    }
}

/// The validations in force as this visit sees them: the lifecycle's, and those of the policies that guard it.
async fn evaluate(context: &Context, seen: &Observed, now: Time) -> Answer {
    let (Some(terms), Some(input)) = (seen.terms(), Input::seen(seen, now)) else {
        return Answer::Validated(vec![]);
    };
    match context.evaluator.evaluate(&terms.validations, input, VALIDATIONS_DEADLINE).await {
        Ok(violations) => Answer::Validated(violations.into_iter().map(|v| refused(&terms.validations, v)).collect()),
        Err(overrun) => Answer::Failed(Failure::new(Class::Transient, overrun.to_string())),
    }
}

fn refused(validations: &[Validation], violation: Violation) -> Refusal {
    match violation.problem {
        None => Refusal::ValidationFailed { message: violation.message },
        Some(problem) => Refusal::ValidationBroken {
            expression: validations.get(violation.rule).map(|r| r.expression.clone()).unwrap_or_default(),
            problem: problem.to_string(),
        },
    }
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::CheckAccess => "CheckAccess",
        Call::CheckDecider { .. } => "CheckDecider",
        Call::ReadNamespace { .. } => "ReadNamespace",
        Call::Evaluate => "Evaluate",
        Call::Reserve => "Reserve",
        Call::ReadLifecycle => "ReadLifecycle",
        Call::ReadRole { .. } => "ReadRole",
        Call::Create(_) => "Create",
        Call::Find(_) => "Find",
        Call::Inspect { .. } => "Inspect",
        Call::Confirm { .. } => "Confirm",
        Call::Start { .. } => "Start",
        Call::MintToken { .. } => "MintToken",
        Call::ReviewToken => "ReviewToken",
        Call::Delete { .. } => "Delete",
        Call::WriteStatus(_) => "WriteStatus",
        Call::Record(_) => "Record",
        Call::ConfirmGone => "ConfirmGone",
        Call::DeleteLease => "DeleteLease",
    }
}
