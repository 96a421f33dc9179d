//! The operator's audit stream, held against what a lease says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    api::{
        names::LeaseUid,
        status::{History, Record},
    },
    domain::digest,
};

#[derive(Deserialize)]
struct Line {
    target: String,
    lease: About,
    #[serde(flatten)]
    record: Record,
    hash: String,
}

/// The lease that a line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct About {
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    pub uid: String,
    #[serde(default)]
    pub lifecycle: String,
}

/// What a stream tells of one lease.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub about: About,
    /// Records and their hashes, by number.
    records: BTreeMap<i64, (Record, String)>,
    /// What the stream says twice, and differently.
    contradictions: Vec<Problem>,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The stream, as far as it was read, does not have it: logs are rotated, and end with their process.
    #[error("{0}")]
    Missing(String),
    /// Two things are told that cannot both be true.
    #[error("{0}")]
    Differs(String),
}

impl Told {
    /// The records, in their order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.values().map(|(record, _)| record)
    }

    /// How many different records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What is wrong with it by itself: contradictions, gaps, and records that do not follow from the one before.
    #[must_use]
    pub fn problems(&self, lease: &LeaseUid) -> Vec<Problem> {
        let mut problems = self.contradictions.clone();
        chain(lease, &self.records, &mut problems);
        problems
    }

    /// What is wrong with it by itself, or beside the history in the lease's status.
    #[must_use]
    pub fn against(&self, lease: &LeaseUid, history: &History) -> Vec<Problem> {
        let mut problems = self.problems(lease);
        status(&self.records, history, &mut problems);
        problems
    }

    fn take(&mut self, record: Record, hash: String) {
        // The stream is at least once: the same record may come again, but only the same.
        let (seq, new) = (record.seq, (record, hash));
        let old = self.records.entry(seq).or_insert_with(|| new.clone());
        if *old != new {
            let what = format!("the stream tells record {seq} twice, and differently");
            self.contradictions.push(Problem::Differs(what));
        }
    }
}

/// A stream by its leases' UIDs.
#[derive(Clone, Debug, Default)]
pub struct Stream(pub BTreeMap<String, Told>);

impl Stream {
    /// Takes one line of what an operator prints; whatever it logs besides the stream is passed over.
    pub fn take(&mut self, line: &str) {
        let Some(line) = serde_json::from_str::<Line>(line).ok().filter(|line| line.target == "audit") else { return };
        let told = self.0.entry(line.lease.uid.clone()).or_default();
        told.about = line.lease;
        told.take(line.record, line.hash);
    }
}

/// What comparing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many different records of the lease the stream has.
    pub records: usize,
    /// What does not fit; empty if everything does.
    pub problems: Vec<String>,
}

/// Compares a lease's history with the records of it in a stream: JSON lines, and whatever else an operator logs between them.
///
/// Every record of the stream must follow from the one before, and every record in the status must be in the stream as it is.
#[must_use]
pub fn compare(stream: &str, lease: &LeaseUid, history: &History) -> Comparison {
    let mut all = Stream::default();
    stream.lines().for_each(|line| all.take(line));
    let told = all.0.remove(&*lease.text()).unwrap_or_default();
    let problems = told.against(lease, history).iter().map(ToString::to_string).collect();
    Comparison { records: told.len(), problems }
}

fn chain(lease: &LeaseUid, told: &BTreeMap<i64, (Record, String)>, problems: &mut Vec<Problem>) {
    let (mut next, mut previous) = (1, Some(digest::seed(lease)));
    for (seq, (record, hash)) in told {
        if *seq != next {
            let missing = if *seq == next.saturating_add(1) {
                format!("record {next} is")
            } else {
                format!("records {next} to {} are", seq.saturating_sub(1))
            };
            problems.push(Problem::Missing(format!("{missing} missing from the stream")));
            previous = None;
        }
        if previous.is_some_and(|previous| digest::link(&previous, record) != *hash) {
            problems
                .push(Problem::Differs(format!("record {seq} of the stream does not follow from the one before it")));
        }
        (next, previous) = (seq.saturating_add(1), Some(hash.clone()));
    }
}

fn status(told: &BTreeMap<i64, (Record, String)>, history: &History, problems: &mut Vec<Problem>) {
    let mut hash = history.seed.clone();
    for record in &history.records {
        hash = digest::link(&hash, record);
        match told.get(&record.seq) {
            None => {
                problems.push(Problem::Missing(format!("record {} of the status is not in the stream", record.seq)))
            }
            Some((same, told)) if same == record && *told == hash => {}
            Some(_) => {
                problems
                    .push(Problem::Differs(format!("record {} of the status is not what the stream told", record.seq)));
            }
        }
    }
    let last = history.records.last().map_or(0, |record| record.seq);
    let later = told.range(last.saturating_add(1)..).count();
    if later > 0 {
        let what = format!(
            "the stream has {later} later record(s) that the status does not have: it was set back, or is about to be written"
        );
        problems.push(Problem::Differs(what));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Time, reasons::Happening};

    fn uid() -> LeaseUid {
        LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap()
    }

    /// A history of so many records, and its stream with a log line between.
    fn told(records: i64) -> (History, Vec<String>) {
        let (mut history, mut lines) = (digest::begin(&uid()), vec![]);
        for n in 1..=records {
            digest::append(&mut history, Time::from_millis(n * 1000), Happening::Issued, "leasehold", format!("{n}"));
            let record = history.records.last().unwrap();
            let mut line = serde_json::to_value(record).unwrap();
            line["target"] = json!("audit");
            line["lease"] = json!({"namespace": "a", "name": "b", "uid": uid().to_string(), "lifecycle": "c"});
            line["hash"] = json!(history.head);
            lines.push(line.to_string());
        }
        lines.push(json!({"level": "INFO", "target": "leasehold"}).to_string());
        lines.push("no JSON at all".into());
        (history, lines)
    }

    fn problems(lines: &[String], history: &History) -> Vec<String> {
        compare(&lines.join("\n"), &uid(), history).problems
    }

    #[test]
    fn a_whole_stream_fits_also_when_it_repeats_itself_and_the_status_forgot_the_beginning() {
        let (history, mut lines) = told(20);
        lines.push(lines[3].clone());
        let found = compare(&lines.join("\n"), &uid(), &history);
        assert_eq!(found, Comparison { records: 20, problems: vec![] });
    }

    #[test]
    fn gaps_and_edits_are_named() {
        let (history, lines) = told(5);
        assert_eq!(problems(&lines[2..], &history)[0], "records 1 to 2 are missing from the stream");
        assert_eq!(
            problems(&lines[2..], &history)[1..],
            ["record 1 of the status is not in the stream", "record 2 of the status is not in the stream"]
        );
        let mut edited = lines.clone();
        edited[1] = edited[1].replace("\"detail\":\"2\"", "\"detail\":\"x\"");
        assert_eq!(
            problems(&edited, &history),
            [
                "record 2 of the stream does not follow from the one before it",
                "record 2 of the status is not what the stream told"
            ]
        );
        let mut short = history.clone();
        short.records.pop();
        assert!(problems(&lines, &short)[0].contains("1 later record(s)"));
        let mut twice = lines.clone();
        twice.push(edited[1].clone());
        assert_eq!(problems(&twice, &history), ["the stream tells record 2 twice, and differently"]);
    }

    #[test]
    fn a_chain_computed_anew_shows_against_the_stream() {
        let (mut history, lines) = told(3);
        history.records[1].actor = "nobody".into();
        history.head = history.records.iter().fold(history.seed.clone(), |hash, record| digest::link(&hash, record));
        assert!(digest::verify(&history), "by itself it looks whole");
        assert_eq!(problems(&lines, &history).len(), 2, "the edited record and the one after it");
    }

    #[test]
    fn no_numbers_of_a_stream_are_too_large_to_be_compared() {
        let (history, lines) = told(2);
        for numbers in [[i64::MIN, i64::MAX], [i64::MAX - 1, i64::MAX], [-1, i64::MIN]] {
            let mut strange = lines.clone();
            for seq in numbers {
                let mut line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
                line["seq"] = json!(seq);
                strange.push(line.to_string());
            }
            assert!(!compare(&strange.join("\n"), &uid(), &history).problems.is_empty(), "{numbers:?}");
        }
    }
}
