//! Runs the Go toolchain.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// `go`, set up so that nothing but the arguments and the module decides what is built.
///
/// Killed if the future that runs it is dropped.
pub(super) fn go(directory: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(directory)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Run `command` to its end; its stdout, trimmed.
///
/// # Errors
/// If Go is not installed, or fails: the error carries its stderr.
pub(super) async fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .await
        .context("start `go`: install Go, or point KUBEBUILDER_ASSETS to a directory with the executables")?;
    let Output { status, stdout, stderr } = output;
    if !status.success() {
        bail!("{:?} failed, {status}:\n{}", command.as_std(), String::from_utf8_lossy(&stderr));
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

/// Such as `go1.26.8`: the toolchain `go` uses in `directory`.
pub(super) async fn version(directory: &Path) -> Result<String> {
    run(go(directory).args(["env", "GOVERSION"])).await
}
