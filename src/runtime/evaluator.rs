//! Threads of their own for expressions.
//!
//! [`crate::domain::expression`] bounds what an expression can cost; this bounds what happens if that reckoning is wrong. The
//! interpreter cannot be stopped, so an expression that overruns is left to its thread, the thread is replaced, and there is a
//! limit to how many are left like that. The tokio runtime is never blocked. Judging a lease, and calls in other systems, may wait
//! for an answer here: nothing on the way to a dead credential may call this.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    api::lifecycle::Validation,
    domain::validations::{self, Input, Problem},
};

/// Threads that evaluate.
const THREADS: usize = 2;
/// How long one expression may take. What takes longer counts as not met, also if it ends after all.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many threads may be left to expressions that do not end.
const MAX_STUCK: usize = 4;
/// How many expressions may wait for a thread.
const MAX_QUEUED: usize = 256;
/// The longest deadline a caller can give: bounds the sum of times.
const MAX_DEADLINE: Duration = Duration::from_hours(1);
/// The parser recurses deeply; that the text is checked before is the first line, this is the second. Only what is used is paid.
const STACK: usize = 16 << 20;

/// A rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which of the rules, from 0.
    pub rule: usize,
    /// The message that the lifecycle gives for it.
    pub message: String,
    /// Why there was no answer. `None`: the answer was "no".
    pub problem: Option<Problem>,
}

/// Why there is no answer: ask again later, and issue nothing until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    /// Too many expressions wait already.
    #[error("too many expressions wait to be evaluated")]
    Busy,
    /// Too many threads are stuck in expressions that do not end.
    #[error("expressions that do not end hold every thread that evaluates them")]
    Stuck,
    /// The caller's deadline came first.
    #[error("the expressions were not evaluated in time")]
    Deadline,
}

/// A small pool of threads that evaluate rules. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Evaluator(Arc<Handle>);

/// Ends the threads when the last [`Evaluator`] is dropped.
struct Handle(Arc<Pool>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
        self.0.watch.notify_all();
    }
}

/// Whether what was to be done was done in time. What it gave goes its own way, because each caller wants something else.
type Verdict = Result<Result<(), Problem>, Overrun>;
type Work = Box<dyn FnOnce() + Send>;
/// What is run, apart from the interpreter only in tests.
type Evaluate = fn(&str, &Input) -> Result<bool, Problem>;

struct Job {
    work: Work,
    until: Instant,
    answer: oneshot::Sender<Verdict>,
}

/// What a caller waits for.
struct Ticket<T> {
    verdict: oneshot::Receiver<Verdict>,
    given: oneshot::Receiver<Result<T, Problem>>,
}

impl<T> Ticket<T> {
    async fn answer(self) -> Result<Result<T, Problem>, Overrun> {
        // A dropped sender is a job that went down with the pool.
        match self.verdict.await.unwrap_or(Err(Overrun::Stuck))? {
            Ok(()) => Ok(self.given.await.unwrap_or(Err(Problem::Crashed))),
            Err(problem) => Ok(Err(problem)),
        }
    }
}

/// What a thread is busy with.
struct Busy {
    since: Instant,
    until: Instant,
    /// Taken as soon as somebody has answered.
    answer: Option<oneshot::Sender<Verdict>>,
    /// Whether the thread is left to its expression: it ends when that does.
    stuck: bool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    busy: HashMap<u64, Busy>,
    /// Threads that take jobs, busy or not, without those that are stuck.
    threads: usize,
    next_thread: u64,
    closed: bool,
}

impl State {
    fn stuck(&self) -> usize {
        self.busy.values().filter(|busy| busy.stuck).count()
    }
}

struct Pool {
    state: Mutex<State>,
    /// There is a job, or it is over.
    work: Condvar,
    /// Something began that has to be watched.
    watch: Condvar,
    patience: Duration,
    evaluate: Evaluate,
}

impl Evaluator {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        Self::with(PATIENCE, |expression, input| validations::evaluate(&validations::compile(expression)?, input))
    }

    /// One in which nothing overruns because a machine is busy with other tests.
    #[cfg(test)]
    pub(crate) fn unhurried() -> std::io::Result<Self> {
        Self::with(Duration::from_secs(30), |expression, input| {
            validations::evaluate(&validations::compile(expression)?, input)
        })
    }

    fn with(patience: Duration, evaluate: Evaluate) -> std::io::Result<Self> {
        let pool =
            Arc::new(Pool { state: Mutex::default(), work: Condvar::new(), watch: Condvar::new(), patience, evaluate });
        let handle = Handle(Arc::clone(&pool));
        for _ in 0..THREADS {
            pool.spawn(&mut pool.lock())?;
        }
        std::thread::Builder::new().name("rules-watch".into()).spawn(move || pool.watch())?;
        Ok(Self(Arc::new(handle)))
    }

    /// Judges rules in their order; all of them, so that the requester sees every reason at once.
    ///
    /// # Errors
    /// [`Overrun`] if not every rule was looked at before `deadline` (from now): that is not an answer, so nothing may be issued.
    pub async fn evaluate(
        &self,
        rules: &[Validation],
        input: Input,
        deadline: Duration,
    ) -> Result<Vec<Violation>, Overrun> {
        let until = Instant::now() + deadline.min(MAX_DEADLINE);
        let input = Arc::new(input);
        let mut violations = Vec::new();
        for (rule, Validation { expression, message }) in rules.iter().enumerate() {
            let answer = self.0.0.submit(expression.clone(), Arc::clone(&input), until)?;
            let message = message.clone();
            match answer.answer().await? {
                Ok(true) => {}
                Ok(false) => violations.push(Violation { rule, message, problem: None }),
                Err(problem) => violations.push(Violation { rule, message, problem: Some(problem) }),
            }
        }
        Ok(violations)
    }

    /// The first rule that cannot be used, tried on a sample, as a sentence.
    ///
    /// # Errors
    /// As for [`Evaluator::evaluate`].
    pub async fn first_broken(
        &self,
        rules: &[Validation],
        sample: Input,
        deadline: Duration,
    ) -> Result<Option<String>, Overrun> {
        let violations = self.evaluate(rules, sample, deadline).await?;
        Ok(violations.into_iter().find_map(|v| {
            let expression = rules.get(v.rule).map(|rule| rule.expression.as_str()).unwrap_or_default();
            Some(format!("validation `{expression}` cannot be used: {}", v.problem?))
        }))
    }

    /// Runs what uses one expression, on a thread of its own.
    ///
    /// # Errors
    /// [`Overrun`] if it was not begun and done before `deadline` (from now): that is not an answer.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<Result<T, Problem>, Overrun> {
        let until = Instant::now() + deadline.min(MAX_DEADLINE);
        self.0.0.queue(until, work)?.answer().await
    }

    /// How many threads are stuck in an expression now, for metrics.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.0.0.lock().stuck()
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator").field("stuck", &self.stuck()).finish_non_exhaustive()
    }
}

impl Pool {
    /// The state. Held for moments only, and never while an expression runs.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, expression: String, input: Arc<Input>, until: Instant) -> Result<Ticket<bool>, Overrun> {
        let evaluate = self.evaluate;
        self.queue(until, move || evaluate(&expression, &input))
    }

    fn queue<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<Ticket<T>, Overrun> {
        let (answer, verdict) = oneshot::channel();
        let (give, given) = oneshot::channel();
        // The caller may have gone; then nobody wants to know.
        let work = Box::new(move || _ = give.send(work()));
        let mut state = self.lock();
        if state.stuck() >= MAX_STUCK {
            return Err(Overrun::Stuck);
        }
        if state.queue.len() >= MAX_QUEUED {
            return Err(Overrun::Busy);
        }
        state.queue.push_back(Job { work, until, answer });
        self.work.notify_one();
        self.watch.notify_one();
        Ok(Ticket { verdict, given })
    }

    /// Adds a thread that takes jobs.
    fn spawn(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let (id, pool) = (state.next_thread, Arc::clone(self));
        std::thread::Builder::new().name("rules".into()).stack_size(STACK).spawn(move || pool.serve(id))?;
        state.next_thread += 1;
        state.threads += 1;
        Ok(())
    }

    /// A thread's life: takes jobs until it is over, or until it was replaced.
    fn serve(&self, id: u64) {
        let mut state = self.lock();
        while !state.closed {
            let Some(job) = state.queue.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Job { work, until, answer } = job;
            if answer.is_closed() {
                continue;
            }
            let since = Instant::now();
            state.busy.insert(id, Busy { since, until, answer: Some(answer), stuck: false });
            self.watch.notify_one();
            drop(state);

            // A panic of the interpreter must not cost the thread.
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|_| Problem::Crashed);
            let result = if since.elapsed() > self.patience { Err(Problem::TookTooLong) } else { result };

            state = self.lock();
            let Some(busy) = state.busy.remove(&id) else { return };
            if let Some(answer) = busy.answer {
                // The caller may have gone; then nobody wants to know.
                _ = answer.send(Ok(result));
            }
            if busy.stuck {
                // Somebody else has this thread's place.
                return;
            }
        }
    }

    /// The watching thread's life: answers for what overruns, and replaces threads that are stuck.
    fn watch(self: Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            let next = self.look_after(&mut state, Instant::now());
            state = match next {
                None => self.watch.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let rest = at.saturating_duration_since(Instant::now());
                    self.watch.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// One round of watching: when the next one is due.
    fn look_after(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Instant> {
        let mut next = None;
        let mut due = |at: Instant| {
            let over = at <= now;
            if !over {
                next = Some(next.map_or(at, |other: Instant| other.min(at)));
            }
            over
        };

        let (mut stuck, mut replaced) = (state.stuck(), 0);
        for busy in state.busy.values_mut().filter(|busy| !busy.stuck) {
            if due(busy.since + self.patience) {
                if let Some(answer) = busy.answer.take() {
                    _ = answer.send(Ok(Err(Problem::TookTooLong)));
                }
                // Above the limit a thread keeps its place, stuck as it is.
                if stuck < MAX_STUCK {
                    busy.stuck = true;
                    (stuck, replaced) = (stuck + 1, replaced + 1);
                }
            } else if busy.answer.is_some()
                && due(busy.until)
                && let Some(answer) = busy.answer.take()
            {
                _ = answer.send(Err(Overrun::Deadline));
            }
        }
        state.threads = state.threads.saturating_sub(replaced);
        while state.threads < THREADS {
            if self.spawn(state).is_err() {
                // No thread to be had now; ask again.
                due(now + self.patience);
                break;
            }
        }

        let waiting = std::mem::take(&mut state.queue);
        for job in waiting {
            if stuck >= MAX_STUCK {
                _ = job.answer.send(Err(Overrun::Stuck));
            } else if due(job.until) {
                _ = job.answer.send(Err(Overrun::Deadline));
            } else {
                state.queue.push_back(job);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
