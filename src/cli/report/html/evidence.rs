//! How fast ends were, what the proof of an end covers, what this page cannot show, and how it was made.

use maud::{Markup, html};

use super::parts::{self, lag, moment, text};
use crate::{
    api::reasons::Evidence,
    cli::report::model::{Report, Spread},
};

/// How long ending took.
pub fn lags(report: &Report) -> Markup {
    let content = html! {
        @if report.lags.removal.count + report.lags.proof.count == 0 { p.empty { "No credential ended in this window." } }
        @else {
            div.pair {
                (spread("Until nothing gave it any right", &report.lags.removal))
                (spread("Until its death was proven", &report.lags.proof))
            }
        }
    };
    let about = "From the end of each lease: until its RoleBindings and its account were gone, and until that was proven, which takes at least the 10 s for which API servers remember a token, unless the token itself was seen refused. By the operator's clock.";
    parts::section("lags", "How fast ends are", about, &content)
}

fn spread(title: &str, spread: &Spread) -> Markup {
    let most = spread.buckets.iter().map(|b| b.count).max().unwrap_or(1).max(1);
    let bucket = |n: usize| match spread.buckets.get(n).and_then(|b| b.up_to) {
        Some(up_to) => format!("≤ {}", short(up_to.0)),
        None => "longer".to_owned(),
    };
    html! {
        figure {
            figcaption { (title) }
            dl.ranks {
                div { dt { "median" } dd { (lag(spread.median)) } }
                div { dt { "95 of 100" } dd { (lag(spread.p95)) } }
                div { dt { "longest" } dd { (lag(spread.max)) } }
                div { dt { "leases" } dd { (spread.count) } }
            }
            table.histogram {
                caption.unseen { (title) ", by length" }
                thead.unseen { tr { th scope="col" { "Length" } th scope="col" { "Share" } th scope="col" { "Leases" } } }
                tbody {
                    @for (n, one) in spread.buckets.iter().enumerate() {
                        tr {
                            th scope="row" { (bucket(n)) }
                            td.meter { svg width="100%" height="12" aria-hidden="true" { rect width={ (one.count * 100 / most) "%" } height="12" rx="2" {} } }
                            td.number { (one.count) }
                        }
                    }
                }
            }
        }
    }
}

/// `25 ms`, `5 s`.
fn short(millis: i64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{} s", millis / 1000) }
}

/// What the words on this page mean, and where its knowledge ends.
pub fn limits() -> Markup {
    let content = html! {
        h3 { "What proves an end" }
        dl.evidence { @for evidence in Evidence::ALL { dt { (evidence) } dd { (evidence.meaning()) } } }
        h3 { "What this page cannot show" }
        ul {
            li { "What a holder did with a credential: that is in the API server's audit log, by the account's name and, where the operator minted the token, its credential id." }
            li { "Watches, " code { "exec" } " and port-forwards that were open at the end: the API server does not cut them." }
            li { "Verifiers that never ask the API server: they accept a token until it expires. Such leases say until when." }
            li { "Rights that every service account of the cluster has: a lease has them too. They are listed as ambient rights." }
            li { "Leases that the cluster has forgotten, which it does some time after their end, unless the page was made from the audit stream as well (" code { "--from-audit" } ")." }
            li { "Requests that admission or RBAC refused: they never became a lease." }
            li { "A history that was computed anew as a whole by whoever may write statuses: only the audit stream, kept elsewhere, shows that." }
        }
    };
    parts::section(
        "evidence",
        "What this page rests on",
        "How to read its words, and where its knowledge ends.",
        &content,
    )
}

/// How the page was made.
pub fn made(report: &Report) -> Markup {
    let made = &report.made;
    let summary = &report.summary;
    html! {
        footer #made {
            h2 { "How this page was made" }
            dl {
                dt { "When" } dd { (moment(Some(made.time))) " UTC, by the clock of whoever made it" }
                dt { "By" } dd { (text(&made.by)) ", who saw what he may read" }
                dt { "Cluster" } dd { (text(&made.server)) }
                dt { "With" } dd { "kubectl-lease " (made.version) }
                dt { "From" }
                dd {
                    ul {
                        @for source in &made.sources {
                            li {
                                (text(&source.what)) ": "
                                @match (source.read, &source.not_permitted) {
                                    (Some(read), _) => { (read) " read" },
                                    (None, why) => { b.bad { "not permitted" } @if let Some(why) = why { span.sub { (text(why)) } } },
                                }
                            }
                        }
                    }
                }
                dt { "Histories" } dd { (summary.trails_verified) " verified, " (summary.trails_incomplete) " incomplete in the stream that was given, " (summary.trails_differing) " differing; " (summary.deleted) " from the audit stream only" }
                dt { "Requesters" } dd { (summary.requesters) }
            }
            p.about { "The page is whole in itself: it asks no server for anything, and holds no token." }
        }
    }
}
