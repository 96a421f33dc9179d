//! Where the commands of a page run: a directory that has what a checkout has, with our own programs first on PATH.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use leasehold_harness::assets;

use super::pages::ROOT;
use crate::support::Lab;

/// Longer than the longest `--timeout` that a page waits for.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Desk {
    directory: PathBuf,
    bin: PathBuf,
    kubeconfig: PathBuf,
}

impl Desk {
    /// Takes away what a page has written: the next one begins as its reader would.
    pub fn tidy(&self) -> Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "kubeconfig") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub async fn set(lab: &Lab) -> Result<Self> {
        let directory = lab.plane.dir().join("docs");
        let bin = directory.join("bin");
        fs::create_dir_all(&bin)?;
        fs::create_dir_all(directory.join("home"))?;
        for name in ["config", "charts", "crds", "docs"] {
            let there = Path::new(ROOT).join(name);
            if there.exists() {
                symlink(there, directory.join(name))?;
            }
        }
        symlink(lab.plane.kubectl_path(), bin.join("kubectl"))?;
        symlink(env!("CARGO_BIN_EXE_kubectl-lease"), bin.join("kubectl-lease"))?;
        symlink(assets::go_tool(assets::HELM).await?, bin.join("helm"))?;
        symlink(assets::debian_program("jq", "jq").await?, bin.join("jq"))?;
        // What a reader's own pipeline would run.
        let deploy = directory.join("deploy.sh");
        fs::write(&deploy, "#!/bin/sh\nexec kubectl auth whoami\n")?;
        fs::set_permissions(&deploy, fs::Permissions::from_mode(0o755))?;
        Ok(Self { directory, bin, kubeconfig: lab.plane.admin_kubeconfig().to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default());
        command.current_dir(&self.directory).stdin(Stdio::null());
        command.env("PATH", path).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.directory.join("home"));
        command
    }

    /// Runs a line of a page in a shell, after the page's `cd`s.
    pub async fn runs(&self, line: &str) -> Result<Output> {
        let mut bash = self.command("bash");
        bash.args(["-ec", line]);
        let ended = tokio::task::spawn_blocking(move || bash.output());
        Ok(tokio::time::timeout(PATIENCE, ended).await.context("it does not end")???)
    }

    /// That a program knows its command and all of its flags: it reads them before it answers `--help`.
    pub fn takes(&self, program: &str, arguments: &[String]) -> Result<()> {
        let own: Vec<&String> = arguments.iter().take_while(|word| *word != "--").collect();
        let output =
            self.command(self.bin.join(program).to_str().context("no text")?).args(&own).arg("--help").output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success() && out.contains("Usage:"), "{program} does not take {own:?}: {err}");
        Ok(())
    }
}
