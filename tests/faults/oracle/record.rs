//! What is written down about it, and what was undone.

use std::collections::BTreeMap;

use leasehold::{
    api::{
        condition::{self, ConditionStatus},
        reasons::{EndReason, Happening},
        status::Record,
    },
    domain::digest,
};

use super::Case;
use crate::flow::End;

/// I13: its history verifies and has no gap, and the audit stream tells every record of it, in one way only.
pub fn i13_history(case: &Case<'_>) -> Vec<String> {
    let mut broken = vec![];
    let mut told: BTreeMap<i64, &Record> = BTreeMap::new();
    for line in &case.life.trail {
        if line.record.event == Happening::Swept {
            // A lease that was gone before its operator saw it is known by what it left behind: what is told of that begins anew.
            told.clear();
        }
        let known = told.entry(line.record.seq).or_insert(&line.record);
        if known.event != line.record.event {
            broken.push(format!("record {} is told as {} and as {}", known.seq, known.event, line.record.event));
        }
    }
    let Some(status) = &case.life.status else { return broken };
    let Some(history) = &status.history else {
        broken.push("it has no history".to_owned());
        return broken;
    };
    if !digest::verify(history) {
        broken.push("its history does not verify".to_owned());
    }
    let sequence: Vec<i64> = history.records.iter().map(|r| r.seq).collect();
    if sequence.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        broken.push(format!("its history has a gap: {sequence:?}"));
    }
    for record in &history.records {
        match told.get(&record.seq) {
            None => broken.push(format!("the audit stream does not tell record {}, {}", record.seq, record.event)),
            Some(told) if told.event != record.event => {
                broken.push(format!("record {} is {}, told as {}", record.seq, record.event, told.event));
            }
            Some(_) => {}
        }
    }
    broken
}

/// I14: what a workflow did is undone in reverse, and nothing of it is left; the lease says so.
pub fn i14_rollback(case: &Case<'_>) -> Vec<String> {
    if !case.plan.flow.script().has_workflow() {
        return vec![];
    }
    let mut broken = vec![];
    let of = |method: &str| {
        let all = case.life.effects.iter().filter_map(|call| call.what.strip_prefix(method));
        all.map(|path| path.trim().to_owned()).collect::<Vec<_>>()
    };
    let (done, mut undone) = (of("PUT"), of("DELETE"));
    undone.reverse();
    // A step that may have been done is undone as well; what could not be undone at first holds up no other.
    if case.undoing_met_a_fault() {
        let left = done.iter().filter(|path| !undone.contains(path));
        broken.extend(left.map(|path| format!("{path} was not undone")));
    } else if !undone.iter().filter(|path| done.contains(path)).eq(done.iter()) {
        broken.push(format!("did {done:?}, undid {undone:?} (from the last)"));
    }
    let Some(status) = &case.life.status else { return broken };
    let says = condition::find(&status.conditions, "RolledBack").map(|c| c.status);
    let wants = !done.is_empty() || case.plan.flow.script().end == End::StepFailed && case.faults() == 0;
    if wants && says != Some(ConditionStatus::True) {
        broken.push(format!("RolledBack is {says:?}"));
    }
    let updated = condition::find(&status.conditions, "DependentsUpdated").map(|c| c.status);
    if status.end_reason == Some(EndReason::StepFailed) && updated != Some(ConditionStatus::False) {
        broken.push(format!("a step has failed, and DependentsUpdated is {updated:?}"));
    }
    broken
}
