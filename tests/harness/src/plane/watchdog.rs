//! Ends the run's processes that do not heed their stdin: kwok, the programs of `KUBEBUILDER_ASSETS`, and the operator
//! under test. Without it they would outlive a killed test run, or one that keeps its control plane in a `static`.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::run_dir::RunDir;

const SCRIPT: &str = include_str!("watchdog.sh");

/// A shell that waits for our end. Dropping it calls it off.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    pub fn over(dir: &RunDir) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(dir.processes())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the watchdog: sh")?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}
