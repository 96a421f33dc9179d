//! Texts of others, made safe for a terminal.

use std::fmt::Write as _;

/// A text with everything spelled out that a terminal would obey or hide: control characters, and those that turn the writing
/// direction or take no room. A reason is its requester's text, and who approves must see what is there.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            // Writing to a `String` cannot fail.
            _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks of direction, joiners, fillers and tags.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e01ef}'
    )
}

/// Words as a list for people; `none` if there is none.
#[must_use]
pub fn list<T: AsRef<str>>(words: &[T], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}

/// A count with its noun: `1 lease`, `2 leases`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_move_the_cursor_or_turn_the_text_around() {
        assert_eq!(safe("Roll out 2.3 für alle"), "Roll out 2.3 für alle");
        assert_eq!(safe("x\u{1b}[2Ay\r\nz"), "x\\u{1b}[2Ay\\u{d}\\u{a}z");
        assert_eq!(safe("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
    }
}
