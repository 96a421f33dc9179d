//! Many leases that just are there: memory (B-5), cold start (B-6), and what it costs to do nothing (B-8).

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, Client, core::PartialObjectMeta, runtime::watcher};
use leasehold::api::{
    CredentialLease,
    names::{self, OPERATOR_USERNAME},
};
use leasehold_harness::{Component, Record};

use crate::{
    arm::{Arm, Kind, cpu},
    drive::turns,
    field::Field,
    figures::{Found, Goal, Line, Met, Stat, millis, short},
    proxy::{Proxy, Weather},
};

/// How long a process may settle before it is looked at.
const SETTLED: Duration = Duration::from_secs(4);
/// Deadlines of the leases that are only there: none comes while we measure.
const FAR: i64 = 4 * 3600;
/// Leases that are overdue when Leasehold starts.
const OVERDUE: usize = 3;
/// CPU time until everything is read.
const SERVER: &str = "CPU of the API server until everything is read, ms";
const OWN: &str = "CPU of the process until everything is read, ms";
const BOTH: [Kind; 2] = [Kind::Leasehold, Kind::Naive];

/// All three, on the same leases.
pub async fn all(field: &Field, wanted: impl Fn(&str) -> bool) -> Result<Vec<Found>> {
    let count = field.sizes.leases;
    let empty = if wanted("B-5") { without_leases(field).await? } else { vec![] };
    let begun = Instant::now();
    field.plant(&vec![crate::replay::now() + FAR; count]).await?;
    println!("  {count} leases planted in {:.0} s", begun.elapsed().as_secs_f64());
    let mut found = vec![];
    if wanted("B-5") {
        found.push(memory(field, &empty).await?);
    }
    if wanted("B-6") {
        found.push(cold(field).await?);
    }
    if wanted("B-8") {
        found.push(idle(field).await?);
    }
    Ok(found)
}

/// Who, in which repeat, and its resident memory in MB where there is no lease.
async fn without_leases(field: &Field) -> Result<Vec<(Kind, usize, f64)>> {
    let mut empty = vec![];
    for repeat in 0..field.sizes.repeats {
        for kind in turns(&BOTH, repeat) {
            let proxy = Proxy::with(&field.lab.plane, Weather::Fair).await?;
            let arm = Arm::start_with(field, kind, &proxy.kubeconfig(&field.kubeconfig)?, &[]).await?;
            tokio::time::sleep(SETTLED).await;
            empty.push((kind, repeat, arm.memory()?.0));
            arm.stop().await?;
        }
    }
    Ok(empty)
}

#[allow(clippy::cast_precision_loss)]
async fn memory(field: &Field, empty: &[(Kind, usize, f64)]) -> Result<Found> {
    let count = field.sizes.leases;
    let how = format!(
        "Resident memory of the process (VmRSS) {} s after it has read everything, and the most there was (VmHWM) while every watch is \
         answered 410 and everything is listed again; all of it through a proxy that does that. The leases are active, minted by their requesters, with backstop, account, \
         two RoleBindings and a Role each.",
        SETTLED.as_secs()
    );
    let mut found = Found::new("B-5", "Memory", how);
    for (kind, repeat, megabytes) in empty {
        found.add("RSS at 0 leases, MB", *kind, *repeat, *megabytes);
    }
    let (there, again, peak) = (
        format!("RSS at {count} leases, MB"),
        format!("RSS at {count} leases after a relist, MB"),
        format!("peak of a relist at {count} leases, MB"),
    );
    for repeat in 0..field.sizes.repeats {
        for kind in turns(&BOTH, repeat) {
            let proxy = Proxy::with(&field.lab.plane, Weather::Fair).await?;
            let kubeconfig = proxy.kubeconfig(&field.kubeconfig)?;
            let arm = Arm::start_with(field, kind, &kubeconfig, &[]).await?;
            tokio::time::sleep(SETTLED).await;
            let steady = arm.memory()?.0;
            arm.forget_peak()?;
            proxy.gone();
            tokio::time::sleep(SETTLED * 2).await;
            let (after, most) = arm.memory()?;
            arm.stop().await?;
            found.add(&there, kind, repeat, steady);
            found.add(&again, kind, repeat, after);
            found.add(&peak, kind, repeat, most);
            found.add("peak of a relist, x steady", kind, repeat, most / steady);
            let before = empty.iter().find(|(k, r, _)| *k == kind && *r == repeat).context("no empty run")?.2;
            found.add("a lease, KB", kind, repeat, (steady - before) * 1e3 / count as f64);
        }
    }
    // With few leases the process itself is all there is to be seen.
    let goal = if count == 10_000 { Goal::AtMost(45.0) } else { Goal::None };
    let each = if count >= 10_000 { Goal::AtMost(3.0) } else { Goal::None };
    found.absolute("memory at 0 leases", "RSS at 0 leases, MB", Stat::Median, "MB", Goal::None);
    found.absolute(&format!("memory at {count} leases"), &there, Stat::Median, "MB", goal);
    found.absolute("memory after a relist", &again, Stat::Median, "MB", Goal::None);
    found.absolute("memory of one lease more", "a lease, KB", Stat::Median, "KB", each);
    found.absolute("peak of a relist", "peak of a relist, x steady", Stat::Median, "x steady", Goal::AtMost(1.1));
    Ok(found)
}

async fn cold(field: &Field) -> Result<Found> {
    let how = format!(
        "From the start of the process until everything is read and it leads, so that every deadline is armed, beside {} leases; the yardstick \
         is a bare streaming list (WatchList) of the same leases and of what was made for them, of which the metadata is decoded, in one process. It \
         asks for whole objects; Leasehold asks for no more than it reads. \
         Both share the cores with the API server, which has to write everything out: the CPU time of both until then is told, too (of R: of the process that measures). \
         {OVERDUE} leases are overdue already: when is the first one's RoleBinding gone, from the start of the process, and from the moment \
         when it had read everything and led.",
        field.sizes.leases
    );
    let mut found = Found::new("B-6", "Cold start", how);
    for repeat in 0..field.sizes.repeats {
        for kind in turns(&[Kind::Raw, Kind::Leasehold, Kind::Naive], repeat) {
            let apiserver = field.lab.plane.process(Component::Apiserver).context("no API server")?.pid;
            if kind == Kind::Raw {
                let this = i32::try_from(std::process::id())?;
                let (server, own) = (cpu(apiserver)?, cpu(this)?);
                found.add("everything read, ms", kind, repeat, bare_list(field).await?);
                found.add(SERVER, kind, repeat, (cpu(apiserver)? - server) * 1e3);
                found.add(OWN, kind, repeat, (cpu(this)? - own) * 1e3);
                continue;
            }
            let overdue = field.plant(&[crate::replay::now() + 1; OVERDUE]).await?;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let (begun, server) = (Instant::now(), cpu(apiserver)?);
            let arm = Arm::launch(field, kind, &field.kubeconfig, &[])?;
            arm.until_it_ends().await?;
            let ready = Instant::now();
            found.add(SERVER, kind, repeat, (cpu(apiserver)? - server) * 1e3);
            found.add(OWN, kind, repeat, arm.cpu()? * 1e3);
            found.add("everything read, ms", kind, repeat, millis(begun, ready));
            let uids: Vec<String> = overdue.iter().map(|live| live.own.uid.to_string()).collect();
            let gone = field.all(&uids, "unbound", |seen| seen.unbound).await?;
            let first = gone.into_iter().min().context("nothing was overdue")?;
            found.add("first overdue one gone, ms", kind, repeat, millis(begun, first));
            let after = if first > ready { millis(ready, first) } else { 0.0 };
            found.add("first overdue one gone after everything was read, ms", kind, repeat, after);
            let proven = field.all(&uids, "ended", |seen| seen.ended).await;
            arm.stop().await?;
            proven?;
        }
    }
    found.against("cold start", "everything read, ms", Stat::Median, "ms", Goal::AtMost(1.2));
    found.absolute("CPU of the API server until then", SERVER, Stat::Median, "ms", Goal::None);
    found.absolute("CPU of the process until then", OWN, Stat::Median, "ms", Goal::None);
    let case = "first overdue one gone, ms";
    found.absolute("first overdue one gone, from the start", case, Stat::Median, "ms", Goal::None);
    let case = "first overdue one gone after everything was read, ms";
    found.absolute("first overdue one gone, after everything was read", case, Stat::Median, "ms", Goal::AtMost(1000.0));
    Ok(found)
}

/// How long it takes to be told everything that there is, by watches that begin with it.
async fn bare_list(field: &Field) -> Result<f64> {
    let client = field.lab.plane.admin();
    let begun = Instant::now();
    let lists: Vec<futures::future::BoxFuture<'static, Result<usize>>> = vec![
        Box::pin(list::<CredentialLease>(&client, "")),
        Box::pin(list::<PartialObjectMeta<ServiceAccount>>(&client, names::LABEL_LEASE_UID)),
        Box::pin(list::<PartialObjectMeta<Job>>(&client, names::LABEL_LEASE_UID)),
        Box::pin(list::<PartialObjectMeta<Role>>(&client, names::LABEL_LEASE_UID)),
        Box::pin(list::<PartialObjectMeta<RoleBinding>>(&client, names::LABEL_LEASE_UID)),
    ];
    let counts = try_join_all(lists.into_iter().map(|list| async { tokio::spawn(list).await? })).await?;
    ensure!(counts.iter().all(|count| *count >= field.sizes.leases), "lists of {counts:?}");
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn list<K>(client: &Client, label: &str) -> impl Future<Output = Result<usize>> + Send + 'static
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut config = watcher::Config::default().streaming_lists();
    if !label.is_empty() {
        config = config.labels(label);
    }
    let events = watcher(Api::<K>::all(client.clone()), config);
    async move {
        let (mut events, mut count) = (std::pin::pin!(events), 0);
        while let Some(event) = events.next().await {
            match event? {
                watcher::Event::InitApply(_) => count += 1,
                watcher::Event::InitDone => break,
                _ => {}
            }
        }
        Ok(count)
    }
}

#[allow(clippy::cast_precision_loss)]
async fn idle(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "{} active leases, delivered by TokenRequest, and nothing happens for {} s (the specification asks for 300): requests in the API \
         server's audit log but watches, and the process's CPU time. Leases with delivery Secret cost a look at the Secret a minute each beyond \
         that, and five looks a second altogether at the most: it cannot be watched without the right to read it.",
        sizes.leases, sizes.idle
    );
    let mut found = Found::new("B-8", "Idle", how);
    let mut writes = 0;
    // One long look each: five would say the same five times.
    for kind in BOTH {
        let arm = Arm::start(field, kind).await?;
        tokio::time::sleep(SETTLED * 2).await;
        let since = field.lab.plane.audit().cursor()?;
        let (begun, cpu) = (Instant::now(), arm.cpu()?);
        tokio::time::sleep(Duration::from_secs(sizes.idle)).await;
        let (took, used) = (begun.elapsed().as_secs_f64(), arm.cpu()? - cpu);
        let records = field.lab.plane.audit().read_since(since)?;
        arm.stop().await?;
        let calls: Vec<&Record> = records.iter().filter(|r| r.user == OPERATOR_USERNAME && r.verb != "watch").collect();
        found.add("calls a second", kind, 0, calls.len() as f64 / took);
        found.add("% of a core", kind, 0, used / took * 100.0);
        let is_write = |r: &&&Record| {
            matches!(r.verb.as_str(), "create" | "update" | "patch" | "delete")
                && r.resource != "leases"
                && !r.uri.contains("dryRun=All")
                && !r.resource.starts_with("selfsubject")
        };
        if kind == Kind::Leasehold {
            writes = calls.iter().filter(is_write).count();
        }
    }
    found.absolute("calls", "calls a second", Stat::Median, "/s", Goal::AtMost(0.6));
    found.absolute("CPU", "% of a core", Stat::Median, "% of a core", Goal::AtMost(0.5));
    found.lines.push(Line {
        id: "B-8",
        what: "writes besides the leader's Lease".to_owned(),
        figure: short(writes as f64),
        yardstick: "-".to_owned(),
        ratio: None,
        goal: "none".to_owned(),
        met: Some(Met::of(writes == 0)),
    });
    Ok(found)
}
