//! The plugin's commands, as its own help has them, and how they end.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use leasehold::cli::{Cli, exit::Failure};

use super::{cell, code};

type Kind = fn(String) -> Failure;

/// What each exit code means; the codes themselves are the plugin's.
const FAILURES: [(Kind, &str); 9] = [
    (Failure::Other, "something else went wrong; the message says what"),
    (Failure::Usage, "the command line is wrong, or nobody is there to be asked"),
    (
        Failure::Refused,
        "a rule refused it: an admission policy, RBAC, the lifecycle's terms, a CredentialLeasePolicy; or a request of your own that you tried to approve",
    ),
    (Failure::Denied, "a person denied the request, or revoked the lease before it was active"),
    (Failure::Ended, "the lease has ended, or it could not be issued; `run` has told its command to end"),
    (Failure::TimedOut, "waiting took too long, or nobody agreed in time; what was asked for is withdrawn"),
    (
        Failure::Unreachable,
        "the API server cannot be reached, cannot answer now, or does not take your credentials; or the operator has not got to the request for a minute, and it is withdrawn. Ask again",
    ),
    (Failure::NotExecutable, "`run`: the command cannot be executed"),
    (Failure::NotFound, "`run`: the command is not found; nothing was asked for"),
];

pub fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = String::from(
        "# `kubectl lease`\n\nEvery command with its flags, and the exit codes. How to use them: [kubectl lease](../kubectl-lease.md).\n\n\
         ## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | it was done |\n",
    );
    for (failure, meaning) in FAILURES {
        _ = writeln!(out, "| {} | {} |", failure(String::new()).code(), cell(meaning));
    }
    out.push_str(
        "| 128 and more | a signal ended it: 130 for Ctrl-C, 143 for a termination |\n\n\
         `run` ends with the code of its command, if that ended by itself. `check` ends with 120 if the request would be refused, `doctor` with 1 if \
         something fails, `show --verify` with 1 if something differs.\n\n## Flags of every command\n\n",
    );
    let global = |arg: &&Arg| arg.is_global_set();
    flags(&mut out, command.get_arguments().filter(global));
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        one(&mut out, sub);
    }
    out
}

fn one(out: &mut String, command: &mut Command) {
    let usage = command.render_usage().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let name = command.get_bin_name().unwrap_or_default();
    _ = write!(out, "\n## {}\n\n{about}.\n\n```\n{}\n```\n\n", code(name), usage.trim_start_matches("Usage: "));
    let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help";
    if command.get_arguments().any(|arg| own(&arg)) {
        flags(out, command.get_arguments().filter(own));
    }
}

fn flags<'a>(out: &mut String, args: impl Iterator<Item = &'a Arg>) {
    out.push_str("| flag | default | meaning |\n|---|---|---|\n");
    for arg in args {
        row(out, arg);
    }
}

fn row(out: &mut String, arg: &Arg) {
    let names: Vec<String> = arg.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    let takes = if arg.get_action().takes_values() { format!(" {}", names.join(" ")) } else { String::new() };
    let short = arg.get_short().map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let title = match arg.get_long() {
        Some(long) => format!("{short}--{long}{takes}"),
        None => names.join(" "),
    };
    let choices: Vec<String> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    let choices = if arg.get_action().takes_values() && !choices.is_empty() {
        format!(". One of {}", choices.join(", "))
    } else {
        String::new()
    };
    let defaults: Vec<String> = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    let default =
        if defaults.is_empty() || !arg.get_action().takes_values() { String::new() } else { code(&defaults.join(" ")) };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    _ = writeln!(out, "| {} | {default} | {}{choices} |", code(title.trim()), cell(&help));
}
