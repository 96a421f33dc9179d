//! Nodes that exist only in the API; KWOK reports them ready and plays their kubelets.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

/// What KWOK does to nodes and pods.
pub(super) const STAGES: &str = include_str!("kwok-stages.yaml");

/// Create `kwok-node-0` and so on.
pub(super) async fn create(client: Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client);
    for number in 0..count {
        let name = format!("kwok-node-{number}");
        let node =
            Node { metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, ..Node::default() };
        nodes.create(&PostParams::default(), &node).await.with_context(|| format!("create node {name}"))?;
    }
    Ok(())
}
