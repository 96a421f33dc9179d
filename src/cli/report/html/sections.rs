//! The head of the page, the filter, and the sections that are one table each.

use maud::{Markup, html};

use super::parts::{self, moment, text};
use crate::cli::report::model::{Report, State, Urgency};

/// The most lines about what wants attention, and the most lifecycles.
const ATTENTION: usize = 50;
const LIFECYCLES: usize = 300;

/// The verdict, the scope and the numbers.
pub fn head(report: &Report) -> Markup {
    let (made, summary) = (&report.made, &report.summary);
    let numbers = [
        ("live", summary.live, "live now"),
        ("", summary.issued, "issued"),
        ("proven", summary.proven, "proven dead"),
        ("unproven", summary.unproven, "not proven"),
        ("overdue", summary.overdue, "overdue"),
        ("waiting", summary.waiting, "waiting"),
        ("refused", summary.refused, "refused"),
    ];
    html! {
        header {
            p.kicker { "Leasehold · lease report" }
            h1.alarm[summary.alarms()] { (summary.verdict()) }
            p.scope {
                (text(&made.server)) " · "
                @match &made.namespace { Some(namespace) => { "namespace " b { (text(namespace)) } }, None => "all namespaces" }
                @for filter in &made.filter { " · only " (text(filter)) }
                " · " (moment(Some(made.window.since))) " to " (moment(Some(made.window.until))) " UTC"
            }
            dl.numbers {
                @for (key, number, label) in numbers {
                    div class={ (key) @if number == 0 { " zero" } } { dt { (label) } dd { (number) } }
                }
            }
            nav aria-label="Sections" {
                @for (id, title) in [
                    ("timeline", "Timeline"), ("leases", "Leases"), ("decisions", "Decisions"), ("lags", "Revocation"), ("refusals", "Refusals"),
                    ("lifecycles", "Lifecycles"), ("standing", "Standing"), ("policies", "Guardrails"), ("evidence", "Evidence"), ("made", "How made"),
                ] { a href={ "#" (id) } { (title) } }
            }
        }
    }
}

/// What somebody should look at.
pub fn attention(report: &Report) -> Markup {
    if report.attention.is_empty() {
        return html! {};
    }
    let urgent = report.attention.iter().any(|a| a.urgency == Urgency::Act);
    let left = report.attention.len().saturating_sub(ATTENTION);
    html! {
        section #attention .urgent[urgent] aria-labelledby="attention-title" {
            h2 #attention-title { "Look at this" }
            ul {
                @for one in report.attention.iter().take(ATTENTION) {
                    li class=(urgency(one.urgency)) { b { (text(&one.about)) } ": " (text(&one.what)) }
                }
            }
            (parts::left_out(left, "points"))
        }
    }
}

fn urgency(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Act => "act",
        Urgency::Review => "review",
        Urgency::Know => "know",
    }
}

/// The filter. Hidden until the script shows it: without the script it would do nothing.
pub fn filter(report: &Report) -> Markup {
    let mut lifecycles: Vec<String> = report.leases.iter().map(|l| parts::life(&l.namespace, &l.lifecycle)).collect();
    lifecycles.sort();
    lifecycles.dedup();
    let states = State::ALL.into_iter().filter(|state| report.leases.iter().any(|l| l.state == *state));
    html! {
        form #filter hidden role="search" aria-label="Filter" {
            label { "Find" input #find type="search" placeholder="name, requester, reason, ticket" autocomplete="off"; }
            label { "Lifecycle" select #life { option value="" { "all" } @for life in &lifecycles { option value=(life) { (life) } } } }
            label { "State" select #state { option value="" { "all" } @for state in states { option value=(parts::key(state)) { (state.label()) } } } }
            button type="reset" { "Clear" }
            output #shown for="find life state" aria-live="polite" {}
        }
    }
}

/// Refusals by rule.
pub fn refusals(report: &Report) -> Markup {
    let most = report.refusals.iter().map(|r| r.count).max().unwrap_or(1);
    let rows = html! {
        @for one in &report.refusals {
            tr {
                td.number { (one.count) }
                td.meter { svg width="100%" height="12" aria-hidden="true" { rect width={ (one.count * 100 / most) "%" } height="12" rx="2" {} } }
                th scope="row" { (one.meaning) }
                td { (text(&one.leases.join(", "))) @if one.count > one.leases.len() { ", …" } p.why { (text(&one.example)) } }
            }
        }
    };
    let content = html! {
        @if report.refusals.is_empty() { p.empty { "Nothing was refused in this window." } }
        @else { (parts::table("Refusals by rule", &["Leases", "", "Rule", "Such as"], &rows)) }
    };
    let about = "What requests met with. One that met several rules counts for each. A request that the API server itself refused, such as one in another's name, left no lease, and is in its audit log only.";
    parts::section("refusals", "Refusals", about, &content)
}

/// Lifecycles and what wants a person's look.
pub fn lifecycles(report: &Report) -> Markup {
    let rows = html! {
        @for one in report.lifecycles.iter().take(LIFECYCLES) {
            tr data-life=(parts::life(&one.namespace, &one.name)) {
                th scope="row" { span.name { (text(&one.name)) } span.sub { (text(&one.namespace)) " · " (one.class.as_str()) } p.why { (text(&one.purpose)) } }
                td { (text(&one.team)) span.sub { (parts::identity(&one.contact)) } }
                td { @for grant in &one.grants { span.line { (text(grant)) } } span.sub { "at most " (one.max_ttl) ", approval " (one.approval.as_str()) } }
                td.number { (one.leases) @if one.live > 0 { span.sub { (one.live) " live" } } }
                td.time { (moment(one.last_lease)) }
                td.time { (moment(one.next_review)) }
                td.time { (moment(one.expiration)) }
                td { ul.findings { @for f in &one.findings { li class=(urgency(f.urgency)) { (text(&f.what)) } } } @if one.findings.is_empty() { span.ok { "nothing to say" } } }
            }
        }
    };
    let head =
        ["Lifecycle", "Owner", "The most it gives", "Leases here", "Last lease", "Next review", "Ends", "To look at"];
    let content = html! {
        @if report.lifecycles.is_empty() { p.empty { "No lifecycle was read." } }
        @else { (parts::table("Lifecycles as they are now, the most urgent first", &head, &rows)) }
        (parts::left_out(report.lifecycles.len().saturating_sub(LIFECYCLES), "lifecycles"))
    };
    let about = "Who owns each identity, the most it may hold, and what to look at: its next review, its end, 30 days without a lease, what keeps it from being leased, ambient rights. As it is now, whatever the window.";
    parts::section("lifecycles", "Lifecycles to review", about, &content)
}

/// Credentials that must always be there.
pub fn standing(report: &Report) -> Markup {
    let rows = html! {
        @for one in &report.standing {
            tr data-life=(parts::life(&one.namespace, &one.lifecycle)) {
                td { @if one.held { span.ok { "held" } } @else { span.bad { "not held" } } }
                th scope="row" { span.name { (text(&one.name)) } span.sub { (text(&one.namespace)) "/" (text(&one.lifecycle)) } }
                td { (format!("{:?}", one.phase)) @if one.failures > 0 { span.sub { (one.failures) " failed in a row" } } }
                td { (text(&one.secret)) }
                td { @match &one.lease { Some(lease) => (text(lease)), None => span.none { "–" } } @if let Some(next) = &one.next { span.sub { "next: " (text(next)) } } }
                td.time { (moment(one.written)) }
                td.time { (moment(one.token_expires)) }
                td { (text(&one.message)) }
            }
        }
    };
    let head = ["Now", "Credential", "Phase", "Secret", "Lease", "Written", "Token expires", "Last trouble"];
    let content = html! {
        @if report.standing.is_empty() { p.empty { "No lifecycle keeps a standing credential." } }
        @else { (parts::table("Standing credentials as they are now", &head, &rows)) }
    };
    let about = "What must always hold a credential: each generation is a lease of its own, above.";
    parts::section("standing", "Standing credentials", about, &content)
}

/// The platform's guardrails.
pub fn policies(report: &Report) -> Markup {
    let count = |number: Option<i32>| number.map_or_else(|| "–".to_owned(), |n| n.to_string());
    let rows = html! {
        @for one in &report.policies {
            tr {
                th scope="row" { (text(&one.name)) }
                td { @if one.stop == "None" { span.none { "–" } } @else { span.bad { (one.stop) } } }
                td.number { (count(one.lifecycles)) }
                td.number { (count(one.violating)) }
                td { @if one.ready { span.ok { "in force" } } @else { span.bad { "not ready" } } }
            }
        }
    };
    let denied = report.made.sources.iter().any(|s| s.what == "credentialleasepolicies" && s.read.is_none());
    let content = html! {
        @if denied { p.empty { "Not permitted: whoever made this page may not read them. They are cluster-scoped, and take a ClusterRoleBinding." } }
        @else if report.policies.is_empty() { p.empty { "There is no CredentialLeasePolicy: lifecycles are bounded by themselves only." } }
        @else { (parts::table("CredentialLeasePolicies as they are now", &["Policy", "Stop", "Lifecycles", "Violating", ""], &rows)) }
    };
    parts::section(
        "policies",
        "Guardrails and stops",
        "What the platform lets lifecycles do, and the emergency stops in force.",
        &content,
    )
}
