//! Where the story plays: a control plane of its own, or a cluster of the reader's.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig, NamedAuthInfo},
};
use leasehold_harness::{
    ControlPlane, Options,
    assets::{self, Program},
};
use tokio::io::AsyncWriteExt;

use crate::{place, story::NAMESPACE};

/// What is installed, in this order; `config/default` without the Deployment, since the operator runs beside the cluster.
pub const PARTS: &[&str] = &["namespaces", "crds", "policies", "rbac", "flowcontrol"];

/// The path of a shipped directory below `config/`.
pub fn config(part: &str) -> String {
    format!("{}/../../config/{part}", env!("CARGO_MANIFEST_DIR"))
}

/// A cluster, its administrator, and kubectl.
pub struct Cluster {
    /// Absent in a cluster of the reader's.
    pub plane: Option<ControlPlane>,
    pub kubectl: PathBuf,
    kubeconfig: PathBuf,
    dir: PathBuf,
}

/// What a command printed.
pub struct Output {
    pub succeeded: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Cluster {
    /// A control plane of our own, started now.
    pub async fn embedded(dir: &Path) -> Result<Self> {
        let options = Options { dir: Some(place::plane(dir)), detached: true, ..Options::default() };
        let plane = ControlPlane::start(options).await?;
        let admin = Kubeconfig::read_from(plane.admin_kubeconfig())?;
        let kubectl = assets::program(Program::Kubectl).await?;
        let kubeconfig = place::admin(dir);
        let cluster = Self { plane: Some(plane), kubectl, kubeconfig, dir: dir.to_owned() };
        cluster.keep("admin", admin)?;
        Ok(cluster)
    }

    /// The cluster of a kubectl context, as whoever that context is.
    pub async fn of_context(context: &str, dir: &Path) -> Result<Self> {
        let kubectl = own_kubectl().await?;
        let kubeconfig = place::admin(dir);
        let view = ["config", "view", "--minify", "--flatten", "--raw", "--context", context];
        let text =
            run(&kubectl, None, &view, None).await?.ok().with_context(|| format!("look up context {context}"))?;
        place::write_private(&kubeconfig, &text)?;
        Ok(Self { plane: None, kubectl, kubeconfig, dir: dir.to_owned() })
    }

    /// The cluster of an earlier [`Cluster::of_context`], whatever the reader's kubeconfig says by now.
    pub async fn again(dir: &Path) -> Result<Self> {
        Ok(Self { plane: None, kubectl: own_kubectl().await?, kubeconfig: place::admin(dir), dir: dir.to_owned() })
    }

    /// kubectl as whoever `kubeconfig` is for.
    pub async fn kubectl(&self, kubeconfig: &Path, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        run(&self.kubectl, Some(kubeconfig), args, stdin).await
    }

    /// `kubectl lease` as whoever `kubeconfig` is for: kubectl finds the plugin on PATH, as it does for everybody.
    pub async fn lease(&self, kubeconfig: &Path, args: &[&str]) -> Result<Typed> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([plugin_directory()?].into_iter().chain(std::env::split_paths(&own)))?;
        let (mut reader, writer) = std::io::pipe()?;
        let mut command = tokio::process::Command::new(&self.kubectl);
        command.env("PATH", path).env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_EXEC_INFO");
        command.arg("lease").args(args).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child =
            command.kill_on_drop(true).spawn().with_context(|| format!("run {} lease", self.kubectl.display()))?;
        // It holds the other end of the pipe too: reading would never end.
        drop(command);
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let (text, status) = (text.await??, child.wait().await?);
        Ok(Typed { text, code: status.code() })
    }

    /// kubectl as the administrator; it must succeed.
    pub async fn admin(&self, args: &[&str], stdin: Option<&str>) -> Result<String> {
        let output = self.kubectl(&self.kubeconfig, args, stdin).await?;
        output.ok().with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of the administrator.
    pub async fn admin_client(&self) -> Result<Client> {
        client(Kubeconfig::read_from(&self.kubeconfig)?).await
    }

    /// Somebody who has only this token: a kubeconfig and a client.
    pub async fn by_token(&self, label: &str, token: &str) -> Result<(PathBuf, Client)> {
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let auth = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        let name = kubeconfig.contexts.first().and_then(|c| c.context.as_ref()?.user.clone()).context("no user")?;
        kubeconfig.auth_infos = vec![NamedAuthInfo { name, auth_info: Some(auth), ..NamedAuthInfo::default() }];
        Ok((self.keep(label, kubeconfig.clone())?, client(kubeconfig).await?))
    }

    /// Writes somebody's kubeconfig to where people look for it; commands work in the story's namespace.
    pub fn keep(&self, label: &str, mut kubeconfig: Kubeconfig) -> Result<PathBuf> {
        for context in kubeconfig.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
            context.namespace = Some(NAMESPACE.to_owned());
        }
        let path = self.dir.join(format!("{label}.kubeconfig"));
        place::write_private(&path, &serde_json::to_string_pretty(&kubeconfig)?)?;
        Ok(path)
    }

    /// Where logs go.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What somebody saw who typed a command.
pub struct Typed {
    /// Everything it printed, in its order.
    pub text: String,
    /// Its exit code; absent if a signal ended it.
    pub code: Option<i32>,
}

impl Typed {
    /// The line that it ends with: what went wrong, if something did.
    pub fn last_line(&self) -> &str {
        self.text.lines().last().unwrap_or_default()
    }
}

impl Output {
    /// What it printed, if it succeeded.
    pub fn ok(self) -> Result<String> {
        ensure!(self.succeeded, "{}", self.stderr.trim());
        Ok(self.stdout)
    }
}

/// A client of its own connections, that repeats nothing by itself.
pub async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// The reader's own, since a kubeconfig may need its plugins; else the one that was built.
async fn own_kubectl() -> Result<PathBuf> {
    match on_path("kubectl") {
        Some(path) => Ok(path),
        None => assets::program(Program::Kubectl).await,
    }
}

/// The executable of this name on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Where make has built the plugin: the directory that we run from.
pub fn plugin_directory() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("kubectl-lease");
    ensure!(path.is_file(), "{} is not there: start the demo by `make demo`", path.display());
    path.parent().map(Path::to_owned).context("it is in no directory")
}

async fn run(kubectl: &Path, kubeconfig: Option<&Path>, args: &[&str], stdin: Option<&str>) -> Result<Output> {
    let mut command = tokio::process::Command::new(kubectl);
    if let Some(path) = kubeconfig {
        command.arg("--kubeconfig").arg(path);
    }
    let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    command.args(args.iter().map(OsStr::new)).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("run {}", kubectl.display()))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // It may end without reading all of it: its status and stderr tell.
        pipe.write_all(text.as_bytes()).await.ok();
    }
    let output = child.wait_with_output().await?;
    Ok(Output {
        succeeded: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
