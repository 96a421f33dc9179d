//! Where the story plays: a control plane of our own or a cluster of the user's, Leasehold installed, its operator running.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use leasehold_harness::{ControlPlane, DetachedRun, Identity, Lifetime, Options, Process, assets, end, eventually};
use tokio::io::AsyncWriteExt;

use crate::told::{chapter, note, step};

/// Where this build's files are; what the demo leaves is beside them.
fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    root.join("target")
}

fn plane_dir() -> PathBuf {
    target().join("controlplane/demo")
}

/// Which operator is running: PID and start time.
fn operator_file() -> PathBuf {
    target().join("demo.operator")
}

/// The stage.
pub struct Stage {
    pub kubeconfig: PathBuf,
    pub context: Option<String>,
    /// Client certificates can be made only for a control plane of our own.
    plane: Option<ControlPlane>,
    kubectl: PathBuf,
    executable: PathBuf,
    operator: Option<Process>,
    listen: String,
}

/// Somebody who acts.
#[derive(Clone)]
pub struct Actor {
    pub name: String,
    kubeconfig: PathBuf,
    /// On a cluster of the user's, people are played by impersonation.
    flags: Vec<String>,
}

impl Stage {
    /// Sets it.
    pub async fn set(executable: PathBuf, config: PathBuf) -> Result<Self> {
        if operator_file().exists() {
            bail!("a demo is running already: look around in it, or end it with `make demo-down`");
        }
        let kubectl = assets::program(assets::Program::Kubectl).await?;
        let context = std::env::var("CONTEXT").ok().filter(|context| !context.is_empty());
        chapter("The stage");
        let listen = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let (plane, kubeconfig) = match &context {
            Some(context) => {
                note(&format!(
                    "on your cluster, context {context}: Leasehold is installed on it, and namespaces payments and warehouse are made"
                ));
                (None, own_kubeconfig()?)
            }
            None => {
                let start = async {
                    let options = Options { dir: Some(plane_dir()), detached: true, ..Options::default() };
                    Ok((
                        ControlPlane::start(options).await?,
                        "etcd, kube-apiserver and kube-controller-manager run on loopback".into(),
                    ))
                };
                let plane = step("a real Kubernetes control plane starts", start).await?;
                let kubeconfig = plane.admin_kubeconfig().to_owned();
                (Some(plane), kubeconfig)
            }
        };
        let mut stage = Self { kubeconfig, context, plane, kubectl, executable, operator: None, listen };
        let install = async {
            let directory = config.join("default");
            let path = directory.to_str().context("the path of config/ is no text")?;
            let said = stage.kubectl(&stage.admin(), &["apply", "-k", path], None).await?;
            if stage.context.is_some() {
                // The operator of this demo runs beside the cluster, from your build.
                stage
                    .kubectl(
                        &stage.admin(),
                        &["scale", "deployment/leasehold", "-n", "leasehold-system", "--replicas=0"],
                        None,
                    )
                    .await?;
            }
            Ok(((), format!("kubectl apply -k config/default: {} objects", said.lines().count())))
        };
        step("Leasehold is installed", install).await?;
        stage.start_operator().await?;
        Ok(stage)
    }

    /// Starts the operator as its own service account, with the rights that were just installed and no other.
    pub async fn start_operator(&mut self) -> Result<()> {
        let begun = async {
            let token = self
                .kubectl(
                    &self.admin(),
                    &["create", "token", "leasehold", "-n", "leasehold-system", "--duration=12h"],
                    None,
                )
                .await?;
            let kubeconfig = self.operator_kubeconfig(token.trim()).await?;
            let mut command = std::process::Command::new(&self.executable);
            command.env("KUBECONFIG", kubeconfig).args(["--listen", &self.listen]);
            let log = target().join("demo-operator.log");
            let process = Process::spawn("leasehold", command, &log, Lifetime::Detached)?;
            std::fs::write(operator_file(), process.identity().to_string())?;
            let listen = self.listen.clone();
            eventually("the operator to see its policies in force", Duration::from_secs(60), || async {
                Ok::<_, anyhow::Error>(metrics(&listen).await?.contains("leasehold_policies_enforced 1").then_some(()))
            })
            .await
            .with_context(|| process.log_tail())?;
            Ok((process, "as system:serviceaccount:leasehold-system:leasehold; it has probed that the policies refuse what they must".into()))
        };
        let process = step("the operator starts", begun).await?;
        self.operator = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill_operator(&mut self) -> Result<()> {
        self.operator.take().context("no operator is running")?.kill().map(drop)
    }

    /// The cluster's administrator.
    pub fn admin(&self) -> Actor {
        Actor { name: "admin".into(), kubeconfig: self.kubeconfig.clone(), flags: vec![] }
    }

    /// A user with no right but those that the story gives.
    pub fn user(&self, name: &str) -> Result<Actor> {
        Ok(match &self.plane {
            Some(plane) => Actor { name: name.into(), kubeconfig: plane.user(name, &[])?.kubeconfig, flags: vec![] },
            None => {
                Actor { name: name.into(), kubeconfig: self.kubeconfig.clone(), flags: vec![format!("--as={name}")] }
            }
        })
    }

    /// kubectl as somebody: what it prints, or what it complains of.
    pub async fn kubectl(&self, actor: &Actor, args: &[&str], stdin: Option<&str>) -> Result<String> {
        let (ok, stdout, stderr) = self.try_kubectl(actor, args, stdin).await?;
        ensure!(ok, "kubectl {} as {}: {}", args.join(" "), actor.name, stderr.trim());
        Ok(stdout)
    }

    /// kubectl as somebody: whether it succeeded, and what it printed.
    pub async fn try_kubectl(
        &self,
        actor: &Actor,
        args: &[&str],
        stdin: Option<&str>,
    ) -> Result<(bool, String, String)> {
        let mut command = tokio::process::Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&actor.kubeconfig).args(args).args(&actor.flags);
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start kubectl")?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.success(), text(output.stdout), text(output.stderr)))
    }

    async fn operator_kubeconfig(&self, token: &str) -> Result<PathBuf> {
        if let Some(plane) = &self.plane {
            return plane.token_kubeconfig("operator", token);
        }
        let raw = self
            .kubectl(&self.admin(), &["config", "view", "--raw", "--minify", "--flatten", "-o", "json"], None)
            .await?;
        let mut config: serde_json::Value = serde_json::from_str(&raw)?;
        config["users"][0]["user"] = serde_json::json!({"token": token});
        let path = target().join("demo-operator.kubeconfig");
        write_private(&path, &config.to_string())?;
        Ok(path)
    }

    /// Ends everything after a step that did not go as told; the logs stay.
    pub fn strike(self) -> Result<()> {
        note(&format!("the operator's log: {}", target().join("demo-operator.log").display()));
        Ok(std::fs::remove_file(operator_file())?)
    }

    /// Leaves everything running and says how to go on.
    pub fn leave(mut self) -> Result<()> {
        if let Some(operator) = self.operator.take() {
            let _noted_in_the_operator_file = operator.release();
        }
        if let Some(plane) = self.plane.take() {
            plane.detach()?;
        }
        chapter("Look around");
        match &self.context {
            Some(context) => note(&format!("kubectl config use-context {context}")),
            None => note(&format!(
                "export KUBECONFIG={}\nexport PATH={}:$PATH",
                self.kubeconfig.display(),
                self.kubectl.parent().unwrap_or(Path::new(".")).display()
            )),
        }
        note("kubectl get leasehold -A\nkubectl describe credentiallease -n payments\nkubectl get events -n payments");
        note(&format!("the audit stream and the logs: {}", target().join("demo-operator.log").display()));
        note("make demo-down ends it all");
        Ok(())
    }
}

/// Ends what a demo left running.
pub async fn clear() -> Result<()> {
    let file = operator_file();
    let Ok(identity) = std::fs::read_to_string(&file) else {
        println!("no demo is running");
        return Ok(());
    };
    end(identity.trim().parse::<Identity>()?).await?;
    std::fs::remove_file(&file)?;
    match DetachedRun::load(&plane_dir()) {
        Ok(run) => run.stop().await?,
        Err(_) => println!(
            "what it made on your cluster is still there; to remove it:\n  kubectl delete namespace payments warehouse\n  kubectl delete -k config/default"
        ),
    }
    println!("the demo has ended");
    Ok(())
}

fn own_kubeconfig() -> Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let path = named.or(home).context("set KUBECONFIG")?;
    ensure!(path.exists(), "CONTEXT needs a kubeconfig, and {} is not there", path.display());
    Ok(path)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

async fn metrics(listen: &str) -> Result<String> {
    use tokio::io::AsyncReadExt;
    let mut stream = tokio::net::TcpStream::connect(listen).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: operator\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
