//! Each validation of each policy taken away alone, while all others of it stay: what it alone refused now happens.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use leasehold_harness::{Look, Record, eventually_seeing};
use serde_json::{Value, json};

use super::{
    TAKES_EFFECT,
    call::{Answer, Call},
    ground::{Ground, Who},
    succeeded,
    table::{Row, Table},
    validations::{Validation, failed, shipped},
};

/// An attack that was refused, and by what.
pub struct Refused<'t> {
    pub table: &'t Table,
    pub row: &'t Row,
    /// The first of the policy's validations that did not hold: the API server notes no other down.
    pub by: Validation,
    /// In what words.
    pub words: String,
}

/// What refused each attack, by the API server's own record of the request.
pub fn by_whom<'t>(answers: Vec<(&'t Table, &'t Row, Answer)>, records: &[Record]) -> Result<Vec<Refused<'t>>> {
    let by_id: BTreeMap<&str, &Record> = records.iter().map(|record| (record.audit_id.as_str(), record)).collect();
    let refused = |(table, row, answer): (&'t Table, &'t Row, Answer)| {
        let record = by_id.get(answer.audit_id.as_str()).with_context(|| format!("no record of {}", row.what))?;
        let by = failed(record)?.into_iter().find(|(policy, _)| policy == table.policy);
        let by = by.with_context(|| format!("no validation refused {}", row.what))?;
        Ok(Refused { table, row, by, words: words(&answer).to_owned() })
    };
    answers.into_iter().map(refused).collect()
}

/// What the policy says, without the name of what was asked for.
fn words(answer: &Answer) -> &str {
    answer.message().split_once("denied request: ").map_or("", |(_, words)| words)
}

/// Takes away the first validation of every policy, then the second, and so on, since API servers read policies once a second: the
/// validations without which some attack succeeds. That none of another policy refuses it is seen by taking away its own as a whole.
/// All of them are back at the end.
pub async fn needed(ground: &Ground, refused: &[Refused<'_>]) -> Result<BTreeSet<Validation>> {
    let policies = shipped()?;
    let rounds = policies.values().map(Vec::len).max().unwrap_or(0);
    let mut needed = BTreeSet::new();
    for round in 0..rounds {
        for (policy, expressions) in &policies {
            let mut patch = vec![];
            if let Some(before) = round.checked_sub(1).filter(|before| *before < expressions.len()) {
                patch.push(becomes(before, &expressions[before]));
            }
            if round < expressions.len() {
                patch.push(becomes(round, "true"));
            }
            write(ground, policy, patch).await?;
        }
        for attack in refused.iter().filter(|attack| attack.by.1 == round) {
            if happens(ground, attack).await? {
                needed.insert(attack.by.clone());
            }
        }
    }
    for (policy, expressions) in policies.iter().filter(|(_, expressions)| expressions.len() == rounds) {
        write(ground, policy, vec![becomes(rounds - 1, &expressions[rounds - 1])]).await?;
    }
    Ok(needed)
}

fn becomes(index: usize, expression: &str) -> Value {
    json!({"op": "replace", "path": format!("/spec/validations/{index}/expression"), "value": expression})
}

async fn write(ground: &Ground, policy: &str, patch: Vec<Value>) -> Result<()> {
    if patch.is_empty() {
        return Ok(());
    }
    let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{policy}");
    ground.does(Who::Admin, Call::json_patch(path, json!(patch))).await.map(drop)
}

/// Waits until an attack succeeds, or is refused in other words: by another validation, too.
async fn happens(ground: &Ground, attack: &Refused<'_>) -> Result<bool> {
    let row = attack.row;
    eventually_seeing(&format!("validation {:?} to be gone", attack.by), TAKES_EFFECT, || async {
        let answer = ground.carry_out(row.who, (row.plan)(ground)).await?;
        let same = answer.is_refused_by(attack.table.policy) && words(&answer) == attack.words;
        Ok::<_, anyhow::Error>(if same { Look::NotYet(answer.brief()) } else { Look::Done(succeeded(row, &answer)) })
    })
    .await
}
