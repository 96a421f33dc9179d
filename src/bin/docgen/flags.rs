//! The operator's flags, as its own help has them.

use std::fmt::Write;

use clap::{Arg, CommandFactory};
use leasehold::runtime::settings::Settings;

use super::{cell, code};

pub fn page() -> String {
    let command = Settings::command();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut out = format!(
        "# Flags of `leasehold`\n\n{about}\n\nEach can be given as a flag or as an environment variable; the flag counts.\n\n\
         | flag | environment | default | meaning |\n|---|---|---|---|\n"
    );
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        row(&mut out, arg);
    }
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        _ = write!(
            out,
            "\n## `leasehold {}`\n\n{about}\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n",
            command.get_name()
        );
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            row(&mut out, arg);
        }
    }
    out.push_str("\nWhich cluster it works on: `KUBECONFIG`, else `~/.kube/config`, else the pod's service account.\n");
    out
}

fn row(out: &mut String, arg: &Arg) {
    let Some(long) = arg.get_long() else { return };
    let before = if arg.is_require_equals_set() { '=' } else { ' ' };
    let value = arg.get_value_names().into_iter().flatten().map(|v| format!("{before}{v}")).collect::<String>();
    let environment = arg.get_env().map(|e| code(&e.to_string_lossy())).unwrap_or_default();
    let defaults: Vec<String> = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    let default = if defaults.is_empty() { String::new() } else { code(&defaults.join(" ")) };
    let takes = arg.get_action().takes_values();
    let choices: Vec<String> =
        arg.get_possible_values().iter().filter(|_| takes).map(|v| v.get_name().to_owned()).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices = if choices.is_empty() { String::new() } else { format!(". One of {}", choices.join(", ")) };
    _ = writeln!(
        out,
        "| {} | {environment} | {default} | {}{choices} |",
        code(&format!("--{long}{}", if takes { value } else { String::new() })),
        cell(&help)
    );
}
