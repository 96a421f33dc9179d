//! Pods that hold a credential.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::api::reasons::{EndReason, Phase};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::Tenant;

/// What the pod says each second of the token it finds in its mount, of which it keeps a copy, as whoever wants to go on would.
const READER: &str = r#"
while :; do
    mount=empty
    if cp /lease/kubeconfig /tmp/kept 2>/tmp/said; then mount=filled; fi
    if ! test -e /tmp/kept; then token=none
    elif kubectl --kubeconfig=/tmp/kept get configmap ledger -o name >/tmp/said 2>&1; then token=works
    else token=refused
    fi
    echo "mount $mount, token $token: $(cat /tmp/said)"
    sleep 1
done"#;

/// Between the two that it ends with there may be a moment: the token goes first.
const IN_BETWEEN: &str = "mount filled, token refused";

impl Story<'_> {
    /// As in config/samples/pipelines/cronjob.yaml: an init container brings the plugin, the pod's own token asks.
    pub async fn a_job_asks_as_itself(&self, tenant: &Tenant<'_>) -> Result<()> {
        let volume = json!([{"name": "lease", "mountPath": "/lease"}]);
        let run = [
            "/lease/kubectl-lease",
            "run",
            "reading",
            "--grant=read",
            "--ttl=5m",
            "--timeout=2m",
            "--reason=a test",
            "--",
        ];
        let command =
            [&run[..], &["/bin/kubectl", "get", "configmap", "ledger", "-o", "jsonpath=balance {.data.balance}"]]
                .concat();
        let pod = json!({
            "serviceAccountName": "ci", "restartPolicy": "Never", "securityContext": pod_security(),
            "initContainers": [{"name": "lease", "image": self.images.leasehold.name, "command": ["/kubectl-lease", "install", "/lease"], "securityContext": container_security(), "volumeMounts": volume}],
            "containers": [{"name": "books", "image": self.images.programs.name, "command": command, "securityContext": container_security(), "volumeMounts": volume}],
            "volumes": [{"name": "lease", "emptyDir": {}}],
        });
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "books", "namespace": tenant.namespace}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}});
        self.apply(&job).await?;
        let namespace = ["-n", &tenant.namespace];
        let wait = ["wait", "--for=condition=Complete", "job/books", "--timeout=90s"];
        let waited = self.kubectl(&[&wait[..], &namespace].concat()).await;
        let said = self.kubectl(&[&["logs", "job/books", "--all-containers"][..], &namespace].concat()).await?;
        waited.with_context(|| said.clone())?;
        ensure!(said.contains("balance 7"), "{said}");
        let leases = tenant.leases().list(&Default::default()).await?.items;
        let [lease] = leases.as_slice() else { anyhow::bail!("not one lease: {leases:?}") };
        let requester = format!("system:serviceaccount:{}:ci", tenant.namespace);
        let completion = lease.spec.completion_ref.as_ref().context("the lease names no pod")?;
        ensure!(lease.spec.requested_by.username == requester && completion.kind.as_str() == "Pod", "{:?}", lease.spec);
        let name = lease.metadata.name.as_deref().context("a lease has a name")?;
        let ended = self.ended(tenant, name).await?;
        ensure!(ended.end_reason.is_some_and(|reason| reason != EndReason::Expired), "{ended:?}");
        Ok(())
    }

    pub async fn a_mounted_secret_is_used_and_lost(&self, tenant: &Tenant<'_>) -> Result<()> {
        let pod = json!({
            "automountServiceAccountToken": false, "securityContext": pod_security(),
            "containers": [{
                "name": "reader", "image": self.images.programs.name, "command": ["/bin/sh", "-c", READER], "securityContext": container_security(),
                "volumeMounts": [{"name": "lease", "mountPath": "/lease", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"}],
            }],
            "volumes": [{"name": "lease", "secret": {"secretName": "lease-mounted", "optional": true}}, {"name": "tmp", "emptyDir": {}}],
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader", "namespace": tenant.namespace}, "spec": pod})).await?;
        self.reader_says(tenant, &["mount empty, token none"]).await?;
        let lease = tenant.lease("mounted", "reading", |spec| {
            spec["ttl"] = json!("30s");
            spec["delivery"] = json!({"type": "Secret"});
        });
        lease.await?;
        tenant.lease_in("mounted", Phase::Active).await?;
        let course = ["mount empty, token none", "mount filled, token works", "mount empty, token refused"];
        self.reader_says(tenant, &course).await
    }

    /// Waits until what the reader has said so far is this, repetitions left out.
    async fn reader_says(&self, tenant: &Tenant<'_>, what: &[&str]) -> Result<()> {
        eventually_seeing(&format!("the reader to say {what:?}"), Duration::from_secs(90), || async {
            let log = self.kubectl(&["logs", "reader", "-n", &tenant.namespace]).await;
            let log = log.unwrap_or_else(|error| format!("{error:#}"));
            // What kubectl said may be several lines.
            let said = log.lines().filter(|line| line.starts_with("mount "));
            let words = said.filter_map(|line| line.split(':').next());
            let mut words: Vec<&str> = words.filter(|words| *words != IN_BETWEEN).collect();
            words.dedup();
            Ok::<_, anyhow::Error>(if words == what { Look::Done(()) } else { Look::NotYet(log) })
        })
        .await
    }
}

/// What the restricted Pod Security Standard asks of a pod.
fn pod_security() -> Value {
    json!({"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}})
}

/// And of each container.
fn container_security() -> Value {
    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
}
