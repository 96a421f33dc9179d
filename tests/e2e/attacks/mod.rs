//! The attacks that the policies answer, each as the attacker's own identity: refused while the policy is there, and
//! successful once it is gone.

mod call;
mod collector;
mod decisions;
mod drain;
mod enforcement;
mod ground;
mod independence;
mod issuing;
mod lifecycles;
mod races;
mod remains;
mod requests;
mod rights;
mod secrets;
mod self_limit;
mod shapes;
mod stamping;
mod systems;
mod table;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use leasehold_harness::{Look, Record, eventually_seeing};
use serde_json::Value;

use self::{
    ground::Ground,
    table::{Row, Table},
};
use crate::support::run;

/// API servers read their policies anew every second.
const TAKES_EFFECT: Duration = Duration::from_secs(5);

/// Validations that no request reaches, because something refuses it before admission: why.
const NEVER_REACHED: &[(&str, usize, &str)] = &[(
    "leasehold-lifecycle-author",
    2,
    "the CRD allows at most sixteen grants; this holds if that is ever raised alone",
)];

fn tables() -> Vec<Table> {
    vec![
        secrets::self_limit(),
        secrets::secret_type(),
        self_limit::shapes(),
        self_limit::restart(),
        requests::request(),
        requests::update(),
        requests::status(),
        lifecycles::author(),
        systems::author(),
        systems::own_token(),
        drain::stops(),
        decisions::decides(),
        independence::independence(),
        issuing::namespace(),
        issuing::tokens(),
        issuing::subjects(),
    ]
}

#[test]
fn every_attack_is_refused_by_its_policy_and_succeeds_without_it() {
    run(async {
        let (ground, tables) = (Ground::lay().await?, tables());
        let mut wrong = vec![];
        ensure!(shipped()? == tables.iter().map(|t| t.policy.to_owned()).collect(), "a policy without attacks");
        settle(&ground, &tables).await?;
        let cursor = ground.lab.plane.audit().cursor()?;
        for table in &tables {
            for row in &table.attacks {
                let answer = ground.carry_out(row.who, (row.plan)(&ground)).await?;
                if !answer.is_refused_by(table.policy) {
                    wrong.push(told(table, row, "was not refused", &answer.brief()));
                }
            }
        }
        ground.lab.plane.audit().settled().await;
        wrong.extend(untouched(&ground.lab.plane.audit().read_since(cursor)?)?);
        for table in &tables {
            for row in &table.lawful {
                let answer = ground.carry_out(row.who, (row.plan)(&ground)).await?;
                if !answer.succeeded() {
                    wrong.push(told(table, row, "is lawful, and failed", &answer.brief()));
                }
            }
        }
        collector::is_free(&ground).await?;
        for table in &tables {
            wrong.extend(without(&ground, table).await.with_context(|| format!("without {}", table.policy))?);
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        collector::ends_namespaces(&ground).await?;
        ground.lab.stop().await
    });
}

/// Before the first attack counts, every policy has taken effect.
async fn settle(ground: &Ground, tables: &[Table]) -> Result<()> {
    for table in tables {
        bites(ground, table, true).await?;
    }
    Ok(())
}

/// Waits until a policy bites, or no longer does, by its first attack.
async fn bites(ground: &Ground, table: &Table, wanted: bool) -> Result<()> {
    let row = table.attacks.first().context("a policy without attacks")?;
    let what = format!("{} to {}", table.policy, if wanted { "bite" } else { "be gone" });
    eventually_seeing(&what, TAKES_EFFECT, || async {
        let answer = ground.carry_out(row.who, (row.plan)(ground)).await?;
        let seen = answer.brief();
        Ok::<_, anyhow::Error>(if answer.is_refused_by(table.policy) == wanted {
            Look::Done(())
        } else {
            Look::NotYet(seen)
        })
    })
    .await
}

/// Takes a policy away: what it was there for now happens. Then puts it back.
async fn without(ground: &Ground, table: &Table) -> Result<Vec<String>> {
    let file = ground.lab.config(&format!("policies/{}.yaml", table.policy));
    ground.lab.kubectl(&["delete", "-f", &file], None).await?;
    bites(ground, table, false).await?;
    let mut wrong = vec![];
    for row in &table.attacks {
        let answer = ground.carry_out(row.who, (row.plan)(ground)).await?;
        let read = row.reads.is_none_or(|secret| answer.body.to_string().contains(secret));
        if !answer.succeeded() || !read {
            wrong.push(told(table, row, "is refused by something else too", &answer.brief()));
        }
    }
    ground.lab.kubectl(&["apply", "-f", &file], None).await?;
    bites(ground, table, true).await?;
    Ok(wrong)
}

fn told(table: &Table, row: &Row, what: &str, answer: &str) -> String {
    format!("{} | row {} | {:?} {} | {what}: {answer}", table.policy, row.of, row.who, row.what)
}

/// The shipped policies, by name.
fn shipped() -> Result<BTreeSet<String>> {
    Ok(validations()?.into_iter().map(|(policy, _)| policy).collect())
}

/// The shipped policies and how many validations each has.
fn validations() -> Result<Vec<(String, usize)>> {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/policies"))?;
    let mut found = vec![];
    for file in files {
        let text = std::fs::read_to_string(file?.path())?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        for policy in documents.iter().filter(|d| d["kind"] == "ValidatingAdmissionPolicy") {
            let name = policy["metadata"]["name"].as_str().context("a policy without a name")?;
            found.push((name.to_owned(), policy["spec"]["validations"].as_array().map_or(0, Vec::len)));
        }
    }
    Ok(found)
}

/// The validations that refused nothing, by what the API server noted down: each is there for an attack, or for nothing.
fn untouched(records: &[Record]) -> Result<Vec<String>> {
    let mut hit: BTreeSet<(String, usize)> = BTreeSet::new();
    for record in records {
        let Some(noted) = record.annotations.get("validation.policy.admission.k8s.io/validation_failure") else {
            continue;
        };
        for failure in serde_json::from_str::<Vec<Value>>(noted)? {
            let index = match &failure["expressionIndex"] {
                Value::String(text) => text.parse()?,
                Value::Number(number) => number.as_u64().context("a negative index")? as usize,
                Value::Null => 0,
                other => bail!("an index that is none: {other}"),
            };
            hit.insert((failure["policy"].as_str().unwrap_or_default().to_owned(), index));
        }
    }
    let missing =
        |(policy, count): (String, usize)| (0..count).map(move |index| (policy.clone(), index)).collect::<Vec<_>>();
    let excused = |(policy, index): &(String, usize)| NEVER_REACHED.iter().any(|(p, i, _)| p == policy && i == index);
    Ok(validations()?
        .into_iter()
        .flat_map(missing)
        .filter(|validation| !hit.contains(validation) && !excused(validation))
        .map(|(policy, index)| format!("{policy}: no attack reaches validation {index}"))
        .collect())
}
