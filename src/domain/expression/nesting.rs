//! How deeply an expression is nested, seen from its text alone.
//!
//! The parser recurses, some twenty frames for each bracket: 8 KiB in a release build, where its own limit of 96 holds on a default
//! thread, but 65 KiB in a debug build, where 31 brackets overflow it. A stack that overflows ends the process, and that is not left
//! to a limit in another crate: brackets and conditionals are counted before the parser sees them. The few spellings that could
//! make this count and the parser's reading differ (raw strings with an escaped quote, triple quotes, backticks) are refused; no
//! rule needs them.

/// How many brackets may stand within each other.
const MAX_BRACKETS: usize = 12;
/// How many conditionals an expression may have: each one's last part is nested.
const MAX_CONDITIONALS: usize = 8;
/// How many operators and selections an expression may have: they nest in its tree.
const MAX_OPERATORS: usize = 200;

/// Why an expression is not given to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nested too deeply.
    TooDeep,
    /// A spelling that is not taken.
    Spelling(&'static str),
}

/// Whether the parser may see it.
pub(super) fn check(expression: &str) -> Result<(), Refusal> {
    let (mut depth, mut conditionals, mut operators) = (0_usize, 0, 0);
    // Whether the character before is an r: a quote behind it may begin a raw string.
    let mut behind_r = false;
    let mut rest = expression.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => conditionals += 1,
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n' && *c != '\r').is_some() {},
            '.' | '+' | '-' | '*' | '/' | '%' | '!' | '=' | '<' | '>' | '&' | '|' => operators += 1,
            '\'' | '"' => skip_string(&mut rest, c, behind_r)?,
            '`' => return Err(Refusal::Spelling("names in backticks are not taken")),
            _ => {}
        }
        if depth > MAX_BRACKETS || conditionals > MAX_CONDITIONALS || operators > MAX_OPERATORS {
            return Err(Refusal::TooDeep);
        }
        behind_r = matches!(c, 'r' | 'R');
    }
    Ok(())
}

/// Passes over a string whose first quote has been read.
fn skip_string(rest: &mut std::iter::Peekable<std::str::Chars>, quote: char, maybe_raw: bool) -> Result<(), Refusal> {
    let mut length = 0;
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' => return Err(Refusal::Spelling("a string does not end on its line")),
            '\\' => {
                let escaped = rest.next();
                if maybe_raw && matches!(escaped, Some('\'' | '"' | '\\')) {
                    return Err(Refusal::Spelling("a raw string (r'...') cannot hold \\', \\\" or \\\\"));
                }
                if matches!(escaped, Some('\n' | '\r')) {
                    return Err(Refusal::Spelling("a string does not end on its line"));
                }
            }
            c if c == quote && length == 0 && rest.peek() == Some(&quote) => {
                return Err(Refusal::Spelling("strings in triple quotes are not taken"));
            }
            c if c == quote => return Ok(()),
            _ => {}
        }
        length += 1;
    }
    Err(Refusal::Spelling("a string does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_wherever_the_parser_sees_them_and_nowhere_else() {
        let deep = "(".repeat(MAX_BRACKETS + 1);
        for seen in [
            deep.clone(),
            format!("')' + {deep}"),
            format!("'\\')))' + {deep}"),
            format!("\"'\" + {deep}"),
            format!("r'))))' + {deep}"),
            format!("// '\n{deep}"),
            format!("// '\r{deep}"),
            format!("'//' + {deep}"),
            format!("a / '/' + {deep}"),
            "[{(".repeat(5),
            "a ? ".repeat(MAX_CONDITIONALS + 1),
            "1+".repeat(MAX_OPERATORS + 1),
        ] {
            assert_eq!(check(&seen), Err(Refusal::TooDeep), "{seen}");
        }
        for unseen in [
            format!("'{deep}'"),
            format!("r'{deep}'"),
            format!("// {deep}\ntrue"),
            "f(a)".repeat(50),
            "'' == '' && ' ' != \"\"".into(),
        ] {
            assert_eq!(check(&unseen), Ok(()), "{unseen}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for spelling in [
            r"r'\' + '(('",
            r"R'\\'",
            r"br'\''",
            "'''('''",
            "\"\"\"(\"\"\"",
            "'''",
            "a.`b//c`",
            "'",
            "'\n'",
            "'\\\n'",
            "'\\",
        ] {
            assert!(matches!(check(spelling), Err(Refusal::Spelling(_))), "{spelling}");
        }
        assert_eq!(check(r"r'^\d+\.[a-z]{3}$'"), Ok(()));
    }
}
