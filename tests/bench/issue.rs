//! Issuing: how soon a token works (B-1), how many lives a second (B-2), and who waits behind a queue (B-11).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use leasehold::api::names::{self, LeaseUid};
use leasehold_harness::Record;

use crate::{
    arm::Kind,
    drive::turns,
    field::{Asked, Field, PATIENCE},
    figures::{Found, Goal, Stat, millis},
    template::GRANT,
};

const ALL: [Kind; 3] = [Kind::Raw, Kind::Leasehold, Kind::Naive];

/// B-1.
pub async fn soon(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "Requests that nobody has to agree to, with delivery Secret, {:?} at once: from the answer to the request until a holder's \
         read with the delivered token is answered 200. {} repeats; in each, bursts are repeated until {} leases were asked for, and \
         {} times at least.",
        sizes.bursts, sizes.repeats, ASKED, BURSTS
    );
    let mut found = Found::new("B-1", "Agreed to usable", how);
    for repeat in 0..sizes.repeats {
        for kind in turns(&ALL, repeat) {
            let bursts = field
                .turn(kind, async |_| {
                    // Connections are open, and caches know what they will know.
                    field.burst(4).await?;
                    let mut bursts = vec![];
                    for &count in sizes.bursts {
                        let times = ASKED.div_ceil(count).max(BURSTS);
                        let mut values = vec![];
                        for _ in 0..times {
                            values.extend(field.burst(count).await?);
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        bursts.push((count, values));
                    }
                    Ok(bursts)
                })
                .await?;
            for (count, values) in bursts {
                found.extend(&format!("{count} at once, ms"), kind, repeat, values);
            }
        }
    }
    for &count in sizes.bursts {
        let case = format!("{count} at once, ms");
        found.against(&format!("usable, {count} at once, p50"), &case, Stat::Median, "ms", Goal::AtMost(1.2));
        found.against(&format!("usable, {count} at once, p99"), &case, Stat::P99, "ms", Goal::AtMost(2.0));
    }
    Ok(found)
}

/// How many leases are asked for in a repeat, however many of them at once.
const ASKED: usize = 100;
/// How many bursts there are in a repeat at least: all leases of one burst have its luck.
const BURSTS: usize = 5;

/// B-2.
pub async fn lives(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "A closed loop of {} whole lives (asked for, delivered, ended by the requester's decision, proven) over {} namespaces, {} under \
         way at most, so that it is not the 12 s of waiting for a proof that limits it; the rate at which proofs come while all \
         of these places are taken, without the first {}. The specification asks for 10,000 over 100.",
        sizes.lifecycles, sizes.namespaces, sizes.width, sizes.width
    );
    let mut found = Found::new("B-2", "Whole lives a second", how);
    for repeat in 0..sizes.repeats {
        for kind in turns(&ALL, repeat) {
            match field.turn(kind, async |_| field.lives(sizes.lifecycles, sizes.width).await).await {
                Ok(rate) => found.add("lives a second", kind, repeat, rate),
                // It does not find again what it made before a call of it failed, and begins such a lease for ever.
                Err(error) if kind == Kind::Naive => println!("  repeat {repeat}: N did not come to an end: {error:#}"),
                Err(error) => return Err(error),
            }
        }
    }
    found.against("whole lives, sustained", "lives a second", Stat::Median, "/s", Goal::AtLeast(0.9));
    Ok(found)
}

/// B-11.
pub async fn fair(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "{} requests queue in one namespace (the specification asks for 3,000). Meanwhile a lease of another namespace is ended and one \
         is asked for, again and again. An end's wait is what the API server's audit log says passed between its answer to the decision \
         and the arrival of the deletion of the RoleBinding; an issue's is from the request until the lease is active.",
        sizes.queue
    );
    let mut found = Found::new("B-11", "Fairness", how);
    for repeat in 0..sizes.repeats {
        for kind in turns(&[Kind::Leasehold, Kind::Naive], repeat) {
            let turns = field
                .turn(kind, async |_| {
                    let others = field.issued(6).await?;
                    let (calm, stormy) = others.split_at(others.len() / 2);
                    let idle = neighbours(field, calm).await?;
                    let queued = stream::iter(0..sizes.queue)
                        .map(|_| field.ask_crowded())
                        .buffer_unordered(48)
                        .try_collect::<Vec<_>>();
                    let (queued, busy) = tokio::join!(queued, async {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        neighbours(field, stormy).await
                    });
                    let busy = busy?;
                    let queued: Vec<String> = queued?.into_iter().map(|lease| lease.uid).collect();
                    field.all(&queued, "active", |seen| seen.active).await?;
                    Ok([("nothing queued", idle), ("behind the queue", busy)])
                })
                .await?;
            for (name, (ends, issues)) in turns {
                found.extend(&format!("end, {name}, ms"), kind, repeat, ends);
                found.extend(&format!("issue elsewhere, {name}, ms"), kind, repeat, issues);
            }
        }
    }
    for (name, end, issue) in
        [("nothing queued", Goal::None, Goal::None), ("behind the queue", Goal::AtMost(50.0), Goal::AtMost(1000.0))]
    {
        found.absolute(&format!("an end's wait, {name}, worst"), &format!("end, {name}, ms"), Stat::Max, "ms", end);
        let case = format!("issue elsewhere, {name}, ms");
        found.absolute(&format!("another namespace's issue, {name}, worst"), &case, Stat::Max, "ms", issue);
    }
    Ok(found)
}

/// Ends of these leases and issues beside them, one after the other.
async fn neighbours(field: &Field, leases: &[Asked]) -> Result<(Vec<f64>, Vec<f64>)> {
    let audit = field.lab.plane.audit();
    let since = audit.cursor()?;
    let mut issues = vec![];
    for (n, lease) in leases.iter().enumerate() {
        field.revoke(lease).await?;
        field.eyes.until(&lease.uid, PATIENCE, "unbound", |seen| seen.unbound).await?;
        // Not in the crowded namespace, which is the last one.
        let asked = field.ask_in(n % (field.namespaces.len() - 1)).await?;
        let begun = Instant::now();
        issues.push(millis(begun, field.eyes.until(&asked.uid, PATIENCE, "active", |seen| seen.active).await?));
    }
    // The log may be a moment behind the answers.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let records = audit.read_since(since)?;
    let waited = |lease: &Asked| -> Result<f64> {
        let uid = LeaseUid::parse(&lease.uid).context("a UID that is none")?;
        let binding = names::binding(&uid, GRANT);
        let find = |verb: &str, resource: &str, name: &str| {
            let is = |r: &&Record| r.verb == verb && r.resource == resource && r.name == name && r.code < 300;
            records.iter().find(is).with_context(|| format!("the audit log has no {verb} of {resource} {name}"))
        };
        let decided = records.iter().find(|r| {
            r.verb == "create"
                && r.resource == "credentialleasedecisions"
                && r.namespace == lease.namespace
                && r.name == lease.name
        });
        let decided = decided.context("the audit log has no decision")?.finished;
        Ok(find("delete", "rolebindings", &binding)?.received.duration_since(decided).as_secs_f64() * 1e3)
    };
    Ok((leases.iter().map(waited).collect::<Result<_>>()?, issues))
}
