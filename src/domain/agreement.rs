//! Who agreed: which decisions count, which do not and why, and from when on the lease runs.
//!
//! A decision counts if it names this very lease (or covers it as an equal, later request), agrees to exactly the document that
//! would be issued, was made in time by somebody who may approve now, is not the requester and could not act as the requester.
//! Nothing here is remembered: the verdict is made again from the decisions and the authorizer's answers whenever it matters.

use super::{
    independence,
    observed::{DeciderSeen, DecisionSeen, Observed},
    request, steps,
};
use crate::api::{
    Duration, Time,
    decision::DecisionType,
    lifecycle::{ApprovalType, Independence},
    status::{CredentialLeaseStatus, DecisionStatus},
};

/// Why a decision does not count, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("it names another lifecycle than the lease's")]
    OtherLifecycle,
    #[error("it names another requester than the lease's")]
    OtherRequester,
    #[error("what it agreed to is not what would be issued now: {0}")]
    Void(String),
    #[error("nobody agrees to his own request")]
    OwnRequest,
    #[error("it came after the time for an answer")]
    TooLate,
    #[error(
        "who decided may not approve this lifecycle (any more), or only by a group of the system, which does not count"
    )]
    MayNotApprove,
    #[error("who decided could act as the requester, or is a service account (approval.independence is Required)")]
    NotIndependent,
    #[error("the same person has decided before")]
    SamePerson,
    #[error("it was created while the admission policies were not in force")]
    Unproven,
}

/// An approval that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<'a> {
    pub decision: &'a DecisionSeen,
    /// It was made for an earlier, equal request.
    pub repeats: bool,
}

/// Where the agreement of a lease stands.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    pub kind: ApprovalType,
    pub required: usize,
    /// Approvals that count, in the order of their creation, one a person.
    pub counted: Vec<Counted<'a>>,
    /// Decisions that would count if the authorizer says so; it has not been asked in this visit.
    pub unasked: Vec<&'a DecisionSeen>,
    pub ignored: Vec<(&'a DecisionSeen, Why)>,
    /// Until when an answer counts.
    pub until: Time,
    pub contact: Option<String>,
}

/// From when on a lease runs, and how long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub start: Time,
    pub max_ttl: Option<Duration>,
}

impl Standing<'_> {
    /// Whether enough people have agreed.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.counted.len() >= self.required
    }

    /// Approvals that have counted before, as the status tells, and that are not asked about again while too few have agreed.
    #[must_use]
    pub fn known(&self, status: &CredentialLeaseStatus) -> Vec<&DecisionSeen> {
        let recorded = |d: &&&DecisionSeen| status.decisions.iter().any(|known| known.uid == d.uid);
        self.unasked.iter().filter(recorded).copied().collect()
    }

    /// How many have agreed, as far as is known: now, or when they were last asked about.
    #[must_use]
    pub fn have(&self, status: &CredentialLeaseStatus) -> usize {
        self.counted.len() + self.known(status).len()
    }

    /// The longest life that all who have agreed agree to, where one of them names one.
    #[must_use]
    pub fn max_ttl(&self) -> Option<Duration> {
        self.counted.iter().filter_map(|c| c.decision.spec.max_ttl).min()
    }

    /// Whether enough could have agreed, if the authorizer says so of those who were not asked about.
    #[must_use]
    pub fn may_be_agreed(&self) -> bool {
        self.counted.len() + self.unasked.len() >= self.required
    }
}

/// A decision that ends or refuses the lease, whatever else was decided: `Revoked`, or `Denied` by one who may approve. What
/// only takes away is believed as admission let it pass: ending waits for no question.
#[must_use]
pub fn against(seen: &Observed) -> Option<&DecisionSeen> {
    let mut all: Vec<&DecisionSeen> = own(seen)
        .filter(|d| d.spec.decision != DecisionType::Approved && mismatch(seen, d).is_none())
        .filter(|d| d.spec.decision == DecisionType::Revoked || d.spec.decided_by.username != d.spec.requester)
        .collect();
    all.sort_by_key(|d| (d.created, d.uid.as_str()));
    all.first().copied()
}

/// Decisions that name this very lease.
fn own(seen: &Observed) -> impl Iterator<Item = &DecisionSeen> {
    seen.decisions.iter().filter(|d| seen.lease.uid == *d.spec.lease_ref.uid)
}

/// Policy checked the decider's right on what the decision names: that has to be what the lease names.
fn mismatch(seen: &Observed, decision: &DecisionSeen) -> Option<Why> {
    let spec = seen.lease.spec.as_ref()?;
    if decision.spec.lifecycle_ref.name != spec.lifecycle_ref.name {
        Some(Why::OtherLifecycle)
    } else if decision.spec.requester != spec.requested_by.username {
        Some(Why::OtherRequester)
    } else {
        None
    }
}

/// Where the agreement stands; `None` where there is no spec or no lifecycle to tell the terms.
#[must_use]
pub fn standing(seen: &Observed) -> Option<Standing<'_>> {
    let terms = seen.terms()?.approval;
    // A lease that was issued before anybody agreed owes the answer that was asked for then, whatever the terms say by now.
    let owes = seen.lease.status.approvals.as_ref().filter(|a| seen.issued() && a.have < a.required);
    let kind = if owes.is_some() { ApprovalType::Retrospective } else { terms.kind.value };
    let until = owes.and_then(|a| a.until).unwrap_or_else(|| seen.lease.created.plus(terms.timeout));
    let count = owes.map_or(terms.count, |a| a.required);
    let mut standing = Standing {
        kind,
        required: if kind == ApprovalType::NotRequired { 0 } else { usize::try_from(count).unwrap_or(1) },
        counted: vec![],
        unasked: vec![],
        ignored: vec![],
        until,
        contact: terms.contact,
    };
    if kind == ApprovalType::NotRequired {
        return Some(standing);
    }
    let resolved = request::current(seen)?;
    let mut approvals: Vec<(&DecisionSeen, bool)> = seen
        .decisions
        .iter()
        .filter(|d| d.spec.decision == DecisionType::Approved)
        .filter_map(|d| {
            let repeats = seen.lease.uid != *d.spec.lease_ref.uid;
            (!repeats || covers(seen, d, terms.max_repeat, &resolved.digest)).then_some((d, repeats))
        })
        .collect();
    approvals.sort_by_key(|(d, _)| (d.created, d.uid.as_str()));
    for (decision, repeats) in approvals {
        let why = mismatch(seen, decision)
            .or_else(|| faulty(seen, decision, &resolved, if repeats { None } else { Some(until) }))
            .or_else(|| standing.has_word_of(decision).then_some(Why::SamePerson))
            .or_else(|| dependent(decision, terms.independence));
        match (why, word_on(seen, decision)) {
            (Some(why), _) => standing.ignored.push((decision, why)),
            (None, None) => standing.unasked.push(decision),
            (None, Some(decider)) if !decider.may => standing.ignored.push((decision, Why::MayNotApprove)),
            (None, Some(decider)) if terms.independence == Independence::Required && decider.acts_as_requester => {
                standing.ignored.push((decision, Why::NotIndependent));
            }
            (None, Some(_)) => standing.counted.push(Counted { decision, repeats }),
        }
    }
    Some(standing)
}

/// What the decision itself says about its independence: nobody has to be asked about that.
fn dependent(decision: &DecisionSeen, independence: Independence) -> Option<Why> {
    let says = decision.spec.independence == Some(Independence::Recorded)
        || independence::is_account(&decision.spec.decided_by.username);
    (independence == Independence::Required && says).then_some(Why::NotIndependent)
}

/// What the authorizer has said about whoever decided: each person is asked about once, however often he decides. It is asked about
/// approvals only.
fn word_on<'a>(seen: &'a Observed, decision: &DecisionSeen) -> Option<&'a DeciderSeen> {
    let who = |d: &DecisionSeen| {
        let by = &d.spec.decided_by;
        (
            by.username.clone(),
            by.uid.clone(),
            by.groups.clone(),
            d.spec.requester.clone(),
            d.spec.lifecycle_ref.name.clone(),
        )
    };
    seen.learned.deciders.get(&decision.uid).or_else(|| {
        let mut same = seen.decisions.iter().filter(|d| who(d) == who(decision));
        same.find_map(|d| seen.learned.deciders.get(&d.uid))
    })
}

impl Standing<'_> {
    fn has_word_of(&self, decision: &DecisionSeen) -> bool {
        let by = &decision.spec.decided_by.username;
        self.counted
            .iter()
            .map(|c| c.decision)
            .chain(self.unasked.iter().copied())
            .any(|d| d.spec.decided_by.username == *by)
    }
}

/// Whether an approval of an earlier request covers this one: an equal request of the same requester, soon enough after it.
fn covers(seen: &Observed, decision: &DecisionSeen, max_repeat: Option<Duration>, digest: &str) -> bool {
    let (Some(repeat), Some(max)) = (decision.spec.repeat_for, max_repeat) else { return false };
    let until = decision.created.plus(repeat.min(max));
    decision.created <= seen.lease.created
        && seen.lease.created <= until
        && decision.spec.request_digest.as_deref() == Some(digest)
}

fn faulty(seen: &Observed, decision: &DecisionSeen, resolved: &request::Resolved, until: Option<Time>) -> Option<Why> {
    if decision.spec.request_digest.as_deref() != Some(resolved.digest.as_str()) {
        let changes = if resolved.changes.is_empty() {
            "its requestDigest is not the lease's status.requestDigest".to_owned()
        } else {
            resolved.changes.join("; ")
        };
        return Some(Why::Void(changes));
    }
    let by = &decision.spec.decided_by;
    let requester = seen.lease.spec.as_ref().map(|s| &s.requested_by);
    let same_uid = |r: &crate::api::lease::Identity| r.uid.is_some() && r.uid == by.uid;
    if requester.is_some_and(|r| r.username == by.username || same_uid(r)) {
        return Some(Why::OwnRequest);
    }
    if until.is_some_and(|until| decision.created > until) {
        return Some(Why::TooLate);
    }
    // What has counted before was looked at while the policies were in force.
    let judged = seen.lease.status.decisions.iter().any(|d| d.uid == decision.uid);
    (!judged && seen.unproven_until.is_some_and(|at| decision.created <= at)).then_some(Why::Unproven)
}

/// The answer to a lease that has ended, and was issued before anybody agreed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Late<'a> {
    /// No answer is due, or the status tells of it.
    NotDue,
    /// Nobody has decided yet.
    Missing,
    /// Somebody approved; whether he may has to be asked.
    Ask(&'a DecisionSeen),
    /// Somebody who may has decided.
    Given(&'a DecisionSeen),
}

/// Until when an answer to a lease was due that was issued before anybody agreed, and that nobody has answered for yet. One word
/// of somebody else is enough, whatever it is: it says that somebody has looked.
#[must_use]
pub fn owed(status: &CredentialLeaseStatus, requester: &str) -> Option<Time> {
    let approvals = status.approvals.as_ref().filter(|a| a.have < a.required && status.issue_time.is_some())?;
    let against = |d: &DecisionStatus| d.by != requester && d.decision != DecisionType::Approved;
    // One that came late is told of, and is none of those that have counted.
    let approved = status.decisions.iter().filter(|d| d.decision == DecisionType::Approved).count();
    let late = i32::try_from(approved).is_ok_and(|n| n > approvals.have);
    if late || status.decisions.iter().any(against) { None } else { approvals.until }
}

/// Where the answer to a lease stands that has ended without one.
#[must_use]
pub fn late_answer(seen: &Observed) -> Late<'_> {
    let (status, requester) = (&seen.lease.status, seen.lease.spec.as_ref().map(|s| s.requested_by.username.as_str()));
    if status.end_time.is_none() || owed(status, requester.unwrap_or_default()).is_none() {
        return Late::NotDue;
    }
    let told = |d: &&DecisionSeen| !status.decisions.iter().any(|known| known.uid == d.uid);
    let of_others = |d: &&DecisionSeen| mismatch(seen, d).is_none() && d.spec.decided_by.username != d.spec.requester;
    let mut asked = Late::Missing;
    for decision in own(seen).filter(of_others).filter(told) {
        match decision.spec.decision {
            DecisionType::Denied | DecisionType::Revoked => return Late::Given(decision),
            DecisionType::Approved if decision.spec.request_digest == status.request_digest => {
                match seen.learned.deciders.get(&decision.uid) {
                    Some(decider) if decider.may => return Late::Given(decision),
                    Some(_) => {}
                    None => asked = Late::Ask(decision),
                }
            }
            DecisionType::Approved => {}
        }
    }
    asked
}

/// From when on the lease runs; `None` while not enough people have agreed, or a gate has not passed. All of these are times that the API server has
/// stored, so the answer is the same after any crash.
#[must_use]
pub fn agreed(seen: &Observed) -> Option<Agreed> {
    let (earliest, standing) = (seen.earliest_start().max(steps::gates_passed(seen)?), standing(seen)?);
    if standing.kind == ApprovalType::NotRequired {
        return Some(Agreed { start: earliest, max_ttl: None });
    }
    let max_ttl = standing.max_ttl();
    if standing.kind == ApprovalType::Retrospective {
        return Some(Agreed { start: earliest, max_ttl });
    }
    // The deciding one is the last of those that were needed.
    let deciding = standing.counted.get(standing.required.checked_sub(1)?)?.decision.created;
    Some(Agreed { start: earliest.max(deciding), max_ttl })
}
