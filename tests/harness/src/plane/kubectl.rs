//! The command line, as a person would use it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ControlPlane;

/// What a command printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// As printed, line end included.
    pub stdout: String,
    /// As printed, line end included.
    pub stderr: String,
}

impl Output {
    /// Its stdout, if it succeeded.
    ///
    /// # Errors
    /// If it did not: the error quotes its stderr.
    pub fn ok(self) -> Result<String> {
        ensure!(self.status.success(), "{}: {}", self.status, self.stderr.trim());
        Ok(self.stdout)
    }
}

impl ControlPlane {
    /// Run kubectl as whoever `kubeconfig` is for. It reads nothing of the developer's: HOME is in the run directory.
    ///
    /// # Errors
    /// If kubectl cannot be run. That it fails is no error but a `status`; see [`Output::ok`].
    pub async fn kubectl(&self, kubeconfig: &Path, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(args.iter().map(OsStr::new));
        command.env("HOME", self.dir.home()).env_remove("KUBECONFIG").env_remove("KUBECACHEDIR");
        run(command, stdin).await.with_context(|| format!("kubectl {}", args.join(" ")))
    }
}

/// Run `command` to its end, with `stdin` to read.
pub(crate) async fn run(mut command: Command, stdin: Option<&str>) -> Result<Output> {
    let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let pipe = child.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(text)) = (pipe, stdin) {
            // It may end without reading all of it, such as after a wrong flag: its status and stderr tell.
            pipe.write_all(text.as_bytes()).await.ok();
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
