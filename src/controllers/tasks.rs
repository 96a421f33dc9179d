//! Watches Jobs and Pods where some lease is made for one, and nowhere else.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time as KubeTime,
};
use kube::{
    Api, Client,
    core::{ApiResource, NotUsed, Object},
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::{AbortHandle, JoinSet};

use super::{
    feed::{Outlet, everything},
    index::{Place, TaskRow},
};
use crate::{
    api::{Time, workflow::CompletionKind},
    cluster::watches::Pauses,
    domain::task::TaskEnd,
};

/// How long a watch goes on that no lease needs: the next lease may come soon.
const IDLE: Duration = Duration::from_secs(60);

/// Runs for ever.
pub async fn run(client: Client, outlet: Outlet) {
    let changed = outlet.index.task_places_changed();
    let mut running: HashMap<Place, AbortHandle> = HashMap::new();
    let mut watches: JoinSet<()> = JoinSet::new();
    let mut look = tokio::time::interval(IDLE);
    loop {
        let wanted = outlet.index.task_places();
        running.retain(|place, watch| {
            if watch.is_finished() {
                tracing::error!(kind = place.0.as_str(), namespace = %place.1, "a watch of what leases are made for has ended: this is a bug; it is opened again");
            }
            !watch.is_finished()
        });
        for place in &wanted {
            if !running.contains_key(place) {
                running.insert(place.clone(), watches.spawn(watch(client.clone(), outlet.clone(), place.clone())));
            }
        }
        tokio::select! {
            () = changed.notified() => {}
            _ = look.tick() => {
                let wanted = outlet.index.task_places();
                running.retain(|place, watch| {
                    let keep = wanted.contains(place);
                    if !keep {
                        watch.abort();
                        outlet.index.tasks_dropped(place);
                    }
                    keep
                });
            }
            Some(_) = watches.join_next(), if !watches.is_empty() => {}
        }
    }
}

async fn watch(client: Client, outlet: Outlet, place: Place) {
    match place.0 {
        CompletionKind::Job => follow::<JobStatus>(client, ApiResource::erase::<Job>(&()), outlet, place).await,
        CompletionKind::Pod => follow::<PodStatus>(client, ApiResource::erase::<Pod>(&()), outlet, place).await,
    }
}

/// Of a Job's or a Pod's status, what tells of its end. Nothing else of the object is even decoded.
trait Ends: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    fn end(&self) -> Option<TaskEnd>;
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct JobStatus {
    #[serde(default)]
    conditions: Vec<JobCondition>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<KubeTime>,
}

impl Ends for JobStatus {
    /// A Job has ended with condition Complete or Failed (batch/v1, JobStatus.conditions).
    fn end(&self) -> Option<TaskEnd> {
        self.conditions.iter().filter(|c| c.status == "True").find_map(|c| {
            let completed = match c.kind.as_str() {
                "Complete" => true,
                "Failed" => false,
                _ => return None,
            };
            Some(TaskEnd { completed, at: Time::from(c.last_transition_time.as_ref()?) })
        })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    conditions: Vec<PodCondition>,
    start_time: Option<KubeTime>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodCondition {
    last_transition_time: Option<KubeTime>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    state: ContainerState,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct ContainerState {
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    finished_at: Option<KubeTime>,
}

impl Ends for PodStatus {
    /// A Pod has ended in phase Succeeded or Failed (core/v1, PodStatus.phase), when its last container did; an evicted one
    /// tells of no container, and ended when its conditions changed last.
    fn end(&self) -> Option<TaskEnd> {
        let completed = match self.phase.as_deref() {
            Some("Succeeded") => true,
            Some("Failed") => false,
            _ => return None,
        };
        let finished = |c: &ContainerStatus| c.state.terminated.as_ref()?.finished_at.as_ref().map(Time::from);
        let ended = self.container_statuses.iter().filter_map(finished).max();
        let changed = || self.conditions.iter().filter_map(|c| c.last_transition_time.as_ref().map(Time::from)).max();
        let at = ended.or_else(changed).or_else(|| self.start_time.as_ref().map(Time::from));
        // One that tells no time at all has ended by the time it is seen.
        Some(TaskEnd { completed, at: at.unwrap_or(Time::from_millis(i64::MAX)) })
    }
}

async fn follow<S: Ends>(client: Client, resource: ApiResource, outlet: Outlet, place: Place) {
    let api: Api<Object<NotUsed, S>> = Api::namespaced_with(client, &place.1, &resource);
    let mut events = std::pin::pin!(watcher(api, everything()).backoff(Pauses::new()));
    while let Some(event) = events.next().await {
        let index = &outlet.index;
        let wishes = match event {
            Ok(Event::Init) => {
                index.tasks_begin(&place);
                continue;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let metadata = object.metadata;
                let row = TaskRow {
                    uid: metadata.uid.unwrap_or_default(),
                    end: object.status.as_ref().and_then(Ends::end),
                    deleting: metadata.deletion_timestamp.is_some(),
                };
                index.task_applied(&place, metadata.name.as_deref().unwrap_or_default(), row)
            }
            Ok(Event::Delete(object)) => {
                index.task_deleted(&place, object.metadata.name.as_deref().unwrap_or_default())
            }
            Ok(Event::InitDone) => index.tasks_end(&place),
            Err(error) => {
                tracing::warn!(kind = place.0.as_str(), namespace = %place.1, %error, "a watch of what leases are made for failed and is opened again");
                continue;
            }
        };
        outlet.pass(wishes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: serde_json::Value) -> Option<TaskEnd> {
        serde_json::from_value::<JobStatus>(json!({ "conditions": conditions, "ready": 0 })).unwrap().end()
    }

    #[test]
    fn a_job_ends_with_its_condition_and_not_before() {
        let at = "2026-11-24T12:00:00Z";
        let condition = |kind: &str, status: &str| json!([{"type": kind, "status": status, "lastTransitionTime": at}]);
        assert_eq!(job(json!([])), None);
        assert_eq!(job(condition("Complete", "False")), None);
        assert_eq!(job(condition("FailureTarget", "True")), None);
        assert_eq!(job(condition("Suspended", "True")), None);
        assert!(job(condition("Complete", "True")).unwrap().completed);
        assert!(!job(condition("Failed", "True")).unwrap().completed);
    }

    #[test]
    fn a_pod_ends_when_its_last_container_does() {
        let pod = |status: serde_json::Value| serde_json::from_value::<PodStatus>(status).unwrap().end();
        assert_eq!(pod(json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]})), None);
        let ended = |at: &str| json!({"state": {"terminated": {"finishedAt": at, "exitCode": 0}}});
        let containers = json!([ended("2026-11-24T12:00:00Z"), ended("2026-11-24T12:00:09Z")]);
        let end = pod(json!({"phase": "Succeeded", "containerStatuses": containers})).unwrap();
        assert_eq!((end.completed, end.at.to_string()), (true, "2026-11-24T12:00:09Z".to_owned()));
        assert!(!pod(json!({"phase": "Failed", "reason": "Evicted"})).unwrap().completed);
    }
}
