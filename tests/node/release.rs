//! Helm, as whoever runs a platform uses it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use leasehold::api::reasons::{EndReason, Phase};
use serde_json::json;

use crate::story::Story;
use crate::support::{Holder, Tenant};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/leasehold");
const SYSTEM: &str = "leasehold-system";

/// How late a lease may end on two cores that meanwhile start pods and stop others, in milliseconds.
const LATE: i64 = 5_000;

/// So long before a lease ends the pods begin to be replaced.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

impl Story<'_> {
    pub async fn install(&self) -> Result<()> {
        self.kubectl(&["create", "namespace", SYSTEM]).await?;
        self.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]).await?;
        let (repository, tag) = self.images.leasehold.name.rsplit_once(':').context("an image has a tag")?;
        let image = format!("image.repository={repository},image.tag={tag}");
        // There is no DNS on the node.
        let server = "delivery.serverURL=https://10.0.0.1";
        self.helm(&["install", "leasehold", CHART, "--wait", "--timeout=3m", "--set", &image, "--set", server]).await?;
        self.two_are_ready().await?;
        let version = self.in_the_operators_pod(&["/kubectl-lease", "--version"]).await?;
        ensure!(version.starts_with("kubectl-lease "), "{version}");
        let shell = self.in_the_operators_pod(&["/bin/sh", "-c", "true"]).await;
        let refused = shell.err().context("there is a shell in the operator's pod")?.to_string();
        ensure!(refused.contains("no such file or directory"), "{refused}");
        Ok(())
    }

    /// `helm test`: the plugin examines the install from a pod of its own, with the rights that the chart gives it for that.
    pub async fn examine(&self) -> Result<()> {
        let tested = self.helm(&["test", "leasehold", "--timeout=2m"]).await;
        if let Err(error) = tested {
            let said = self.kubectl(&["logs", "leasehold-test", "-n", SYSTEM]).await;
            return Err(error.context(said.unwrap_or_else(|unread| format!("{unread:#}"))));
        }
        for kind in ["pod", "serviceaccount", "clusterrole", "clusterrolebinding"] {
            let left = self.kubectl(&["get", kind, "leasehold-test", "-n", SYSTEM, "--ignore-not-found"]).await?;
            ensure!(left.is_empty(), "left behind: {left}");
        }
        Ok(())
    }

    pub async fn upgrade(&self) -> Result<()> {
        let before = self.pods().await?;
        let args = ["upgrade", "leasehold", CHART, "--wait", "--timeout=3m", "--reuse-values"];
        self.helm(&[&args[..], &["--set", "observability.log=debug"]].concat()).await?;
        self.others_than(&before).await
    }

    pub async fn roll_back(&self) -> Result<()> {
        let before = self.pods().await?;
        self.helm(&["rollback", "leasehold", "1", "--wait", "--timeout=3m"]).await?;
        self.others_than(&before).await
    }

    pub async fn uninstall(&self, tenant: &Tenant<'_>) -> Result<()> {
        let (minted, delivered) = ("held-at-the-end", "delivered-at-the-end");
        tenant.lease(minted, "reading", |spec| spec["ttl"] = json!("30m")).await?;
        let into_a_secret = tenant.lease(delivered, "reading", |spec| {
            spec["ttl"] = json!("30m");
            spec["delivery"] = json!({"type": "Secret"});
        });
        into_a_secret.await?;
        let mut holders = Vec::new();
        for name in [minted, delivered] {
            let holder = Holder::new(tenant, &tenant.token(&tenant.lease_in(name, Phase::Active).await?).await?)?;
            ensure!(holder.reads().await? == 200, "{name}: the token does not work");
            holders.push(holder);
        }
        self.helm(&["uninstall", "leasehold", "--wait", "--timeout=5m"]).await?;
        for (name, holder) in [minted, delivered].into_iter().zip(holders) {
            ensure!(holder.reads().await? == 401, "{name}: the token is not refused");
            let status = tenant.leases().get(name).await?.status.context("a lease without a status")?;
            ensure!(
                status.credential.as_ref().and_then(|c| c.evidence).is_some(),
                "{name} ended without proof: {status:?}"
            );
        }
        let get = ["get", "serviceaccounts,secrets,jobs", "--ignore-not-found", "-n", "leasehold-leases", "-o", "name"];
        let left = self.kubectl(&get).await?;
        ensure!(left.lines().all(|name| name == "serviceaccount/default"), "left: {left}");
        Ok(())
    }

    /// While `change` is made: what is held stays, what is due ends on time, what is asked for is issued.
    pub async fn leases_live_and_end_during(
        &self,
        tenant: &Tenant<'_>,
        name: &str,
        change: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let (held, due, asked) = (format!("held-{name}"), format!("due-{name}"), format!("asked-{name}"));
        tenant.lease(&held, "reading", |spec| spec["ttl"] = json!("30m")).await?;
        let holder = Holder::new(tenant, &tenant.token(&tenant.lease_in(&held, Phase::Active).await?).await?)?;
        tenant.lease(&due, "reading", |spec| spec["ttl"] = json!("30s")).await?;
        let lease = tenant.lease_in(&due, Phase::Active).await?;
        let short = Holder::new(tenant, &tenant.token(&lease).await?)?;
        let end = lease.status.and_then(|status| status.expiration_time).context("an issued lease has an end")?;
        let left = end.as_millis() - jiff::Timestamp::now().as_millisecond();
        tokio::time::sleep(Duration::from_millis(left.unsigned_abs()).saturating_sub(BEFORE_THE_END)).await;
        let meanwhile = async {
            tokio::time::sleep(BEFORE_THE_END).await;
            tenant.lease(&asked, "reading", |spec| spec["ttl"] = json!("10m")).await?;
            tenant.lease_in(&asked, Phase::Active).await
        };
        let refusal = async { short.until(&[401, 403], Duration::from_millis(20), Duration::from_secs(60)).await };
        let begun = Instant::now();
        let (changed, issued, (_, refused)) =
            tokio::try_join!(async { change.await.map(|()| begun.elapsed()) }, meanwhile, refusal)?;
        let ended = self.ended(tenant, &due).await?;
        ensure!(ended.end_reason == Some(EndReason::Expired), "{ended:?}");
        let late = refused.as_millisecond() - end.as_millis();
        ensure!(late < LATE, "{due} was refused {late} ms after its end");
        ensure!(holder.reads().await? == 200, "{held} does not live on");
        println!(
            "node:   {name} took {:.1} s; due: refused {late} ms after its end; issued meanwhile: {}",
            changed.as_secs_f64(),
            issued.metadata.name.unwrap_or_default()
        );
        Ok(())
    }

    pub async fn a_namespace_is_deleted_under_its_leases(&self) -> Result<()> {
        let tenant = self.tenant("doomed").await?;
        let mut held = Vec::new();
        for name in ["one", "two"] {
            tenant.lease(name, "reading", |spec| spec["ttl"] = json!("30m")).await?;
            let lease = tenant.lease_in(name, Phase::Active).await?;
            held.push((
                lease.metadata.uid.clone().context("a lease has a UID")?,
                Holder::new(&tenant, &tenant.token(&lease).await?)?,
            ));
        }
        self.kubectl(&["delete", "namespace", &tenant.namespace, "--timeout=60s"]).await?;
        for (uid, holder) in held {
            holder.until(&[401], Duration::from_millis(100), Duration::from_secs(30)).await?;
            self.lab.nothing_left_of(&uid).await?;
        }
        Ok(())
    }

    async fn helm(&self, args: &[&str]) -> Result<String> {
        let args = [args, &["--namespace", SYSTEM]].concat();
        self.lab.plane.helm(self.lab.plane.admin_kubeconfig(), &args, None).await?.ok()
    }

    async fn in_the_operators_pod(&self, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", "-n", SYSTEM, "deployment/leasehold", "--"], command].concat()).await
    }

    async fn two_are_ready(&self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.lab.plane.admin(), SYSTEM);
        let status = deployments.get("leasehold").await?.status.context("a Deployment without a status")?;
        ensure!(status.ready_replicas == Some(2) && status.updated_replicas == Some(2), "{status:?}");
        Ok(())
    }

    /// The operator's, by name.
    async fn pods(&self) -> Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.lab.plane.admin(), SYSTEM);
        let found = pods.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await?;
        let running = found.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(running.filter_map(|pod| pod.metadata.name).collect())
    }

    async fn others_than(&self, before: &[String]) -> Result<()> {
        self.two_are_ready().await?;
        let now = self.pods().await?;
        ensure!(now.len() == 2 && !now.iter().any(|pod| before.contains(pod)), "before {before:?}, now {now:?}");
        Ok(())
    }
}
