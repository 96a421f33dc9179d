//! What a pattern of `matches()` can cost.
//!
//! The crate `regex` matches in linear time, but the interpreter makes a pattern ready each time it is used, and that costs what
//! the pattern grows to: `(\w{100}){100}` is 10,000 tables of all letters that there are. The charges were measured in a release
//! build, in units of ten nanoseconds.

/// Making any pattern ready.
const READY: u64 = 500;
/// A character, an anchor, a group.
const PLAIN: u64 = 100;
/// A class that is written out, and any character.
const CLASS: u64 = 500;
/// `\s` is a short list.
const SPACE: u64 = 1_000;
/// `\d` holds the digits of all scripts.
const DIGIT: u64 = 5_000;
/// `\w` and `\p{..}` hold most letters of all scripts.
const LETTERS: u64 = 33_000;
/// Ignoring case, any class may have to be compared with all letters there are.
const FOLDED: u64 = 100_000;

/// The most a pattern can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// To make it ready.
    pub(super) ready: u64,
    /// Over so many states each byte of a text may be led.
    pub(super) states: u64,
}

impl Cost {
    /// For spellings that would need a real parser to be reckoned.
    const UNKNOWN: Self = Self { ready: u64::MAX, states: u64::MAX };

    fn plus(self, other: Self) -> Self {
        Self { ready: self.ready.saturating_add(other.ready), states: self.states.saturating_add(other.states) }
    }

    fn times(self, times: u64) -> Self {
        Self { ready: self.ready.saturating_mul(times), states: self.states.saturating_mul(times) }
    }
}

/// What is open: the sum of what came before its last part, and that part, which a repetition multiplies.
#[derive(Clone, Copy)]
struct Open {
    before: Cost,
    last: Cost,
}

impl Open {
    const EMPTY: Self = Self { before: Cost { ready: 0, states: 0 }, last: Cost { ready: 0, states: 0 } };

    fn sum(self) -> Cost {
        self.before.plus(self.last)
    }

    fn add(&mut self, part: Cost) {
        *self = Self { before: self.sum(), last: part };
    }
}

/// The most a pattern can cost. A pattern that is none costs something too; using it fails.
pub(super) fn cost(pattern: &str) -> Cost {
    let Some(ignores_case) = flags(pattern) else { return Cost::UNKNOWN };
    // A bracket right at the beginning of a class belongs to it, and would be taken for its end here.
    if pattern.contains("[]") || pattern.contains("[^]") {
        return Cost::UNKNOWN;
    }
    let class = |ready| Cost { ready: if ignores_case { FOLDED } else { ready }, states: 4 };
    let plain = Cost { ready: PLAIN, states: 1 };

    let (mut outer, mut here, mut classes) = (Vec::new(), Open::EMPTY, 0_usize);
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => here.add(match rest.next() {
                Some('w' | 'W') => class(LETTERS),
                Some('p' | 'P') => {
                    // Its name is a part of it: one letter, or braces.
                    if rest.next() == Some('{') {
                        skip_braces(&mut rest);
                    }
                    class(LETTERS)
                }
                Some('d' | 'D') => class(DIGIT),
                Some('s' | 'S') => class(SPACE),
                _ => plain,
            }),
            '[' => {
                classes += 1;
                outer.push(here);
                here = Open { before: class(CLASS), ..Open::EMPTY };
            }
            '(' if classes == 0 => {
                outer.push(here);
                here = Open { before: plain, ..Open::EMPTY };
            }
            ')' if classes == 0 => here = closed(&mut outer, here),
            ']' if classes > 0 => {
                classes -= 1;
                here = closed(&mut outer, here);
            }
            '{' if classes == 0 => {
                if let Some(times) = repetition(rest.as_str()) {
                    here.last = here.last.times(times);
                    skip_braces(&mut rest);
                } else {
                    here.add(plain);
                }
            }
            '.' => here.add(class(CLASS)),
            _ => here.add(plain),
        }
    }
    while !outer.is_empty() {
        here = closed(&mut outer, here);
    }
    here.sum().plus(Cost { ready: READY, states: 0 })
}

/// Passes over what is left of a part in braces.
fn skip_braces(rest: &mut std::str::Chars) {
    while rest.next().is_some_and(|c| c != '}') {}
}

/// What is open after a group or class has ended: that is now one part.
fn closed(outer: &mut Vec<Open>, inner: Open) -> Open {
    match outer.pop() {
        Some(mut open) => {
            open.add(inner.sum());
            open
        }
        None => inner,
    }
}

/// The most copies that `n}`, `n,}` or `n,m}` asks for.
fn repetition(text: &str) -> Option<u64> {
    let (counts, _) = text.split_once('}')?;
    counts.split(',').filter_map(|count| count.trim().parse::<u64>().ok()).max().map(|most| most.max(1))
}

/// Whether some flag ignores case. `None`: a flag allows blanks and comments, so that the text cannot be read here.
fn flags(pattern: &str) -> Option<bool> {
    let mut ignores_case = false;
    for group in pattern.split("(?").skip(1) {
        if group.starts_with(['P', '<']) {
            continue;
        }
        let flags = group.split([':', ')']).next().unwrap_or_default();
        if flags.contains('x') {
            return None;
        }
        ignores_case |= flags.contains('i');
    }
    Some(ignores_case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_multiply_what_they_repeat_and_only_that() {
        let one = Cost { ready: PLAIN, states: 1 };
        let ready = Cost { ready: READY, states: 0 };
        let class = Cost { ready: CLASS + PLAIN, states: 5 };
        for (pattern, expected) in [
            ("", Cost { ready: 0, states: 0 }),
            ("abc", one.times(3)),
            ("ab{7}c", one.times(9)),
            ("ab{2,7}c", one.times(9)),
            ("ab{7,}c", one.times(9)),
            ("a{2}b{3}c{4}", one.times(9)),
            ("a{2}{3}", one.times(6)),
            ("(ab){5}", one.times(15)),
            ("((a{2}b){3}c){4}", one.times(4 * (1 + 3 * (1 + 2 + 1) + 1))),
            ("[a]{9}", class.times(9)),
            ("[(]{9}(a)", class.times(9).plus(one.times(2))),
            ("a{x}", one.times(4)),
            ("a{2", one.times(3)),
            (r"\{a{2}", one.times(3)),
            (r"\pL{2}\p{Greek}{3}", Cost { ready: LETTERS, states: 4 }.times(5)),
            ("a{0}", one),
            (")a{3}", one.times(3)),
        ] {
            assert_eq!(cost(pattern), expected.plus(ready), "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_read_without_a_parser_is_taken_for_the_worst() {
        for pattern in ["(?x)a {9}", "(?i-x:a)", "(?ix:a)", "[](a]{9}", "[^](a]{9}"] {
            assert_eq!(cost(pattern), Cost::UNKNOWN, "{pattern}");
        }
        assert_eq!(cost("(?P<x>a)(?<xi>a)").ready, READY + 16 * PLAIN - 2 * PLAIN);
        assert!(cost("(?i)[a]").ready > FOLDED && cost(r"(?s:a)(?i:\w)").ready > FOLDED);
    }
}
