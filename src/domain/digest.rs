//! Digests over canonical JSON, and the chain of a lease's history.
//!
//! Canonical is RFC 8785 (JCS): members sorted, no whitespace, one way to write each string, so that whoever holds the same
//! document computes the same digest, in any language.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::{
    Time, condition,
    names::LeaseUid,
    reasons::Happening,
    status::{History, Record},
};

/// How many records a status keeps. The audit stream has all of them; each one kept makes every status write dearer.
pub const KEPT_RECORDS: usize = 16;
/// The longest actor of a record, in bytes.
const MAX_ACTOR: usize = 512;
/// The longest detail of a record, in bytes.
const MAX_DETAIL: usize = 1024;
/// The largest integer that every JSON reader understands exactly (RFC 7493): 2^53 - 1.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form here.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// Fractions, and integers beyond 2^53: languages disagree on how these are written.
    #[error("{0} has no canonical form: only whole numbers up to 2^53 - 1 have one")]
    Number(serde_json::Number),
    /// It is not JSON at all, such as a map whose keys are no strings.
    #[error("it cannot be written as JSON")]
    NotJson(#[from] serde_json::Error),
}

/// A JSON document that has a canonical form. Building one by hand cannot fail.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<Self>),
    /// By the UTF-16 of their names, the order that RFC 8785 asks for; it differs from that of UTF-8 beyond U+FFFF.
    Object(BTreeMap<Vec<u16>, (String, Self)>),
}

impl Json {
    pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(name, value)| (name.encode_utf16().collect(), (name.to_owned(), value)))
                .collect(),
        )
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            // Writing to a `String` cannot fail.
            Self::Integer(number) => _ = write!(out, "{number}"),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (n, (name, value)) in members.values().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The shortest escapes, and none where none is needed (RFC 8785, 3.2.2.2).
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl TryFrom<Value> for Json {
    type Error = NotCanonical;

    fn try_from(value: Value) -> Result<Self, NotCanonical> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(bool),
            Value::Number(number) => match number.as_i64().filter(|n| n.unsigned_abs() <= MAX_INTEGER) {
                Some(integer) => Self::Integer(integer),
                None => return Err(NotCanonical::Number(number)),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::try_from).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let member = |(name, value): (String, Value)| {
                    Ok((name.encode_utf16().collect(), (name, Self::try_from(value)?)))
                };
                Self::Object(members.into_iter().map(member).collect::<Result<_, NotCanonical>>()?)
            }
        })
    }
}

/// A value as canonical JSON.
///
/// # Errors
/// [`NotCanonical`] for what holds a fraction, an integer beyond 2^53 - 1, or is no JSON.
pub fn canonical(value: &impl Serialize) -> Result<String, NotCanonical> {
    Ok(Json::try_from(serde_json::to_value(value)?)?.canonical())
}

/// `sha256:` and the 64 hexadecimal digits of a text's SHA-256, as digests are written in statuses.
#[must_use]
pub fn sha256(text: &str) -> String {
    format!("sha256:{}", hex(&[text]))
}

/// The 64 hexadecimal digits of the SHA-256 of the parts, one after another.
fn hex(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a `String` cannot fail.
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Where the history of a lease begins: bound to its UID, so that no lease can be given another one's history.
#[must_use]
pub fn seed(lease: &LeaseUid) -> String {
    hex(&[&lease.text()])
}

/// The history of a lease to which nothing has happened.
#[must_use]
pub fn begin(lease: &LeaseUid) -> History {
    let seed = seed(lease);
    History { head: seed.clone(), seed, records: Vec::new() }
}

/// Adds a record to the chain. Texts are cut to what a status may hold; beyond [`KEPT_RECORDS`] the oldest record leaves the
/// status and the seed moves to where it stood, so that what is kept can still be verified.
pub fn append(
    history: &mut History,
    time: Time,
    event: Happening,
    actor: impl Into<String>,
    detail: impl Into<String>,
) {
    let (mut actor, mut detail) = (actor.into(), detail.into());
    condition::bound(&mut actor, MAX_ACTOR);
    condition::bound(&mut detail, MAX_DETAIL);
    let seq = history.records.last().map_or(1, |last| last.seq.saturating_add(1));
    let record = Record { seq, time, event, actor, detail };
    history.head = link(&history.head, &record);
    history.records.push(record);
    while history.records.len() > KEPT_RECORDS {
        let dropped = history.records.remove(0);
        history.seed = link(&history.seed, &dropped);
    }
}

/// Whether the records lead from the seed to the head, without a gap.
///
/// That shows an edit of the status by whoever did not also compute the chain anew: compare the head with the audit stream.
#[must_use]
pub fn verify(history: &History) -> bool {
    let numbered = history.records.windows(2).all(|pair| matches!(pair, [a, b] if a.seq.checked_add(1) == Some(b.seq)));
    let head = history.records.iter().fold(history.seed.clone(), |hash, record| link(&hash, record));
    numbered && head == history.head
}

/// One link of the chain: SHA-256 of the previous hash and the canonical record.
#[must_use]
pub fn link(previous: &str, record: &Record) -> String {
    let record = Json::object([
        ("seq", Json::Integer(record.seq)),
        ("time", Json::text(record.time.to_string())),
        ("event", Json::text(record.event.as_str())),
        ("actor", Json::text(&record.actor)),
        ("detail", Json::text(&record.detail)),
    ]);
    hex(&[previous, &record.canonical()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_is_that_of_rfc_8785() {
        for (value, expected) in [
            (json!({ "b": [1, -2, true, null], "a": {} }), r#"{"a":{},"b":[1,-2,true,null]}"#),
            // The sorting example of RFC 8785, 3.2.3.
            (
                json!({ "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7 }),
                "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}",
            ),
            (
                json!("\u{20ac}$\u{f}\nA'B\"\\\"/\u{8}\u{c}\t\u{7f}"),
                "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\"/\\b\\f\\t\u{7f}\"",
            ),
            (json!(9_007_199_254_740_991_i64), "9007199254740991"),
        ] {
            assert_eq!(canonical(&value).unwrap(), expected);
        }
    }

    #[test]
    fn what_languages_write_differently_is_refused() {
        for value in
            [json!(1.5), json!(1.0), json!([{ "a": 9_007_199_254_740_992_u64 }]), json!(i64::MIN), json!(u64::MAX)]
        {
            assert!(matches!(canonical(&value), Err(NotCanonical::Number(_))), "{value}");
        }
        let odd = BTreeMap::from([(vec![1], 1)]);
        assert!(matches!(canonical(&odd), Err(NotCanonical::NotJson(_))));
    }

    #[test]
    fn digests_are_those_of_everyone_else() {
        assert_eq!(sha256("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    fn lease() -> LeaseUid {
        LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap()
    }

    fn history(records: i64) -> History {
        let mut history = begin(&lease());
        for n in 1..=records {
            append(
                &mut history,
                Time::from_millis(n * 1000),
                Happening::Issued,
                "leasehold",
                format!("the {n}. \"thing\""),
            );
        }
        history
    }

    #[test]
    fn a_link_is_over_the_record_as_the_status_shows_it() {
        let history = history(1);
        let record = canonical(&history.records[0]).unwrap();
        assert_eq!(history.head, hex(&[&seed(&lease()), &record]));
    }

    #[test]
    fn a_history_of_any_length_verifies_and_keeps_the_last_records() {
        for length in [0, 1, 16, 17, 40] {
            let history = history(length);
            assert!(verify(&history), "{length}");
            let numbers: Vec<_> = history.records.iter().map(|record| record.seq).collect();
            assert_eq!(numbers, ((length - 15).max(1)..=length).collect::<Vec<_>>());
            assert_eq!(history.seed == seed(&lease()), length <= 16, "the seed moves with what is dropped");
        }
    }

    #[test]
    fn dropping_does_not_change_the_head() {
        let (mut long, short) = (history(16), history(16));
        append(&mut long, Time::from_millis(0), Happening::Ended, "x", "y");
        assert_eq!(long.seed, link(&short.seed, &short.records[0]));
        assert_eq!(long.head, link(&short.head, &long.records[15]));
    }

    #[test]
    fn every_edit_shows() {
        let edits: [fn(&mut History); 9] = [
            |h| h.seed = "0".repeat(64),
            |h| h.head = "0".repeat(64),
            |h| drop(h.records.remove(1)),
            |h| drop(h.records.pop()),
            |h| h.records.swap(0, 1),
            |h| h.records[1].actor.push('x'),
            |h| h.records[1].detail.clear(),
            |h| h.records[1].time = Time::from_millis(0),
            |h| h.records[1].event = Happening::Denied,
        ];
        for (n, edit) in edits.iter().enumerate() {
            let mut history = history(3);
            edit(&mut history);
            assert!(!verify(&history), "edit {n}");
        }
        let mut gap = history(3);
        gap.records[2].seq = 9;
        gap.head = gap.records.iter().fold(gap.seed.clone(), |hash, record| link(&hash, record));
        assert!(!verify(&gap), "a gap shows even if the chain was computed anew");
    }

    #[test]
    fn texts_fit_the_status() {
        let mut history = begin(&lease());
        append(&mut history, Time::from_millis(0), Happening::Failed, "ä".repeat(600), "ü".repeat(2000));
        let record = &history.records[0];
        assert!(record.actor.len() <= MAX_ACTOR && record.detail.len() <= MAX_DETAIL);
        assert!(verify(&history));
    }
}
