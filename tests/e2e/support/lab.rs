//! A control plane with Leasehold installed, and an operator that runs.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use leasehold_harness::{ControlPlane, Look, Options, eventually_seeing};
use tokio::sync::OnceCell;

use super::{Operator, QUIET, Tenant};

/// Where the shipped manifests are.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

/// A control plane, Leasehold installed on it, and its operator.
pub struct Lab {
    pub plane: ControlPlane,
    pub operator: Mutex<Option<Operator>>,
    tenants: AtomicU32,
}

static SHARED: OnceCell<Lab> = OnceCell::const_new();

impl Lab {
    /// The one that tests share: nothing may be done to it that another test would notice.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(|| Self::start(Options::default(), &[])).await
    }

    /// One of the test's own. The operator gets `flags` besides the usual ones.
    pub async fn start(options: Options, flags: &[&str]) -> Result<Self> {
        let lab = Self::installed(options).await?;
        lab.start_operator("operator", flags).await?;
        Ok(lab)
    }

    /// One of the test's own, Leasehold installed, no operator running.
    pub async fn installed(options: Options) -> Result<Self> {
        let lab = Self::bare(options).await?;
        lab.kubectl(&["apply", "-k", &lab.config("default")], None).await?;
        Ok(lab)
    }

    /// One of the test's own, on which nothing is installed.
    pub async fn bare(options: Options) -> Result<Self> {
        let _quiet = QUIET.lock().await;
        let plane = ControlPlane::start(options).await?;
        Ok(Self { plane, operator: Mutex::default(), tenants: AtomicU32::default() })
    }

    /// A namespace with everything that leasing in it needs.
    pub async fn tenant(&self, label: &str) -> Result<Tenant<'_>> {
        let number = self.tenants.fetch_add(1, Ordering::Relaxed);
        Tenant::create(self, &format!("{label}-{number}")).await
    }

    /// kubectl as the cluster's administrator.
    pub async fn kubectl(&self, args: &[&str], stdin: Option<&str>) -> Result<String> {
        self.plane.kubectl(self.plane.admin_kubeconfig(), args, stdin).await?.ok()
    }

    /// The path of a shipped manifest or directory below `config/`.
    pub fn config(&self, path: &str) -> String {
        format!("{CONFIG}/{path}")
    }

    /// Everything the operator has said so far.
    pub fn said(&self) -> Result<String> {
        let operator = self.operator.lock().expect("no test panics while it holds this");
        operator.as_ref().context("no operator is running")?.log()
    }

    /// What Prometheus would scrape of the operator.
    pub async fn metrics(&self) -> Result<String> {
        Operator::ask(&self.address()?, "metrics").await
    }

    /// Where the operator's endpoints are.
    pub fn address(&self) -> Result<String> {
        let operator = self.operator.lock().expect("no test panics while it holds this");
        Ok(operator.as_ref().context("no operator is running")?.address().to_owned())
    }

    /// The operator, to be ended by the test.
    pub fn take_operator(&self) -> Result<Operator> {
        self.operator.lock().expect("no test panics while it holds this").take().context("no operator is running")
    }

    /// Starts the next operator; `label` names its log.
    pub async fn start_operator(&self, label: &str, flags: &[&str]) -> Result<()> {
        let operator = Operator::start(&self.plane, label, flags).await?;
        self.operator.lock().expect("no test panics while it holds this").replace(operator);
        Ok(())
    }

    /// What is there that was made for a lease, as `kind/name`.
    pub async fn made_for(&self, uid: &str) -> Result<Vec<String>> {
        let label = format!("leasehold.dev/lease-uid={uid}");
        let kinds = "serviceaccounts,jobs,roles,rolebindings,secrets";
        let names = self.kubectl(&["get", kinds, "-A", "-l", &label, "-o", "name"], None).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Waits until nothing of a lease is left.
    pub async fn nothing_left_of(&self, uid: &str) -> Result<()> {
        eventually_seeing(&format!("nothing to be left of lease {uid}"), Duration::from_secs(30), || async {
            let left = self.made_for(uid).await?;
            Ok::<_, anyhow::Error>(if left.is_empty() { Look::Done(()) } else { Look::NotYet(left.join(", ")) })
        })
        .await
    }

    /// Ends everything.
    pub async fn stop(self) -> Result<()> {
        drop(self.operator.lock().expect("no test panics while it holds this").take());
        self.plane.stop().await
    }
}
