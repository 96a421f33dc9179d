//! `completion`: what shells have to load to complete this executable.
//!
//! As a kubectl plugin it is completed by kubectl, which looks for an executable `kubectl_complete-lease`: this one, under that
//! name (`install` makes the link).

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use super::{exit::Failure, output::emit};

/// The variable by which shells ask this executable to complete.
pub const VARIABLE: &str = "COMPLETE";

/// Flags of `completion`.
#[derive(Args, Clone, Debug)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints what the shell has to load: `source <(kubectl-lease completion bash)`.
///
/// # Errors
/// If it cannot be printed.
pub fn run(flags: &Completion) -> Result<u8, Failure> {
    emit(&script(flags.shell)?)?;
    Ok(0)
}

fn script(shell: Shell) -> Result<String, Failure> {
    let (name, wrong) = (shell.to_possible_value(), || Failure::Other("this shell is not known".into()));
    let name = name.as_ref().map(clap::builder::PossibleValue::get_name).ok_or_else(wrong)?;
    let mut script = vec![];
    let shells = Shells::builtins();
    let completer = shells.completer(name).ok_or_else(wrong)?;
    completer
        .write_registration(VARIABLE, "kubectl-lease", "kubectl-lease", "kubectl-lease", &mut script)
        .map_err(|_| wrong())?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_its_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell).unwrap();
            assert!(script.contains("kubectl-lease") && script.contains(VARIABLE), "{shell:?}: {script}");
        }
    }
}
