use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    api::{
        Duration as ApiDuration, Time,
        lease::Identity,
        lifecycle::{ApprovalType, Class, DeliveryType, Owner},
    },
    domain::validations::{ApprovalInput, LeaseInput, LifecycleInput},
};

const LONG: Duration = Duration::from_secs(30);

fn input() -> Input {
    Input {
        lease: LeaseInput {
            name: "tonight".into(),
            namespace: "payments".into(),
            ttl: ApiDuration::from_secs(60),
            reason: "release".into(),
            ticket: None,
            grants: vec!["deploy".into()],
            audiences: vec![],
            delivery: DeliveryType::Secret,
            outlives: vec![],
        },
        lifecycle: LifecycleInput {
            name: "nightly".into(),
            namespace: "payments".into(),
            class: Class::Pipeline,
            owner: Owner { team: "payments".into(), contact: "#payments".into() },
            purpose: "moves money".into(),
        },
        requester: Identity { username: "alice".into(), ..Identity::default() },
        approval: ApprovalInput { kind: ApprovalType::NotRequired, count: 0 },
        now: Time::from_millis(0),
    }
}

/// An interpreter that does what it is told: `true`, `false`, `panic`, or sleep so many milliseconds and then be true.
fn puppet(expression: &str, _: &Input) -> Result<bool, Problem> {
    match expression {
        "panic" => std::panic::resume_unwind(Box::new("no message on standard error")),
        "true" => Ok(true),
        "false" => Ok(false),
        millis => {
            std::thread::sleep(Duration::from_millis(millis.parse().unwrap()));
            Ok(true)
        }
    }
}

fn puppets() -> Evaluator {
    Evaluator::with(PATIENCE, puppet).unwrap()
}

/// For tests of waiting, in which nothing may count as an overrun on a machine under load.
fn patient_puppets() -> Evaluator {
    Evaluator::with(LONG, puppet).unwrap()
}

fn rules(expressions: &[&str]) -> Vec<Validation> {
    expressions.iter().map(|e| Validation { expression: (*e).to_owned(), message: format!("not {e}") }).collect()
}

async fn problems(evaluator: &Evaluator, expressions: &[&str]) -> Result<Vec<(usize, Option<Problem>)>, Overrun> {
    let violations = evaluator.evaluate(&rules(expressions), input(), LONG).await?;
    Ok(violations.into_iter().map(|violation| (violation.rule, violation.problem)).collect())
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to hold");
}

#[tokio::test]
async fn every_violated_rule_is_told_with_its_message() {
    let evaluator = Evaluator::start().unwrap();
    let expressions =
        ["lease.ttl <= duration('30m')", "'sre' in requester.groups", "lease.nmae == ''", "1", "lease.ticket == ''"];
    let violations = evaluator.evaluate(&rules(&expressions), input(), LONG).await.unwrap();
    let expected =
        [(1, None), (2, Some(Problem::UnknownName("lease.nmae".into()))), (3, Some(Problem::NotBool("int".into())))];
    let expected =
        expected.map(|(rule, problem)| Violation { rule, message: format!("not {}", expressions[rule]), problem });
    assert_eq!(violations, expected);
}

#[tokio::test]
async fn a_crash_counts_as_violated_and_costs_no_thread() {
    let evaluator = puppets();
    let expected: Vec<_> = (0..8).map(|rule| (rule, Some(Problem::Crashed))).collect();
    assert_eq!(problems(&evaluator, &["panic"; 8]).await, Ok(expected));
    assert_eq!(problems(&evaluator, &["true", "false"]).await, Ok(vec![(1, None)]));
}

#[tokio::test]
async fn an_overrun_counts_as_violated_and_its_thread_is_replaced() {
    let evaluator = puppets();
    let start = Instant::now();
    // Three at once would hold both threads for good if they were not replaced.
    let overruns = ["3000", "true"];
    let (a, b, c) =
        tokio::join!(problems(&evaluator, &overruns), problems(&evaluator, &overruns), problems(&evaluator, &overruns));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for answer in [a, b, c] {
        assert_eq!(answer, Ok(vec![(0, Some(Problem::TookTooLong))]));
    }
    assert_eq!(evaluator.stuck(), 3);
    eventually(|| evaluator.stuck() == 0).await;
    assert_eq!(evaluator.0.0.lock().threads, THREADS, "those who come back have been replaced already");
}

#[tokio::test]
async fn when_too_many_are_stuck_everything_is_refused_fast_until_one_returns() {
    let evaluator = puppets();
    let stuck = ["3000"];
    let all = futures::future::join_all((0..MAX_STUCK).map(|_| problems(&evaluator, &stuck))).await;
    assert!(all.iter().all(|answer| *answer == Ok(vec![(0, Some(Problem::TookTooLong))])), "{all:?}");
    let start = Instant::now();
    assert_eq!(problems(&evaluator, &["true"]).await, Err(Overrun::Stuck));
    assert!(start.elapsed() < Duration::from_millis(500));
    eventually(|| evaluator.stuck() < MAX_STUCK).await;
    assert_eq!(problems(&evaluator, &["true"]).await, Ok(vec![]));
}

#[tokio::test]
async fn more_than_can_be_stuck_never_means_more_threads() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    fn counted(_: &str, _: &Input) -> Result<bool, Problem> {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(700));
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(true)
    }
    let evaluator = Evaluator::with(PATIENCE, counted).unwrap();
    let answers = futures::future::join_all((0..40).map(|_| problems(&evaluator, &["x"]))).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Err(Overrun::Stuck) || *answer == Ok(vec![(0, Some(Problem::TookTooLong))]))
    );
    assert!(MOST.load(Ordering::SeqCst) <= THREADS + MAX_STUCK, "{MOST:?}");
    eventually(|| evaluator.stuck() == 0).await;
    assert_eq!(evaluator.0.0.lock().threads, THREADS);
}

#[tokio::test]
async fn what_waits_too_long_or_in_too_long_a_queue_is_refused() {
    let evaluator = patient_puppets();
    let short = Duration::from_millis(60);
    let busy = [problems(&evaluator, &["200", "true"]), problems(&evaluator, &["200", "true"])];
    let slow = rules(&["200"]);
    let late = evaluator.evaluate(&slow, input(), short);
    let (busy, late) = tokio::join!(futures::future::join_all(busy), late);
    assert_eq!(late, Err(Overrun::Deadline));
    assert!(busy.iter().all(|answer| *answer == Ok(vec![])), "{busy:?}");

    let mut receivers = vec![];
    let over = loop {
        match evaluator.0.0.submit("200".into(), Arc::new(input()), Instant::now() + LONG) {
            Ok(receiver) => receivers.push(receiver),
            Err(over) => break over,
        }
    };
    assert_eq!(over, Overrun::Busy);
    assert!((MAX_QUEUED..=MAX_QUEUED + 2 * THREADS).contains(&receivers.len()), "{}", receivers.len());
}

#[tokio::test]
async fn nobody_waits_for_a_caller_that_is_gone() {
    let evaluator = patient_puppets();
    for _ in 0..50 {
        let slow = rules(&["200"]);
        let never = evaluator.evaluate(&slow, input(), LONG);
        assert!(tokio::time::timeout(Duration::from_millis(1), never).await.is_err());
    }
    let start = Instant::now();
    assert_eq!(problems(&evaluator, &["true"]).await, Ok(vec![]));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_threads_end_with_the_last_evaluator() {
    let evaluator = patient_puppets();
    let pool = Arc::downgrade(&evaluator.0.0);
    drop(evaluator.clone());
    assert_eq!(problems(&evaluator, &["true"]).await, Ok(vec![]));
    drop(evaluator);
    eventually(|| pool.strong_count() == 0).await;
}
