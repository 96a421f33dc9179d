//! What an undisturbed flow looks like.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::api::reasons::{EndReason, Evidence, Phase};
use leasehold_harness::Record;

use super::{Case, kind};
use crate::{bench::Life, plan::Plan, plan::Stage, plans::Course};

/// Everything after that many seconds is asked to prove the end.
const PROOF_SECONDS: f64 = 6.0;

#[derive(Debug, Default, Clone)]
pub struct Undisturbed {
    pub course: Course,
    /// How often the API server carried out each kind of call.
    pub(super) done: BTreeMap<String, usize>,
    pub(super) evidence: BTreeSet<Evidence>,
    pub(super) end: Option<(Option<Phase>, Option<EndReason>)>,
    /// What the other system did, in order.
    pub(super) effects: Vec<String>,
    pub(super) heirs: usize,
}

impl Undisturbed {
    /// Adds a run. Of two that differ the longer course counts.
    pub fn add(&mut self, plan: &Plan, life: &Life, audit: &[Record]) {
        let mut calls: BTreeMap<String, Vec<Stage>> = BTreeMap::new();
        for call in &life.calls {
            let after = call.at.duration_since(life.end_begun).as_secs_f64();
            let stage = match after {
                after if after < 0.0 => Stage::Issue,
                after if after < PROOF_SECONDS => Stage::End,
                _ => Stage::Proof,
            };
            calls.entry(call.key.clone()).or_default().push(stage);
        }
        for (key, stages) in calls {
            let known = self.course.calls.entry(key).or_default();
            if stages.len() > known.len() {
                *known = stages;
            }
        }
        let about = audit.iter().filter(|r| super::is_about(life, r)).collect();
        let case = Case { plan, life, usual: &Self::default(), audit, about };
        for (what, n) in done(&case) {
            let most = self.done.entry(what).or_default();
            *most = n.max(*most);
        }
        self.evidence.extend(evidence(life));
        self.end = Some(end(life));
        self.effects = effects(life);
        self.heirs = life.heirs.len();
    }
}

pub(super) fn evidence(life: &Life) -> Option<Evidence> {
    life.status.as_ref()?.credential.as_ref()?.evidence
}

pub(super) fn end(life: &Life) -> (Option<Phase>, Option<EndReason>) {
    life.status.as_ref().map_or((None, None), |s| (s.phase, s.end_reason))
}

pub(super) fn effects(life: &Life) -> Vec<String> {
    life.effects.iter().map(|call| call.what.clone()).collect()
}

/// How often each kind of call was carried out.
pub(super) fn done(case: &Case<'_>) -> BTreeMap<String, usize> {
    let mut done = BTreeMap::new();
    for record in case.carried_out() {
        *done.entry(kind(record)).or_default() += 1;
    }
    done
}
