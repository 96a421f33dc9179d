//! Faults at every call: a proxy between the operator and a real API server loses, delays and refuses calls and kills the operator
//! at chosen moments; whatever it does, what the API server, its audit log and the tokens say afterwards must be what Leasehold promises.
//!
//! `make faults` runs a sample in minutes, `FULL=1` everything; `SEED=n` draws another sample, `PLAN=<name>` runs one plan, or those of one
//! fault whose names begin so.

mod bench;
mod call;
mod oracle;
mod plan;
mod proxy;
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
use leasehold_harness::Options;

use bench::{Bench, Life};
use oracle::Undisturbed;
use plan::{Flow, Plan, Plans, Stage, Weather};
use support::Lab;

/// Leases side by side.
const WIDTH: usize = 16;
/// Plans of a bounded run, if there is time for them.
const BOUNDED: usize = 288;
/// After that no further round begins: a round takes less than the minutes that are left to twelve.
const BUDGET: Duration = Duration::from_secs(600);
const SEED: u64 = 7;

struct Score {
    run: usize,
    /// Of those, the ones whose second crash had no call left to come at.
    half: usize,
    not_reached: Vec<Plan>,
    broken: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime");
    match runtime.block_on(run()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the faults could not be tried: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text}")))
}

async fn run() -> Result<usize> {
    let begun = Instant::now();
    let (seed, full) = (number("SEED", SEED)?, std::env::var_os("FULL").is_some());
    let (only, width) =
        (std::env::var("PLAN").ok().filter(|p| !p.is_empty()), usize::try_from(number("WIDTH", WIDTH as u64)?)?);
    let lab = Lab::installed(Options::default()).await?;
    let bench = Bench::start(&lab, width).await?;
    println!("ready after {} s, {width} leases side by side", begun.elapsed().as_secs());
    let usual = undisturbed(&lab, &bench).await?;
    let plans = Plans::of(&usual.iter().map(|(flow, u)| (*flow, u.course.clone())).collect());
    let chosen = match &only {
        Some(name) => {
            bench.proxy.trace();
            let exactly: Vec<_> = plans.all.iter().filter(|(_, p)| p.to_string() == *name).cloned().collect();
            let begin = plans.all.iter().filter(|(_, p)| p.traps.len() < 2 && p.to_string().starts_with(name));
            let found = if exactly.is_empty() { begin.cloned().collect() } else { exactly };
            if found.is_empty() {
                bail!("there is no plan {name}");
            }
            found
        }
        None if full => plans.sample(seed, plans.all.len()),
        None => plans.sample(seed, usize::try_from(number("PLANS", BOUNDED as u64)?)?),
    };
    println!("{} plans of {}, seed {seed}", chosen.len(), plans.all.len());
    for (why, n) in &plans.pruned {
        println!("pruned {n}: {why}");
    }
    let mut score = Score { run: 0, half: 0, not_reached: vec![], broken: vec![] };
    let mut skipped = 0;
    let mut rounds: VecDeque<Vec<Plan>> = evenly(plan::rounds(chosen, width)).into();
    let (mut n, mut again) = (0, false);
    loop {
        let Some(round) = rounds.pop_front() else {
            if again || score.not_reached.is_empty() {
                break;
            }
            // A crash that was meant for another lease may have kept a call from being made.
            again = true;
            rounds.extend(std::mem::take(&mut score.not_reached).chunks(width).map(<[Plan]>::to_vec));
            continue;
        };
        n += 1;
        if !full && begun.elapsed() > BUDGET {
            skipped += round.len();
            continue;
        }
        let started = Instant::now();
        let lives = watched(&lab, &bench, &round).await?;
        let before = score.broken.len();
        score.add(&round, &lives, &usual);
        println!(
            "round {n}: {} plans in {} s, {} broken (after {} s)",
            round.len(),
            started.elapsed().as_secs(),
            score.broken.len() - before,
            begun.elapsed().as_secs()
        );
    }
    if !score.broken.is_empty() {
        println!("the operators' logs are in {}", lab.plane.dir().display());
    }
    for plan in &score.not_reached {
        println!("not reached: {plan}");
    }
    if skipped > 0 {
        println!("left out for lack of time: {skipped}");
    }
    for (plan, what) in &score.broken {
        println!("BROKEN SEED={seed} PLAN='{plan}': {what}");
    }
    println!(
        "not reached: {} (the call was not made in that run); took {} s",
        score.not_reached.len(),
        begun.elapsed().as_secs()
    );
    println!("of {} pairs the recovery was over before the second crash", score.half);
    println!("plans run: {}, invariants broken: {}", score.run, score.broken.len());
    drop(bench);
    if score.broken.is_empty() {
        lab.stop().await?;
    }
    Ok(score.broken.len())
}

/// Rounds of all kinds mixed, so that a run that is cut short has tried each kind.
fn evenly(rounds: Vec<Vec<Plan>>) -> Vec<Vec<Plan>> {
    let step = 7;
    let mut mixed: Vec<(usize, Vec<Plan>)> = rounds.into_iter().enumerate().map(|(n, r)| (n % step, r)).collect();
    mixed.sort_by_key(|(rank, _)| *rank);
    mixed.into_iter().map(|(_, round)| round).collect()
}

type Watched = (Vec<Life>, Vec<leasehold_harness::Record>);

/// A round, and what the API server says was asked of it meanwhile.
async fn watched(lab: &Lab, bench: &Bench<'_>, plans: &[Plan]) -> Result<Watched> {
    let audit = lab.plane.audit();
    let since = audit.cursor()?;
    let lives = bench.round(plans).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok((lives, audit.read_since(since)?))
}

/// Each flow as it is without any fault, twice.
async fn undisturbed(lab: &Lab, bench: &Bench<'_>) -> Result<BTreeMap<Flow, Undisturbed>> {
    let plan = |flow| Plan { flow, traps: vec![], weather: Weather::Fair };
    let plans: Vec<Plan> = Flow::ALL.map(plan).into();
    let mut usual: BTreeMap<Flow, Undisturbed> = BTreeMap::new();
    for _ in 0..2 {
        let (lives, audit) = watched(lab, bench, &plans).await?;
        for (plan, life) in plans.iter().zip(&lives) {
            if !oracle::is_sound(plan.flow, life) || !life.left.is_empty() {
                bail!("{plan} does not even work undisturbed: {:?}, left {:?}", life.wrong, life.left);
            }
            usual.entry(plan.flow).or_default().add(life, &audit);
        }
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

impl Score {
    fn add(&mut self, plans: &[Plan], (lives, audit): &Watched, usual: &BTreeMap<Flow, Undisturbed>) {
        for (plan, life) in plans.iter().zip(lives) {
            if life.unsprung > 0 && life.unsprung == plan.traps.len() {
                self.not_reached.push(plan.clone());
            } else {
                self.run += 1;
                self.half += usize::from(life.unsprung > 0);
            }
            let Some(usual) = usual.get(&plan.flow) else { continue };
            for what in oracle::judge(plan, life, usual, audit) {
                println!("  {plan}: {what}");
                self.broken.push((plan.to_string(), what));
            }
        }
    }
}
