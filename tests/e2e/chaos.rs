//! The operator is killed again and again at random moments, and what it has promised holds all the same (F1, F17; I1, I4).
//!
//! Nothing is asked of the operator: leases and leftovers are read by the administrator, tokens are tried by their holders.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use kube::api::ListParams;
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    lifecycle::DeliveryType,
    reasons::Phase,
};
use leasehold_harness::{Look, Options, eventually_seeing};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{Holder, Lab, OUTLIVES_MILLIS, Operator, Tenant, run, since};

const LEASES: usize = 60;
const KILLS: usize = 20;
/// When the leases are created: not before the policies, which were applied just now, are known to be in force. What is created
/// earlier is denied, as it should be.
const SPREAD_MILLIS: std::ops::Range<u64> = 10_000..70_000;
/// How long the operator lives each time: from not even having read everything to having issued.
const LIVES_MILLIS: std::ops::Range<u64> = 300..7000;
/// How long there is none.
const PAUSES_MILLIS: std::ops::Range<u64> = 0..1500;
/// How long a holder goes on trying.
const PATIENCE: Duration = Duration::from_secs(150);
/// Fewer, and the run has shown nothing.
const FEWEST_TOKENS: usize = 30;
/// Makes a run the same again, as far as two clocks allow.
const SEED: &str = "LEASEHOLD_CHAOS_SEED";

/// What is to become of one lease.
#[derive(Clone, Debug)]
struct Plan {
    name: String,
    tenant: usize,
    after: Duration,
    ttl_seconds: u64,
    delivery: DeliveryType,
    /// Deleted so long after its creation.
    deleted: Option<Duration>,
}

/// When the operator dies, and how long it stays dead.
#[derive(Clone, Copy, Debug)]
struct Kill {
    life: Duration,
    pause: Duration,
}

/// A token that somebody holds.
struct Held {
    lease: String,
    /// When its lease ended.
    end: Timestamp,
    /// When it was first refused.
    died: Timestamp,
    holder: Holder,
}

fn plans(rng: &mut StdRng) -> Vec<Plan> {
    let plan = |number: usize| Plan {
        name: format!("run-{number}"),
        tenant: rng.random_range(0..2),
        after: Duration::from_millis(rng.random_range(SPREAD_MILLIS)),
        ttl_seconds: rng.random_range(30..=45),
        delivery: if rng.random_bool(0.5) { DeliveryType::Secret } else { DeliveryType::TokenRequest },
        deleted: rng.random_bool(0.25).then(|| Duration::from_millis(rng.random_range(500..25_000))),
    };
    (0..LEASES).map(plan).collect()
}

fn kills(rng: &mut StdRng) -> Vec<Kill> {
    let mut kill = || Kill {
        life: Duration::from_millis(rng.random_range(LIVES_MILLIS)),
        pause: Duration::from_millis(rng.random_range(PAUSES_MILLIS)),
    };
    (0..KILLS).map(|_| kill()).collect()
}

/// Asks for a lease, takes every token that it gives, and deletes it if that is the plan.
async fn live(tenant: &Tenant<'_>, plan: &Plan, start: Instant) -> Result<Vec<Held>> {
    sleep_until(start + plan.after).await;
    let change = |spec: &mut serde_json::Value| {
        spec["ttl"] = json!(format!("{}s", plan.ttl_seconds));
        spec["delivery"] = json!({"type": plan.delivery.as_str()});
    };
    tenant.lease(&plan.name, "nightly", change).await?;
    let (begun, mut tokens) = (Instant::now(), vec![]);
    let life = plan.deleted.unwrap_or(Duration::from_secs(plan.ttl_seconds));
    let mut end = Timestamp::now();
    while begun.elapsed() < life {
        let lease = tenant.leases().get(&plan.name).await?;
        let status = lease.status.clone().unwrap_or_default();
        if let Some(at) = status.expiration_time {
            end = Timestamp::from_millisecond(at.as_millis())?;
        }
        // A delivered token is the same each time; minted ones are new, and each of them must die.
        let wanted = if plan.delivery == DeliveryType::Secret { 1 } else { 3 };
        if status.phase == Some(Phase::Active) && tokens.len() < wanted {
            // The lease may have ended, or its right to mint may not be known yet: then there is no token to be had.
            tokens.extend(token(tenant, &lease, plan.delivery).await.ok());
        }
        sleep(Duration::from_millis(700)).await;
    }
    if plan.deleted.is_some() {
        tenant.delete_lease(&plan.name).await?;
        end = Timestamp::now();
    }
    try_join_all(tokens.into_iter().map(|token| held(tenant, plan, end, token))).await
}

/// Tries a token until it is refused: from its lease's end on, whether there is an operator or not.
async fn held(tenant: &Tenant<'_>, plan: &Plan, end: Timestamp, token: String) -> Result<Held> {
    let holder = Holder::new(tenant, &token)?;
    let (_, died) = holder.until(&[401], Duration::from_millis(200), PATIENCE).await.context(plan.name.clone())?;
    Ok(Held { lease: plan.name.clone(), end, died, holder })
}

async fn token(tenant: &Tenant<'_>, lease: &CredentialLease, delivery: DeliveryType) -> Result<String> {
    let account = lease.status.as_ref().and_then(|s| s.credential.as_ref()).and_then(|c| c.service_account.as_ref());
    match (delivery, account) {
        (DeliveryType::TokenRequest, Some(account)) => tenant.mint(&account.name).await,
        _ => tenant.token(lease).await,
    }
}

async fn kill_again_and_again(lab: &Lab, kills: &[Kill]) -> Result<()> {
    for (number, kill) in kills.iter().enumerate() {
        let operator = Operator::launch(&lab.plane, &format!("operator-{number}"), &[]).await?;
        sleep(kill.life).await;
        operator.kill()?;
        sleep(kill.pause).await;
    }
    lab.start_operator("operator-last", &[]).await
}

/// A token dies within the grace after the end, or after there is an operator again that works.
fn late(held: &Held, working: Timestamp) -> Option<String> {
    let after = since(held.end.max(working), held.died);
    (after > OUTLIVES_MILLIS)
        .then(|| format!("a token of {} died {after} ms after {}", held.lease, held.end.max(working)))
}

/// What is wrong with the record of an ended lease.
fn fault(lease: &CredentialLease) -> Option<String> {
    let status = lease.status.clone().unwrap_or_default();
    let revoked = condition::find(&status.conditions, "Revoked");
    // Where no account was ever made there is nothing to revoke, and nothing is claimed.
    let proven = match revoked {
        Some(condition) => condition.status == ConditionStatus::True,
        None => status.issue_time.is_none() && status.credential.is_none(),
    };
    let ended = matches!(status.phase, Some(Phase::Expired | Phase::Revoked));
    (!ended || !proven).then(|| format!("{:?}: {}", lease.metadata.name, json!(status)))
}

async fn all_leases(tenants: &[Tenant<'_>]) -> Result<Vec<CredentialLease>> {
    let lists = tenants.iter().map(|tenant| async move { tenant.leases().list(&ListParams::default()).await });
    Ok(try_join_all(lists).await?.into_iter().flat_map(|list| list.items).collect())
}

/// Everything that was made for some lease, and whatever else is where only accounts of leases are.
async fn leftovers(lab: &Lab) -> Result<Vec<String>> {
    let kinds = "serviceaccounts,jobs,roles,rolebindings,secrets";
    let labelled = ["get", kinds, "-A", "-l", "leasehold.dev/lease-uid", "-o", "name"];
    let delivered = ["get", "secrets", "-A", "--field-selector", "type=leasehold.dev/credential", "-o", "name"];
    let issued = ["get", kinds, "-n", "leasehold-leases", "-o", "name"];
    let shipped = [
        "serviceaccount/default",
        "role.rbac.authorization.k8s.io/leasehold",
        "rolebinding.rbac.authorization.k8s.io/leasehold",
    ];
    let mut left = vec![];
    for args in [&labelled[..], &delivered[..], &issued[..]] {
        left.extend(lab.kubectl(args, None).await?.lines().filter(|line| !shipped.contains(line)).map(str::to_owned));
    }
    Ok(left)
}

#[test]
fn nothing_outlives_its_lease_however_often_the_operator_is_killed() {
    run(async {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse()?,
            Err(_) => rand::random(),
        };
        println!("chaos: to run the same again: {SEED}={seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (plans, kills) = (plans(&mut rng), kills(&mut rng));

        let lab = Lab::installed(Options::default()).await?;
        let tenants = [lab.tenant("chaos").await?, lab.tenant("chaos").await?];
        for tenant in &tenants {
            tenant.lifecycle("nightly", |_| {}).await?;
        }
        let start = Instant::now();
        let lives = plans.iter().map(|plan| live(&tenants[plan.tenant], plan, start));
        let (held, working) = try_join(try_join_all(lives), async {
            kill_again_and_again(&lab, &kills).await?;
            Ok(Timestamp::now())
        })
        .await?;
        let held: Vec<Held> = held.into_iter().flatten().collect();

        let late: Vec<String> = held.iter().filter_map(|held| late(held, working)).collect();
        ensure!(late.is_empty(), "seed {seed}: {}", late.join("\n"));

        let ended = eventually_seeing("every lease to be over", Duration::from_secs(90), || async {
            let leases = all_leases(&tenants).await?;
            let faults: Vec<String> = leases.iter().filter_map(fault).collect();
            Ok::<_, anyhow::Error>(if faults.is_empty() { Look::Done(leases) } else { Look::NotYet(faults.join("\n")) })
        })
        .await?;
        eventually_seeing("nothing to be left", Duration::from_secs(30), || async {
            let left = leftovers(&lab).await?;
            Ok::<_, anyhow::Error>(if left.is_empty() { Look::Done(()) } else { Look::NotYet(left.join("\n")) })
        })
        .await?;
        for held in &held {
            let code = held.holder.reads().await?;
            ensure!(code == 401, "seed {seed}: a token of {} is answered {code} in the end", held.lease);
        }
        let deleted = plans.iter().filter(|plan| plan.deleted.is_some()).count();
        ensure!(ended.len() == LEASES - deleted, "seed {seed}: {} leases are left", ended.len());
        let issued = ended.iter().filter(|l| l.status.as_ref().is_some_and(|s| s.issue_time.is_some())).count();
        let worst = held.iter().map(|held| since(held.end, held.died)).max().unwrap_or_default();
        println!("chaos: the last token died {worst} ms after its lease's end, operator or not");
        println!("chaos: {} tokens; {issued} of {} leases issued, {deleted} deleted", held.len(), ended.len());
        ensure!(held.len() >= FEWEST_TOKENS, "seed {seed}: only {} tokens were had: this shows nothing", held.len());
        lab.stop().await
    });
}
