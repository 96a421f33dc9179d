//! The attacks that the policies answer, each as the attacker's own identity: refused while the policy is there, and successful
//! once it is gone. And each validation of a policy is the only one that refuses some attack.

mod alone;
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
mod validations;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use leasehold_harness::{Look, eventually_seeing};

use self::{
    call::Answer,
    ground::Ground,
    table::{Row, Table},
};
use crate::support::run;

/// API servers read their policies anew every second.
const TAKES_EFFECT: Duration = Duration::from_secs(5);

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
        let tested: BTreeSet<_> = tables.iter().map(|t| t.policy.to_owned()).collect();
        ensure!(validations::shipped()?.into_keys().collect::<BTreeSet<_>>() == tested, "a policy without attacks");
        settle(&ground, &tables).await?;
        let cursor = ground.lab.plane.audit().cursor()?;
        let mut answers = vec![];
        for table in &tables {
            for row in &table.attacks {
                let answer = ground.carry_out(row.who, (row.plan)(&ground)).await?;
                if answer.is_refused_by(table.policy) {
                    answers.push((table, row, answer));
                } else {
                    wrong.push(told(table, row, "was not refused", &answer.brief()));
                }
            }
        }
        ground.lab.plane.audit().settled().await;
        let refused = alone::by_whom(answers, &ground.lab.plane.audit().read_since(cursor)?)?;
        for table in &tables {
            for row in &table.lawful {
                let answer = ground.carry_out(row.who, (row.plan)(&ground)).await?;
                if !answer.succeeded() {
                    wrong.push(told(table, row, "is lawful, and failed", &answer.brief()));
                }
            }
        }
        collector::is_free(&ground).await?;
        wrong.extend(validations::needless(&alone::needed(&ground, &refused).await?)?);
        settle(&ground, &tables).await?;
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
        if !succeeded(row, &answer) {
            wrong.push(told(table, row, "is refused by something else too", &answer.brief()));
        }
    }
    ground.lab.kubectl(&["apply", "-f", &file], None).await?;
    bites(ground, table, true).await?;
    Ok(wrong)
}

/// Whether an attack has got what it was for.
fn succeeded(row: &Row, answer: &Answer) -> bool {
    answer.succeeded() && row.reads.is_none_or(|secret| answer.body.to_string().contains(secret))
}

fn told(table: &Table, row: &Row, what: &str, answer: &str) -> String {
    format!("{} | row {} | {:?} {} | {what}: {answer}", table.policy, row.of, row.who, row.what)
}
