//! The samples for Argo CD and Flux, held against the definitions of these projects by a real API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_harness::{Look, assets, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Lab, run};

/// A published Go module, and those of its files that are definitions.
pub type Module = (&'static str, &'static [&'static str]);

/// Each sample, the namespace that it is for, and where its kinds are defined.
const TOOLS: [(&str, &str, &[Module]); 2] = [
    (
        "samples/gitops/flux.yaml",
        "flux-system",
        &[
            (
                "github.com/fluxcd/kustomize-controller@v1.9.6",
                &["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
            ),
            (
                "github.com/fluxcd/source-controller@v1.9.6",
                &["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"],
            ),
        ],
    ),
    (
        "samples/gitops/applicationset.yaml",
        "argocd",
        &[(
            "github.com/argoproj/argo-cd/v3@v3.5.7",
            &[
                "manifests/crds/application-crd.yaml",
                "manifests/crds/applicationset-crd.yaml",
                "manifests/crds/appproject-crd.yaml",
            ],
        )],
    ),
];

/// Makes a namespace, unless it is there.
async fn namespace(lab: &Lab, name: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    lab.kubectl(&["apply", "-f", "-"], Some(&object.to_string())).await.map(drop)
}

/// The directory of a module's definitions.
async fn definitions((module, files): Module) -> Result<String> {
    let directory = assets::files_of_module(module, files).await?;
    Ok(directory.to_str().context("a path that is no text")?.to_owned())
}

/// Has the cluster serve the kinds that a module defines.
pub async fn define(lab: &Lab, module: Module) -> Result<()> {
    let directory = &definitions(module).await?;
    // As the projects say: too large for the annotation of a client-side apply.
    lab.kubectl(&["apply", "--server-side", "-f", directory], None).await?;
    eventually_seeing("the definitions to be established", Duration::from_secs(60), || async {
        // Right after they were made they have no conditions, which kubectl takes for an error.
        let args = ["wait", "-f", directory, "--for=condition=Established", "--timeout=10s"];
        let output = lab.plane.kubectl(lab.plane.admin_kubeconfig(), &args, None).await?;
        Ok::<_, anyhow::Error>(if output.status.success() { Look::Done(()) } else { Look::NotYet(output.stderr) })
    })
    .await
}

/// Takes them away again.
pub async fn forget(lab: &Lab, module: Module) -> Result<()> {
    lab.kubectl(&["delete", "-f", &definitions(module).await?, "--wait=false"], None).await.map(drop)
}

#[test]
fn the_samples_are_what_argo_cd_and_flux_accept() {
    run(async {
        let lab = Lab::shared().await?;
        for (sample, namespace, modules) in TOOLS {
            for module in modules {
                define(lab, *module).await?;
            }
            self::namespace(lab, namespace).await?;
            let path = lab.config(sample);
            let args = ["create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", &path];
            let outcome = lab.kubectl(&args, None).await.with_context(|| sample.to_owned());
            for module in modules {
                forget(lab, *module).await?;
            }
            let made = outcome?.lines().count();
            ensure!(made == 5, "{sample}: {made} objects");
        }
        Ok(())
    });
}

#[test]
fn a_sync_of_flux_prunes_neither_definitions_nor_namespaces() {
    run(async {
        let lab = Lab::shared().await?;
        let sample = std::fs::read_to_string(lab.config("samples/gitops/flux.yaml"))?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&sample)?;
        let install = documents.iter().find(|d| d["metadata"]["name"] == "leasehold").context("no install")?;
        let scratch = tempfile::tempdir_in(lab.plane.dir())?;
        let up = "../".repeat(scratch.path().components().count() - 1);
        let overlay = json!({
            "resources": [format!("{up}{}", lab.config("default").trim_start_matches('/'))],
            "sortOptions": {"order": "fifo"}, "patches": install["spec"]["patches"],
        });
        std::fs::write(scratch.path().join("kustomization.yaml"), overlay.to_string())?;
        let path = scratch.path().to_str().context("a path that is no text")?;
        let rendered: Vec<Value> = serde_saphyr::from_multiple(&lab.kubectl(&["kustomize", path], None).await?)?;
        let kept =
            |object: &Value| object["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled";
        for object in &rendered {
            let precious = object["kind"] == "Namespace" || object["kind"] == "CustomResourceDefinition";
            ensure!(kept(object) == precious, "{} {}", object["kind"], object["metadata"]["name"]);
        }
        ensure!(rendered.iter().filter(|object| kept(object)).count() == 7, "five definitions and two namespaces");
        Ok(())
    });
}

#[test]
fn argo_cds_own_settings_stay_beside_the_health_of_our_kinds() {
    run(async {
        let lab = Lab::shared().await?;
        namespace(lab, "argocd").await?;
        let there = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "argocd-cm", "namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}},
            "data": {"url": "https://argocd.example.com"}});
        lab.kubectl(&["apply", "-f", "-"], Some(&there.to_string())).await?;
        // Not server-side apply: over an object that was applied client-side, kubectl takes what was applied for its own, and removes it.
        let health = lab.kubectl(&["kustomize", &lab.config("argocd")], None).await?;
        let args = ["patch", "configmap", "argocd-cm", "-n", "argocd", "--type=merge", "--patch-file=/dev/stdin"];
        lab.kubectl(&args, Some(&health)).await?;
        let got = lab.kubectl(&["get", "configmap", "argocd-cm", "-n", "argocd", "-o", "json"], None).await?;
        let got: Value = serde_json::from_str(&got)?;
        let keys: Vec<&String> = got["data"].as_object().context("no data")?.keys().collect();
        ensure!(keys.len() == 6, "{keys:?}");
        ensure!(got["data"]["url"] == "https://argocd.example.com", "Argo CD's own setting is gone");
        ensure!(got["metadata"]["labels"]["app.kubernetes.io/part-of"] == "argocd", "Argo CD's label is gone");
        Ok(())
    });
}
