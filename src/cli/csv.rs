//! Comma-separated values (RFC 4180), safe to be opened in a spreadsheet.

/// One record with its line end.
#[must_use]
pub fn record(cells: &[String]) -> String {
    cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n"
}

/// One cell. What a spreadsheet would take for a formula is kept from being one: reasons are their requesters' texts.
fn cell(text: &str) -> String {
    let text = harmless(text);
    if text.contains([',', ';', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A text that is no formula, and none where a spreadsheet begins a cell within it: many are set to semicolons, and see no
/// quotes but at the beginning of what they take for a cell.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        // Some take the wide forms for the same.
        if begins && matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '＝' | '＋' | '－' | '＠') {
            out.push('\'');
        }
        begins = matches!(c, ';' | '\t' | '\n' | '\r');
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_no_formulas() {
        let table = [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"so\"", "\"say \"\"so\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@x", "'@x"),
            ("\t=x", "'\t'=x"),
            ("＝1+1", "'＝1+1"),
            ("wide;=1+1;-2", "\"wide;'=1+1;'-2\""),
            ("a;\"=1+1\"", "\"a;\"\"=1+1\"\"\""),
            ("two\n=1+1", "\"two\n'=1+1\""),
        ];
        for (text, expected) in table {
            assert_eq!(record(&[text.into(), "z".into()]), format!("{expected},z\r\n"));
        }
    }
}
