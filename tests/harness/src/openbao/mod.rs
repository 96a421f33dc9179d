//! A secrets store: OpenBao, set up for the operator as the comments in `config/systems/openbao.yaml` say.

mod setup;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::assets;
use crate::eventually::{Look, eventually_seeing};
use crate::plane::{ControlPlane, Output, run, write_private};
use crate::process::Process;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `bao status` ends with while the server answers but is sealed.
const SEALED: i32 = 2;

/// A running OpenBao: TLS by the control plane's authority, everything in memory, no secret in its engine yet.
///
/// The operator's ServiceAccount may log in at `auth/kubernetes` and then do what `config/systems/vault-policy.hcl`
/// says. Dropping it kills the server.
#[derive(Debug)]
pub struct OpenBao {
    process: Process,
    executable: PathBuf,
    url: String,
    authority: String,
    directory: PathBuf,
    root_token: String,
}

impl OpenBao {
    /// Where the KV engine of version 2 is mounted.
    pub const MOUNT: &str = "leasehold";
    /// The role that the operator logs in with.
    pub const ROLE: &str = "leasehold";
    /// Whom the operator's token has to be for.
    pub const AUDIENCE: &str = "openbao";

    /// Start one beside `plane`, whose API server it asks whether a token is good, and set it up. The first time on a
    /// machine its executable is downloaded; see [`assets::openbao`].
    ///
    /// In the cluster it makes namespace `openbao` and, in it, the account that OpenBao asks the API server as.
    ///
    /// # Errors
    /// If the executable cannot be had, the server does not come up, or refuses its setup.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let executable = assets::openbao().await?;
        let [port, cluster_port] = free_ports()?;
        let directory = plane.dir().join(format!("openbao-{port}"));
        let process = launch(plane, &executable, &directory, port, cluster_port)?;
        let mut bao = Self {
            process,
            executable,
            url: format!("https://127.0.0.1:{port}"),
            authority: plane.ca_pem().to_owned(),
            directory,
            root_token: String::new(),
        };
        bao.wait_until_it_answers().await?;
        bao.unseal().await?;
        setup::set_up(&bao, plane).await?;
        Ok(bao)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that signed its own.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.authority
    }

    /// The server: to pause it, to kill it, to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it holds at a path of the engine, as JSON; `None` where no version is.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn secret(&self, path: &str) -> Result<Option<Value>> {
        let mount = format!("-mount={}", Self::MOUNT);
        let answer = self.bao(&["kv", "get", "-format=json", &mount, path], None).await?;
        if !answer.status.success() && answer.stderr.starts_with("No value found") {
            return Ok(None);
        }
        let answer: Value = serde_json::from_str(&answer.ok()?).context("`bao kv get` prints JSON")?;
        Ok(answer.pointer("/data/data").cloned())
    }

    /// Every path of the engine below `path`, folders ending in `/`; none if there is nothing.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn list(&self, path: &str) -> Result<Vec<String>> {
        let mount = format!("-mount={}", Self::MOUNT);
        let answer = self.bao(&["kv", "list", "-format=json", &mount, path], None).await?;
        // Of an empty folder it prints an empty object and fails.
        if !answer.status.success() && answer.stdout.trim() == "{}" {
            return Ok(Vec::new());
        }
        serde_json::from_str(&answer.ok()?).context("`bao kv list` prints a list")
    }

    /// Run the command line as root, the only user who may do everything.
    ///
    /// # Errors
    /// If it cannot be run. That it fails is no error but a `status`; see [`Output::ok`].
    pub async fn bao(&self, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        self.bao_as(&self.root_token, args, stdin).await
    }

    /// Run the command line with a token of OpenBao's own.
    ///
    /// # Errors
    /// If it cannot be run. That it fails is no error but a `status`; see [`Output::ok`].
    pub async fn bao_as(&self, token: &str, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.executable);
        command.args(args).env("HOME", &self.directory).env("BAO_ADDR", &self.url).env("BAO_TOKEN", token);
        command.env("BAO_CACERT", self.directory.join(setup::AUTHORITY));
        run(command, stdin).await.with_context(|| format!("bao {}", args.join(" ")))
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let ready = eventually_seeing("OpenBao to answer", PATIENCE, || async {
            let answer = self.bao(&["status"], None).await?;
            let sealed = answer.status.code() == Some(SEALED);
            Ok::<_, anyhow::Error>(if sealed { Look::Done(()) } else { Look::NotYet(answer.stderr) })
        });
        ready.await.with_context(|| self.process.log_tail())
    }

    /// One key is enough, since it holds nothing but what a test puts there.
    async fn unseal(&mut self) -> Result<()> {
        let args = ["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"];
        let made: Value = serde_json::from_str(&self.bao(&args, None).await?.ok()?)?;
        let text = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let key = text("/unseal_keys_b64/0").context("`bao operator init` prints a key")?;
        self.root_token = text("/root_token").context("`bao operator init` prints a token")?;
        self.bao(&["operator", "unseal", &key], None).await?.ok()?;
        Ok(())
    }
}

/// Start the server. It is not initialised, and so sealed.
fn launch(plane: &ControlPlane, executable: &PathBuf, directory: &PathBuf, port: u16, cluster: u16) -> Result<Process> {
    ensure!(!directory.exists(), "{} is there already", directory.display());
    std::fs::create_dir(directory).with_context(|| format!("create {}", directory.display()))?;
    let certificate = plane.server_certificate()?;
    let configuration = setup::configuration(directory, port, cluster);
    for (name, content) in [
        (setup::AUTHORITY, plane.ca_pem()),
        (setup::CERTIFICATE, &certificate.public),
        (setup::KEY, &certificate.private),
        (setup::CONFIGURATION, &configuration),
    ] {
        write_private(&directory.join(name), content)?;
    }
    let mut command = Command::new(executable);
    command.arg("server").arg("-config").arg(directory.join(setup::CONFIGURATION)).env("HOME", directory);
    plane.spawn(&format!("openbao-{port}"), command)
}

/// One for clients, one that a lone server opens for others of its cluster all the same.
fn free_ports() -> Result<[u16; 2]> {
    // Both are held at once, so they differ.
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0"));
    let mut ports = held.into_iter().map(|listener| Ok::<_, std::io::Error>(listener?.local_addr()?.port()));
    match (ports.next().transpose()?, ports.next().transpose()?) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("the kernel gave no two free ports"),
    }
}
