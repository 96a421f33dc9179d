//! Which process a number means: a PID together with when it started.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from a later one that was given the same PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The PID, in our PID namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/<pid>/stat`, see proc_pid_stat(5).
    pub start_time: u64,
}

impl Identity {
    /// The process that has `pid` now. `None` if there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let (_, identity) = read_stat(pid)?;
        Some(identity)
    }

    /// This very process.
    ///
    /// # Errors
    /// If `/proc` is not there, as on anything but Linux.
    pub fn own() -> Result<Self> {
        let pid = i32::try_from(std::process::id())?;
        Self::of(pid).context("cannot read /proc/<own pid>/stat: the harness needs Linux")
    }

    /// Whether the process still runs. One that has ended but was not waited for yet (a zombie) does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        read_stat(self.pid).is_some_and(|(state, identity)| identity == self && state != "Z")
    }

    /// Send `signal` to this process and to no other. `false` if it has ended.
    ///
    /// The pidfd is opened before the identity is compared, so a PID reused in between is never hit.
    ///
    /// # Errors
    /// If the kernel refuses the signal.
    pub(crate) fn signal(self, signal: Signal) -> Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { bail!("{self} is no process") };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("open a handle to process {self}")),
        };
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("send {signal:?} to process {self}")),
        }
    }

    /// Read an identity that [`Identity::write`] wrote. `None` if the file is missing or unreadable as one.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        fs::read_to_string(path).ok()?.parse().ok()
    }

    pub(crate) fn write(self, path: &Path) -> Result<()> {
        fs::write(path, format!("{self}\n")).with_context(|| format!("write {}", path.display()))
    }
}

/// The state letter and the identity of the process that has `pid` now.
fn read_stat(pid: i32) -> Option<(String, Identity)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the command in parentheses and may itself contain blanks and parentheses: count from its end.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, Identity { pid, start_time }))
}

/// `<pid> <start time>`: what the run directory keeps, and what a shell can read.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start_time)
    }
}

impl FromStr for Identity {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (pid, start_time) = text.trim().split_once(' ').context("expected `<pid> <start time>`")?;
        Ok(Self { pid: pid.parse()?, start_time: start_time.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_alive_and_survive_the_round_trip_through_text() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        assert_eq!(own.to_string().parse::<Identity>().unwrap(), own);
    }

    #[test]
    fn a_process_with_our_pid_and_another_start_time_is_not_signalled() {
        let own = Identity::own().unwrap();
        let former = Identity { start_time: own.start_time - 1, ..own };
        assert!(!former.is_alive());
        assert!(!former.signal(Signal::KILL).unwrap());
    }
}
