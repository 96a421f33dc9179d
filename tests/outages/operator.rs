//! The operator as a kubelet keeps it: whenever it ends it is started again.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use leasehold_harness::{Process, Spawner, eventually};
use tokio::{task::JoinHandle, time::sleep};

use crate::support::{Lab, Operator};

/// The pause before a restart. A kubelet's begins with 10 s; less shows the same sooner.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take to read everything and to see the policies in force.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the executable is started: with what environment, and by which program.
pub type Dress = Box<dyn Fn(&Path) -> Command + Send + Sync>;

/// An operator that is kept running.
pub struct Kept {
    state: Arc<State>,
    keeper: JoinHandle<()>,
}

struct State {
    name: String,
    spawner: Spawner,
    kubeconfig: PathBuf,
    address: String,
    flags: Vec<String>,
    dress: Mutex<Dress>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    process: Option<Process>,
    /// Nobody is to start it.
    held: bool,
    exits: Vec<String>,
}

impl Kept {
    /// Starts one as it is, and waits until it would issue.
    pub async fn start(lab: &Lab, name: &str) -> Result<Self> {
        let kept = Self::launch(lab, name, &[], Box::new(|program| Command::new(program))).await?;
        kept.enforced().await?;
        Ok(kept)
    }

    /// Starts one and waits for nothing.
    pub async fn launch(lab: &Lab, name: &str, flags: &[&str], dress: Dress) -> Result<Self> {
        let kubeconfig = Operator::kubeconfig(&lab.plane, name).await?;
        Self::launch_as(lab, name, kubeconfig, flags, dress)
    }

    /// Starts one with this kubeconfig and waits for nothing.
    pub fn launch_as(lab: &Lab, name: &str, kubeconfig: PathBuf, flags: &[&str], dress: Dress) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let state = Arc::new(State {
            name: name.to_owned(),
            spawner: lab.plane.spawner(),
            kubeconfig,
            address: format!("127.0.0.1:{port}"),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            dress: Mutex::new(dress),
            running: Mutex::default(),
        });
        state.running().process = Some(state.spawn()?);
        let kept = state.clone();
        let keeper = tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(100)).await;
                if kept.has_ended() {
                    sleep(PAUSE).await;
                    let mut running = kept.running();
                    if !running.held {
                        // What cannot be started now is started the next time.
                        running.process = kept.spawn().ok();
                    }
                }
            }
        });
        Ok(Self { state, keeper })
    }

    /// SIGKILL, and nobody starts it again before [`Self::let_go`].
    pub fn hold(&self) -> Result<()> {
        let mut running = self.state.running();
        running.held = true;
        running.process.take().map_or(Ok(()), |mut process| process.kill().map(drop))
    }

    /// It is started again.
    pub fn let_go(&self) {
        self.state.running().held = false;
    }

    /// How it is started from the next time on.
    pub fn dress(&self, dress: Dress) {
        *self.state.dress.lock().unwrap_or_else(PoisonError::into_inner) = dress;
    }

    /// How much memory of its own it has, in bytes: VmData of proc_pid_status(5).
    pub fn memory(&self) -> Result<u64> {
        let pid = self.state.running().process.as_ref().context("it does not run")?.identity().pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).context("no VmData")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// Waits until it sees the policies in force.
    pub async fn enforced(&self) -> Result<()> {
        let enforced = || async {
            let metrics = self.get("metrics").await?;
            Ok::<_, anyhow::Error>(metrics.contains("leasehold_policies_enforced 1").then_some(()))
        };
        eventually("the operator to see the policies in force", PATIENCE, enforced).await.with_context(|| self.tail())
    }

    /// The body of one of its endpoints.
    pub async fn get(&self, path: &str) -> Result<String> {
        Operator::ask(&self.state.address, path).await
    }

    /// How it has ended, each time that it did so by itself.
    pub fn exits(&self) -> Vec<String> {
        self.state.running().exits.clone()
    }

    /// Everything it has said in all its lives.
    pub fn log(&self) -> Result<String> {
        let path = self.state.spawner.log(&self.state.name);
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl State {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> Result<Process> {
        let mut command =
            (self.dress.lock().unwrap_or_else(PoisonError::into_inner))(Path::new(env!("CARGO_BIN_EXE_leasehold")));
        command.env("KUBECONFIG", &self.kubeconfig).env("LEASEHOLD_LOG", "info,leasehold=debug");
        // One replica: who starts again need not wait for its own Lease.
        command.env("LEASEHOLD_LEADER_ELECTION", "false");
        command.args(["--listen", &self.address]).args(&self.flags);
        self.spawner.spawn(&self.name, command)
    }

    /// Whether it has ended by itself, or does not run although it should.
    fn has_ended(&self) -> bool {
        let mut running = self.running();
        let ended = match running.process.as_mut().map(Process::try_wait) {
            Some(Ok(Some(status))) => Some(status.to_string()),
            Some(_) => return false,
            None => return !running.held,
        };
        running.exits.extend(ended);
        running.process = None;
        !running.held
    }
}
