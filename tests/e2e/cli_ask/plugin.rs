//! The plugin as a user has it: on PATH beside kubectl, with a kubeconfig and nothing of the developer's.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use leasehold_harness::eventually;
use tokio::process::{Child, Command};

use crate::support::Tenant;

/// A user's shell, as far as commands see it.
pub struct Shell {
    pub dir: tempfile::TempDir,
    kubeconfig: PathBuf,
    namespace: String,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// That it ended so, and said this on standard error.
    pub fn ended(self, code: i32, words: &str) -> Result<Self> {
        ensure!(self.code == Some(code) && self.stderr.contains(words), "not {code} with `{words}`: {self:?}");
        Ok(self)
    }
}

impl Shell {
    /// The shell of a tenant's requester.
    pub fn of(tenant: &Tenant<'_>) -> Result<Self> {
        Self::with(tenant, &tenant.requester.kubeconfig)
    }

    /// The shell of whoever this kubeconfig is for.
    pub fn with(tenant: &Tenant<'_>, kubeconfig: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        symlink(tenant.lab.plane.kubectl_path(), dir.path().join("kubectl"))?;
        for name in ["kubectl-lease", "kubectl_complete-lease"] {
            symlink(env!("CARGO_BIN_EXE_kubectl-lease"), dir.path().join(name))?;
        }
        Ok(Self { dir, kubeconfig: kubeconfig.to_owned(), namespace: tenant.namespace.clone() })
    }

    /// A file in the user's home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Some command, with this shell's environment.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::join_paths([self.dir.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap_or_default();
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", self.dir.path()).env("KUBECONFIG", &self.kubeconfig);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// `kubectl lease ARGS`, to its end.
    pub async fn lease(&self, args: &[&str]) -> Result<Said> {
        let program = self.dir.path().join("kubectl");
        let mut command = self.command(&program.to_string_lossy());
        command.arg("lease").args([&["-n", &self.namespace], args].concat());
        finish(command).await.with_context(|| format!("kubectl lease {}", args.join(" ")))
    }

    /// `kubectl-lease ARGS` by itself, started.
    pub fn start(&self, args: &[&str]) -> Result<Child> {
        let program = self.dir.path().join("kubectl-lease");
        let mut command = self.command(&program.to_string_lossy());
        Ok(command.args([&["-n", &self.namespace], args].concat()).spawn()?)
    }

    /// The content of a file that a command will write.
    pub async fn written(&self, name: &str) -> Result<String> {
        eventually(&format!("{name} to be written"), Duration::from_secs(60), || async {
            Ok::<_, anyhow::Error>(std::fs::read_to_string(self.file(name)).ok().filter(|text| text.ends_with('\n')))
        })
        .await
    }
}

/// Runs a command to its end.
pub async fn finish(mut command: Command) -> Result<Said> {
    said(command.spawn()?).await
}

/// What a started command says, at its end.
pub async fn said(child: Child) -> Result<Said> {
    let output = tokio::time::timeout(Duration::from_secs(90), child.wait_with_output()).await??;
    Ok(Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
