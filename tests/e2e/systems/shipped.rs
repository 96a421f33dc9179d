//! Every file in `config/systems` is accepted as it is, and every expression in it can be used.

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use leasehold::{
    api::{
        ServiceAccountLifecycle,
        system::{ConnectedSystemSpec, Operation},
        workflow::{Step, StepTime},
    },
    systems::{check_operation, check_system},
};

use super::stage::{parsed, text};
use crate::support::{Lab, run};

fn files(lab: &Lab) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for file in std::fs::read_dir(lab.config("systems"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            files.push(name);
        }
    }
    files.sort();
    ensure!(files.len() >= 9, "systems are missing: {files:?}");
    Ok(files)
}

#[test]
fn the_api_server_accepts_every_shipped_system_without_a_warning() {
    run(async {
        let lab = Lab::shared().await?;
        for file in files(lab)? {
            let path = lab.config(&format!("systems/{file}"));
            let args = ["apply", "--dry-run=server", "--validate=strict", "-f", &path];
            let output = lab.plane.kubectl(lab.plane.admin_kubeconfig(), &args, None).await?;
            ensure!(output.stderr.is_empty(), "{file}: {}", output.stderr);
            output.ok().with_context(|| file)?;
        }
        Ok(())
    });
}

#[test]
fn every_expression_of_a_shipped_system_can_be_used_and_undoing_never_needs_the_credential() {
    run(async {
        let lab = Lab::shared().await?;
        for file in files(lab)? {
            let (system, _) = parsed(&text(&file)?)?;
            check_system(&system.spec).map_err(anyhow::Error::msg).with_context(|| file.clone())?;
            for operation in &system.spec.operations {
                let name = format!("{file}, {}", operation.name);
                let checked = check_operation(operation).with_context(|| name.clone())?;
                let takes_back = operation.name.starts_with("delete-");
                ensure!(!(takes_back && checked.uses_credential), "{name} takes back, and needs what is gone by then");
                // Where a token may go: into secrets stores, and a masked variable.
                let stores = ["openbao.yaml", "vault.yaml", "gitlab.yaml"].contains(&file.as_str());
                ensure!(stores || !checked.uses_token, "{name} sends the token");
            }
        }
        Ok(())
    });
}

#[test]
fn what_goes_with_a_system_lets_the_operator_read_its_secret_and_no_other() {
    run(async {
        let lab = Lab::shared().await?;
        for file in files(lab)? {
            let (system, manifests) = parsed(&text(&file)?)?;
            let secrets = system.spec.secrets();
            ensure!(manifests.len() == 2 * secrets.len(), "{file}: a Role and a RoleBinding for each Secret");
            for secret in secrets {
                let role: k8s_openapi::api::rbac::v1::Role = serde_saphyr::from_str(&manifests[0])?;
                let rules = role.rules.unwrap_or_default();
                ensure!(rules.len() == 1 && rules[0].verbs == ["get"], "{file}: {rules:?}");
                ensure!(rules[0].resource_names.as_deref() == Some(&[secret.to_owned()]), "{file}: {rules:?}");
                ensure!(role.metadata.namespace.as_deref() == Some("leasehold-system"), "{file}");
            }
        }
        Ok(())
    });
}

fn operation<'a>(system: &'a ConnectedSystemSpec, step: &Step, name: &str) -> Result<&'a Operation> {
    let operation = system.operation(name).with_context(|| format!("no operation {name}"))?;
    let given: Vec<&String> = step.with.keys().collect();
    ensure!(operation.params.iter().collect::<Vec<_>>() == given, "{name} takes {:?}", operation.params);
    Ok(operation)
}

/// Whether a step can run: its operation is there, takes what it is given, and is used when it may be.
fn check(system: &ConnectedSystemSpec, step: &Step) -> Result<()> {
    let checked = check_operation(operation(system, step, &step.operation)?)?;
    match step.at {
        StepTime::Request => {
            ensure!(operation(system, step, &step.operation)?.is_read_only(), "a gate that may change something");
            ensure!(!checked.uses_credential, "a gate that needs what is not issued yet");
        }
        StepTime::Issue => {}
        StepTime::Revoke => ensure!(!checked.uses_credential, "it needs what is gone by then"),
    }
    if let Some(undo) = &step.undo {
        ensure!(
            !check_operation(operation(system, step, undo)?)?.uses_credential,
            "an undo that needs what is gone by then"
        );
    }
    Ok(())
}

#[test]
fn the_workflow_that_each_file_shows_can_run_with_it() {
    run(async {
        let lab = Lab::shared().await?;
        for file in files(lab)? {
            let text = text(&file)?;
            let (system, _) = parsed(&text)?;
            let steps = text.lines().filter_map(|line| line.strip_prefix("#   - {name: "));
            let steps: Vec<Step> =
                steps.map(|step| Ok(serde_saphyr::from_str(&format!("{{name: {step}"))?)).collect::<Result<_>>()?;
            ensure!(!steps.is_empty(), "{file} shows none");
            for step in steps {
                ensure!(step.system == system.name_any(), "{file}: {}", step.name);
                check(&system.spec, &step).with_context(|| format!("{file}: {}", step.name))?;
            }
        }
        Ok(())
    });
}

#[test]
fn the_sample_lifecycle_uses_the_shipped_systems_as_they_are() {
    run(async {
        let lab = Lab::shared().await?;
        let sample = std::fs::read_to_string(lab.config("samples/70-workflow.yaml"))?;
        let lifecycle: ServiceAccountLifecycle = serde_saphyr::from_str(&sample)?;
        let systems = files(lab)?.iter().map(|file| Ok(parsed(&text(file)?)?.0)).collect::<Result<Vec<_>>>()?;
        ensure!(lifecycle.spec.workflow.len() == 5, "{:?}", lifecycle.spec.workflow);
        for step in &lifecycle.spec.workflow {
            let system = systems.iter().find(|system| system.name_any() == step.system);
            check(&system.context("no such system")?.spec, step).with_context(|| step.name.clone())?;
        }
        Ok(())
    });
}

#[test]
fn the_system_that_the_guide_shows_is_accepted_and_can_be_used() {
    run(async {
        let lab = Lab::shared().await?;
        let guide = std::fs::read_to_string(lab.config("../docs/systems.md"))?;
        let example =
            guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).context("an example")?;
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        lab.kubectl(&args, Some(example)).await?;
        check_system(&parsed(example)?.0.spec).map_err(anyhow::Error::msg)
    });
}
