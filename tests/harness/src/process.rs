//! A child process: started with a log file, ended by the handle that started it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::identity::Identity;

/// Tells an executable of ours to end when its stdin does; see `tests/controlplane/main.go`.
const EXIT_WITH_STDIN: &str = "LEASEHOLD_EXIT_WITH_STDIN";

const POLL: Duration = Duration::from_millis(20);

/// How far back [`Process::log_tail`] reads, in bytes.
const TAIL_BYTES: u64 = 16 * 1024;

/// How long a child may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// No longer than this process. The child's stdin is a pipe only we hold, so it ends however we die, if it heeds
    /// that pipe. Dropping the [`Process`] kills it.
    Ours,
    /// Past our exit: the child's stdin is empty. Dropping the [`Process`] still kills it, unless it was
    /// [released](Process::release).
    Detached,
}

/// A running child process. Dropping it kills it.
///
/// It belongs to no async runtime, so it can be kept in a `static` that tests with different runtimes share.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    identity: Identity,
    log: PathBuf,
    released: bool,
}

impl Process {
    /// Start `command` with stdout and stderr appended to the file `log`, in a process group of its own, so that an
    /// interrupt from the terminal reaches only us.
    ///
    /// # Errors
    /// If the log cannot be opened or the executable cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path, lifetime: Lifetime) -> Result<Self> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {}", log.display()))?;
        let err = out.try_clone()?;
        match lifetime {
            Lifetime::Ours => command.stdin(Stdio::piped()).env(EXIT_WITH_STDIN, "1"),
            Lifetime::Detached => command.stdin(Stdio::null()).env_remove(EXIT_WITH_STDIN),
        };
        let mut child = command
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {}", command.get_program().display()))?;
        let identity = match own_child(&child) {
            Ok(identity) => identity,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        Ok(Self { name: name.to_owned(), child, identity, log: log.to_owned(), released: false })
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// PID and start time.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Where stdout and stderr go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The log so far.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log_text(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Names the log file and quotes its last lines: what an error about this process should say.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let tail = read_tail(&self.log, TAIL_BYTES).unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<&str> = tail.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("last lines of {}:\n{last}", self.log.display())
    }

    /// The exit status, if the process has ended.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Wait until the process has ended by itself.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            sleep(POLL).await;
        }
    }

    /// SIGTERM, then SIGKILL if it still runs after `patience`.
    ///
    /// # Errors
    /// If the operating system refuses a signal or does not tell the exit status.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        // A paused process cannot act on SIGTERM before it goes on.
        self.signal(Signal::CONT)?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            sleep(POLL).await;
        }
        self.kill()
    }

    /// SIGKILL: as a crash would end it.
    ///
    /// # Errors
    /// If the operating system refuses or does not tell the exit status.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }

    /// SIGSTOP: it keeps its connections and answers nothing, as a process on a frozen node.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: go on after [`Process::pause`].
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Let it live on without us; only for [`Lifetime::Detached`], since the other kind ends with its stdin.
    #[must_use = "nothing else ends a released process"]
    pub fn release(mut self) -> Identity {
        self.released = true;
        self.identity
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.identity.signal(signal).map(|_ended_or_not| ()).with_context(|| self.name.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.released && matches!(self.child.try_wait(), Ok(None)) {
            // Both fail only if it has ended already, which is what is wanted.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The child was not waited for yet, so its PID cannot have been reused: if it has ended, it is a zombie with that PID.
fn own_child(child: &Child) -> Result<Identity> {
    let pid = i32::try_from(child.id())?;
    Identity::of(pid).with_context(|| format!("cannot read /proc/{pid}/stat: the harness needs Linux"))
}

fn read_tail(path: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn sleeper(lifetime: Lifetime) -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::spawn("sleeper", command, Path::new("/dev/null"), lifetime).unwrap()
    }

    #[tokio::test]
    async fn terminate_ends_even_a_paused_process() {
        let mut process = sleeper(Lifetime::Ours);
        process.pause().unwrap();
        let status = process.terminate(Duration::from_mins(1)).await.unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        assert!(!process.identity().is_alive());
    }

    #[test]
    fn dropping_a_process_kills_it() {
        let process = sleeper(Lifetime::Ours);
        let identity = process.identity();
        assert!(identity.is_alive());
        drop(process);
        assert!(!identity.is_alive());
    }

    #[test]
    fn a_released_process_lives_until_it_is_signalled() {
        let identity = sleeper(Lifetime::Detached).release();
        assert!(identity.is_alive());
        assert!(identity.signal(Signal::KILL).unwrap());
    }
}
