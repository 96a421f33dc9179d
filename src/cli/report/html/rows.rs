//! The tables with one row a lease, and one row a decision.

use maud::{Markup, html};

use super::{
    parts::{self, badge, identity, key, lag, moment, text},
    timeline,
};
use crate::cli::report::model::{Decision, Lease, Origin, Report, Trail};

/// The most rows of the table of leases: a browser has to stay quick, and a reader too.
const LEASES: usize = 1000;
/// The most rows of the table of decisions.
const DECISIONS: usize = 500;

/// Every lease, or the most telling ones.
pub fn leases(report: &Report) -> Markup {
    let mut shown: Vec<&Lease> = report.leases.iter().collect();
    if shown.len() > LEASES {
        // What somebody should look at must not be what is left out. The sort is stable: the newest stay first.
        shown.sort_by_key(|lease| (!matches!(lease.trail, Trail::Differs(_)), lease.state as usize));
        shown.truncate(LEASES);
        shown.sort_by_key(|lease| std::cmp::Reverse(lease.created));
    }
    let head = ["State", "Lease", "Requester", "Asked for", "Issued", "Ended", "Removed after", "Proof", "History"];
    let rows = html! { @for lease in &shown { (row(lease)) } };
    let content = html! {
        @if shown.is_empty() { p.empty { "No lease in this window." } }
        @else { (parts::table("Leases, the newest first; times are UTC", &head, &rows)) }
        (parts::left_out(report.leases.len() - shown.len(), "leases, older and without anything to look at,"))
    };
    let about = "Who asked, why, what it became, and what proves its end. Removed after: from the end until account and bindings were gone. History: recomputed by whoever made this page.";
    parts::section("leases", "Leases", about, &content)
}

fn row(lease: &Lease) -> Markup {
    html! {
        tr id=(timeline::id(lease)) data-state=(key(lease.state)) data-life=(parts::life(&lease.namespace, &lease.lifecycle)) {
            td { (badge(lease.state)) }
            th scope="row" {
                span.name { (text(&lease.name)) }
                span.sub { (text(&lease.namespace)) " · " (text(&lease.lifecycle)) }
                p.why { (text(&lease.reason)) @if let Some(ticket) = &lease.ticket { " " span.ticket { (text(ticket)) } } }
                (more(lease))
            }
            td.id { (identity(&lease.requester)) }
            td.time { (moment(Some(lease.created))) }
            td.time { (moment(lease.issued)) }
            td.time { (moment(lease.ended)) @if let Some(reason) = lease.end_reason { span.sub title=(reason.meaning()) { (reason) } } }
            td.number { (lag(lease.removal_lag)) }
            td {
                @match lease.evidence {
                    Some(evidence) => { span title=(evidence.meaning()) { (evidence) } span.sub { "after " (lag(lease.proof_lag)) } },
                    None => span.none { "–" },
                }
            }
            td { (parts::trail(&lease.trail)) @if lease.origin == Origin::Stream { span.sub { "audit stream only" } } }
        }
    }
}

/// What else is known, folded away.
fn more(lease: &Lease) -> Markup {
    html! {
        details {
            summary { "more" }
            dl {
                @if !lease.end_message.is_empty() { dt { "In its words" } dd { (text(&lease.end_message)) } }
                @if !lease.grants.is_empty() { dt { "Grants" } dd { (text(&lease.grants.join(", "))) } }
                @if let Some(delivery) = lease.delivery { dt { "Delivery" } dd { (delivery) } }
                @if let Some(approvals) = &lease.approvals { dt { "Approvals" } dd { (text(approvals)) } }
                @if lease.unanswered { dt { "Answer" } dd { "still owed" } }
                @if let Some(standing) = &lease.standing { dt { "Standing" } dd { (text(standing)) } }
                @if let Some(at) = lease.expires { dt { "Time is up" } dd { (moment(Some(at))) } }
                @if let Some(at) = lease.offline_until { dt { "Offline until" } dd { (moment(Some(at))) } }
                @for concern in &lease.concerns { dt { "Concern" } dd { (text(concern)) } }
                @for problem in lease.trail.problems() { dt { "History" } dd { (text(problem)) } }
                dt { "UID" } dd.id { (text(&lease.uid)) }
            }
        }
    }
}

/// Every decision.
pub fn decisions(report: &Report) -> Markup {
    let shown = report.decisions.iter().take(DECISIONS);
    let rows = html! { @for decision in shown { (word(decision)) } };
    let head = ["When", "Who", "Decided", "Lease", "Requester", "Why"];
    let content = html! {
        @if report.decisions.is_empty() { p.empty { "Nobody decided anything in this window." } }
        @else { (parts::table("Decisions, the newest first; times are UTC", &head, &rows)) }
        (parts::left_out(report.decisions.len().saturating_sub(DECISIONS), "decisions"))
    };
    let about = "Who approved, denied or revoked, and why. Admission policy proves who decides, and that nobody approves or denies his own request.";
    parts::section("decisions", "Decisions", about, &content)
}

fn word(decision: &Decision) -> Markup {
    let kind = decision.decision.as_str();
    html! {
        tr data-decision data-life=(parts::life(&decision.namespace, &decision.lifecycle)) {
            td.time { (moment(Some(decision.time))) }
            th.id scope="row" { (identity(&decision.by)) @if decision.recorded { span.sub { "could act as the requester" } } }
            td {
                span class={ "word " (kind.to_lowercase()) } { (kind) }
                @if let Some(ttl) = &decision.max_ttl { span.sub { "for at most " (ttl) } }
                @if let Some(repeat) = &decision.repeat_for { span.sub { "covers equal requests for " (repeat) } }
                @if !decision.counts { span.sub { "did not count" } }
            }
            td { span.name { (text(&decision.lease)) } span.sub { (text(&decision.namespace)) " · " (text(&decision.lifecycle)) } }
            td.id { (identity(&decision.requester)) }
            td { @match &decision.reason { Some(reason) => (text(reason)), None => span.none { "–" } } }
        }
    }
}
