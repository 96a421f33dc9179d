//! What one lease costs the API server (B-7), from its audit log.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use leasehold::api::names::OPERATOR_USERNAME;
use leasehold_harness::{Cursor, Record};

use crate::{
    arm::Kind,
    field::{Field, PATIENCE},
    figures::{Found, Line, Met},
};

/// A delivery, what is asked for, and the floor of each stage: verb and resource.
struct Floor {
    delivery: &'static str,
    issue: &'static [&'static str],
    end: &'static [&'static str],
}

/// `benchmarks.md`: besides, one question at issue whether the requester may lease, and one positive control.
const FLOORS: [Floor; 2] = [
    Floor {
        delivery: "Secret",
        issue: &[
            "create jobs",
            "create rolebindings",
            "create secrets",
            "create serviceaccounts",
            "create serviceaccounts/token",
            "create subjectaccessreviews",
            "create tokenreviews",
            "get clusterroles",
            "update credentialleases/status",
        ],
        end: &[
            "create tokenreviews",
            "delete jobs",
            "delete rolebindings",
            "delete secrets",
            "delete serviceaccounts",
            "update credentialleases/status",
            "update credentialleases/status",
        ],
    },
    Floor {
        delivery: "TokenRequest",
        issue: &[
            "create jobs",
            "create rolebindings",
            "create rolebindings",
            "create roles",
            "create serviceaccounts",
            "create subjectaccessreviews",
            "get clusterroles",
            "update credentialleases/status",
        ],
        end: &[
            "delete jobs",
            "delete rolebindings",
            "delete rolebindings",
            "delete roles",
            "delete serviceaccounts",
            "update credentialleases/status",
            "update credentialleases/status",
        ],
    },
];

/// B-7.
#[allow(clippy::cast_precision_loss)]
pub async fn floor(field: &Field) -> Result<Found> {
    let how = "Calls of the operator's account in the API server's audit log for one lease with one grant, at issue and from its end to \
               its proof. The floor is what cannot be left out: issue 7 and 7, the question whether the requester may lease and, where \
               there is a token to prove dead, its positive control; end and proof 7 and 7. Watches, lists, Events, the leader's Lease, the \
               lifecycle's own status and the probes of policies are counted apart."
        .to_owned();
    let mut found = Found::new("B-7", "Calls of a lease", how);
    for floor in &FLOORS {
        let (issued, ended) = field.turn(Kind::Leasehold, async |_| course(field, floor.delivery).await).await?;
        for (stage, calls, expected) in [("issue", issued, floor.issue), ("end and proof", ended, floor.end)] {
            let (calls, expected) = (counted(calls.iter().map(String::as_str)), counted(expected.iter().copied()));
            for (call, count) in &calls {
                found.add(&format!("{}, {stage}: {call}", floor.delivery), Kind::Leasehold, 0, *count as f64);
            }
            let sum = |of: &BTreeMap<String, usize>| of.values().sum::<usize>().to_string();
            found.lines.push(Line {
                id: "B-7",
                what: format!("calls, delivery {}, {stage}", floor.delivery),
                figure: sum(&calls),
                yardstick: format!("floor {}", sum(&expected)),
                ratio: None,
                goal: "exactly the floor".to_owned(),
                met: Some(Met::of(calls == expected)),
            });
        }
    }
    Ok(found)
}

fn counted<'a>(calls: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.to_owned()).or_default() += 1;
    }
    counts
}

async fn course(field: &Field, delivery: &str) -> Result<(Vec<String>, Vec<String>)> {
    let begun = field.lab.plane.audit().cursor()?;
    let lease = field.ask(&field.lease(&field.namespaces[0], delivery, "1h")).await?;
    field.eyes.until(&lease.uid, PATIENCE, "active", |seen| seen.active).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let issued = calls(field, begun).await?;
    let decided = field.lab.plane.audit().cursor()?;
    field.revoke(&lease).await?;
    field.eyes.until(&lease.uid, PATIENCE, "proven", |seen| seen.proven).await?;
    Ok((issued, calls(field, decided).await?))
}

async fn calls(field: &Field, since: Cursor) -> Result<Vec<String>> {
    let audit = field.lab.plane.audit();
    ensure!(audit.settled().await, "the audit log does not come to rest");
    let name = |r: &Record| match r.subresource.as_str() {
        "" => format!("{} {}", r.verb, r.resource),
        sub => format!("{} {}/{sub}", r.verb, r.resource),
    };
    Ok(audit.read_since(since)?.iter().filter(|r| is_of_a_lease(r)).map(name).collect())
}

fn is_of_a_lease(record: &Record) -> bool {
    let apart = ["events", "leases", "serviceaccountlifecycles"];
    record.user == OPERATOR_USERNAME
        && !matches!(record.verb.as_str(), "watch" | "list")
        && !apart.contains(&record.resource.as_str())
        && !record.resource.starts_with("selfsubject")
        && !record.uri.contains("dryRun=All")
}
