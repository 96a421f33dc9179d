//! The answers at a glance: counts, what wants attention, refusals by rule.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Lease, Lifecycle, Policy, Source, Standing,
    lease::{Origin, State, Trail},
    lifecycle::Urgency,
};
use crate::{
    api::{
        ConditionStatus, CredentialLeasePolicy, condition, lifecycle::StopPolicy, reasons::ConditionType,
        standing::StandingPhase,
    },
    cli::{
        report::rule::{Rule, rules},
        view::text::count,
    },
};

/// How many leases of a refusal are named.
const NAMED: usize = 5;

/// How many leases there are, by where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub leases: usize,
    /// Those for which a credential was made.
    pub issued: usize,
    pub live: usize,
    pub waiting: usize,
    pub ending: usize,
    pub proven: usize,
    pub unproven: usize,
    pub overdue: usize,
    pub refused: usize,
    pub not_issued: usize,
    /// Issued before anybody agreed, and still without an answer.
    pub unanswered: usize,
    pub trails_verified: usize,
    pub trails_incomplete: usize,
    pub trails_differing: usize,
    /// Known from the audit stream only.
    pub deleted: usize,
    pub requesters: usize,
}

impl Summary {
    pub(super) fn of(leases: &[Lease]) -> Self {
        let number = |is: &dyn Fn(&Lease) -> bool| leases.iter().filter(|lease| is(lease)).count();
        let state = |state: State| number(&|lease| lease.state == state);
        let mut requesters: Vec<&str> = leases.iter().map(|l| l.requester.as_str()).collect();
        requesters.sort_unstable();
        requesters.dedup();
        Self {
            leases: leases.len(),
            issued: number(&|l| l.issued.is_some()),
            live: state(State::Live),
            waiting: state(State::Waiting),
            ending: state(State::Ending),
            proven: state(State::Proven),
            unproven: state(State::Unproven),
            overdue: state(State::Overdue),
            refused: state(State::Refused),
            not_issued: state(State::NotIssued),
            unanswered: number(&|l| l.unanswered),
            trails_verified: number(&|l| l.trail == Trail::Verified),
            trails_incomplete: number(&|l| matches!(l.trail, Trail::Incomplete(_))),
            trails_differing: number(&|l| matches!(l.trail, Trail::Differs(_))),
            deleted: number(&|l| l.origin == Origin::Stream),
            requesters: requesters.len(),
        }
    }

    /// The whole report in a sentence or two.
    #[must_use]
    pub fn verdict(&self) -> String {
        let ended = self.proven + self.unproven;
        let mut wrong = vec![];
        if self.overdue > 0 {
            wrong.push(format!("{} overdue", self.overdue));
        }
        if self.unproven > 0 {
            wrong.push(format!("{} ended without proof", self.unproven));
        }
        if self.trails_differing > 0 {
            let verb = if self.trails_differing == 1 { "does" } else { "do" };
            wrong.push(format!("{} whose history {verb} not verify", self.trails_differing));
        }
        match (wrong.is_empty(), self.leases, ended) {
            (false, _, _) => format!("Of {}: {}.", count(self.leases, "lease"), wrong.join(", ")),
            (true, 0, _) => "No lease in this window.".into(),
            (true, _, 0) => format!("{}. Nothing is overdue.", count(self.leases, "lease")),
            (true, _, 1) => format!(
                "{}. Nothing is overdue, and the one credential that ended is proven dead.",
                count(self.leases, "lease")
            ),
            (true, _, _) => format!(
                "{}. Nothing is overdue, and every one of the {ended} credentials that ended is proven dead.",
                count(self.leases, "lease")
            ),
        }
    }

    /// Whether something is as it must not be.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.overdue + self.unproven + self.trails_differing > 0
    }
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    pub urgency: Urgency,
    /// What it is about, such as `lease payments/rollout`.
    pub about: String,
    pub what: String,
}

/// What wants attention, the most urgent first.
pub(super) fn attention(
    leases: &[Lease],
    lifecycles: &[Lifecycle],
    standing: &[Standing],
    sources: &[Source],
) -> Vec<Attention> {
    let mut out = vec![];
    let mut say = |urgency, about: String, what: String| out.push(Attention { urgency, about, what });
    for lease in leases {
        let about = || format!("lease {}", lease.title());
        match lease.state {
            State::Overdue => {
                let told = lease.concerns.first().map(|c| format!(" ({c})")).unwrap_or_default();
                say(Urgency::Act, about(), format!("{}{told}", State::Overdue.meaning()));
            }
            State::Unproven if lease.origin == Origin::Stream => say(
                Urgency::Act,
                about(),
                "it was issued, the cluster no longer has it, and the audit stream tells of no proof: has it all been read?"
                    .into(),
            ),
            State::Unproven => say(Urgency::Act, about(), State::Unproven.meaning().into()),
            _ => {}
        }
        if let Trail::Differs(problems) = &lease.trail {
            say(Urgency::Act, about(), format!("its history does not verify: {}", problems.join("; ")));
        }
        if lease.unanswered {
            say(Urgency::Act, about(), "it was issued before anybody agreed, and still owes an answer".into());
        }
    }
    for one in standing.iter().filter(|s| !s.held && s.phase != StandingPhase::Withdrawn) {
        let why = if one.message.is_empty() { String::new() } else { format!(": {}", one.message) };
        let about = format!("standing credential {}/{} {}", one.namespace, one.lifecycle, one.name);
        say(Urgency::Act, about, format!("no good token is in its Secret{why}"));
    }
    for lifecycle in lifecycles {
        for finding in lifecycle.findings.iter().filter(|f| f.urgency == Urgency::Act) {
            let about = format!("lifecycle {}/{}", lifecycle.namespace, lifecycle.name);
            say(Urgency::Act, about, finding.what.clone());
        }
    }
    for source in sources.iter().filter(|s| s.read.is_none()) {
        let what = "you may not read them: this report says nothing of them".to_owned();
        say(Urgency::Know, source.what.clone(), what);
    }
    out.sort_by_key(|attention| attention.urgency);
    out
}

/// How often one rule refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusals {
    pub rule: Rule,
    pub meaning: &'static str,
    pub count: usize,
    /// Some of the leases, the newest first: `<namespace>/<name>`.
    pub leases: Vec<String>,
    /// What the newest of them was told.
    pub example: String,
}

/// Refusals by rule, the most frequent first. A lease that met several rules counts for each.
pub(super) fn refusals(leases: &[Lease]) -> Vec<Refusals> {
    let mut by_rule: BTreeMap<Rule, Vec<&Lease>> = BTreeMap::new();
    for lease in leases.iter().filter(|l| l.state == State::Refused) {
        for rule in lease.end_reason.map(|reason| rules(reason, &lease.end_message)).unwrap_or_default() {
            by_rule.entry(rule).or_default().push(lease);
        }
    }
    let mut all: Vec<Refusals> = by_rule
        .into_iter()
        .map(|(rule, leases)| Refusals {
            rule,
            meaning: rule.meaning(),
            count: leases.len(),
            leases: leases.iter().take(NAMED).map(|l| l.title()).collect(),
            example: leases.first().map(|l| l.end_message.clone()).unwrap_or_default(),
        })
        .collect();
    all.sort_by_key(|refusals| std::cmp::Reverse(refusals.count));
    all
}

/// A guardrail as the report has it.
pub(super) fn policy(object: &CredentialLeasePolicy) -> Policy {
    let status = object.status.clone().unwrap_or_default();
    let ready = condition::find(&status.conditions, ConditionType::Ready.as_str());
    Policy {
        name: object.metadata.name.clone().unwrap_or_default(),
        stop: match object.spec.stop() {
            StopPolicy::None => "None",
            StopPolicy::Hold => "Hold",
            StopPolicy::HoldAndRevoke => "HoldAndRevoke",
        },
        lifecycles: status.lifecycles,
        violating: status.violating,
        ready: ready.is_some_and(|c| c.status == ConditionStatus::True),
    }
}
