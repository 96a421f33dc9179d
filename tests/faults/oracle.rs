//! What must be true of a lease after any plan: read off the audit log, the API server and the token; never asked of the operator.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use leasehold::{
    api::reasons::{EndReason, Evidence, Phase},
    domain::digest,
};
use leasehold_harness::Record;

use crate::{
    bench::Life,
    plan::{Course, End, Fault, Flow, Plan, Stage, Terms},
    proxy::RETRY_AFTER,
};

/// I1: an API server remembers a token for 10 s, its watch may lag 2 s, the end itself may take one more.
const OUTLIVES_SECONDS: f64 = 13.0;
const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

/// What an undisturbed flow looks like.
#[derive(Debug, Default, Clone)]
pub struct Undisturbed {
    pub course: Course,
    /// How often the API server carried out each kind of call.
    done: BTreeMap<String, usize>,
    evidence: BTreeSet<Evidence>,
    end: Option<(Option<Phase>, Option<EndReason>)>,
}

impl Undisturbed {
    /// Adds a run. Of two that differ the longer course counts.
    pub fn add(&mut self, life: &Life, audit: &[Record]) {
        let mut calls: BTreeMap<String, Vec<Stage>> = BTreeMap::new();
        for call in &life.calls {
            let after = call.at.duration_since(life.ended).as_secs_f64();
            let stage = match after {
                after if after < 0.0 => Stage::Issue,
                after if after < 6.0 => Stage::End,
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
        for (what, n) in done(life, audit) {
            let most = self.done.entry(what).or_default();
            *most = n.max(*most);
        }
        self.evidence.extend(evidence(life));
        self.end = Some(end(life));
    }
}

fn evidence(life: &Life) -> Option<Evidence> {
    life.status.as_ref()?.credential.as_ref()?.evidence
}

fn end(life: &Life) -> (Option<Phase>, Option<EndReason>) {
    life.status.as_ref().map_or((None, None), |s| (s.phase, s.end_reason))
}

/// Whether a record is about the lease: everything made for it is named after it.
fn is_about(life: &Life, record: &Record) -> bool {
    let hex = life.uid.replace('-', "");
    record.name.contains(&hex) || (record.namespace == life.namespace && record.name == format!("lease-{}", life.lease))
}

fn done(life: &Life, audit: &[Record]) -> BTreeMap<String, usize> {
    let mut done = BTreeMap::new();
    for r in audit.iter().filter(|r| r.user == OPERATOR && is_about(life, r) && !r.uri.contains("dryRun=")) {
        if (200..300).contains(&r.code) && ["create", "patch", "update", "delete"].contains(&r.verb.as_str()) {
            let sub = if r.subresource.is_empty() { String::new() } else { format!("/{}", r.subresource) };
            *done.entry(format!("{} {}{sub}", r.verb, r.resource)).or_default() += 1;
        }
    }
    done
}

/// Everything that is broken.
pub fn judge(plan: &Plan, life: &Life, usual: &Undisturbed, audit: &[Record]) -> Vec<String> {
    let mut broken = life.wrong.clone();
    if !life.left.is_empty() {
        broken.push(format!("left behind: {}", life.left.join(", ")));
    }
    if let Some(after) = life.accepted.filter(|after| *after > OUTLIVES_SECONDS) {
        broken.push(format!("its token was accepted {after:.1} s after the end"));
    }
    let about: Vec<&Record> = audit.iter().filter(|r| is_about(life, r)).collect();
    broken.extend(accounts(life, &about));
    broken.extend(tokens(plan, life, &about));
    broken.extend(counts(plan, life, usual, audit));
    broken.extend(pauses(life));
    if plan.flow.end == End::Revoked {
        broken.extend(status(plan, life, usual));
    }
    broken
}

fn accounts(life: &Life, about: &[&Record]) -> Vec<String> {
    let mut broken = vec![];
    let made: Vec<&&Record> = about
        .iter()
        .filter(|r| r.verb == "create" && r.resource == "serviceaccounts" && r.subresource.is_empty() && r.code == 201)
        .collect();
    let names: BTreeSet<&str> = made.iter().map(|r| r.name.as_str()).collect();
    if made.len() > 1 {
        broken.push(format!("{} accounts were created: {names:?}", made.len()));
    }
    if let Some(first) = made.first() {
        match life.decided {
            Some(decided) if first.received < decided => {
                broken.push(format!("an account was created at {}, before the decision at {decided}", first.received));
            }
            _ => {}
        }
    }
    broken
}

fn tokens(plan: &Plan, life: &Life, about: &[&Record]) -> Vec<String> {
    // Calls that were held while the lease was ended may be carried out after the end.
    let held = plan.traps.iter().any(|t| matches!(t.fault, Fault::EndBefore | Fault::EndAfter | Fault::Delay));
    let late = |at: Timestamp| at.duration_since(life.ended).as_secs_f64();
    about
        .iter()
        .filter(|r| r.subresource == "token" && r.code == 201)
        .filter(|r| late(r.received) > if held { 2.0 } else { 0.0 })
        .map(|r| format!("{} minted a token {:.1} s after the end", r.user, late(r.received)))
        .collect()
}

/// Nothing is carried out more often than in the undisturbed run, but for what a fault makes be repeated; what was created is deleted.
fn counts(plan: &Plan, life: &Life, usual: &Undisturbed, audit: &[Record]) -> Vec<String> {
    let faults = plan.traps.len() - life.unsprung + life.kills as usize;
    let mut broken = vec![];
    let done = done(life, audit);
    for (what, n) in &done {
        let mut most = usual.done.get(what).copied().unwrap_or_default();
        if let Some(kind) = what.strip_prefix("delete ") {
            // The garbage collector may be quicker, or not: an object is deleted once at the most.
            most = most.max(done.get(&format!("create {kind}")).copied().unwrap_or_default());
        }
        // A created object has a name of its own, so creating it again is refused; a token and a write into a Secret are not.
        let again = match what.as_str() {
            "create serviceaccounts/token" | "patch secrets" => faults,
            _ => 0,
        };
        if *n > most + again {
            broken.push(format!("{what} was carried out {n} times, undisturbed {most}"));
        }
    }
    let mut attempts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in life.calls.iter().filter(|c| !c.key.contains("events")) {
        *attempts.entry(&call.key).or_default() += 1;
    }
    for (key, n) in attempts {
        let most = usual.course.calls.get(key).map_or(0, Vec::len);
        let is_object =
            !key.contains("/status") && !key.contains("reviews") && !key.starts_with("get") && !key.ends_with("?dry");
        // A status says that something failed, then that it did not; a question is asked anew in every visit.
        let again = if is_object { faults * 2 } else { faults * 4 + 1 };
        if n > most + again {
            broken.push(format!("{key} was tried {n} times, undisturbed {most}"));
        }
    }
    broken
}

/// Whoever is asked to wait waits.
fn pauses(life: &Life) -> Vec<String> {
    let throttled = life.calls.iter().filter(|c| c.fault == Some(Fault::Answer(429)));
    // What was asked side by side was on its way before the answer came.
    let pause = 0.3..RETRY_AFTER.as_secs_f64() - 0.05;
    let too_soon = throttled.filter(|asked| {
        let wait = |at: Timestamp| at.duration_since(asked.at).as_secs_f64();
        life.calls.iter().any(|c| c.key == asked.key && pause.contains(&wait(c.at)))
    });
    too_soon.map(|c| format!("{} was called again before the Retry-After of a 429 was over", c.key)).collect()
}

fn status(plan: &Plan, life: &Life, usual: &Undisturbed) -> Vec<String> {
    let Some(status) = &life.status else { return vec!["the lease is gone".into()] };
    let mut broken = vec![];
    let (phase, reason) = end(life);
    let gave_up = plan.traps.iter().any(|t| t.fault.is_final())
        && phase == Some(Phase::Failed)
        && matches!(reason, Some(EndReason::MissingRight | EndReason::Rejected));
    if usual.end != Some((phase, reason)) && !gave_up {
        broken.push(format!("ended as {phase:?} by {reason:?}, undisturbed {:?}", usual.end));
    }
    let mut allowed = usual.evidence.clone();
    allowed.insert(Evidence::AccountGoneAndWaited);
    match evidence(life) {
        Some(found) if !allowed.contains(&found) => broken.push(format!("proven by {found}, undisturbed {allowed:?}")),
        None if life.was_active => broken.push("its death is not proven".into()),
        _ => {}
    }
    match &status.history {
        Some(history) if !digest::verify(history) => broken.push("its history does not verify".into()),
        None => broken.push("it has no history".into()),
        _ => {}
    }
    broken
}

/// Whether a flow has to be decided on.
pub fn is_sound(flow: Flow, life: &Life) -> bool {
    life.was_active && life.wrong.is_empty() && (flow.terms != Terms::Agreed || life.decided.is_some())
}
