//! One lease of a report, whether the cluster still has it or only the audit stream does.

use serde::Serialize;

use super::Millis;
use crate::{
    api::{
        CredentialLease, Time,
        names::LeaseUid,
        reasons::{ConditionType, EndReason, Evidence, Happening, Phase},
        status::Record,
    },
    cli::{
        report::{gather::Gathered, window::Window},
        view::{
            lease as view, proof,
            stream::{Problem, Told},
            timeline,
        },
    },
};

/// How long after an end was due, or has come, its proof may take before the report says so, in milliseconds. Accounts are
/// remembered for 10 s; the rest is for slow API servers and for clocks that differ.
const OVERDUE_MILLIS: i64 = 120_000;

/// One lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub lifecycle: String,
    pub requester: String,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    pub state: State,
    /// Absent: it is known from the audit stream only, which has no phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// When it was asked for.
    pub created: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Time>,
    /// When its time is up, or would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// Why it ended, was refused or failed, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub end_message: String,
    /// When account and bindings were gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Time>,
    /// From the end until account and bindings were gone.
    #[serde(rename = "removalLagSeconds", skip_serializing_if = "Option::is_none")]
    pub removal_lag: Option<Millis>,
    /// When the credential's death was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<Time>,
    /// From the end until the proof.
    #[serde(rename = "proofLagSeconds", skip_serializing_if = "Option::is_none")]
    pub proof_lag: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Until when verifiers that never ask the API server may accept a token of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_until: Option<Time>,
    /// `grant in namespace`.
    pub grants: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<String>,
    /// The standing credential it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// Whether it was issued before anybody agreed, and still owes an answer.
    pub unanswered: bool,
    pub trail: Trail,
    pub origin: Origin,
    /// Conditions that say something is not as it should be.
    pub concerns: Vec<String>,
}

/// Where a lease stands: what a reader asks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// Its end is due, or has come, and is neither done nor proven in time.
    Overdue,
    /// It ended, a credential had been made, and nothing proves that it is dead.
    Unproven,
    /// Its credential can be used now.
    Live,
    /// It is asked for and not issued yet.
    Waiting,
    /// Its end has come; the proof is due within minutes.
    Ending,
    /// It ended, and its credential is proven dead.
    Proven,
    /// It was refused: nothing was issued.
    Refused,
    /// It ended before anything was issued.
    NotIssued,
}

impl State {
    /// In the order in which a report tells of them.
    pub const ALL: [Self; 8] = [
        Self::Overdue,
        Self::Unproven,
        Self::Live,
        Self::Waiting,
        Self::Ending,
        Self::Proven,
        Self::Refused,
        Self::NotIssued,
    ];

    /// As people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Overdue => "Overdue",
            Self::Unproven => "Not proven",
            Self::Live => "Live",
            Self::Waiting => "Waiting",
            Self::Ending => "Ending",
            Self::Proven => "Proven dead",
            Self::Refused => "Refused",
            Self::NotIssued => "Never issued",
        }
    }

    /// What it means, for the legend.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Overdue => "its end is due or has come, and is not done or not proven two minutes later",
            Self::Unproven => "it ended, and nothing proves that its credential is dead",
            Self::Live => "its credential can be used now",
            Self::Waiting => "asked for, not issued yet",
            Self::Ending => "its end has come, the proof is due",
            Self::Proven => "ended, with proof that its credential is dead",
            Self::Refused => "refused; nothing was issued",
            Self::NotIssued => "ended before anything was issued",
        }
    }
}

/// Whether what the lease says of itself chains, computed again by this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "problems")]
pub enum Trail {
    /// The history chains, the request has its digest; with a stream, both say the same.
    Verified,
    /// The stream that was given does not have all of it; nothing differs.
    Incomplete(Vec<String>),
    /// Something differs.
    Differs(Vec<String>),
    /// There is nothing to verify yet.
    None,
}

/// Where a lease is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    Cluster,
    /// The cluster no longer has it.
    Stream,
    Both,
}

impl Lease {
    /// `<namespace>/<name>`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// When it was over; of one that was refused, when that was said.
    #[must_use]
    pub fn over(&self) -> Option<Time> {
        match self.state {
            State::Live | State::Waiting => None,
            _ => self.proven.max(self.removed).max(self.ended),
        }
    }
}

/// What the state of a lease follows from.
struct Standing {
    phase: Phase,
    /// Whether an account was made.
    made: bool,
    evidence: Option<Evidence>,
    expires: Option<Time>,
    ended: Option<Time>,
    offline_until: Option<Time>,
}

impl Standing {
    /// Total: every lease stands somewhere.
    fn state(&self, now: Time) -> State {
        let late = |due: Time| now.since(due) > OVERDUE_MILLIS;
        match self.phase {
            Phase::Pending | Phase::AwaitingApproval | Phase::Scheduled | Phase::Issuing => State::Waiting,
            Phase::Active if self.expires.is_some_and(late) => State::Overdue,
            Phase::Active => State::Live,
            // What nobody can take back is not late before the tokens expire by themselves.
            Phase::Ending if self.offline_until.max(self.ended).is_some_and(late) => State::Overdue,
            Phase::Ending => State::Ending,
            _ if self.evidence.is_some() => State::Proven,
            _ if self.made => State::Unproven,
            Phase::Denied => State::Refused,
            _ => State::NotIssued,
        }
    }
}

/// The leases whose life touches the window, the newest first.
pub(super) fn all(gathered: &Gathered, window: &Window, now: Time) -> Vec<Lease> {
    let of_cluster = gathered.leases.iter().map(|lease| {
        let uid = lease.metadata.uid.as_deref().unwrap_or_default();
        known(lease, gathered.stream.0.get(uid), now)
    });
    let gone = gathered.gone().filter_map(|(uid, told)| deleted(uid, told, now));
    let mut leases: Vec<Lease> = of_cluster.chain(gone).filter(|l| window.touches(l.created, l.over())).collect();
    leases.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.title().cmp(&b.title())));
    leases
}

/// A lease that the cluster has.
fn known(lease: &CredentialLease, told: Option<&Told>, now: Time) -> Lease {
    let status = lease.status.clone().unwrap_or_default();
    let credential = status.credential.clone().unwrap_or_default();
    let phase = view::phase(lease);
    let standing = Standing {
        phase,
        made: status.issue_time.is_some() || credential.service_account.is_some(),
        evidence: credential.evidence,
        expires: status.expiration_time,
        ended: status.end_time,
        offline_until: credential.offline_expiration_time,
    };
    let lag = |at: Option<Time>| at.zip(status.end_time).map(|(at, end)| Millis(at.since(end)));
    Lease {
        namespace: view::namespace(lease).to_owned(),
        name: view::name(lease).to_owned(),
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        lifecycle: lease.spec.lifecycle_ref.name.clone(),
        requester: lease.spec.requested_by.username.clone(),
        reason: lease.spec.reason.clone(),
        ticket: lease.spec.ticket.clone(),
        state: standing.state(now),
        phase: Some(phase),
        created: view::created(lease).unwrap_or(now),
        issued: status.issue_time,
        expires: view::expires(lease),
        ended: status.end_time,
        end_reason: status.end_reason,
        end_message: end_message(&status.conditions, status.history.iter().flat_map(|h| &h.records)),
        removed: credential.revocation_time,
        removal_lag: lag(credential.revocation_time),
        proven: credential.verified_time,
        proof_lag: lag(credential.verified_time),
        evidence: credential.evidence,
        offline_until: credential.offline_expiration_time,
        grants: match &status.request {
            Some(request) => request.grants.iter().map(|g| format!("{} in {}", g.name, g.namespace)).collect(),
            None => lease.spec.grants.clone(),
        },
        delivery: Some(lease.spec.delivery.kind.as_str()),
        approvals: status.approvals.map(|a| a.summary),
        standing: lease.spec.standing_ref.as_ref().map(|s| s.name.clone()),
        unanswered: view::is_unanswered(lease),
        trail: trail(lease, told),
        origin: if told.is_some() { Origin::Both } else { Origin::Cluster },
        concerns: timeline::concerns(lease)
            .into_iter()
            // What stalled it is its end's message.
            .filter(|c| c.kind != ConditionType::Stalled.as_str())
            .map(|c| format!("{} {:?}, {}: {}", c.kind, c.status, c.reason, c.message))
            .collect(),
    }
}

fn trail(lease: &CredentialLease, told: Option<&Told>) -> Trail {
    let Some(history) = lease.status.as_ref().and_then(|s| s.history.as_ref()) else { return Trail::None };
    let own = proof::of(lease).into_iter().filter_map(|p| Some(format!("{}: {}", p.what, p.found.err()?)));
    let uid = lease.metadata.uid.as_deref().and_then(LeaseUid::parse);
    let beside = told.zip(uid).map(|(told, uid)| told.against(&uid, history)).unwrap_or_default();
    Trail::of(own.map(Problem::Differs).chain(beside).collect())
}

impl Trail {
    fn of(problems: Vec<Problem>) -> Self {
        let differs = problems.iter().any(|problem| matches!(problem, Problem::Differs(_)));
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        match (told.is_empty(), differs) {
            (true, _) => Self::Verified,
            (_, true) => Self::Differs(told),
            (_, false) => Self::Incomplete(told),
        }
    }

    /// What is wrong, or missing.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        match self {
            Self::Incomplete(problems) | Self::Differs(problems) => problems,
            Self::Verified | Self::None => &[],
        }
    }
}

/// The whole refusal is in the condition; a record may be cut.
fn end_message<'a>(
    conditions: &[crate::api::Condition],
    records: impl DoubleEndedIterator<Item = &'a Record> + Clone,
) -> String {
    let stalled = crate::api::condition::find(conditions, ConditionType::Stalled.as_str());
    stalled.map_or_else(|| last_end(records).map(|(_, message)| message).unwrap_or_default(), |c| c.message.clone())
}

/// The reason and the message of the record that tells the end.
fn last_end<'a>(records: impl DoubleEndedIterator<Item = &'a Record> + Clone) -> Option<(Option<EndReason>, String)> {
    let ends = |r: &&Record| {
        matches!(r.event, Happening::Ended | Happening::Denied | Happening::Failed | Happening::Swept)
            && !r.detail.starts_with("after the end: ")
    };
    let record = records.clone().find(ends)?;
    let (word, message) = record.detail.split_once(": ").unwrap_or((&record.detail, ""));
    Some(match EndReason::ALL.iter().find(|reason| reason.as_str() == word) {
        Some(reason) => (Some(*reason), message.to_owned()),
        None => (matches!(record.event, Happening::Denied).then_some(EndReason::Denied), record.detail.clone()),
    })
}

/// A lease that only the stream has, as far as it tells of it.
fn deleted(uid: &str, told: &Told, now: Time) -> Option<Lease> {
    let first = told.records().next()?;
    let of = |event: Happening| told.records().find(|r| r.event == event);
    let requested = of(Happening::Requested);
    let (issued, removed, proven) = (of(Happening::Issued), of(Happening::Removed), of(Happening::Revoked));
    let denied = of(Happening::Denied).filter(|_| issued.is_none());
    let end = of(Happening::Ended).or(of(Happening::Swept)).or(of(Happening::Failed)).or(denied);
    let (end_reason, end_message) = last_end(told.records().collect::<Vec<_>>().into_iter()).unwrap_or_default();
    let evidence = proven.and_then(|r| Evidence::ALL.iter().copied().find(|e| e.as_str() == r.detail));
    let state = match (end, evidence) {
        (_, Some(_)) => State::Proven,
        (_, None) if issued.is_some() || removed.is_some() => State::Unproven,
        (Some(_), None) if denied.is_some() => State::Refused,
        (_, None) => State::NotIssued,
    };
    let lag = |record: Option<&Record>| record.zip(end).map(|(r, end)| Millis(r.time.since(end.time)));
    let detail = requested.map(|r| r.detail.as_str()).unwrap_or_default();
    let reason = detail.strip_prefix(&format!("{}: ", told.about.lifecycle)).unwrap_or(detail);
    let nobodys = || vec![Problem::Differs("its UID is none that an API server gives".into())];
    let problems = LeaseUid::parse(uid).map_or_else(nobodys, |uid| told.problems(&uid));
    Some(Lease {
        namespace: told.about.namespace.clone(),
        name: told.about.name.clone(),
        uid: uid.to_owned(),
        lifecycle: told.about.lifecycle.clone(),
        requester: requested.map(|r| r.actor.clone()).unwrap_or_default(),
        reason: reason.to_owned(),
        ticket: None,
        state,
        phase: None,
        created: first.time,
        issued: issued.map(|r| r.time),
        expires: None,
        ended: end.map(|r| r.time).or_else(|| told.records().next_back().map(|r| r.time)).or(Some(now)),
        end_reason,
        end_message,
        removed: removed.map(|r| r.time),
        removal_lag: lag(removed),
        proven: proven.map(|r| r.time),
        proof_lag: lag(proven),
        evidence,
        offline_until: None,
        grants: vec![],
        delivery: None,
        approvals: None,
        standing: None,
        unanswered: false,
        trail: Trail::of(problems),
        origin: Origin::Stream,
        concerns: vec![],
    })
}
