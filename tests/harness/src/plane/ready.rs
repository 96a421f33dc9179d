//! When a control plane is ready to be used.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::ControlPlane;
use crate::eventually::Look;
use crate::process::Process;

/// Far more than it takes, for machines that do other things too.
const PATIENCE: Duration = Duration::from_mins(3);

const POLL: Duration = Duration::from_millis(50);

/// Whoever took the API server's port may never answer; then what ends the wait is that the API server ended.
const ONE_LOOK: Duration = Duration::from_secs(5);

/// Wait for `/readyz`.
///
/// # Errors
/// If a component ends meanwhile, or time runs out: the error quotes the logs.
pub(super) async fn apiserver(plane: &mut ControlPlane) -> Result<()> {
    let client = plane.admin();
    wait(plane, "the API server to be ready", async || readyz(&client).await).await
}

/// Wait for what the controllers make in every new cluster, and everything needs.
///
/// # Errors
/// If a component ends meanwhile, or time runs out: the error quotes the logs.
pub(super) async fn cluster(plane: &mut ControlPlane) -> Result<()> {
    let client = plane.admin();
    wait(plane, "namespace kube-system and the default ServiceAccount", async || bootstrapped(&client).await).await
}

/// Look until `look` is done or a component has ended.
async fn wait(plane: &mut ControlPlane, what: &str, look: impl AsyncFn() -> Result<Look<()>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut last_seen = "nothing".to_owned();
    while Instant::now() < deadline {
        plane.check_running()?;
        match timeout(ONE_LOOK, look()).await {
            Ok(Ok(Look::Done(()))) => return Ok(()),
            Ok(Ok(Look::NotYet(seen))) => last_seen = seen,
            Ok(Err(error)) => last_seen = format!("{error:#}"),
            Err(_elapsed) => last_seen = format!("no answer within {ONE_LOOK:?}"),
        }
        sleep(POLL).await;
    }
    let logs: Vec<String> = plane.running.values().map(Process::log_tail).collect();
    bail!("waited {PATIENCE:?} for {what}; last seen: {last_seen}\n{}", logs.join("\n"))
}

async fn readyz(client: &Client) -> Result<Look<()>> {
    let answer = client.request_text(Request::get("/readyz").body(Vec::new())?).await?;
    Ok(if answer == "ok" { Look::Done(()) } else { Look::NotYet(answer) })
}

async fn bootstrapped(client: &Client) -> Result<Look<()>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    Ok(match (namespaces.get_opt("kube-system").await?, accounts.get_opt("default").await?) {
        (Some(_), Some(_)) => Look::Done(()),
        (None, _) => Look::NotYet("no namespace kube-system".to_owned()),
        (_, None) => Look::NotYet("no default ServiceAccount in namespace default".to_owned()),
    })
}

impl ControlPlane {
    /// An error that quotes the log of a component that should run and has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        for process in self.running.values_mut() {
            if let Some(status) = process.try_wait()? {
                bail!("{} ended ({status}); {}", process.name(), process.log_tail());
            }
        }
        Ok(())
    }
}
