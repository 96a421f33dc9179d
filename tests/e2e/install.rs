//! What is shipped in `config/`: it installs in one command, again and again, and every sample runs as it is.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::{Api, api::ListParams};

use crate::support::{Lab, run};

/// Who applies the samples that are leases; the sample of the requester makes this account.
const REQUESTER: &str = "system:serviceaccount:payments:ci";

/// kubectl's own word on kustomizations that choose their order; it is no warning of the server.
const ORDER: &str = "Sorting order is set both";

async fn apply(lab: &Lab, args: &[&str]) -> Result<(String, String)> {
    let output = lab.plane.kubectl(lab.plane.admin_kubeconfig(), &[&["apply"], args].concat(), None).await?;
    let said = output.stderr.lines().filter(|line| !line.contains(ORDER)).collect::<Vec<_>>().join("\n");
    ensure!(output.status.success(), "kubectl apply {args:?}: {}", output.stderr);
    Ok((output.stdout, said))
}

/// kubectl replaces the selector of a disruption budget whole, and says so even where it is the same: it is not written.
pub const ALWAYS: &str = "poddisruptionbudget.policy/leasehold configured";

fn ensure_unchanged(stdout: &str) -> Result<()> {
    let changed: Vec<&str> = stdout.lines().filter(|line| !line.ends_with(" unchanged") && *line != ALWAYS).collect();
    ensure!(changed.is_empty() && !stdout.is_empty(), "applied again, these are not unchanged: {changed:?}");
    Ok(())
}

#[test]
fn the_install_applied_again_changes_nothing_and_warns_of_nothing() {
    run(async {
        let lab = Lab::shared().await?;
        let (stdout, warnings) = apply(lab, &["-k", &lab.config("default")]).await?;
        ensure!(warnings.is_empty(), "{warnings}");
        ensure_unchanged(&stdout)
    });
}

#[test]
fn every_sample_runs_as_it_is_and_applied_again_is_unchanged() {
    run(async {
        let lab = Lab::shared().await?;
        let mut samples: Vec<PathBuf> =
            std::fs::read_dir(lab.config("samples"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        // Those of pipelines are tested with them: not all are objects of this cluster.
        samples.retain(|path| path.is_file());
        samples.sort();
        ensure!(samples.len() >= 10, "samples are missing: {samples:?}");
        for sample in &samples {
            let path = sample.to_str().context("a path that is no text")?;
            let lease = std::fs::read_to_string(sample)?.contains("kind: CredentialLease\n");
            let identity = format!("--as={REQUESTER}");
            let mut args = vec!["-f", path];
            if lease {
                args.push(&identity);
            }
            let (_, warnings) = apply(lab, &args).await?;
            ensure!(warnings.is_empty(), "{path}: {warnings}");
            ensure_unchanged(&apply(lab, &args).await?.0).with_context(|| path.to_owned())?;
        }
        for lease in ["close-november", "rollout-2-3"] {
            let args = ["wait", "--for=condition=Active", "--timeout=60s", "-n", "payments", "credentiallease", lease];
            lab.kubectl(&args, None).await?;
        }
        let args = ["wait", "--for=condition=StandingReady", "--timeout=60s", "-n", "payments", "sal", "ledger-agent"];
        lab.kubectl(&args, None).await?;
        Ok(())
    });
}

#[test]
fn the_api_server_finds_no_fault_in_the_policies() {
    run(async {
        let lab = Lab::shared().await?;
        let api: Api<ValidatingAdmissionPolicy> = Api::all(lab.plane.admin());
        let mut policies = api.list(&ListParams::default().labels("app.kubernetes.io/part-of=leasehold")).await?.items;
        // Another test has those of config/gitops-warnings here for a while.
        policies.retain(|policy| !policy.metadata.name.as_deref().unwrap_or_default().starts_with("leasehold-warn-"));
        ensure!(policies.len() == 16, "{} policies", policies.len());
        for policy in policies {
            let warnings = policy.status.and_then(|s| s.type_checking).and_then(|t| t.expression_warnings);
            ensure!(warnings.is_none_or(|w| w.is_empty()), "{:?}", policy.metadata.name);
        }
        Ok(())
    });
}

/// Nothing runs, and nothing may be done, before what limits it is there: in the order in which it is applied.
#[test]
fn the_policies_come_before_the_rights_and_the_operator() {
    run(async {
        let lab = Lab::shared().await?;
        for install in ["default", "overlays/stamping"] {
            let text = lab.kubectl(&["kustomize", &lab.config(install)], None).await?;
            let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
            let first = |kind: &str| kinds.iter().position(|k| *k == kind).context(kind.to_owned());
            let last = |kind: &str| kinds.iter().rposition(|k| *k == kind).context(kind.to_owned());
            let bound = last("ValidatingAdmissionPolicyBinding")?;
            ensure!(last("Namespace")? < first("ValidatingAdmissionPolicy")?, "{install}: {kinds:?}");
            ensure!(last("CustomResourceDefinition")? < first("ValidatingAdmissionPolicy")?, "{install}: {kinds:?}");
            ensure!(bound < first("ClusterRole")? && bound < first("Role")?, "{install}: {kinds:?}");
            ensure!(bound < first("Deployment")?, "{install}: {kinds:?}");
            ensure!(
                !kinds.contains(&"CredentialLeasePolicy"),
                "{install} has guardrails, which are the platform's own"
            );
        }
        Ok(())
    });
}

#[test]
fn the_operators_requests_have_seats_of_their_own() {
    run(async {
        let lab = Lab::shared().await?;
        let args = ["get", "flowschema", "leasehold", "-o", "jsonpath={.metadata.uid}"];
        let schema = lab.kubectl(&args, None).await?;
        let kubeconfig = crate::support::Operator::kubeconfig(&lab.plane, "flow").await?;
        let args = ["get", "--raw", "/apis/leasehold.dev/v1alpha1/credentialleases?limit=1", "-v=8"];
        let said = lab.plane.kubectl(&kubeconfig, &args, None).await?;
        ensure!(
            said.stderr.contains(&schema),
            "the operator is served by another flow schema than {schema}: {}",
            said.stderr
        );
        Ok(())
    });
}
