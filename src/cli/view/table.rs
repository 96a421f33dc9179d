//! Aligned columns.

/// Rows under a head, two blanks apart.
#[must_use]
pub fn render(head: &[&str], rows: Vec<Vec<String>>) -> String {
    bare(std::iter::once(head.iter().map(|&cell| cell.to_owned()).collect()).chain(rows).collect())
}

/// Rows without a head.
#[must_use]
pub fn bare(rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |mut out, row| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
        out
    })
}
