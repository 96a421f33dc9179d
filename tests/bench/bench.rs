//! `make bench`: how fast Leasehold issues and ends, and what it costs, beside the yardsticks R and N in the same run.
//!
//! `QUICK=1` runs a small version of everything and leaves the documentation alone, `ONLY=B-3` (or `ONLY=B-1,B-3`) some rows,
//! `FULL=1` takes 50,000 leases where 10,000 are usual, `LEASES=n` as many as you like, `REPEATS=n` repeats more or less often.

mod arm;
mod calls;
mod drive;
mod ends;
mod eyes;
mod field;
mod figures;
mod ha;
mod issue;
mod machine;
mod model;
mod naive;
mod page;
mod plot;
mod proxy;
mod raw;
mod replay;
mod scale;
mod sizes;
// Shared with the tests on a real control plane, which use all of it.
#[allow(dead_code, unused_imports)]
#[path = "../e2e/support/mod.rs"]
mod support;
mod table;
mod template;
mod weather;
mod wire;

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};

use field::Field;
use figures::Found;
use machine::Machine;
use sizes::Sizes;

/// The rows on one control plane, and those that fill one with leases.
const ROWS: [&str; 8] = ["B-1", "B-2", "B-3", "B-4", "B-7", "B-9", "B-10", "B-11"];
const SCALE: [&str; 3] = ["B-5", "B-6", "B-8"];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime");
    let done = match std::env::var("LEASEHOLD_BENCH_ARM") {
        Ok(kind) => runtime.block_on(act(&kind)).map(|()| true),
        Err(_) => runtime.block_on(measure()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// This process is one of the yardsticks.
async fn act(kind: &str) -> Result<()> {
    let file = std::env::var("LEASEHOLD_BENCH_TEMPLATES").context("no templates")?;
    let templates = serde_json::from_slice(&std::fs::read(file)?)?;
    if kind == arm::Kind::Raw.label() { raw::run(templates).await } else { naive::run(templates).await }
}

struct Bench {
    sizes: Sizes,
    only: Vec<String>,
    machine: Machine,
    found: Vec<Found>,
    failed: Vec<String>,
}

impl Bench {
    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == id)
    }

    /// Runs one row; a failure is told, and the others run all the same.
    async fn row(&mut self, id: &str, row: impl Future<Output = Result<Vec<Found>>>) {
        if !self.wants(id) {
            return;
        }
        let begun = Instant::now();
        println!("{id} ...");
        match row.await {
            Ok(found) => {
                println!("{}\n  took {} s", table::text(&found), begun.elapsed().as_secs());
                self.found.extend(found);
            }
            Err(error) => {
                println!("{id} FAILED after {} s: {error:#}", begun.elapsed().as_secs());
                self.failed.push(id.to_owned());
            }
        }
        self.machine.look();
    }

    async fn rows(&mut self) -> Result<()> {
        if !ROWS.iter().any(|id| self.wants(id)) {
            return Ok(());
        }
        let field = Field::prepare(&self.sizes).await?;
        self.machine.ask(&field).await?;
        let one = |found: Result<Found>| found.map(|found| vec![found]);
        self.row("B-7", async { one(calls::floor(&field).await) }).await;
        self.row("B-1", async { one(issue::soon(&field).await) }).await;
        self.row("B-2", async { one(issue::lives(&field).await) }).await;
        self.row("B-3", async { one(ends::verified(&field).await) }).await;
        self.row("B-4", async { one(ends::deadlines(&field).await) }).await;
        self.row("B-9", async { one(ha::takeover(&field).await) }).await;
        self.row("B-10", async { one(weather::foul(&field).await) }).await;
        self.row("B-11", async { one(issue::fair(&field).await) }).await;
        self.finish(field).await
    }

    async fn scale(&mut self) -> Result<()> {
        let wanted: Vec<&str> = SCALE.into_iter().filter(|id| self.wants(id)).collect();
        let Some(first) = wanted.first().copied() else { return Ok(()) };
        let field = Field::prepare(&self.sizes).await?;
        self.row(first, async { scale::all(&field, |id| wanted.contains(&id)).await }).await;
        self.finish(field).await
    }

    async fn finish(&self, field: Arc<Field>) -> Result<()> {
        if !self.failed.is_empty() {
            println!("logs are in {}", field.lab.plane.dir().display());
            return Ok(());
        }
        match Arc::into_inner(field) {
            Some(field) => field.lab.stop().await,
            None => Ok(()),
        }
    }
}

async fn measure() -> Result<bool> {
    let begun = Instant::now();
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut bench = Bench {
        sizes: Sizes::chosen(),
        only: only.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        machine: Machine::seen(),
        found: vec![],
        failed: vec![],
    };
    if let Some(unknown) = bench.only.iter().find(|id| !ROWS.iter().chain(&SCALE).any(|row| row == id)) {
        anyhow::bail!("there is no row {unknown}; there are {} and {}", ROWS.join(", "), SCALE.join(", "));
    }
    println!("measuring {}", arm::executable().display());
    bench.rows().await?;
    bench.scale().await?;
    bench.found.sort_by_key(|found| found.id.trim_start_matches("B-").parse::<u32>().unwrap_or_default());
    // The page tells of whole runs only.
    let whole = bench.only.is_empty() && bench.sizes.whole && bench.failed.is_empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory: PathBuf = if whole { root.join("docs") } else { root.join("target/bench") };
    page::write(&directory, &bench.found, &bench.machine)?;
    println!("\n{}\n", table::text(&bench.found));
    let (goals, met) = table::score(&bench.found);
    println!("goals met: {met} of {goals}; took {} s", begun.elapsed().as_secs());
    println!("written: {}", directory.join("benchmarks.md").display());
    if !bench.failed.is_empty() {
        println!("could not be measured: {}", bench.failed.join(", "));
    }
    Ok(bench.failed.is_empty())
}
