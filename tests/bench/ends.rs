//! Ending: how soon after the wish a token is worthless (B-3), and how late deadlines are kept (B-4).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};

use crate::{
    arm::{Arm, Kind},
    drive::turns,
    field::{Asked, Field, PATIENCE},
    figures::{Found, Goal, Stat, millis},
    replay::now,
};

/// How often a holder reads until the first 403; after that; and when 401 is about to be due.
const PACES: [Duration; 3] = [Duration::from_millis(4), Duration::from_millis(500), Duration::from_millis(50)];
/// After that long 401 is about to be due: an API server remembers a token for 10 s.
const SOON: Duration = Duration::from_millis(8500);
/// Between one end and the next.
const BETWEEN: Duration = Duration::from_millis(170);

/// When a holder lost what, in milliseconds after the decision was answered.
struct Fate {
    forbidden: Option<f64>,
    unknown: f64,
    proven: f64,
}

/// B-3.
pub async fn verified(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let load = issues_a_second(field).await? / 2.0;
    let how = format!(
        "{} delivered leases a repeat (the specification asks for 1,000 in all) are ended one after the other by their requester. Each \
         holder reads with its token every {} ms: when is it answered 403, and, more slowly and at last every {} ms, when 401; when does the \
         status say Revoked=True. All from the answer to the decision. `loaded`: meanwhile {load:.1} leases a second are asked for, half of what R \
         issues here.",
        sizes.ends,
        PACES[0].as_millis(),
        PACES[2].as_millis()
    );
    let mut found = Found::new("B-3", "End to refused", how);
    for repeat in 0..sizes.repeats {
        for kind in turns(&[Kind::Raw, Kind::Leasehold], repeat) {
            let (idle, loaded) = field.turn(kind, async |_| ended(field, load).await).await?;
            for (name, fates) in [("idle", idle), ("loaded", loaded)] {
                let forbidden = fates.iter().filter_map(|fate| fate.forbidden);
                found.extend(&format!("403, {name}, ms"), kind, repeat, forbidden);
                found.extend(&format!("401, {name}, ms"), kind, repeat, fates.iter().map(|fate| fate.unknown));
                found.extend(&format!("Revoked=True, {name}, ms"), kind, repeat, fates.iter().map(|fate| fate.proven));
            }
        }
    }
    for (name, median) in [("idle", 25.0), ("loaded", 50.0)] {
        let case = format!("403, {name}, ms");
        found.absolute(&format!("end to 403, {name}, median"), &case, Stat::Median, "ms", Goal::AtMost(median));
        found.absolute(&format!("end to 403, {name}, p99"), &case, Stat::P99, "ms", Goal::AtMost(250.0));
        let case = format!("401, {name}, ms");
        found.absolute(&format!("end to 401, {name}, worst"), &case, Stat::Max, "ms", Goal::AtMost(10_250.0));
        let case = format!("Revoked=True, {name}, ms");
        found.absolute(&format!("end to Revoked=True, {name}, median"), &case, Stat::Median, "ms", Goal::None);
    }
    Ok(found)
}

/// How many leases a second R issues.
async fn issues_a_second(field: &Field) -> Result<f64> {
    let count = field.sizes.width / 2;
    field
        .turn(Kind::Raw, async |_| {
            field.issued(4).await?;
            let begun = Instant::now();
            field.issued(count).await?;
            #[allow(clippy::cast_precision_loss)]
            Ok(count as f64 / begun.elapsed().as_secs_f64())
        })
        .await
}

/// Ends while nothing else happens, and then ends under load; what is left of the first is only waiting by then.
async fn ended(field: &Field, load: f64) -> Result<(Vec<Fate>, Vec<Fate>)> {
    let leases = field.issued(2 * field.sizes.ends).await?;
    let (calm, stormy) = leases.split_at(field.sizes.ends);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let busy = BETWEEN * u32::try_from(calm.len())? + Duration::from_secs(1);
    let storm = async {
        tokio::time::sleep(busy).await;
        // The load ends with the last end, and not with the last proof: that only takes time.
        tokio::try_join!(fates(field, stormy), asked_for(field, load, busy))
    };
    let (calm, (stormy, ())) = tokio::try_join!(fates(field, calm), storm)?;
    Ok((calm, stormy))
}

/// Ends these leases, one every little while.
async fn fates(field: &Field, leases: &[Asked]) -> Result<Vec<Fate>> {
    let one = |(n, lease)| async move {
        tokio::time::sleep(BETWEEN * u32::try_from(n)?).await;
        fate(field, lease).await
    };
    try_join_all(leases.iter().enumerate().map(one)).await
}

/// An open load: so many requests a second, whatever becomes of them.
async fn asked_for(field: &Field, load: f64, busy: Duration) -> Result<()> {
    let (begun, half) = (Instant::now(), field.namespaces.len() / 2);
    let (mut pending, mut count) = (FuturesUnordered::new(), 0);
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / load.max(0.5)));
    while begun.elapsed() < busy {
        tokio::select! {
            _ = tick.tick() => {
                // Elsewhere than where the ends are.
                pending.push(field.ask_in(half + count % half));
                count += 1;
            }
            Some(asked) = pending.next() => drop(asked?),
        }
    }
    while let Some(asked) = pending.next().await {
        asked?;
    }
    Ok(())
}

async fn fate(field: &Field, lease: &Asked) -> Result<Fate> {
    let seen = field.eyes.seen(&lease.uid);
    let token = seen.token.context("an active lease without a token")?;
    // So that what is measured is no first read.
    field.eyes.reads(&token, &lease.namespace).await?;
    field.revoke(lease).await?;
    let begun = Instant::now();
    let eyes = &field.eyes;
    let verifier = async {
        let first = eyes.until_answered(&token, &lease.namespace, &[401, 403], PACES[0], PATIENCE).await?;
        if first.0 == 401 {
            return anyhow::Ok((None, millis(begun, first.1)));
        }
        let last = match eyes.until_answered(&token, &lease.namespace, &[401], PACES[1], SOON).await {
            Ok(last) => last,
            Err(_) => eyes.until_answered(&token, &lease.namespace, &[401], PACES[2], PATIENCE).await?,
        };
        Ok((Some(millis(begun, first.1)), millis(begun, last.1)))
    };
    let ((forbidden, unknown), proven) =
        tokio::try_join!(verifier, eyes.until(&lease.uid, PATIENCE, "proven", |seen| seen.proven))?;
    Ok(Fate { forbidden, unknown, proven: millis(begun, proven) })
}

/// How long after the planting the first deadline is, in seconds: whoever ends them is started meanwhile.
const AHEAD: i64 = 8;

/// B-4.
pub async fn deadlines(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "Leases that are there already, written as the operator would have (minted by the requester, with their backstop). `same second`: \
         {} of them are due at one moment; `spread`: {} are due at 60 % of the rate at which R drained the others in this repeat, always on \
         a whole second, as deadlines are. From the deadline until the RoleBinding is gone; \
         decided: until the first request to delete one has reached the API server. The specification asks for 2,000 and 10,000.",
        sizes.drain, sizes.spread
    );
    let mut found = Found::new("B-4", "Deadlines", how);
    for repeat in 0..sizes.repeats {
        let mut rate = 40.0;
        for kind in [Kind::Raw, Kind::Leasehold] {
            let (late, decided) = due(field, kind, sizes.drain, None).await?;
            found.add("same second, first decided late, ms", kind, repeat, decided);
            let drained = drain_rate(&late);
            if kind == Kind::Raw {
                rate = drained;
            }
            found.add("same second, ends a second", kind, repeat, drained);
            found.add("same second, first gone late, ms", kind, repeat, Stat::Min.of(late.clone()));
            found.extend("same second, late, ms", kind, repeat, late);
        }
        let (late, _) = due(field, Kind::Leasehold, sizes.spread, Some(rate * 0.6)).await?;
        found.extend("spread, late, ms", Kind::Leasehold, repeat, late);
    }
    found.absolute("spread deadlines, late, median", "spread, late, ms", Stat::Median, "ms", Goal::None);
    found.absolute("spread deadlines, late, p99", "spread, late, ms", Stat::P99, "ms", Goal::AtMost(1000.0));
    let case = "same second, ends a second";
    found.against("same-second drain", case, Stat::Median, "/s", Goal::AtLeast(0.8));
    let case = "same second, first decided late, ms";
    found.absolute("same second, the first one decided", case, Stat::Median, "ms", Goal::AtMost(50.0));
    let case = "same second, first gone late, ms";
    found.absolute("same second, the first one gone", case, Stat::Median, "ms", Goal::AtMost(150.0));
    Ok(found)
}

/// How late each RoleBinding went, in milliseconds after its deadline, in the order of the deadlines; and how late the API server
/// was first asked to delete one, by its audit log.
/// Whoever acts is started once they are there: before their status is written, they would be issued.
async fn due(field: &Field, kind: Kind, count: usize, rate: Option<f64>) -> Result<(Vec<f64>, f64)> {
    field.eyes.forget();
    let planting = field.planting_takes(count) + AHEAD;
    let first = now() + planting;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let deadline = |n: usize| first + rate.map_or(0, |rate| (n as f64 / rate) as i64);
    let deadlines: Vec<i64> = (0..count).map(deadline).collect();
    let leases = field.plant(&deadlines).await?;
    let arm = Arm::start(field, kind).await?;
    anyhow::ensure!(now() < first, "{count} leases were not planted within {planting} s: the machine is too busy");
    let since = field.lab.plane.audit().cursor()?;
    let uids: Vec<String> = leases.iter().map(|live| live.own.uid.to_string()).collect();
    let gone = field.all(&uids, "unbound", |seen| seen.unbound).await?;
    arm.stop().await?;
    let records = field.lab.plane.audit().read_since(since)?;
    let deletes = records.iter().filter(|r| r.verb == "delete" && r.resource == "rolebindings");
    let asked = deletes.map(|r| r.received).min().context("the audit log has no deletion of a RoleBinding")?;
    let decided = asked.duration_since(jiff::Timestamp::from_second(first)?).as_secs_f64() * 1e3;
    field.clear().await?;
    let (wall, clock) = (jiff::Timestamp::now(), Instant::now());
    let moment = |seconds: i64| -> Result<Instant> {
        let ago = wall.duration_since(jiff::Timestamp::from_second(seconds)?);
        clock.checked_sub(Duration::try_from(ago)?).context("a deadline before the machine was started")
    };
    let late = gone.into_iter().zip(&deadlines).map(|(at, deadline)| Ok(millis(moment(*deadline)?, at)));
    Ok((late.collect::<Result<_>>()?, decided))
}

/// Ends a second, from the deadline until the last one is gone.
#[allow(clippy::cast_precision_loss)]
fn drain_rate(late: &[f64]) -> f64 {
    late.len() as f64 * 1e3 / Stat::Max.of(late.to_vec())
}
