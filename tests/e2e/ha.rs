//! Two replicas under live leases and a pending one: whatever becomes of the leader, each lease has one account and one story, and
//! its end is begun soon.
//!
//! The shipped durations; how long each takeover took is printed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ServiceAccount, rbac::v1::RoleBinding};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use leasehold::api::{
    CredentialLease,
    reasons::{EndReason, Evidence, Happening, Phase},
};
use leasehold_harness::{Look, Options, eventually, eventually_seeing};
use serde_json::json;

use crate::support::{Lab, Operator, Person, Tenant, run};

/// The shipped lease duration: nobody takes over from a leader that may live.
const LEASE: Duration = Duration::from_secs(15);
/// What a busy machine may add to a takeover: so much less than [`LEASE`] that who need not wait is told from who waits.
const BUSY: Duration = Duration::from_secs(6);
/// Leases that two leaders issue and end at once.
const CONTESTED: usize = 12;

/// One more replica, as it is shipped: with an election.
async fn replica(lab: &Lab, label: &str) -> Result<Operator> {
    Operator::launch(&lab.plane, label, &["--leader-election=true"]).await
}

async fn leads(operator: &Operator) -> Result<bool> {
    Ok(operator.get("metrics").await?.contains("leasehold_leading 1"))
}

async fn until_it_leads(operator: &Operator) -> Result<()> {
    eventually("the replica to lead", LEASE + BUSY, || async {
        Ok::<_, anyhow::Error>(leads(operator).await?.then_some(()))
    })
    .await
}

/// A replica that is as ready as it can be without leading.
async fn standby(lab: &Lab, label: &str) -> Result<Operator> {
    let operator = replica(lab, label).await?;
    operator.wait_until_enforced().await?;
    let ready = |body: String| (body.trim() == "ok").then_some(());
    eventually("a standby to be ready", Duration::from_secs(30), || async {
        Ok::<_, anyhow::Error>(ready(operator.get("readyz").await?))
    })
    .await?;
    ensure!(operator.get("healthz").await?.trim() == "ok", "a standby is healthy");
    ensure!(!leads(&operator).await?, "{label} leads beside another one");
    Ok(operator)
}

fn uid(lease: &CredentialLease) -> Result<String> {
    lease.metadata.uid.clone().context("a lease without a UID")
}

/// An active lease that is ended by its requester's word, as `end` tells it.
async fn active(tenant: &Tenant<'_>, name: &str) -> Result<CredentialLease> {
    tenant.lease(name, "nightly", |spec| spec["ttl"] = json!("10m")).await?;
    tenant.lease_in(name, Phase::Active).await
}

/// Waits until no RoleBinding of the lease is there; how long after `begun`.
async fn bindings_gone(tenant: &Tenant<'_>, lease: &CredentialLease, begun: Instant) -> Result<Duration> {
    let api: Api<RoleBinding> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
    let ours = ListParams::default().labels(&format!("leasehold.dev/lease-uid={}", uid(lease)?));
    loop {
        if api.list(&ours).await?.items.is_empty() {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < 2 * LEASE, "the RoleBindings are still there after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn told(what: &str, took: Duration, most: Duration) -> Result<()> {
    println!("{what} -> the first overdue end begun: {} ms", took.as_millis());
    ensure!(took <= most, "{what}: {took:?}, and {most:?} was allowed");
    Ok(())
}

/// Whatever replicas did, a lease was issued once, and its records are one chain without a gap.
fn one_story(lease: &CredentialLease) -> Result<()> {
    let status = lease.status.as_ref().context("no status")?;
    let history = status.history.as_ref().context("no history")?;
    let issued = history.records.iter().filter(|record| record.event == Happening::Issued).count();
    let seqs: Vec<i64> = history.records.iter().map(|record| record.seq).collect();
    let gapless = seqs.windows(2).all(|pair| pair[1] == pair[0] + 1);
    ensure!(issued == 1 && gapless, "{:?}", history.records);
    ensure!(leasehold::domain::digest::verify(history), "the history is no chain: {history:?}");
    Ok(())
}

/// Accounts that are there, by lease, and how many were ever made.
async fn accounts(lab: &Lab) -> Result<(BTreeMap<String, usize>, usize)> {
    let api: Api<ServiceAccount> = Api::namespaced(lab.plane.admin(), "leasehold-leases");
    let mut there = BTreeMap::new();
    for account in api.list(&ListParams::default().labels("leasehold.dev/lease-uid")).await?.items {
        let lease = account.metadata.labels.and_then(|l| l.get("leasehold.dev/lease-uid").cloned());
        *there.entry(lease.unwrap_or_default()).or_default() += 1;
    }
    lab.plane.audit().settled().await;
    let made = lab.plane.audit().since_start()?.into_iter().filter(|record| {
        let account = record.resource == "serviceaccounts" && record.subresource.is_empty();
        account && record.verb == "create" && record.namespace == "leasehold-leases" && record.code == 201
    });
    let made = made.filter(|record| record.user == "system:serviceaccount:leasehold-system:leasehold").count();
    Ok((there, made))
}

async fn holder(lab: &Lab) -> Result<String> {
    let api: Api<Lease> = Api::namespaced(lab.plane.admin(), "leasehold-system");
    let lease = api.get("leasehold").await?;
    lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds the Lease")
}

/// The leader dies. What was pending is issued by the next one, what was to end is ended.
async fn killed(tenant: &Tenant<'_>, person: &Person, (leader, next): (Operator, &Operator)) -> Result<()> {
    let ends = active(tenant, "killed").await?;
    tenant.lease("agreed", "agreed", |spec| spec["ttl"] = json!("10m")).await?;
    let waits = tenant.lease_in("agreed", Phase::AwaitingApproval).await?;
    let approver = Person::approver(tenant, "lead").await?;
    leader.kill()?;
    let begun = Instant::now();
    person.decides(&ends, "Revoked").await?;
    approver.decides(&waits, "Approved").await?;
    told("KILL of the leader", bindings_gone(tenant, &ends, begun).await?, LEASE + BUSY)?;
    until_it_leads(next).await?;
    one_story(&tenant.lease_in("agreed", Phase::Active).await?)
}

/// The leader is paused past its Lease. When it goes on it changes nothing, and stops.
async fn paused(tenant: &Tenant<'_>, person: &Person, (leader, next): (Operator, &Operator)) -> Result<()> {
    let ends = active(tenant, "paused").await?;
    leader.pause()?;
    let begun = Instant::now();
    person.decides(&ends, "Revoked").await?;
    // It has never heard of this one, and will when it goes on.
    tenant.lease("new", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
    told("STOP of the leader", bindings_gone(tenant, &ends, begun).await?, LEASE + BUSY)?;
    until_it_leads(next).await?;
    let issued = tenant.lease_in("new", Phase::Active).await?;
    let cursor = tenant.lab.plane.audit().cursor()?;
    leader.resume()?;
    let status = leader.ended(Duration::from_secs(10)).await.context("the paused leader to stop")?;
    ensure!(status.code() == Some(1), "a leader that has lost its lead says so: {status}");
    ensure!(leads(next).await?, "the next one leads on");
    one_story(&issued)?;
    // Who leads has nothing to do meanwhile but to renew, to prove an end, and to note it; nothing is made or minted.
    tenant.lab.plane.audit().settled().await;
    for record in tenant.lab.plane.audit().read_since(cursor)? {
        let operators = record.user == "system:serviceaccount:leasehold-system:leasehold";
        let makes = record.verb == "create" && record.code == 201 && record.api_group != "authentication.k8s.io";
        let harmless = record.uri.contains("dryRun=All")
            || record.resource == "events"
            || record.api_group == "authorization.k8s.io";
        ensure!(!(operators && makes && !harmless), "made after the pause: {record:?}");
    }
    Ok(())
}

/// The leader is told to stop: it gives its Lease back, and the next one need not wait.
async fn told_to_stop(tenant: &Tenant<'_>, person: &Person, (leader, next): (Operator, &Operator)) -> Result<()> {
    let ends = active(tenant, "stopped").await?;
    let begun = Instant::now();
    let stopping = tokio::spawn(leader.terminate());
    // Late enough that the leader has stopped, before it has given back or just after.
    tokio::time::sleep(Duration::from_millis(20)).await;
    person.decides(&ends, "Revoked").await?;
    told("TERM of the leader", bindings_gone(tenant, &ends, begun).await?, BUSY)?;
    let status = stopping.await??;
    ensure!(status.success(), "a leader that was told to stop ends well: {status}");
    until_it_leads(next).await
}

/// The Lease itself is deleted: its holder makes it anew and leads on.
async fn lease_deleted(lab: &Lab, (leader, other): (&Operator, &Operator)) -> Result<()> {
    let before = holder(lab).await?;
    let api: Api<Lease> = Api::namespaced(lab.plane.admin(), "leasehold-system");
    api.delete("leasehold", &DeleteParams::default()).await?;
    let after = eventually("the Lease to be there again", Duration::from_secs(10), || async {
        Ok::<_, anyhow::Error>(holder(lab).await.ok())
    })
    .await?;
    ensure!(before == after, "{before} led, and now {after}");
    ensure!(leads(leader).await? && !leads(other).await?, "nobody else leads");
    Ok(())
}

/// A second leader at once, which asks nobody: every lease is issued once and ended once all the same.
async fn two_at_once(tenant: &Tenant<'_>, person: &Person) -> Result<()> {
    let rogue = Operator::start(&tenant.lab.plane, "rogue", &["--leader-election=false"]).await?;
    let (_, before) = accounts(tenant.lab).await?;
    let names: Vec<String> = (0..CONTESTED).map(|n| format!("contested-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let delivery = if n % 2 == 0 { "TokenRequest" } else { "Secret" };
        let change = |spec: &mut serde_json::Value| {
            spec["ttl"] = json!("10m");
            spec["delivery"] = json!({"type": delivery});
        };
        tenant.lease(name, "nightly", change).await?;
    }
    for name in &names {
        tenant.lease_in(name, Phase::Active).await?;
    }
    // Both have come to rest: what either still wanted to write was refused or is the same.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (there, made) = accounts(tenant.lab).await?;
    ensure!(made - before == CONTESTED, "{} accounts were made for {CONTESTED} leases", made - before);
    for name in &names {
        let lease = tenant.leases().get(name).await?;
        one_story(&lease)?;
        ensure!(there.get(&uid(&lease)?) == Some(&1), "{name}: {there:?}");
        let bound = lease.status.as_ref().map_or(0, |status| status.bindings.len());
        ensure!(bound == 1, "{name}: {bound} bindings");
        person.decides(&lease, "Revoked").await?;
    }
    for name in &names {
        tenant.lease_in(name, Phase::Revoked).await?;
    }
    drop(rogue);
    Ok(())
}

#[test]
fn whatever_becomes_of_the_leader_each_lease_has_one_account_and_one_story() {
    run(async {
        let lab = Lab::installed(Options::default()).await?;
        let first = replica(&lab, "first").await?;
        until_it_leads(&first).await?;
        first.wait_until_enforced().await?;
        let tenant = lab.tenant("ha").await?;
        let person = Person::requester(&tenant).await?;
        tenant.lifecycle("nightly", |_| ()).await?;
        let required = json!({"type": "Required", "contact": "#leads"});
        tenant.lifecycle("agreed", |spec| spec["terms"]["approval"] = required).await?;

        let second = standby(&lab, "second").await?;
        killed(&tenant, &person, (first, &second)).await?;
        let third = standby(&lab, "third").await?;
        paused(&tenant, &person, (second, &third)).await?;
        let fourth = standby(&lab, "fourth").await?;
        told_to_stop(&tenant, &person, (third, &fourth)).await?;
        let fifth = standby(&lab, "fifth").await?;
        lease_deleted(&lab, (&fourth, &fifth)).await?;
        let (there, made) = accounts(&lab).await?;
        ensure!(
            (there.len(), made) == (2, 5),
            "five leases were issued and two are live: {made} made, {there:?} there"
        );
        two_at_once(&tenant, &person).await?;

        for name in ["killed", "paused", "stopped"] {
            let status = tenant.lease_ended(name, EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
            ensure!(status.end_time.is_some(), "{name} has ended");
            one_story(&tenant.leases().get(name).await?)?;
        }
        for name in ["agreed", "new"] {
            let lease = tenant.leases().get(name).await?;
            ensure!(lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active), "{name} is live");
        }
        still_silent(&fifth).await?;
        lab.stop().await
    });
}

/// Who only stood by has told nothing: the audit stream is the leader's.
async fn still_silent(standby: &Operator) -> Result<()> {
    eventually_seeing("the log of a standby", Duration::from_secs(1), || async {
        let records = standby.log()?.lines().filter(|line| line.contains("\"target\":\"audit\"")).count();
        Ok::<_, anyhow::Error>(if records == 0 { Look::Done(()) } else { Look::NotYet(format!("{records} records")) })
    })
    .await
}
