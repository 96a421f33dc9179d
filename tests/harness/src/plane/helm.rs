//! Helm, as a person would use it.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::ControlPlane;
use super::kubectl::{Output, run};
use crate::assets;

impl ControlPlane {
    /// Run helm as whoever `kubeconfig` is for. It reads and keeps nothing of the developer's: HOME is in the run directory.
    ///
    /// # Errors
    /// If helm cannot be built or run. That it fails is no error but a `status`; see [`Output::ok`].
    pub async fn helm(&self, kubeconfig: &Path, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut command = Command::new(assets::go_tool(assets::HELM).await?);
        command.args(args.iter().map(OsStr::new)).env("KUBECONFIG", kubeconfig).env("HOME", self.dir.home());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HELM_") || name.starts_with("XDG_")) {
                command.env_remove(name);
            }
        }
        run(command, stdin).await.with_context(|| format!("helm {}", args.join(" ")))
    }
}
