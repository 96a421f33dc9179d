//! The validations of the shipped policies, and which of them refused what, by what the API server noted down.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use leasehold_harness::Record;
use serde_json::Value;

/// A policy, and the place of one of its validations.
pub type Validation = (String, usize);

/// Validations that no request reaches, because something refuses it before admission: why.
const NEVER_REACHED: &[(&str, usize, &str)] = &[(
    "leasehold-lifecycle-author",
    2,
    "the CRD allows at most sixteen grants; this holds if that is ever raised alone",
)];

/// The shipped policies, each with the expressions of its validations.
pub fn shipped() -> Result<BTreeMap<String, Vec<String>>> {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/policies"))?;
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file?.path())?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        for policy in documents.iter().filter(|d| d["kind"] == "ValidatingAdmissionPolicy") {
            let name = policy["metadata"]["name"].as_str().context("a policy without a name")?;
            let validations = policy["spec"]["validations"].as_array().context("a policy without validations")?;
            let expression = |v: &Value| v["expression"].as_str().map(str::to_owned).context("no expression");
            found.insert(name.to_owned(), validations.iter().map(expression).collect::<Result<_>>()?);
        }
    }
    Ok(found)
}

/// The validations that did not hold for a request, of whatever policy.
pub fn failed(record: &Record) -> Result<BTreeSet<Validation>> {
    let Some(noted) = record.annotations.get("validation.policy.admission.k8s.io/validation_failure") else {
        return Ok(BTreeSet::new());
    };
    let mut all = BTreeSet::new();
    for failure in serde_json::from_str::<Vec<Value>>(noted)? {
        let index = match &failure["expressionIndex"] {
            Value::String(text) => text.parse()?,
            Value::Number(number) => number.as_u64().context("a negative index")? as usize,
            Value::Null => 0,
            other => bail!("an index that is none: {other}"),
        };
        all.insert((failure["policy"].as_str().unwrap_or_default().to_owned(), index));
    }
    Ok(all)
}

/// The validations that are not among these: each is there for an attack that nothing else refuses, or for nothing.
pub fn needless(needed: &BTreeSet<Validation>) -> Result<Vec<String>> {
    let all = shipped()?.into_iter().flat_map(|(policy, expressions)| {
        (0..expressions.len()).map(move |index| (policy.clone(), index)).collect::<Vec<_>>()
    });
    let excused = |(policy, index): &Validation| NEVER_REACHED.iter().any(|(p, i, _)| p == policy && i == index);
    Ok(all
        .filter(|validation| !needed.contains(validation) && !excused(validation))
        .map(|(policy, index)| format!("{policy}: no attack is refused by validation {index} alone"))
        .collect())
}
