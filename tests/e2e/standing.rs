//! Standing credentials: one lease follows another while workloads really roll out, and nobody is left with a dead token.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Pod, Secret, ServiceAccount},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use leasehold::api::{
    ConditionStatus, ServiceAccountLifecycle,
    reasons::{EndReason, Evidence, Phase},
    standing::{StandingPhase, StandingStatus},
};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Holder, Lab, Person, Tenant, condition_of, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// A tenant whose namespace lets Leasehold restart workloads.
async fn tenant<'a>(lab: &'a Lab, label: &str) -> Result<Tenant<'a>> {
    let tenant = lab.tenant(label).await?;
    let args = [
        "create",
        "rolebinding",
        "leasehold-restarter",
        "-n",
        &tenant.namespace,
        "--clusterrole=leasehold-restarter",
        "--serviceaccount=leasehold-system:leasehold",
    ];
    lab.kubectl(&args, None).await?;
    Ok(tenant)
}

fn declares(ttl: &str) -> Value {
    json!([{"name": "agent", "grants": ["read"], "secret": "agent-token", "ttl": ttl}])
}

/// Two pods that mount the Secret. Each hangs until it is released; once all are, they are rolled out.
async fn deploy(tenant: &Tenant<'_>, name: &str, patience: i32, annotations: Value) -> Result<()> {
    let template = json!({
        "metadata": {"labels": {"app": name}, "annotations": {"test/hold": "true"}},
        "spec": {"containers": [{"name": "c", "image": "example.org/none:1"}], "volumes": [{"name": "v", "secret": {"secretName": "agent-token"}}]},
    });
    let object = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"replicas": 2, "progressDeadlineSeconds": patience, "selector": {"matchLabels": {"app": name}}, "template": template},
    });
    deployments(tenant).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let _released = Released::pods_of(tenant, name);
    rolled_out(tenant, name).await
}

/// A StatefulSet and a DaemonSet that get the token by their environment.
fn others() -> String {
    let template = |name: &str| {
        let container =
            json!({"name": "c", "image": "example.org/none:1", "envFrom": [{"secretRef": {"name": "agent-token"}}]});
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}})
    };
    let object = |kind: &str, name: &str, more: Value| {
        let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name)});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "annotations": {"leasehold.dev/restart": "Allow"}}, "spec": spec})
    };
    let set = object("StatefulSet", "db", json!({"replicas": 1, "serviceName": "db"}));
    format!("{set}\n---\n{}", object("DaemonSet", "node", json!({})))
}

/// Which lease the template of a workload was restarted for.
async fn marked(tenant: &Tenant<'_>, kind: &str, name: &str) -> Result<String> {
    let path = r"jsonpath={.spec.template.metadata.annotations.leasehold\.dev/restarted-for}";
    tenant.lab.kubectl(&["get", kind, name, "-n", &tenant.namespace, "-o", path], None).await
}

fn deployments(tenant: &Tenant<'_>) -> Api<Deployment> {
    Api::namespaced(tenant.admin.clone(), &tenant.namespace)
}

fn status_of(lifecycle: &ServiceAccountLifecycle) -> Option<StandingStatus> {
    lifecycle.status.as_ref()?.standing.iter().find(|status| status.name == "agent").cloned()
}

/// Waits until the standing credential is as it should be.
async fn standing(tenant: &Tenant<'_>, what: &str, is: impl Fn(&StandingStatus) -> bool) -> Result<StandingStatus> {
    let api = tenant.lifecycles();
    eventually_seeing(what, PATIENCE, || async {
        let object = api.get("watcher").await?;
        let seen = serde_json::to_string(&object.status)?;
        let found = status_of(&object).filter(|status| is(status));
        Ok::<_, anyhow::Error>(found.map_or(Look::NotYet(seen), Look::Done))
    })
    .await
}

/// Waits until a lease is held that is not one of these; its name.
async fn settled(tenant: &Tenant<'_>, but: &[&str]) -> Result<String> {
    let is = |status: &StandingStatus| {
        status.phase == StandingPhase::Settled
            && status.current.as_ref().is_some_and(|current| !but.contains(&current.name.as_str()))
    };
    let status = standing(tenant, "a lease to be held", is).await?;
    Ok(status.current.context("it is held")?.name)
}

async fn secret(tenant: &Tenant<'_>) -> Result<Secret> {
    let api: Api<Secret> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
    Ok(api.get("agent-token").await?)
}

async fn token(tenant: &Tenant<'_>) -> Result<String> {
    let data = secret(tenant).await?.data.unwrap_or_default();
    Ok(String::from_utf8(data.get("token").context("the Secret has no token")?.0.clone())?)
}

/// How many leases were asked for so far.
async fn made_for(tenant: &Tenant<'_>) -> Result<usize> {
    Ok(tenant.leases().list(&ListParams::default().labels("leasehold.dev/standing=agent")).await?.items.len())
}

/// How many ReplicaSets a Deployment has had: one for each restart, and the first.
async fn templates(tenant: &Tenant<'_>, name: &str) -> Result<usize> {
    let api: Api<ReplicaSet> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
    Ok(api.list(&ListParams::default().labels(&format!("app={name}"))).await?.items.len())
}

async fn pods_of(tenant: &Tenant<'_>, name: &str) -> Result<BTreeSet<String>> {
    let api: Api<Pod> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
    let pods = api.list(&ListParams::default().labels(&format!("app={name}"))).await?;
    Ok(pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect())
}

async fn rolled_out(tenant: &Tenant<'_>, name: &str) -> Result<()> {
    let api = deployments(tenant);
    eventually_seeing(&format!("{name} to be rolled out"), PATIENCE, || async {
        let found = api.get(name).await?;
        let status = found.status.clone().unwrap_or_default();
        let done = status.observed_generation == found.metadata.generation
            && status.updated_replicas == Some(2)
            && status.replicas == Some(2)
            && status.available_replicas == Some(2);
        Ok::<_, anyhow::Error>(if done { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
    })
    .await
}

/// Counts the accounts of leases that are there at once, until told to stop: the most, and the answers to a holder.
struct Witness {
    stop: Arc<AtomicBool>,
    most: tokio::task::JoinHandle<Result<usize>>,
}

impl Witness {
    fn of(tenant: &Tenant<'_>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, namespace) = (stop.clone(), tenant.namespace.clone());
        let api: Api<ServiceAccount> = Api::namespaced(tenant.admin.clone(), "leasehold-leases");
        let most = tokio::spawn(async move {
            let (params, mut most) = (ListParams::default().labels(&format!("leasehold.dev/namespace={namespace}")), 0);
            while !told.load(Ordering::Relaxed) {
                most = most.max(api.list_metadata(&params).await?.items.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(most)
        });
        Self { stop, most }
    }

    async fn most(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.most.await?
    }
}

#[test]
fn a_standing_credential_is_handed_over_without_a_gap_or_rolled_back() {
    run(async {
        let lab = Lab::start(Options { kwok_nodes: 1, ..Options::default() }, &[]).await?;
        handed_over(&lab).await.context("handed over")?;
        rolled_back(&lab).await.context("rolled back")?;
        lab.stop().await
    });
}

/// The first lease ends only after every pod has been replaced; both holders are asked all the while.
async fn handed_over(lab: &Lab) -> Result<()> {
    let tenant = tenant(lab, "follows").await?;
    tenant.lifecycle("watcher", |spec| spec["standing"] = declares("10m")).await?;
    let first = settled(&tenant, &[]).await?;
    deploy(&tenant, "web", 60, json!({"leasehold.dev/restart": "Allow"})).await?;
    lab.kubectl(&["apply", "-n", &tenant.namespace, "-f", "-"], Some(&others())).await?;
    tenant.lifecycle_says("watcher", "StandingReady", ConditionStatus::True, "Delivered").await?;
    let former = Holder::new(&tenant, &token(&tenant).await?)?;
    ensure!(former.reads().await? == 200, "the first token is good");
    let witness = Witness::of(&tenant);

    // Another ttl is another lease, at once. Its rollout hangs until a pod may become ready.
    let before = templates(&tenant, "web").await?;
    tenant.change_lifecycle("watcher", json!({"spec": {"standing": declares("20m")}})).await?;
    standing(&tenant, "consumers to be moved", |s| {
        s.phase == StandingPhase::RollingOut && s.secret.as_ref().and_then(|s| s.lease.as_ref()) != Some(&first)
    })
    .await?;
    let next = Holder::new(&tenant, &token(&tenant).await?)?;
    for _ in 0..20 {
        ensure!(former.reads().await? == 200 && next.reads().await? == 200, "both are good while pods are replaced");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(tenant.lease_in(&first, Phase::Active).await?.status.is_some());
    // Whoever is not told to hang is moved meanwhile, each kind once.
    for (kind, name) in [("statefulset", "db"), ("daemonset", "node")] {
        eventually_seeing(&format!("{kind} {name} to be restarted"), PATIENCE, || async {
            let mark = marked(&tenant, kind, name).await?;
            let moved = mark.contains("agent-token=standing-agent-") && !mark.contains(&first);
            Ok::<_, anyhow::Error>(if moved { Look::Done(()) } else { Look::NotYet(mark) })
        })
        .await?;
    }
    // A crash in the middle of it makes no third lease, and restarts nobody again.
    lab.take_operator()?.kill()?;
    ensure!(former.reads().await? == 200 && next.reads().await? == 200, "both are good while nobody looks");
    lab.start_operator("operator-2", &[]).await?;
    let released = Released::pods_of(&tenant, "web");
    let second = settled(&tenant, &[&first]).await?;
    rolled_out(&tenant, "web").await?;
    drop(released);
    let ended = tenant.lease_ended(&first, EndReason::Superseded, Evidence::AccountGoneAndWaited).await?;
    ensure!(former.reads().await? == 401, "the first token is dead");
    ensure!(next.reads().await? == 200, "the second token is good");
    ensure!(witness.most().await? == 2, "never more than two");
    ensure!(made_for(&tenant).await? == 2, "nor was a third one asked for");
    for (kind, name) in [("statefulset", "db"), ("daemonset", "node")] {
        ensure!(marked(&tenant, kind, name).await? == format!("agent-token={second}"), "{kind}");
    }
    ensure!(templates(&tenant, "web").await? == before + 1, "one restart");
    let lag = ended.credential.context("a credential")?.revocation_lag_seconds;
    ensure!(lag.is_some_and(|lag| lag.parse::<f64>().is_ok_and(|lag| lag < 5.0)), "it was revoked at once");

    // Its declaration taken back, the credential ends and its Secret goes.
    tenant.change_lifecycle("watcher", json!({"spec": {"standing": []}})).await?;
    tenant.lease_ended(&second, EndReason::Superseded, Evidence::AccountGoneAndWaited).await?;
    ensure!(next.reads().await? == 401, "the second token is dead");
    eventually_seeing("nothing to be left of the credential", PATIENCE, || async {
        let gone = secret(&tenant).await.is_err() && status_of(&tenant.lifecycles().get("watcher").await?).is_none();
        Ok::<_, anyhow::Error>(if gone { Look::Done(()) } else { Look::NotYet(String::new()) })
    })
    .await
}

/// The second lease ends because its pods never become ready; the pods of the first never stop, and its token is good.
async fn rolled_back(lab: &Lab) -> Result<()> {
    let tenant = tenant(lab, "returns").await?;
    tenant.lifecycle("watcher", |spec| spec["standing"] = declares("10m")).await?;
    let first = settled(&tenant, &[]).await?;
    deploy(&tenant, "web", 5, json!({"leasehold.dev/restart": "Allow"})).await?;
    deploy(&tenant, "silent", 60, json!({})).await?;
    let former = Holder::new(&tenant, &token(&tenant).await?)?;
    let generation = async |name: &str| deployments(&tenant).get(name).await.map(|found| found.metadata.generation);
    let silent = generation("silent").await?;
    let pods = pods_of(&tenant, "web").await?;
    let before = templates(&tenant, "web").await?;
    tenant.change_lifecycle("watcher", json!({"spec": {"standing": declares("20m")}})).await?;
    let moving = standing(&tenant, "consumers to be moved", |s| s.phase == StandingPhase::RollingOut).await?;
    let second = moving.next.context("the next lease")?.name;
    standing(&tenant, "consumers to be moved back", |s| s.phase == StandingPhase::RollingBack).await?;
    ensure!(former.reads().await? == 200, "the first token is good");
    // Who is not restarted gets two minutes to read the Secret, also on the way back.
    let leases = tenant.leases();
    let failed = eventually_seeing("the second lease to have failed", Duration::from_secs(200), || async {
        let lease = leases.get(&second).await?;
        let failed = lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Failed);
        let seen = format!("{:?}", lease.status.as_ref().map(|s| s.phase));
        Ok::<_, anyhow::Error>(if failed { Look::Done(lease) } else { Look::NotYet(seen) })
    })
    .await?;
    let status = failed.status.clone().context("a status")?;
    ensure!(status.end_reason == Some(EndReason::RolledBack), "{:?}", status.end_reason);
    let said = condition_of(&failed, "RolledBack")?;
    ensure!(said.status == ConditionStatus::True && said.message.contains("Deployment web"), "{said:?}");
    ensure!(condition_of(&failed, "Revoked")?.status == ConditionStatus::True, "its death is proven");
    ensure!(former.reads().await? == 200, "the first token is good");
    tenant.lease_in(&first, Phase::Active).await?;
    let again = Holder::new(&tenant, &token(&tenant).await?)?;
    ensure!(again.reads().await? == 200, "so is the one in the Secret");
    tenant.lifecycle_says("watcher", "StandingReady", ConditionStatus::False, "RolledBack").await?;
    rolled_out(&tenant, "web").await?;
    ensure!(templates(&tenant, "web").await? == before + 1, "one restart, and back to the template before it");
    ensure!(pods_of(&tenant, "web").await? == pods, "no pod that worked was replaced");
    ensure!(generation("silent").await? == silent, "who does not say so is not restarted");
    ensure!(made_for(&tenant).await? == 2, "it is not tried again at once");
    Ok(())
}

/// Lets every pod of a Deployment become ready that is there, or comes, until it is dropped.
struct Released(tokio::task::JoinHandle<()>);

impl Released {
    fn pods_of(tenant: &Tenant<'_>, name: &str) -> Self {
        let (pods, label): (Api<Pod>, _) =
            (Api::namespaced(tenant.admin.clone(), &tenant.namespace), format!("app={name}"));
        Self(tokio::spawn(async move {
            let free = Patch::Merge(json!({"metadata": {"annotations": {"test/hold": null}}}));
            loop {
                let held = pods.list(&ListParams::default().labels(&label)).await.map(|list| list.items);
                for pod in held.unwrap_or_default().iter().filter(|pod| pod.annotations().contains_key("test/hold")) {
                    // One that is gone meanwhile needs no release.
                    _ = pods.patch(&pod.name_any(), &PatchParams::default(), &free).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// People agree once; later generations are equal requests. What others delete comes back.
#[test]
fn a_standing_credential_is_agreed_to_once_and_comes_back_after_whatever_others_delete() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("agreed").await?;
        tenant
            .lifecycle("watcher", |spec| {
                spec["standing"] = declares("10m");
                spec["terms"]["approval"] = json!({"type": "Required", "maxRepeat": "2h"});
            })
            .await?;
        let waiting = standing(&tenant, "a lease to be asked for", |s| s.next.is_some()).await?;
        let first = waiting.next.context("the next lease")?.name;
        let asked = tenant.lease_in(&first, Phase::AwaitingApproval).await?;
        tenant.lifecycle_says("watcher", "StandingReady", ConditionStatus::False, "NotHeld").await?;
        ensure!(secret(&tenant).await.is_err(), "there is nothing to hold yet");
        let alice = Person::approver(&tenant, "alice").await?;
        alice.tries(&asked, "Approved", |spec| spec["repeatFor"] = json!("1h")).await??;
        ensure!(settled(&tenant, &[]).await? == first);
        let holder = Holder::new(&tenant, &token(&tenant).await?)?;
        ensure!(holder.reads().await? == 200, "what was agreed to is held");

        let secrets: Api<Secret> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        secrets.delete("agent-token", &DeleteParams::default()).await?;
        eventually_seeing("the Secret to be there again", Duration::from_secs(90), || async {
            let found = secrets.get_opt("agent-token").await?;
            Ok::<_, anyhow::Error>(if found.is_some() { Look::Done(()) } else { Look::NotYet(String::new()) })
        })
        .await?;
        ensure!(made_for(&tenant).await? == 1 && holder.reads().await? == 200, "it is the same lease");

        tenant.leases().delete(&first, &DeleteParams::default()).await?;
        let second = settled(&tenant, &[&first]).await?;
        let status = tenant.leases().get(&second).await?.status.context("a status")?;
        ensure!(
            status.decisions.iter().any(|d| d.repeats.as_deref() == Some(first.as_str())),
            "{:?}",
            status.decisions
        );
        let holder = Holder::new(&tenant, &token(&tenant).await?)?;
        ensure!(holder.reads().await? == 200, "the next one is in the Secret");
        Ok(())
    });
}

/// A Secret that is somebody else's is neither touched nor read.
#[test]
fn a_strangers_secret_is_left_as_it_is_and_said() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("taken").await?;
        let args =
            ["create", "secret", "generic", "agent-token", "-n", &tenant.namespace, "--from-literal=token=theirs"];
        lab.kubectl(&args, None).await?;
        let before = secret(&tenant).await?;
        tenant.lifecycle("watcher", |spec| spec["standing"] = declares("10m")).await?;
        tenant.lifecycle_says("watcher", "StandingReady", ConditionStatus::False, "NameCollision").await?;
        ensure!(secret(&tenant).await? == before);
        let secrets: Api<Secret> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        secrets.delete("agent-token", &DeleteParams::default()).await?;
        settled(&tenant, &[]).await?;
        ensure!(Holder::new(&tenant, &token(&tenant).await?)?.reads().await? == 200, "it is delivered once it may be");
        Ok(())
    });
}
