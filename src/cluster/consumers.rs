//! Workloads that mount a Secret: found, judged, restarted.

use http::{Method, StatusCode};
use k8s_openapi::{
    ListableResource,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::{Container, PodSpec, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::{
    exchange::{Ask, Exchange},
    paths::{collection, path},
};
use crate::{
    api::names,
    domain::{
        call::Failure,
        standing::{
            consumer::{Consumer, Health, Kind, Marks},
            handover::PATIENCE_SECONDS,
        },
    },
};

/// How many are listed at a time.
const PAGE: usize = 100;
/// The most pages that are read: what is beyond them is not restarted.
const MAX_PAGES: usize = 50;

/// Every workload of the namespace that mounts the Secret; `None`: the namespace does not let Leasehold look.
///
/// # Errors
/// If the API server cannot say.
pub async fn list(exchange: &Exchange, namespace: &str, secret: &str) -> Result<Option<Vec<Consumer>>, Failure> {
    let (deployments, stateful_sets, daemon_sets) = futures::try_join!(
        pages::<Deployment>(exchange, namespace),
        pages::<StatefulSet>(exchange, namespace),
        pages::<DaemonSet>(exchange, namespace),
    )?;
    let (Some(deployments), Some(stateful_sets), Some(daemon_sets)) = (deployments, stateful_sets, daemon_sets) else {
        return Ok(None);
    };
    let all = deployments.iter().filter_map(|found| deployment(found, secret));
    let all = all.chain(stateful_sets.iter().filter_map(|found| stateful_set(found, secret)));
    Ok(Some(all.chain(daemon_sets.iter().filter_map(|found| daemon_set(found, secret))).collect()))
}

/// Restarts a workload as it was seen: if it has changed since, it is a conflict.
///
/// # Errors
/// If it was not restarted.
pub async fn restart(exchange: &Exchange, namespace: &str, consumer: &Consumer, marks: &Marks) -> Result<(), Failure> {
    let path = match consumer.kind {
        Kind::Deployment => path::<Deployment>(namespace, &consumer.name),
        Kind::StatefulSet => path::<StatefulSet>(namespace, &consumer.name),
        Kind::DaemonSet => path::<DaemonSet>(namespace, &consumer.name),
    };
    let patch = serde_json::json!({
        "metadata": {"uid": consumer.uid, "resourceVersion": consumer.resource_version,
            "annotations": {names::ANNOTATION_RESTARTED_FROM: marks.before}},
        "spec": {"template": {"metadata": {"annotations": {names::ANNOTATION_RESTARTED_FOR: marks.template}}}},
    });
    let ask = Ask::new(Method::PATCH, format!("{path}?fieldManager={}", names::MANAGER))
        .patch("application/merge-patch+json")
        .json(&patch)?
        .metadata();
    exchange.send(ask).await?.decode::<serde_json::Value>().map(drop)
}

async fn pages<K>(exchange: &Exchange, namespace: &str) -> Result<Option<Vec<K>>, Failure>
where
    K: Resource<DynamicType = ()> + ListableResource + DeserializeOwned,
{
    let (mut all, mut more) = (vec![], String::new());
    for _ in 0..MAX_PAGES {
        let path = format!("{}?limit={PAGE}&continue={more}", collection::<K>(namespace));
        let reply = exchange.send(Ask::new(Method::GET, path)).await?;
        if reply.code == StatusCode::FORBIDDEN {
            return Ok(None);
        }
        let page: k8s_openapi::List<K> = reply.decode()?;
        all.extend(page.items);
        more = page.metadata.continue_.unwrap_or_default();
        if more.is_empty() {
            break;
        }
    }
    Ok(Some(all))
}

/// What all kinds have alike. `rolls`: a changed template makes it roll.
fn consumer(kind: Kind, metadata: &ObjectMeta, template: &PodTemplateSpec, rolls: bool, health: Health) -> Consumer {
    let on = |metadata: Option<&ObjectMeta>, name: &str| metadata?.annotations.as_ref()?.get(name).cloned();
    let own = on(Some(metadata), names::ANNOTATION_RESTART);
    Consumer {
        kind,
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        restartable: rolls && own.is_some_and(|value| value == names::RESTART_ALLOWED),
        marks: Marks {
            template: on(template.metadata.as_ref(), names::ANNOTATION_RESTARTED_FOR),
            before: on(Some(metadata), names::ANNOTATION_RESTARTED_FROM),
        },
        health,
        patience_seconds: PATIENCE_SECONDS,
    }
}

fn deployment(found: &Deployment, secret: &str) -> Option<Consumer> {
    let spec = found.spec.as_ref().filter(|spec| mounts(&spec.template, secret))?;
    let status = found.status.clone().unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    // The reason by which a Deployment says that its progressDeadlineSeconds have passed (pkg/controller/deployment/util).
    let broken = status.conditions.iter().flatten().any(|c| {
        c.type_ == "Progressing" && c.status == "False" && c.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let (total, updated, available) =
        (status.replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let health = if !is_observed(&found.metadata, status.observed_generation) {
        Health::Rolling("its controller has not seen the restart yet".into())
    } else if broken {
        Health::Broken("its progressDeadlineSeconds have passed".into())
    } else if updated < wanted || total > updated || available < updated {
        Health::Rolling(counts(updated, available, wanted, total))
    } else {
        Health::Healthy
    };
    let paused = spec.paused.unwrap_or(false);
    let consumer = consumer(Kind::Deployment, &found.metadata, &spec.template, !paused, health);
    let patience_seconds = spec.progress_deadline_seconds.map_or(PATIENCE_SECONDS, i64::from);
    // What its own controller gives up after is the limit; it says so itself, a moment later.
    Some(Consumer { patience_seconds: patience_seconds.saturating_add(5), ..consumer })
}

fn stateful_set(found: &StatefulSet, secret: &str) -> Option<Consumer> {
    let spec = found.spec.as_ref().filter(|spec| mounts(&spec.template, secret))?;
    let status = found.status.clone().unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    let (updated, available) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let health = if !is_observed(&found.metadata, status.observed_generation) {
        Health::Rolling("its controller has not seen the restart yet".into())
    } else if updated < wanted || available < wanted || status.replicas > wanted {
        Health::Rolling(counts(updated, available, wanted, status.replicas))
    } else {
        Health::Healthy
    };
    let strategy = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
    Some(consumer(Kind::StatefulSet, &found.metadata, &spec.template, strategy != Some("OnDelete"), health))
}

fn daemon_set(found: &DaemonSet, secret: &str) -> Option<Consumer> {
    let spec = found.spec.as_ref().filter(|spec| mounts(&spec.template, secret))?;
    let status = found.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    let (updated, available) = (status.updated_number_scheduled.unwrap_or(0), status.number_available.unwrap_or(0));
    let health = if !is_observed(&found.metadata, status.observed_generation) {
        Health::Rolling("its controller has not seen the restart yet".into())
    } else if updated < wanted || available < wanted {
        Health::Rolling(counts(updated, available, wanted, status.current_number_scheduled))
    } else {
        Health::Healthy
    };
    let strategy = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
    Some(consumer(Kind::DaemonSet, &found.metadata, &spec.template, strategy != Some("OnDelete"), health))
}

fn is_observed(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.unwrap_or_default() >= metadata.generation.unwrap_or_default()
}

fn counts(updated: i32, available: i32, wanted: i32, total: i32) -> String {
    format!("{updated} of {wanted} pods are new, {available} available, {total} there")
}

/// Whether pods of the template get anything of the Secret.
fn mounts(template: &PodTemplateSpec, secret: &str) -> bool {
    let Some(spec) = &template.spec else { return false };
    spec.volumes.iter().flatten().any(|volume| in_volume(volume, secret))
        || containers(spec).any(|container| in_environment(container, secret))
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn in_volume(volume: &Volume, secret: &str) -> bool {
    let whole = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref()) == Some(secret);
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    whole || projected.filter_map(|source| source.secret.as_ref()).any(|source| source.name == secret)
}

fn in_environment(container: &Container, secret: &str) -> bool {
    let whole = container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref());
    let keys = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref());
    whole.map(|source| &source.name).chain(keys.map(|source| &source.name)).any(|name| name == secret)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(change: impl FnOnce(&mut Value)) -> Deployment {
        let mut object = json!({
            "metadata": {"name": "web", "uid": "u", "generation": 2, "annotations": {"leasehold.dev/restart": "Allow"}},
            "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [{"name": "c"}],
                "volumes": [{"name": "v", "secret": {"secretName": "held"}}]}}},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_consumer_is_whoever_gets_anything_of_the_secret() {
        let pod = |spec: Value| found(|d| d["spec"]["template"]["spec"] = spec);
        let ways = [
            json!({"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "held"}}]}),
            json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "held"}}]}}]}),
            json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "held"}}]}]}),
            json!({"containers": [], "initContainers": [{"name": "c", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "held", "key": "token"}}}]}]}),
        ];
        for way in ways {
            assert!(deployment(&pod(way.clone()), "held").is_some(), "{way}");
            assert!(deployment(&pod(way.clone()), "other").is_none(), "{way}");
        }
        let nothing =
            json!({"containers": [{"name": "held"}], "volumes": [{"name": "held", "configMap": {"name": "held"}}]});
        assert!(deployment(&pod(nothing), "held").is_none());
    }

    #[test]
    fn only_who_says_so_and_rolls_is_restarted() {
        let restartable = |change: fn(&mut Value)| deployment(&found(change), "held").unwrap().restartable;
        assert!(restartable(|_| {}));
        assert!(!restartable(|d| d["metadata"]["annotations"] = json!({})));
        assert!(!restartable(|d| d["metadata"]["annotations"]["leasehold.dev/restart"] = json!("no")));
        assert!(!restartable(|d| d["spec"]["paused"] = json!(true)));
    }

    #[test]
    fn a_deployment_is_healthy_when_every_pod_is_new_and_available_and_no_old_one_is_left() {
        type Case = (fn(&mut Value), fn(&Health) -> bool);
        let cases: [Case; 6] = [
            (|_| {}, |h| *h == Health::Healthy),
            (|d| d["status"]["observedGeneration"] = json!(1), |h| matches!(h, Health::Rolling(_))),
            (|d| d["status"]["updatedReplicas"] = json!(1), |h| matches!(h, Health::Rolling(_))),
            (|d| d["status"]["replicas"] = json!(3), |h| matches!(h, Health::Rolling(_))),
            (|d| d["status"]["availableReplicas"] = json!(1), |h| matches!(h, Health::Rolling(_))),
            (
                |d| {
                    d["status"]["conditions"] =
                        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}])
                },
                |h| matches!(h, Health::Broken(_)),
            ),
        ];
        for (number, (change, is)) in cases.into_iter().enumerate() {
            let health = deployment(&found(change), "held").unwrap().health;
            assert!(is(&health), "case {number}: {health:?}");
        }
    }

    #[test]
    fn the_other_kinds_are_judged_by_their_own_counts() {
        let template = json!({"spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "held"}}]}]}});
        let set = |status: Value, strategy: &str| -> StatefulSet {
            serde_json::from_value(json!({"metadata": {"generation": 1, "annotations": {"leasehold.dev/restart": "Allow"}},
                "spec": {"selector": {}, "serviceName": "s", "replicas": 2, "template": template, "updateStrategy": {"type": strategy}}, "status": status}))
            .unwrap()
        };
        let done = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        let found = stateful_set(&set(done.clone(), "RollingUpdate"), "held").unwrap();
        assert_eq!((found.health, found.restartable), (Health::Healthy, true));
        assert!(!stateful_set(&set(done, "OnDelete"), "held").unwrap().restartable);
        let half = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
        assert_ne!(stateful_set(&set(half, "RollingUpdate"), "held").unwrap().health, Health::Healthy);
        let daemons = |updated: i32| -> DaemonSet {
            serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": {"selector": {}, "template": template},
                "status": {"observedGeneration": 1, "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2,
                    "updatedNumberScheduled": updated, "numberAvailable": 2}}))
            .unwrap()
        };
        assert_eq!(daemon_set(&daemons(2), "held").unwrap().health, Health::Healthy);
        assert_ne!(daemon_set(&daemons(1), "held").unwrap().health, Health::Healthy);
    }
}
