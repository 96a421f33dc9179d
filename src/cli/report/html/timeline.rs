//! Leases over time: a lane a lifecycle, a bar a lease; where there are too many for bars, how many there were at once.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    parts::{self, key},
    scale::Scale,
};
use crate::{
    api::Time,
    cli::{
        report::model::{Lease, Report, State},
        view::text::{count, safe},
    },
};

/// The most lanes: those with the most leases.
const LANES: usize = 40;
/// The most bars of a lane, and the most rows; what has more is drawn as a density.
const BARS: usize = 150;
const ROWS: usize = 10;
/// The columns of a density.
const COLUMNS: usize = 120;
/// The narrowest bar, in hundredths of the width.
const NARROWEST: f64 = 0.4;
/// The height of a row, of a bar in it, and of a density, in pixels.
const PITCH: usize = 16;
const BAR: usize = 10;
const DENSITY: usize = 44;

/// The section.
pub fn section(report: &Report) -> Markup {
    let scale = Scale::of(&report.leases, &report.made.window);
    let mut lanes: BTreeMap<String, Vec<&Lease>> = BTreeMap::new();
    for lease in &report.leases {
        lanes.entry(parts::life(&lease.namespace, &lease.lifecycle)).or_default().push(lease);
    }
    let mut lanes: Vec<(String, Vec<&Lease>)> = lanes.into_iter().collect();
    if lanes.len() > LANES {
        lanes.sort_by_key(|(_, leases)| std::cmp::Reverse(leases.len()));
    }
    let left = lanes.split_off(lanes.len().min(LANES));
    let now = report.made.time;
    let content = html! {
        @if lanes.is_empty() {
            p.empty { "No lease in this window." }
        } @else {
            (legend(report))
            div.lanes {
                div.lane.axis aria-hidden="true" {
                    div.who {}
                    svg width="100%" height="22" {
                        @for (x, mark) in scale.marks() {
                            text x=(percent(x)) y="15" { (mark) }
                        }
                    }
                }
                @for (title, leases) in &lanes { (lane(title, leases, &scale, now)) }
            }
            @if !left.is_empty() {
                p.left {
                    (count(left.len(), "lifecycle")) " with fewer leases (" (count(left.iter().map(|(_, l)| l.len()).sum(), "lease"))
                    ") not drawn: the table below has them."
                }
            }
        }
    };
    let about = "Each bar is one lease, from its issue to its end; the thin line before it is the waiting, the one after it the time until its death was proven. Times are UTC. Every bar is a row of the table below.";
    parts::section("timeline", "Leases over time", about, &content)
}

fn legend(report: &Report) -> Markup {
    let there = |state: &State| report.leases.iter().any(|lease| lease.state == *state);
    html! {
        ul.legend {
            @for state in State::ALL.iter().filter(|state| there(state)) {
                li { (parts::badge(*state)) " " span.meaning { (state.meaning()) } }
            }
        }
    }
}

fn lane(title: &str, leases: &[&Lease], scale: &Scale, now: Time) -> Markup {
    let rows = packed(leases, scale, now).filter(|rows| rows.len() <= ROWS && leases.len() <= BARS);
    let height = rows.as_ref().map_or(DENSITY, |rows| rows.len() * PITCH) + 8;
    html! {
        div.lane data-lane=(title) data-dense[rows.is_none()] {
            div.who { span.name { (title) } span.count { (count(leases.len(), "lease")) @if rows.is_none() { ", drawn as a density" } } }
            svg width="100%" height=(height) role="img" aria-label={ (title) ": " (told(leases)) } {
                @for (x, _) in scale.marks() { line.grid x1=(percent(x)) x2=(percent(x)) y1="0" y2=(height) {} }
                @match rows {
                    Some(rows) => @for (n, row) in rows.iter().enumerate() { @for lease in row { (bar(lease, n * PITCH + 4, scale, now)) } },
                    None => (density(leases, scale, now)),
                }
                line.now x1=(percent(scale.x(now))) x2=(percent(scale.x(now))) y1="0" y2=(height) {}
            }
        }
    }
}

/// What a lane shows, in words.
fn told(leases: &[&Lease]) -> String {
    let number = |state: State| leases.iter().filter(|l| l.state == state).count();
    let states = State::ALL.into_iter().map(|state| (state, number(state))).filter(|(_, n)| *n > 0);
    states.map(|(state, n)| format!("{n} {}", state.label().to_lowercase())).collect::<Vec<_>>().join(", ")
}

/// The stretch that a lease takes, in hundredths.
fn stretch(lease: &Lease, scale: &Scale, now: Time) -> (f64, f64) {
    let begin = scale.x(lease.created);
    let end = match lease.state {
        State::Live => lease.expires.unwrap_or(now),
        _ => lease.over().unwrap_or(now),
    };
    (begin, scale.x(end).max(begin + NARROWEST))
}

/// Leases in rows, none over another: each in the first row that has room. None where there would be too many rows.
fn packed<'a>(leases: &[&'a Lease], scale: &Scale, now: Time) -> Option<Vec<Vec<&'a Lease>>> {
    let mut rows: Vec<(f64, Vec<&Lease>)> = vec![];
    // The model has the newest first.
    for lease in leases.iter().rev() {
        let (begin, end) = stretch(lease, scale, now);
        if let Some((until, row)) = rows.iter_mut().find(|(until, _)| *until + 0.15 <= begin) {
            *until = end;
            row.push(lease);
        } else if rows.len() < ROWS {
            rows.push((end, vec![lease]));
        } else {
            return None;
        }
    }
    Some(rows.into_iter().map(|(_, row)| row).collect())
}

fn bar(lease: &Lease, y: usize, scale: &Scale, now: Time) -> Markup {
    let (begin, _) = stretch(lease, scale, now);
    let middle = y + BAR / 2 - 1;
    let life = lease.issued.map(|issued| {
        let end = if lease.state == State::Live { now } else { lease.ended.unwrap_or(now) };
        (scale.x(issued), scale.x(end).max(scale.x(issued) + NARROWEST))
    });
    let future =
        lease.expires.filter(|at| lease.state == State::Live && *at > now).map(|at| (scale.x(now), scale.x(at)));
    let waited = life.map_or_else(|| lease.over().map_or(scale.x(now), |at| scale.x(at)), |(issued, _)| issued);
    let proof = life.zip(lease.proven).map(|((_, end), proven)| (end, scale.x(proven)));
    html! {
        a class={ "bar " (key(lease.state)) } href={ "#" (id(lease)) } tabindex="-1" data-state=(key(lease.state)) {
            title { (hint(lease)) }
            @if waited > begin { (rect("thin", begin, waited, middle, 2)) }
            @if let Some((begin, end)) = future { (rect("future", begin, end, y, BAR)) }
            @match life {
                Some((begin, end)) => (rect("life", begin, end, y, BAR)),
                None => (rect("never", begin, begin + NARROWEST, y, BAR)),
            }
            @if let Some((begin, end)) = proof.filter(|(begin, end)| end > begin) { (rect("thin", begin, end, middle, 2)) }
        }
    }
}

/// Who and why, for whoever points at a bar; the script filters by it.
fn hint(lease: &Lease) -> String {
    let end = lease.ended.map(|at| format!(", ended {at}")).unwrap_or_default();
    let text = format!(
        "{} ({}), {}\n{}: {}\nasked for {}{end}",
        lease.title(),
        lease.lifecycle,
        lease.state.label().to_lowercase(),
        lease.requester,
        lease.reason,
        lease.created
    );
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

fn rect(class: &str, begin: f64, end: f64, y: usize, height: usize) -> Markup {
    let round = if height > 4 { "2" } else { "1" };
    html! { rect class=(class) x=(percent(begin)) width=(percent((end - begin).max(0.0))) y=(y) height=(height) rx=(round) {} }
}

/// How many were there at once, column by column; a column with something wrong is marked.
fn density(leases: &[&Lease], scale: &Scale, now: Time) -> Markup {
    let width = 100.0 / COLUMNS as f64;
    let mut columns = vec![(0_usize, false); COLUMNS];
    for lease in leases {
        let (begin, end) = stretch(lease, scale, now);
        let wrong = matches!(lease.state, State::Overdue | State::Unproven);
        let first = (begin / width) as usize;
        for (number, bad) in columns.iter_mut().skip(first).take((end / width) as usize - first + 1) {
            *number += 1;
            *bad |= wrong;
        }
    }
    let most = columns.iter().map(|(number, _)| *number).max().unwrap_or(1).max(1);
    html! {
        @for (n, (number, bad)) in columns.iter().enumerate().filter(|(_, (number, _))| *number > 0) {
            @let height = (number * (DENSITY - 2)).div_ceil(most);
            @let begin = n as f64 * width;
            rect.density.bad[*bad] x=(percent(begin)) width=(percent(width * 0.86)) y=(4 + DENSITY - height) height=(height) {
                title { (count(*number, "lease")) " at once, from " (scale.at(begin)) }
            }
        }
    }
}

/// The anchor of a lease's row.
pub fn id(lease: &Lease) -> String {
    format!("lease-{}", lease.uid.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>())
}

fn percent(x: f64) -> String {
    format!("{x:.2}%")
}

#[cfg(test)]
mod tests {
    use super::{super::super::model::fixture, *};

    #[test]
    fn no_bar_lies_over_another_of_its_row() {
        let report = fixture::many(60, 1);
        let scale = Scale::of(&report.leases, &report.made.window);
        let some: Vec<&Lease> = report.leases.iter().collect();
        let rows = packed(&some, &scale, report.made.time).unwrap();
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), some.len(), "none is lost");
        for row in rows {
            for pair in row.windows(2) {
                let (before, after) =
                    (stretch(pair[0], &scale, report.made.time), stretch(pair[1], &scale, report.made.time));
                assert!(before.1 <= after.0, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn a_crowd_is_drawn_as_a_density_of_bounded_size() {
        let report = fixture::many(10_000, 50);
        let text = section(&report).into_string();
        assert!(text.contains("drawn as a density") && text.contains("10 lifecycles with fewer leases"), "{text:.500}");
        assert!(text.matches("<rect").count() <= LANES * COLUMNS && text.len() < 1_500_000, "{}", text.len());
    }
}
