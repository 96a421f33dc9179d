//! What is shipped for pipelines is what the plugin and the API server take.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    ground::{AUDIENCE, Ground, SAMPLES},
    lines::{commands, lines, parses},
};
use crate::support::{Lab, run};

/// The documents of a sample.
pub fn documents(name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(format!("{SAMPLES}/{name}"))?;
    Ok(serde_saphyr::from_multiple(&text)?)
}

/// Every script of a sample that is text in it: steps of a job, or what stands between three quotes.
pub fn scripts(name: &str) -> Result<Vec<String>> {
    if name == "Jenkinsfile" {
        let text = std::fs::read_to_string(format!("{SAMPLES}/{name}"))?;
        let script = text.split("'''").nth(1).context("no script")?;
        return Ok(vec![script.to_owned()]);
    }
    let document = documents(name)?.into_iter().next().context("nothing in it")?;
    let steps = match name {
        "github-actions.yaml" => {
            document["jobs"]["deploy"]["steps"].as_array().into_iter().flatten().map(|step| &step["run"]).collect()
        }
        "gitlab-ci.yaml" => document["deploy"]["script"].as_array().into_iter().flatten().collect::<Vec<_>>(),
        _ => anyhow::bail!("{name} has no script"),
    };
    steps.into_iter().map(|step| Ok(step.as_str().context("a step without a script")?.to_owned())).collect()
}

#[test]
fn the_plugin_takes_every_command_line_that_is_shipped() {
    let check = || -> Result<()> {
        for name in ["github-actions.yaml", "gitlab-ci.yaml", "Jenkinsfile"] {
            let lines = lines(&scripts(name)?.join("\n"));
            ensure!(!lines.is_empty(), "{name} does not use the plugin");
            for line in lines {
                parses(&line).with_context(|| name.to_owned())?;
            }
        }
        for (name, least) in
            [("tekton.yaml", 3), ("argo-workflows.yaml", 2), ("cronjob.yaml", 3), ("../80-report.yaml", 1)]
        {
            let mut found = vec![];
            for document in documents(name)? {
                commands(&document, &mut found);
                let text = serde_json::to_string(&document)?.replace("\\n", "\n").replace("\\\"", "\"");
                found.extend(lines(&text).into_iter().filter(|line| line.first().is_some_and(|w| w == "kubeconfig")));
            }
            ensure!(found.len() >= least, "{name}: {found:?}");
            for line in found {
                parses(&line).with_context(|| name.to_owned())?;
            }
        }
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines.md"))?;
        let fenced: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
        let found = lines(&fenced.join("\n"));
        ensure!(found.len() >= 2, "docs/pipelines.md: {found:?}");
        found.iter().try_for_each(|line| parses(line).context("docs/pipelines.md"))?;
        Ok(())
    };
    check().unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn the_api_server_takes_every_object_of_a_kind_that_it_serves() {
    run(async {
        let lab = Lab::shared().await?;
        for sample in ["10-target-namespace.yaml", "30-lifecycle-workload.yaml", "40-requester.yaml"] {
            lab.kubectl(&["apply", "-f", &lab.config(&format!("samples/{sample}"))], None).await?;
        }
        for sample in ["release.yaml", "cronjob.yaml"] {
            let path = lab.config(&format!("samples/pipelines/{sample}"));
            let output = lab.plane.kubectl(lab.plane.admin_kubeconfig(), &["apply", "-f", &path], None).await?;
            ensure!(output.status.success() && output.stderr.is_empty(), "{sample}: {}", output.stderr);
        }
        // A cluster that does not know image volumes would drop it.
        let path = "jsonpath={.spec.jobTemplate.spec.template.spec.volumes[0].image.reference}";
        let kept = lab.kubectl(&["get", "cronjob", "reconcile-books", "-n", "payments", "-o", path], None).await?;
        ensure!(kept == "registry.example.com/leasehold:0.1.0", "{kept}");
        // What Argo's resource step creates.
        let workflow = documents("argo-workflows.yaml")?.into_iter().next().context("no workflow")?;
        let templates = workflow["spec"]["templates"].as_array().context("no templates")?;
        let lease = templates.iter().find(|t| t["name"] == "lease").context("no lease")?;
        let manifest = lease["resource"]["manifest"].as_str().context("no manifest")?;
        let manifest = manifest.replace("{{workflow.name}}", "payments-release-x7");
        let args = ["create", "--dry-run=server", "--as=system:serviceaccount:payments:release", "-f", "-"];
        lab.kubectl(&args, Some(&manifest)).await.map(drop)
    });
}

#[test]
fn every_issuer_is_shipped_with_an_audience_and_a_prefix() {
    run(async {
        // The API server has compiled and run the same file: see `Ground`.
        Ground::shared().await?;
        let configuration = documents("authentication.yaml")?.into_iter().next().context("nothing in it")?;
        for entry in configuration["jwt"].as_array().context("no issuers")? {
            ensure!(entry["issuer"]["audiences"] == json!([AUDIENCE]), "{entry}");
            let prefix = entry["claimMappings"]["username"]["prefix"].as_str().unwrap_or_default();
            ensure!(prefix.ends_with(':') && prefix.len() > 1 && prefix != "system:", "{entry}");
        }
        Ok(())
    });
}
