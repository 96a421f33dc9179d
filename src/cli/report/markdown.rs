//! A report as Markdown, for a ticket or a wiki: the answers, and what wants attention, in short.

use std::fmt::Write;

use super::model::{Decision, Lags, Lease, Millis, Report, Spread, State};
use crate::{
    api::{Time, decision::DecisionType},
    cli::view::text,
};

/// The most rows of one table: tickets are no archives.
const ROWS: usize = 100;

/// The document.
pub fn document(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    table(
        &mut out,
        "Attention",
        &["what", "about"],
        report.attention.iter().map(|a| [esc(&a.what), esc(&a.about)].to_vec()),
    );
    let row = |l: &Lease| {
        let lag = l.removal_lag.map_or_else(|| "-".into(), |lag| format!("{lag} s"));
        [
            esc(&l.title()),
            esc(&l.lifecycle),
            esc(&l.requester),
            l.state.label().into(),
            moment(Some(l.created)),
            moment(l.ended),
            lag,
            esc(&l.reason),
        ]
        .to_vec()
    };
    let columns = ["lease", "lifecycle", "requester", "state", "asked for", "ended", "removed after", "reason"];
    table(&mut out, "Leases", &columns, report.leases.iter().map(row));
    let row = |d: &Decision| {
        let what = match d.decision {
            DecisionType::Approved => "approved",
            DecisionType::Denied => "denied",
            DecisionType::Revoked => "revoked",
        };
        let about = format!("{}/{}", d.namespace, d.lease);
        [moment(Some(d.time)), esc(&d.by), what.into(), esc(&about), esc(d.reason.as_deref().unwrap_or("-"))].to_vec()
    };
    table(&mut out, "Decisions", &["when", "who", "what", "lease", "why"], report.decisions.iter().map(row));
    lags(&mut out, &report.lags);
    let row = |r: &super::model::Refusals| [r.count.to_string(), r.meaning.into(), esc(&r.leases.join(", "))].to_vec();
    table(&mut out, "Refusals", &["leases", "rule", "such as"], report.refusals.iter().map(row));
    let findings = report.lifecycles.iter().flat_map(|l| {
        let about = esc(&format!("{}/{}", l.namespace, l.name));
        l.findings.iter().map(move |f| [about.clone(), format!("{:?}", f.urgency), esc(&f.what)].to_vec())
    });
    table(&mut out, "Lifecycles to review", &["lifecycle", "urgency", "what"], findings);
    sources(&mut out, report);
    out
}

fn head(out: &mut String, report: &Report) {
    let (made, summary) = (&report.made, &report.summary);
    let place = made.namespace.as_ref().map_or_else(|| "all namespaces".into(), |n| format!("namespace {}", esc(n)));
    // Writing to a `String` cannot fail.
    _ = writeln!(
        out,
        "# Lease report\n\n{} of {}, {} to {}\n\n**{}**\n",
        esc(&made.server),
        place,
        made.window.since,
        made.window.until,
        summary.verdict()
    );
    _ = writeln!(out, "| live now | issued | proven dead | not proven | overdue | waiting | refused | never issued |");
    _ = writeln!(out, "|---|---|---|---|---|---|---|---|");
    _ = writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} |",
        summary.live,
        summary.issued,
        summary.proven,
        summary.unproven,
        summary.overdue,
        summary.waiting,
        summary.refused,
        summary.not_issued
    );
}

fn table(out: &mut String, title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    _ = writeln!(out, "\n## {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows.by_ref().take(ROWS) {
        _ = writeln!(out, "| {} |", row.join(" | "));
    }
    let left = rows.count();
    if left > 0 {
        _ = writeln!(out, "\n{left} more: `-o csv` and `-o json` have everything.");
    }
}

fn lags(out: &mut String, lags: &Lags) {
    let seconds = |m: Option<Millis>| m.map_or_else(|| "-".into(), |m| m.to_string());
    let row = |what: &str, s: &Spread| {
        [what.to_owned(), s.count.to_string(), seconds(s.median), seconds(s.p95), seconds(s.max)].to_vec()
    };
    let rows = [row("removed", &lags.removal), row("proven dead", &lags.proof)];
    let columns = ["from the end until", "leases", "median, s", "95 of 100, s", "longest, s"];
    table(out, "How fast ends are", &columns, rows.into_iter().filter(|_| lags.removal.count + lags.proof.count > 0));
}

fn sources(out: &mut String, report: &Report) {
    let made = &report.made;
    let states: Vec<String> =
        State::ALL.iter().map(|s| format!("{}: {}", s.label().to_lowercase(), s.meaning())).collect();
    _ = writeln!(
        out,
        "\n## How this was made\n\nAt {} by {}, with kubectl-lease {}.\n",
        made.time,
        esc(&made.by),
        made.version
    );
    for source in &made.sources {
        _ = match source.read {
            Some(read) => writeln!(out, "- {}: {read} read", esc(&source.what)),
            None => writeln!(out, "- {}: **not permitted**, so this report says nothing of them", esc(&source.what)),
        };
    }
    if !made.filter.is_empty() {
        _ = writeln!(out, "- leases selected by {}", esc(&made.filter.join(", ")));
    }
    _ = writeln!(out, "\nWords: {}.", states.join("; "));
}

fn moment(time: Option<Time>) -> String {
    time.map_or_else(|| "-".into(), |time| time.to_string())
}

/// A text of others, with everything taken from it that Markdown would obey: tables, markup, HTML, links, mentions.
fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text::safe(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    // What would become a link by itself.
    out.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::{super::model::fixture, *};

    #[test]
    fn a_requesters_text_is_no_markup() {
        assert_eq!(esc("a|b"), "a\\|b");
        assert_eq!(esc("![x](http://x/p.png)"), "\\!\\[x\\]\\(http:&#47;&#47;x/p.png\\)");
        assert_eq!(esc("<img src=x> @all\n| x"), "&lt;img src=x&gt; &#64;all\\\\u{a}\\| x");
    }

    #[test]
    fn every_row_has_its_columns_and_long_tables_say_what_they_leave_out() {
        let mut report = fixture::report();
        let text = document(&report);
        for part in ["# Lease report", "## Attention", "## Leases", "## Decisions", "## Refusals", "not permitted"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let lease = report.leases[0].clone();
        report.leases = vec![lease; 150];
        let text = document(&report);
        assert!(text.contains("50 more: `-o csv`"), "{text}");
        for block in text.split("\n\n").filter(|block| block.starts_with("| ")) {
            let bars = |line: &str| line.replace("\\|", "").matches('|').count();
            let head = bars(block.lines().next().unwrap());
            assert!(block.lines().all(|line| bars(line) == head), "{block}");
        }
    }
}
