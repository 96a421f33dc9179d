//! A bounded number of documents for every target: seeds as people write them, with one to four places made hostile.

use proptest::{prelude::*, sample::Index};

use super::*;

/// Values that somebody may put where another is expected.
fn hostile() -> impl Strategy<Value = Value> {
    let long = |text: &str, times: usize| Value::from(text.repeat(times));
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN])
            .prop_map(Value::from),
        Just(json!(1e308)),
        Just(json!(u64::MAX)),
        prop::sample::select(vec![
            "",
            "0s",
            "30s",
            "99999h99999h99999h",
            "8760h",
            "-1s",
            "1h1",
            "*",
            "/",
            "system:masters",
            "kube-system",
            "..",
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "-009999-01-01T00:00:00Z",
            "2027-01-15T08:00:00.000000001+23:59",
            "0000-01-01",
            "9999-12-31",
            "Required",
            "Secret",
            "NotRequired",
            "HoldAndRevoke",
            "Active",
            "Expired",
            "True",
            "\u{0}",
            "\u{202e}gnp",
            "é\u{301}",
            "𝒳",
            "a\nb",
            "{{x}}",
            "'",
            "lease.ttl < duration('1h')",
        ])
        .prop_map(Value::from),
        Just(long("x", 300)),
        Just(long("é", 70_000)),
        ".{0,40}".prop_map(Value::from),
    ]
}

/// What is done to one place of a document.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Value),
    Remove,
    /// Its entries many times over.
    Swell(usize),
    /// An entry that is not known.
    Add(Value),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => hostile().prop_map(Change::Put),
        2 => Just(Change::Remove),
        1 => (2_usize..200).prop_map(Change::Swell),
        1 => hostile().prop_map(Change::Add),
    ]
}

/// Every place of a document, the outermost first.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), all)),
        _ => {}
    }
}

pub(crate) fn changed(mut document: Value, changes: &[(Index, Change)]) -> Value {
    for (index, change) in changes {
        let mut all = vec![];
        places(&document, "", &mut all);
        let place = index.get(&all);
        let Some(value) = document.pointer_mut(place) else { continue };
        match change {
            Change::Put(new) => *value = new.clone(),
            Change::Remove => {
                let Some((parent, name)) = place.rsplit_once('/') else { continue };
                if let Some(Value::Object(members)) = document.pointer_mut(parent) {
                    members.remove(name);
                }
            }
            Change::Swell(times) => match value {
                Value::Array(items) if items.len() < 100 => {
                    *items = std::iter::repeat_n(items.clone(), *times).flatten().collect()
                }
                Value::String(text) if text.len() < 100 => *text = text.repeat(*times),
                Value::Number(number) => *value = json!(number.as_i64().unwrap_or(1).saturating_mul(i64::MAX / 2)),
                _ => {}
            },
            Change::Add(new) => match value {
                Value::Object(members) => _ = members.insert("added".into(), new.clone()),
                Value::Array(items) => items.push(new.clone()),
                _ => {}
            },
        }
    }
    document
}

/// How many documents for each target: `FUZZ_CASES` says more.
pub(crate) fn cases() -> ProptestConfig {
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(of, _)| *of == name).expect("it has this name").1
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_document_makes_a_decision_panic(
        seed in prop::sample::select(seeds::documents()),
        changes in prop::collection::vec((any::<Index>(), change()), 1..5),
    ) {
        let (name, document) = seed;
        target(name)(changed(document, &changes).to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        TARGETS.iter().for_each(|(_, target)| target(&data));
    }

    #[test]
    fn no_word_makes_a_reader_panic(text in "[-+]?[0-9]{0,6}[hmsTZ:.-]?[0-9]{0,6}[hmsTZ:.-]?[0-9]{0,6}[hms]?|\\PC{0,40}") {
        words(text.as_bytes());
    }

    #[test]
    fn no_expression_makes_the_reader_panic(parts in prop::collection::vec(prop::sample::select(seeds::PARTS), 0..40)) {
        expression(parts.concat().as_bytes());
    }
}

#[test]
fn every_seed_is_a_document_of_its_kind() {
    for (name, document) in seeds::documents() {
        let text = document.to_string();
        let read = match name {
            "lease" => read::<CredentialLeaseSpec>(text.as_bytes()).is_some(),
            "lifecycle" => read::<ServiceAccountLifecycleSpec>(text.as_bytes()).is_some(),
            "policy" => read::<CredentialLeasePolicySpec>(text.as_bytes()).is_some(),
            "system" => read::<ConnectedSystemSpec>(text.as_bytes()).is_some(),
            "decision" => read::<CredentialLeaseDecisionSpec>(text.as_bytes()).is_some(),
            "status" => read::<CredentialLeaseStatus>(text.as_bytes()).is_some(),
            other => panic!("no kind {other}"),
        };
        assert!(read, "{name}: {text}");
        target(name)(text.as_bytes());
    }
}

/// Writes the seeds for `make fuzz`, where `FUZZ_SEEDS` says.
#[test]
fn seeds_are_written_where_they_are_asked_for() {
    let Some(directory) = std::env::var_os("FUZZ_SEEDS").map(std::path::PathBuf::from) else { return };
    for (n, (name, document)) in seeds::documents().into_iter().enumerate() {
        let into = directory.join(name);
        std::fs::create_dir_all(&into).unwrap();
        std::fs::write(into.join(format!("seed-{n}")), document.to_string()).unwrap();
    }
    for (name, texts) in [("expression", seeds::EXPRESSIONS), ("words", seeds::WORDS)] {
        let into = directory.join(name);
        std::fs::create_dir_all(&into).unwrap();
        texts.iter().enumerate().for_each(|(n, text)| std::fs::write(into.join(format!("seed-{n}")), text).unwrap());
    }
}

mod seeds;
