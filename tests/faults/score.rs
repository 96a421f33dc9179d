//! What came of all plans.

use std::collections::BTreeMap;

use leasehold_harness::Record;

use crate::{
    bench::Life,
    flow::Flow,
    oracle::{self, Undisturbed},
    plan::Plan,
};

#[derive(Default)]
pub struct Score {
    run: usize,
    /// Of those, the ones whose second crash had no call left to come at.
    half: usize,
    /// By flow, and by what the first fault or the weather was, how many were run.
    flows: BTreeMap<Flow, usize>,
    kinds: BTreeMap<String, usize>,
    pub not_reached: Vec<Plan>,
    broken: Vec<(String, String)>,
    /// How many plans broke something.
    failed: usize,
}

impl Score {
    /// Judges a round; how many plans of it broke something.
    pub fn add(
        &mut self,
        plans: &[Plan],
        (lives, audit): (&[Life], &[Record]),
        usual: &BTreeMap<Flow, Undisturbed>,
    ) -> usize {
        let before = self.failed;
        for (plan, life) in plans.iter().zip(lives) {
            if life.unsprung > 0 && life.unsprung == plan.traps.len() {
                self.not_reached.push(plan.clone());
            } else {
                self.run += 1;
                self.half += usize::from(life.unsprung > 0);
                *self.flows.entry(plan.flow).or_default() += 1;
                let kind = plan.traps.first().map_or(format!("{:?}", plan.weather), |t| t.fault.to_string());
                *self.kinds.entry(kind).or_default() += 1;
            }
            let Some(usual) = usual.get(&plan.flow) else { continue };
            let found = oracle::judge(plan, life, usual, audit);
            self.failed += usize::from(!found.is_empty());
            for what in found {
                println!("  {plan}: {what}");
                self.broken.push((plan.to_string(), what));
            }
        }
        self.failed - before
    }

    pub fn is_sound(&self) -> bool {
        self.broken.is_empty()
    }

    /// Prints what came of it; a line for people, and one for whoever counts.
    pub fn tell(&self, seed: u64, seconds: u64) {
        let list = |name: &str, counts: Vec<String>| println!("run by {name}: {}", counts.join(", "));
        list("flow", self.flows.iter().map(|(flow, n)| format!("{flow} {n}")).collect());
        list("fault", self.kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect());
        for plan in &self.not_reached {
            println!("not reached: {plan}");
        }
        for (plan, what) in &self.broken {
            println!("BROKEN SEED={seed} PLAN='{plan}': {what}");
        }
        println!("not reached: {} (the call was not made in that run); took {seconds} s", self.not_reached.len());
        println!("of {} pairs the recovery was over before the second crash", self.half);
        println!("plans run: {}, invariants broken: {}", self.run, self.broken.len());
        println!("{} passed, {} failed", self.run.saturating_sub(self.failed), self.failed);
    }
}
