//! The table: goals beside figures, for a terminal and for the page.

use crate::figures::{Found, Line, Met, short};

const HEAD: [&str; 7] = ["", "what", "Leasehold", "yardstick", "ratio", "goal", "met"];

fn cells(line: &Line) -> [String; 7] {
    let met = match line.met {
        Some(Met::Yes) => "yes",
        Some(Met::No) => "NO",
        Some(Met::OutOfReach) => "NO, nor by R",
        None => "-",
    };
    [
        line.id.to_owned(),
        line.what.clone(),
        line.figure.clone(),
        line.yardstick.clone(),
        line.ratio.map_or_else(|| "-".to_owned(), short),
        line.goal.clone(),
        met.to_owned(),
    ]
}

/// For a terminal: columns as wide as they must be.
pub fn text(found: &[Found]) -> String {
    let rows: Vec<[String; 7]> = found.iter().flat_map(|f| &f.lines).map(cells).collect();
    let width = |n: usize| rows.iter().map(|row| row[n].len()).chain([HEAD[n].len()]).max().unwrap_or_default();
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&HEAD.map(str::to_owned))];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

/// The same as Markdown.
pub fn markdown(found: &[Found]) -> String {
    let escaped = |cell: &String| cell.replace('|', "\\|").replace('<', "&lt;");
    let mut lines = vec![format!("| {} |", HEAD.join(" | ")), format!("|{}", "---|".repeat(HEAD.len()))];
    for line in found.iter().flat_map(|f| &f.lines) {
        let mut row = cells(line);
        row[0] = format!("[{0}](#{1})", line.id, line.id.to_lowercase());
        if matches!(line.met, Some(Met::No | Met::OutOfReach)) {
            row[6] = row[6].replace("NO", "**no**");
        }
        lines.push(format!("| {} |", row.iter().map(escaped).collect::<Vec<_>>().join(" | ")));
    }
    lines.join("\n")
}

/// How many goals there are, and how many are met.
pub fn score(found: &[Found]) -> (usize, usize) {
    let goals: Vec<Met> = found.iter().flat_map(|f| &f.lines).filter_map(|line| line.met).collect();
    (goals.len(), goals.iter().filter(|met| **met == Met::Yes).count())
}
