//! With KWOK nodes, workloads roll out, hang and complete as on a cluster.

use crate::support::{PATIENCE, named, turn};
use anyhow::Result;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::api::{ListParams, PostParams};
use leasehold_harness::{ControlPlane, Look, Options, eventually_seeing};

#[tokio::test(flavor = "multi_thread")]
async fn workloads_run_on_nodes_that_do_not_exist() -> Result<()> {
    let _turn = turn().await;
    let plane = ControlPlane::start(Options { kwok_nodes: 2, ..Options::default() }).await?;
    a_deployment_becomes_available(&plane).await?;
    a_held_deployment_hangs(&plane).await?;
    a_job_completes(&plane).await?;
    plane.stop().await
}

async fn a_deployment_becomes_available(plane: &ControlPlane) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(plane.admin(), "default");
    deployments.create(&PostParams::default(), &deployment("web", &[])).await?;
    eventually_seeing("two available replicas", PATIENCE, async || {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        let done = status.available_replicas == Some(2);
        Ok::<_, kube::Error>(if done { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
    })
    .await
}

async fn a_held_deployment_hangs(plane: &ControlPlane) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(plane.admin(), "default");
    deployments.create(&PostParams::default(), &deployment("held", &[("test/hold", "true")])).await?;
    let pods: Api<Pod> = Api::namespaced(plane.admin(), "default");
    eventually_seeing("two scheduled pods", PATIENCE, async || {
        let placed = pods.list(&ListParams::default().labels("app=held")).await?.items;
        let nodes: Vec<_> = placed.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
        Ok::<_, kube::Error>(if nodes.len() == 2 { Look::Done(()) } else { Look::NotYet(format!("{nodes:?}")) })
    })
    .await?;
    let status = deployments.get("held").await?.status.unwrap_or_default();
    assert_eq!(status.available_replicas, None);
    Ok(())
}

async fn a_job_completes(plane: &ControlPlane) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(plane.admin(), "default");
    let mut template = template("once", &[]);
    template.spec.get_or_insert_default().restart_policy = Some("Never".to_owned());
    let spec = JobSpec { template, ..JobSpec::default() };
    jobs.create(&PostParams::default(), &Job { metadata: named("once"), spec: Some(spec), ..Job::default() }).await?;
    eventually_seeing("the job to succeed", PATIENCE, async || {
        let status = jobs.get("once").await?.status.unwrap_or_default();
        let done = status.succeeded == Some(1);
        Ok::<_, kube::Error>(if done { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
    })
    .await
}

fn deployment(name: &str, annotations: &[(&str, &str)]) -> Deployment {
    Deployment {
        metadata: named(name),
        spec: Some(DeploymentSpec {
            replicas: Some(2),
            selector: LabelSelector {
                match_labels: Some([("app".to_owned(), name.to_owned())].into()),
                ..LabelSelector::default()
            },
            template: template(name, annotations),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn template(name: &str, annotations: &[(&str, &str)]) -> PodTemplateSpec {
    let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    let metadata = ObjectMeta {
        labels: Some([("app".to_owned(), name.to_owned())].into()),
        annotations: Some(annotations.iter().map(owned).collect()),
        ..ObjectMeta::default()
    };
    let container =
        Container { name: "main".to_owned(), image: Some("example.org/none:1".to_owned()), ..Container::default() };
    PodTemplateSpec {
        metadata: Some(metadata),
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
    }
}
