//! Across every system: a ticket is looked up, somebody agrees, a secrets store and a CI variable get the token, a Job uses it and
//! completes, everything is taken back, and the ticket is told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use leasehold::api::{ConditionStatus, reasons::Phase, workflow::StepState};
use leasehold_harness::{OpenBao, Other, eventually};
use serde_json::json;

use super::{NAMESPACE, PATIENCE, Story, status};
use crate::{cluster, expect, holder::Holder, timeline::seconds};

/// The lease of this chapter, and the Job that it is for.
const RELEASE: &str = "release";
/// The connected systems of this chapter.
const SYSTEMS: [&str; 2] = ["demo-tickets", "demo-openbao"];

impl Story {
    /// Only beside a control plane of the demo's own: OpenBao has to reach it, and there is no node that would run the Job.
    pub(super) async fn across_systems(&mut self) -> Result<()> {
        let Some(plane) = &self.cluster.plane else {
            self.timeline
                .step("Across systems: not told here, it needs an OpenBao beside the demo's own control plane");
            return Ok(());
        };
        self.timeline.step(
            "Other systems are connected: a ticket system with CI variables (the demo's own), and a real OpenBao",
        );
        let starting = async { tokio::try_join!(Other::start(), OpenBao::start(plane)) };
        let (other, bao) =
            self.timeline.waiting("OpenBao starts; its executable comes from PyPI the first time", starting).await?;
        self.connected(&other, &bao).await?;
        self.rehearsed(&other).await?;
        let token = self.released(&other, &bao).await?;
        self.completed(&other, token).await?;
        self.cluster.admin(&["delete", "csys", SYSTEMS[0], SYSTEMS[1]], None).await?;
        let lifecycle = ["delete", "sal", "releaser", "-n", NAMESPACE];
        self.cluster.admin(&lifecycle, None).await.map(drop)
    }

    async fn connected(&self, other: &Other, bao: &OpenBao) -> Result<()> {
        let shipped = std::fs::read_to_string(cluster::config("systems/openbao.yaml"))?;
        let store = shipped.replace("name: openbao\n", &format!("name: {}\n", SYSTEMS[1])).replace(
            "https://openbao.example.com:8200",
            &format!("{}\n    caBundle: |\n{}", bao.url(), indented(bao.ca_pem())),
        );
        self.cluster.admin(&["apply", "-f", "-"], Some(&store)).await?;
        self.cluster.admin(&["apply", "-f", "-"], Some(&other.system(SYSTEMS[0]).to_string())).await?;
        for system in SYSTEMS {
            self.cluster.admin(&["wait", "csys", system, "--for=condition=Ready", "--timeout=60s"], None).await?;
        }
        self.timeline.fact("both answer. The operator logs in to OpenBao with a token of its own, ten minutes long: no secret is stored for it");
        let lifecycle = json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": "releaser", "namespace": NAMESPACE},
            "spec": {
                "owner": {"team": "payments", "contact": "payments-oncall@example.com"}, "purpose": "Rolls a release out", "class": "Pipeline",
                "grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "reader"}}],
                "terms": {"ttl": {"max": "1h"}, "delivery": ["Secret"], "approval": {"type": "Required", "contact": "#payments-leads"}},
                "workflow": [
                    {"name": "change-approved", "at": "Request", "system": SYSTEMS[0], "operation": "gate", "with": {"key": "CHG-7"}},
                    {"name": "secrets-store", "at": "Issue", "system": SYSTEMS[1], "operation": "write-lease", "undo": "delete-lease"},
                    {"name": "ci-variable", "at": "Issue", "system": SYSTEMS[0], "operation": "set-token", "undo": "unset", "with": {"key": "KUBE_TOKEN"}},
                    {"name": "change-told", "at": "Revoke", "system": SYSTEMS[0], "operation": "tell", "with": {"key": "CHG-7"}},
                ],
            },
        });
        self.cluster.admin(&["apply", "-f", "-"], Some(&lifecycle.to_string())).await?;
        let runs = ["wait", "sal", "releaser", "-n", NAMESPACE, "--for=condition=WorkflowAllowed", "--timeout=60s"];
        self.cluster.admin(&runs, None).await.map(drop)
    }

    async fn rehearsed(&mut self, other: &Other) -> Result<()> {
        self.timeline
            .step("What would happen? The platform team looks: every call as it would be sent, and nothing is called");
        let args = ["check", "releaser", "--ticket", "CHG-7", "--delivery", "Secret", "--workflow"];
        let said = self.types(&self.people.platform, &args).await?;
        let calls: Vec<&str> = said.text.lines().skip_while(|line| !line.starts_with("It would call")).collect();
        self.timeline.printed(&calls.join("\n"), 24);
        expect(other.calls("CHG-7").is_empty() && said.text.contains("***"), || said.text.clone())
    }

    async fn released(&mut self, other: &Other, bao: &OpenBao) -> Result<Holder> {
        self.timeline
            .step("payments-oncall asks for releaser, for as long as Job release runs: the ticket is looked up first");
        let args = [
            "request",
            "releaser",
            "--name",
            RELEASE,
            "--ticket",
            "CHG-7",
            "--ttl",
            "20m",
            "--reason",
            "Release 2.4",
            "--delivery",
            "Secret",
            "--completion",
            "job/release",
        ];
        self.does(&self.people.oncall, &args, 2).await?;
        self.lease_in(RELEASE, Phase::AwaitingApproval).await?;
        self.timeline
            .fact("the ticket system says that CHG-7 is approved; now a person has to agree, to the workflow as well");
        let active = self.active(RELEASE);
        let args = ["approve", RELEASE, "--reason", "as planned", "--yes"];
        self.does(&self.people.lead, &args, 30).await?;
        let answered = Instant::now();
        active.await??;
        let lease = self.leases.get(RELEASE).await?;
        self.timeline.fact(&format!(
            "issued, written to OpenBao and into CI variable KUBE_TOKEN, and active {} after the answer",
            seconds(answered.elapsed())
        ));
        self.timeline.figure("from the answer to a credential in two other systems", seconds(answered.elapsed()));
        let uid = lease.metadata.uid.context("no UID")?;
        let held =
            bao.secret(&format!("leases/{NAMESPACE}/releaser/{uid}")).await?.context("not as told: OpenBao has it")?;
        expect(other.value("KUBE_TOKEN").is_some(), || "the CI variable is there".into())?;
        let token = held["token"].as_str().context("no token")?;
        Ok(Holder(self.cluster.by_token("releaser", token).await?.1))
    }

    async fn completed(&mut self, other: &Other, holder: Holder) -> Result<()> {
        self.timeline.step(
            "Job release runs with it (the Job controller is real; there is no node, so the demo does its pod's work)",
        );
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": RELEASE, "namespace": NAMESPACE},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/release"}]}}}});
        self.cluster.admin(&["create", "-f", "-"], Some(&job.to_string())).await?;
        let pods: Api<Pod> = Api::namespaced(self.cluster.admin_client().await?, NAMESPACE);
        let of_job = ListParams::default().labels("job-name=release");
        let made = || async { Ok::<_, anyhow::Error>(pods.list(&of_job).await?.items.into_iter().next()) };
        let pod = eventually("the Job's pod", PATIENCE, made).await?.metadata.name.context("no name")?;
        let reads = holder.reads().await?;
        self.timeline.fact(&format!("with the token from OpenBao: read the ledger {reads}"));
        expect(reads == 200, || "the token from OpenBao reads".into())?;
        let done = json!({"status": {"phase": "Succeeded"}});
        let begun = Instant::now();
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(done)).await?;
        self.timeline.step("The Job has completed: the lease ends with it, and what was done elsewhere is taken back");
        let gone = async {
            while holder.reads().await? == 200 {
                expect(begun.elapsed() < PATIENCE, || "the token dies with the Job".into())?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, anyhow::Error>(begun.elapsed())
        };
        let gone = gone.await?;
        self.timeline.fact(&format!(
            "the token is refused {} after the pod's end, through the Job controller and the watch",
            seconds(gone)
        ));
        let told = async {
            loop {
                let lease = self.leases.get(RELEASE).await?;
                if status(&lease)?.steps.iter().any(|s| s.name == "change-told" && s.state == StepState::Done) {
                    return Ok::<_, anyhow::Error>(lease);
                }
                expect(begun.elapsed() < PATIENCE, || format!("the ticket is told: {:?}", lease.status))?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let lease = self.timeline.waiting("the proof is awaited, and then the ticket is told", told).await?;
        self.says(&lease, "RolledBack", ConditionStatus::True)?;
        self.says(&lease, "Revoked", ConditionStatus::True)?;
        expect(other.value("KUBE_TOKEN").is_none(), || "the CI variable is gone".into())?;
        let words = other.calls("CHG-7").pop().context("not as told: the ticket was told")?.body;
        self.timeline.fact(&format!("OpenBao and CI have nothing any more, and ticket CHG-7 was told: {words}"));
        self.does(&self.people.oncall, &["show", RELEASE], 60).await.map(drop)
    }
}

/// A text as a block of a YAML document.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect::<String>().trim_end().to_owned()
}
