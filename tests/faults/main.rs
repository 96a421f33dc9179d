//! Faults at every call: a proxy between the operator and a real API server, and the systems it calls, loses, delays and refuses calls
//! and takes the operator away at chosen moments; whatever it does, what the API server, its audit log, those systems and the tokens
//! say afterwards must be what Leasehold promises.
//!
//! `make faults` runs a sample in minutes (`FOR=n`: begins nothing after so many seconds), `FULL=1` everything, `FULL=1 PART=2/5` the
//! second of five parts of it, `PLANS=n` so many however long it takes; `SEED=n` draws another sample,
//! `PLAN=<name>` runs one plan, or those of one fault whose names begin so; `PLAN=/Persists500` those with that fault. `WIDTH=n` leases live side by side.

mod bench;
mod call;
mod fault;
mod flow;
mod oracle;
mod plan;
mod plans;
mod proxy;
mod score;
// Shared with the tests on a real control plane, which use all of it.
#[allow(dead_code, unused_imports)]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, VecDeque},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use leasehold_harness::{Options, Record};

use bench::{Bench, Life};
use flow::Flow;
use oracle::Undisturbed;
use plan::{Plan, Stage};
use plans::{Part, Plans};
use score::Score;
use support::Lab;

/// Leases side by side: two for each flow. What a round waits for is time that has to pass, mostly.
const WIDTH: usize = 2 * Flow::ALL.len();
/// The same where everything is tried, and places for so many are worth their making.
const FULL_WIDTH: usize = 3 * WIDTH;
/// Plans of a bounded run beside those of the weathers, if there is time for them.
const BOUNDED: usize = 126;
/// After so many seconds no further round begins; the last one may take a minute and a half.
const BUDGET_SECONDS: u64 = 600;
const SEED: u64 = 7;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime");
    match runtime.block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the faults could not be tried: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text}")))
}

async fn run() -> Result<bool> {
    let begun = Instant::now();
    let (seed, full, part) = (number("SEED", SEED)?, std::env::var_os("FULL").is_some(), Part::asked()?);
    let only = std::env::var("PLAN").ok().filter(|p| !p.is_empty());
    let width = usize::try_from(number("WIDTH", if full { FULL_WIDTH } else { WIDTH } as u64)?)?;
    let lab = Lab::installed(Options { kwok_nodes: 1, ..Options::default() }).await?;
    let bench = Bench::start(&lab, width).await?;
    println!("ready after {} s, {width} leases side by side", begun.elapsed().as_secs());
    let usual = undisturbed(&lab, &bench, width).await?;
    let plans = Plans::of(&usual.iter().map(|(flow, u)| (*flow, u.course.clone())).collect());
    let chosen = match &only {
        Some(name) => {
            let named = named(&plans, name)?;
            // A handful can be read.
            if named.len() < WIDTH {
                bench.proxy.trace();
            }
            named
        }
        None if full => plans.all.iter().filter(|(_, plan)| part.has(plan)).cloned().collect(),
        None => plans.sample(seed, usize::try_from(number("PLANS", BOUNDED as u64)?)?),
    };
    let rounds = plans::rounds(chosen, width, seed);
    println!("{} plans of {}, seed {seed}", rounds.iter().map(Vec::len).sum::<usize>(), plans.all.len());
    for (why, n) in &plans.pruned {
        println!("pruned {n}: {why}");
    }
    let is_given = |name: &str| std::env::var_os(name).is_some();
    let chosen_at_will = full || only.is_some() || is_given("PLANS");
    let budget = Duration::from_secs(number("FOR", BUDGET_SECONDS)?);
    let until = (!chosen_at_will || is_given("FOR")).then(|| begun + budget);
    let score = all(&lab, &bench, rounds, &usual, until, (width, seed)).await?;
    if !score.is_sound() {
        println!("the operators' logs are in {}", lab.plane.dir().display());
    }
    score.tell(seed, begun.elapsed().as_secs());
    drop(bench);
    if score.is_sound() {
        lab.stop().await?;
        return Ok(true);
    }
    Ok(false)
}

/// The plan of this name, or those of one fault whose names begin so, or with a `/` at the beginning have this in them.
fn named(plans: &Plans, name: &str) -> Result<Vec<(Stage, Plan)>> {
    let exactly: Vec<_> = plans.all.iter().filter(|(_, p)| p.to_string() == *name).cloned().collect();
    let is = |plan: &str| if name.starts_with('/') { plan.contains(name) } else { plan.starts_with(name) };
    let begin = plans.all.iter().filter(|(_, p)| p.traps.len() < 2 && is(&p.to_string()));
    let found = if exactly.is_empty() { begin.cloned().collect() } else { exactly };
    if found.is_empty() {
        bail!("there is no plan {name}");
    }
    Ok(found)
}

/// Runs them round by round, until the time is up.
async fn all(
    lab: &Lab,
    bench: &Bench<'_>,
    rounds: Vec<Vec<Plan>>,
    usual: &BTreeMap<Flow, Undisturbed>,
    until: Option<Instant>,
    (width, seed): (usize, u64),
) -> Result<Score> {
    let (mut score, mut skipped) = (Score::default(), 0);
    let mut rounds = VecDeque::from(rounds);
    let (mut n, mut again) = (0, false);
    loop {
        let Some(round) = rounds.pop_front() else {
            if again || score.not_reached.is_empty() {
                break;
            }
            // A crash that was meant for another lease may have kept a call from being made.
            again = true;
            let missed = std::mem::take(&mut score.not_reached).into_iter().map(|plan| (Stage::Issue, plan));
            rounds.extend(plans::rounds(missed.collect(), width, seed));
            continue;
        };
        n += 1;
        if until.is_some_and(|until| Instant::now() > until) {
            skipped += round.len();
            continue;
        }
        let started = Instant::now();
        let (lives, audit) = watched(lab, bench, &round).await?;
        let broken = score.add(&round, (&lives, &audit), usual);
        println!("round {n}: {} plans in {} s, {broken} broken", round.len(), started.elapsed().as_secs());
    }
    if skipped > 0 {
        println!("left out for lack of time: {skipped}");
    }
    Ok(score)
}

/// A round, and what the API server says was asked of it meanwhile.
async fn watched(lab: &Lab, bench: &Bench<'_>, plans: &[Plan]) -> Result<(Vec<Life>, Vec<Record>)> {
    let audit = lab.plane.audit();
    let since = audit.cursor()?;
    let lives = bench.round(plans).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let audit = audit.read_since(since)?;
    bench.clean_up(&lives).await?;
    Ok((lives, audit))
}

/// Each flow as it is without any fault, twice.
async fn undisturbed(lab: &Lab, bench: &Bench<'_>, width: usize) -> Result<BTreeMap<Flow, Undisturbed>> {
    let mut usual: BTreeMap<Flow, Undisturbed> = BTreeMap::new();
    let flows = [Flow::ALL, Flow::ALL].concat();
    let mut unsound = vec![];
    for some in flows.chunks(width.min(Flow::ALL.len())) {
        let plans: Vec<Plan> = some.iter().copied().map(Plan::undisturbed).collect();
        let (lives, audit) = watched(lab, bench, &plans).await?;
        for (plan, life) in plans.iter().zip(&lives) {
            usual.entry(plan.flow).or_default().add(plan, life, &audit);
            let found = oracle::judge(plan, life, &usual[&plan.flow], &audit);
            if !oracle::is_sound(plan, life) || !found.is_empty() {
                unsound.push(format!("{plan}: active {}, left {:?}, {found:?}", life.was_active, life.left));
            }
        }
    }
    if !unsound.is_empty() {
        bail!("not even undisturbed work:\n{}", unsound.join("\n"));
    }
    for (flow, usual) in &usual {
        let count = |stage| usual.course.calls.values().flatten().filter(|s| **s == stage).count();
        println!(
            "{flow}: {} calls to issue, {} to end, {} to prove",
            count(Stage::Issue),
            count(Stage::End),
            count(Stage::Proof)
        );
    }
    Ok(usual)
}
