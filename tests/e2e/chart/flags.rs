//! The flags that the chart gives the operator: whatever the values say, the operator takes them.

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser};
use leasehold::runtime::settings::Settings;
use serde_json::Value;

use super::{
    CHART, NAMESPACE,
    objects::Objects,
    renders::{PLAIN, TOGGLES},
    template,
};
use crate::support::{Lab, run};

/// Flags that values set, or the chart itself.
const OF_VALUES: [&str; 6] = ["listen", "retention", "require-policy", "server-url", "log", "pod-name"];

/// Reads the arguments of everything that runs the operator's executable.
fn taken(rendered: &Objects) -> Result<usize> {
    let mut count = 0;
    for (key, object) in rendered.iter().filter(|(key, _)| key.starts_with("Deployment ") || key.starts_with("Job ")) {
        let args = object.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
        let args: Vec<&str> = args.with_context(|| key.clone())?.iter().filter_map(Value::as_str).collect();
        let settings = Settings::try_parse_from([&["leasehold"], &args[..]].concat())
            .with_context(|| format!("{key} runs leasehold {args:?}"))?;
        settings.election().with_context(|| format!("{key} runs leasehold {args:?}"))?;
        count += 1;
    }
    Ok(count)
}

#[test]
fn the_operator_takes_the_flags_that_any_value_renders() {
    run(async {
        let lab = Lab::shared().await?;
        for (values, _) in TOGGLES {
            let file = tempfile::NamedTempFile::new()?;
            std::fs::write(file.path(), values)?;
            let path = file.path().to_str().context("a path that is no text")?;
            let rendered = template(&lab.plane, PLAIN, &["--values", path]).await?;
            ensure!(taken(&rendered)? >= 1, "{values}: nothing runs");
        }
        ensure!(taken(&template(&lab.plane, "{}", &[]).await?)? == 3, "the operator, and a drain with its finish");
        Ok(())
    });
}

#[test]
fn every_flag_is_either_a_value_or_may_be_given_besides() {
    run(async {
        let lab = Lab::shared().await?;
        for flag in Settings::command().get_arguments().filter_map(clap::Arg::get_long) {
            let values = format!("pod: {{extraArgs: ['--{flag}=1s']}}");
            let args = ["template", "leasehold", CHART, "--namespace", NAMESPACE, "--values", "-"];
            let output = lab.plane.helm(lab.plane.admin_kubeconfig(), &args, Some(&values)).await?;
            ensure!(output.status.success() != OF_VALUES.contains(&flag), "--{flag}: {}", output.stderr);
        }
        Ok(())
    });
}
