//! How it went: to the same end as undisturbed, with no more than the faults account for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use leasehold::api::reasons::{EndReason, Evidence, Phase};

use super::{
    Case,
    usual::{done, effects, end, evidence},
};
use crate::{
    fault::{CALL_TIMEOUT, Fault, PERSISTS, RETRY_AFTER, Weather},
    flow::End,
    proxy::Made,
};

/// I8: it ends as it does undisturbed, is proven dead if it ever was active, and the other system has done the same.
pub fn i8_same_end(case: &Case<'_>) -> Vec<String> {
    let (life, usual, script) = (case.life, case.usual, case.plan.flow.script());
    let mut broken = vec![];
    if life.heirs.len() != usual.heirs {
        broken.push(format!("{} leases followed it, undisturbed {}", life.heirs.len(), usual.heirs));
    }
    if script.end == End::Deleted {
        return broken;
    }
    if life.status.is_none() {
        broken.push("the lease is gone".to_owned());
        return broken;
    }
    let found = end(life);
    if usual.end != Some(found) && !is_excused(case, found) {
        broken.push(format!("ended as {:?} by {:?}, undisturbed {:?}", found.0, found.1, usual.end));
    }
    let mut allowed = usual.evidence.clone();
    allowed.insert(Evidence::AccountGoneAndWaited);
    match evidence(life) {
        Some(found) if !allowed.contains(&found) => broken.push(format!("proven by {found}, undisturbed {allowed:?}")),
        None if life.was_active => broken.push("its death is not proven".into()),
        _ => {}
    }
    // What was refused for good was not done; in which order things are taken back, and whether everybody could be told, is another
    // question where a call for it failed.
    let (did, otherwise) = (
        effects(life),
        usual.end != Some(found) || case.met(|fault| fault.holds() || fault.is_final()) || case.undoing_met_a_fault(),
    );
    if did != usual.effects && !otherwise {
        broken.push(format!("the other system did {did:?}, undisturbed {:?}", usual.effects));
    }
    broken
}

/// Ends that are right as well: refused for good, or ended by something that was there before it was issued.
fn is_excused(case: &Case<'_>, (phase, reason): (Option<Phase>, Option<EndReason>)) -> bool {
    let gave_up = case.met(Fault::is_final)
        && matches!(phase, Some(Phase::Failed | Phase::Denied))
        && matches!(
            reason,
            Some(EndReason::MissingRight | EndReason::Rejected | EndReason::StepFailed | EndReason::GateRefused)
        );
    // The role was widened before it was bound: what was agreed to is no longer what would be issued.
    let stale = case.plan.flow.script().end == End::Widened
        && case.met(Fault::holds)
        && matches!(reason, Some(EndReason::ApprovalStale | EndReason::Expired));
    gave_up || stale
}

impl Case<'_> {
    /// How often the weather had everything be looked at again; a few times where it came late or twice.
    fn lists(&self) -> usize {
        let lived = || {
            let (first, last) = (self.life.calls.first()?.at, self.life.calls.last()?.at);
            usize::try_from(last.duration_since(first).as_secs()).ok()
        };
        match (self.plan.weather, self.plan.weather.pace()) {
            (Weather::Fair, _) => 0,
            (_, None) => 4,
            (_, Some(pace)) => 4 + lived().unwrap_or_default() / usize::try_from(pace.as_secs().max(1)).unwrap_or(1),
        }
    }

    /// What cannot be taken back holds up no other, and who cannot be told of the end is not told.
    pub(super) fn undoing_met_a_fault(&self) -> bool {
        let late = |key: &str| key.starts_with("DELETE system/") || key.starts_with("POST system/");
        self.life.calls.iter().any(|c| c.fault.is_some() && late(&c.key))
    }
}

/// I9: once it is at rest, nothing more is written about it. An Event may be told late: nothing rests on it. Whoever began anew
/// meanwhile also looks anew at what follows the lease.
pub fn i9_at_rest_nothing_is_written(case: &Case<'_>) -> Vec<String> {
    let begun_anew = case.life.outages > 0 || case.refused(|key| key.contains(" serviceaccountlifecycles/status")) > 0;
    case.life
        .restless
        .iter()
        .filter(|key| !key.contains(" events"))
        .filter(|key| !(begun_anew && key.contains(" serviceaccountlifecycles/status")))
        .map(|key| format!("{key} though it was at rest"))
        .collect()
}

/// I10: nothing is carried out more often than undisturbed, but for what a fault makes be repeated; what was created is deleted
/// once; whoever is asked to wait waits.
pub fn i10_bounded_effort(case: &Case<'_>) -> Vec<String> {
    let mut broken = carried_out_too_often(case);
    broken.extend(tried_too_often(case));
    broken.extend(hot(case));
    broken.extend(impatient(case));
    broken.extend(repeated_elsewhere(case));
    broken
}

fn carried_out_too_often(case: &Case<'_>) -> Vec<String> {
    let (done, usual, faults) = (done(case), &case.usual.done, case.faults());
    let mut broken = vec![];
    for (what, n) in &done {
        let mut most = usual.get(what).copied().unwrap_or_default();
        if let Some(kind) = what.strip_prefix("delete ") {
            // The garbage collector may be quicker, or not: an object is deleted once at the most.
            most = most.max(done.get(&format!("create {kind}")).copied().unwrap_or_default());
        }
        // A created object has a name of its own, so creating it again is refused; a token and a write into an object are not.
        let again = match what.as_str() {
            "create serviceaccounts/token" => faults,
            // Why it waits is said again where that has changed.
            what if what.contains("/status") => (faults + case.refused(|_| true)) * 2,
            what if what.starts_with("patch ") => faults * 2,
            _ => 0,
        };
        if *n > most + again {
            broken.push(format!("{what} was carried out {n} times, undisturbed {most}"));
        }
    }
    broken
}

fn tried_too_often(case: &Case<'_>) -> Vec<String> {
    let faults = case.faults();
    let mut attempts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in case.life.calls.iter().filter(|c| !c.key.contains("events")) {
        *attempts.entry(&call.key).or_default() += 1;
    }
    let (mut broken, lists) = (vec![], case.lists());
    for (key, n) in attempts {
        let most = case.usual.course.calls.get(key).map_or(0, Vec::len);
        let is_object =
            !key.contains("/status") && !key.contains("reviews") && !key.starts_with("get") && !key.ends_with("?dry");
        // A status says that something failed, then that it did not; a question is asked anew in every visit, and events that come
        // late or again, and lists, are visits.
        let again = if is_object {
            (faults + usize::from(lists > 0)) * 2 + case.refused(|refused| refused == key)
        } else {
            let visits = faults * 2 + lists + case.refused(|_| true) * most.max(1);
            visits * 2 + 1 + if lists > 0 { most } else { 0 }
        };
        if n > most + again {
            broken.push(format!("{key} was tried {n} times, undisturbed {most}"));
        }
    }
    broken
}

/// What is refused again and again is tried again after ever longer pauses.
fn hot(case: &Case<'_>) -> Vec<String> {
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for call in case.life.calls.iter().filter(|c| matches!(c.fault, Some(Fault::Persists(_)))) {
        *refused.entry(&call.key).or_default() += 1;
    }
    // Several questions of one visit may have one name.
    let most = |key: &str| TRIES_WHILE_REFUSED * case.usual.course.calls.get(key).map_or(1, Vec::len);
    let hot = refused.into_iter().filter(|(key, n)| *n > most(key));
    hot.map(|(key, n)| format!("{key} was tried {n} times in {} s in which it was refused", PERSISTS.as_secs()))
        .collect()
}

fn impatient(case: &Case<'_>) -> Vec<String> {
    let calls = &case.life.calls;
    // What was asked side by side was on its way before the answer came.
    let pause = 0.3..RETRY_AFTER.as_secs_f64() - 0.05;
    let throttled = calls.iter().filter(|c| c.fault == Some(Fault::Answer(429)));
    let too_soon = throttled.filter(|asked| {
        let wait = |at: Timestamp| at.duration_since(asked.at).as_secs_f64();
        calls.iter().any(|c| c.key == asked.key && pause.contains(&wait(c.at)))
    });
    too_soon.map(|c| format!("{} was called again before the Retry-After of a 429 was over", c.key)).collect()
}

/// One Idempotency-Key stands for one effect: each is applied once, and none comes with another request.
fn repeated_elsewhere(case: &Case<'_>) -> Vec<String> {
    let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &case.life.effects {
        *effects.entry(&call.what).or_default() += 1;
    }
    let twice = effects.into_iter().filter(|(_, n)| *n > 1);
    let mut broken: Vec<String> =
        twice.map(|(what, n)| format!("{what} took effect {n} times, under {n} Idempotency-Keys")).collect();
    let unkeyed = case.life.effects.iter().filter(|call| call.key.is_empty());
    broken.extend(unkeyed.map(|call| format!("{} has no Idempotency-Key", call.what)));
    broken
}

/// I12: a deletion that failed is made again until it is done.
pub fn i12_a_failed_end_is_repeated(case: &Case<'_>) -> Vec<String> {
    let calls = &case.life.calls;
    let failed = calls.iter().enumerate().filter(|(_, c)| {
        (c.key.starts_with("delete ") || c.key.starts_with("DELETE ")) && (c.code == 0 || c.code >= 429)
    });
    let given_up = failed.filter(|(n, failed)| {
        let later = calls.iter().skip(n + 1);
        // The garbage collector may have done it meanwhile: then it is not left, which I4 says.
        !later.clone().any(|c| c.key == failed.key) && !case.life.left.is_empty()
    });
    given_up.map(|(_, c)| format!("{} failed and was not made again", c.key)).collect()
}

/// I15: the first removal comes within seconds of the end, however much is being issued, and whatever went wrong before, if nothing
/// held up the end itself.
pub fn i15_ending_does_not_wait(case: &Case<'_>) -> Vec<String> {
    let late = |at: Timestamp| at.duration_since(case.life.ended).as_secs_f64();
    let held_up = |call: &Made| call.fault.is_some() && late(call.at) > -CALL_TIMEOUT.as_secs_f64();
    let disturbed = case.life.outages > 0 || case.plan.weather != Weather::Fair || case.life.calls.iter().any(held_up);
    if disturbed || !case.life.was_active {
        return vec![];
    }
    let first = case.life.calls.iter().find(|c| c.key.starts_with("delete rolebindings") && late(c.at) > -1.0);
    let waited = first.map(|c| late(c.at)).filter(|late| *late > ENDS_WITHIN_SECONDS);
    waited.map(|late| format!("its first binding was removed {late:.1} s after the end")).into_iter().collect()
}

/// Generous: what is shown here is that nothing blocks it. How quick it is, is measured elsewhere, on a quiet machine.
const ENDS_WITHIN_SECONDS: f64 = 5.0;
/// Pauses begin between a quarter and half a second and double: the first try and six more, and one for what wakes the lease.
const TRIES_WHILE_REFUSED: usize = 8;
