//! What the tests of the harness share.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use leasehold_harness::{ControlPlane, Options};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The control plane of the tests that disturb nothing.
pub async fn shared() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(async || ControlPlane::start(Options::default()).await.unwrap()).await
}

/// Held by a test that starts a control plane of its own, so that no more than two run at a time.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

pub fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

pub async fn namespace(client: &Client, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace { metadata: named(name), ..Namespace::default() };
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

pub fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: named(name), ..ConfigMap::default() }
}

/// The HTTP status the API server refused with.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
