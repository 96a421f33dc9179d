//! The command after `--`: found, started, and watched together with its lease.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use crate::{
    api::{CredentialLease, Time},
    cli::{
        exit::Failure,
        fetch,
        interrupt::{Interrupts, Kind, code_of},
        mint,
        output::tell,
        view::lease,
        watch::{Follower, Seen},
    },
};

/// How far the clock here may be ahead of the API server's before a lease that cannot be seen is taken for ended.
const SKEW_MILLIS: i64 = 5_000;

/// Looks a command up as shells do, before anything is asked for it.
///
/// # Errors
/// [`Failure::NotFound`] (127) and [`Failure::NotExecutable`] (126), as shells have them.
pub fn find(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    let name = command.to_string_lossy();
    let runs = |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(command)]
    } else {
        std::env::split_paths(path.unwrap_or_default()).map(|dir| dir.join(command)).collect()
    };
    if let Some(found) = candidates.iter().find(|path| runs(path)) {
        return Ok(found.clone());
    }
    if candidates.iter().any(|path| path.exists()) {
        return Err(Failure::NotExecutable(format!("{name} cannot be executed: is it a program, and may you run it?")));
    }
    Err(Failure::NotFound(format!("{name} is not found: write its path, or see $PATH")))
}

/// A started command.
pub struct Running {
    child: Child,
    pid: Pid,
    /// It leads a process group of its own: signals go to all of it. On a terminal it stays in ours, else it could not read
    /// from it; there the terminal itself sends SIGINT and SIGQUIT to both of us.
    leads: bool,
}

impl Running {
    /// Starts a command.
    ///
    /// # Errors
    /// [`Failure::NotExecutable`] if the system does not start it.
    pub fn start(path: &Path, args: &[OsString], environment: Vec<(&str, OsString)>) -> Result<Self, Failure> {
        let leads = !(io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal());
        let mut command = Command::new(path);
        command.args(args).envs(environment).kill_on_drop(true);
        if leads {
            command.process_group(0);
        }
        let broken =
            |e: &dyn std::fmt::Display| Failure::NotExecutable(format!("{} cannot be executed: {e}", path.display()));
        let child = command.spawn().map_err(|e| broken(&e))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(|| broken(&"it has no process id"))?;
        Ok(Self { child, pid: Pid::from_raw(pid), leads })
    }

    fn send(&self, signal: Signal) {
        // Whoever has ended meanwhile needs no signal.
        _ = if self.leads { killpg(self.pid, signal) } else { kill(self.pid, signal) };
    }

    fn forward(&self, kind: Kind) {
        let from_terminal = !self.leads && matches!(kind, Kind::Interrupt | Kind::Quit);
        if !from_terminal {
            self.send(kind.signal());
        }
    }

    /// Waits until the command has ended. If its lease ends before, the command is told to end (SIGTERM), and ended (SIGKILL)
    /// if it has not after `grace`.
    ///
    /// # Errors
    /// [`Failure::Ended`] if the lease ended first.
    pub async fn supervise(
        mut self,
        of: &CredentialLease,
        mut follower: Follower,
        interrupts: &mut Interrupts,
        grace: Duration,
    ) -> Result<u8, Failure> {
        let mut ended: Option<(Failure, Instant)> = None;
        let mut expires = lease::expires(of);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let seen = tokio::select! {
                status = self.child.wait() => {
                    let status = status.map_err(|e| Failure::Other(format!("the command cannot be waited for: {e}")))?;
                    return ended.map_or(Ok(code(status)), |(failure, _)| Err(failure));
                }
                kind = interrupts.next() => {
                    self.forward(kind);
                    continue;
                }
                seen = follower.next(), if ended.is_none() => seen,
                _ = tick.tick() => {
                    match &ended {
                        Some((_, since)) if since.elapsed() >= grace => self.send(Signal::SIGKILL),
                        Some(_) => {}
                        None if is_past(expires, fetch::now()) => ended = Some(self.end(mint::ended(of), grace)),
                        None => {}
                    }
                    continue;
                }
            };
            match seen {
                Seen::Lease(now) if lease::is_over(&now) => ended = Some(self.end(mint::ended(&now), grace)),
                Seen::Lease(now) => expires = lease::expires(&now).or(expires),
                Seen::Gone => {
                    let deleted = Failure::Ended(format!("lease {} was deleted", lease::title(of)));
                    ended = Some(self.end(deleted, grace));
                }
                // The command goes on: it has its credential, and the lease's own end is known.
                Seen::Blind(_) => {}
            }
        }
    }

    fn end(&self, why: Failure, grace: Duration) -> (Failure, Instant) {
        tell(&format!("{why}; the command is told to end, and has {} s for it", grace.as_secs()));
        self.send(Signal::SIGTERM);
        (why, Instant::now())
    }
}

/// Whether a lease is over by the clock here: only for when nobody else says so.
fn is_past(expires: Option<Time>, now: Time) -> bool {
    expires.is_some_and(|end| now.since(end) > SKEW_MILLIS)
}

/// The exit code as shells have it.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, signal) => signal.map_or(1, code_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_as_shells_find_them() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (runs, text) = (place("runs", 0o755), place("text", 0o644));
        let path = std::env::join_paths(["/nowhere".as_ref(), dir.path()]).unwrap();
        let find = |command: &OsStr| find(command, Some(&path)).map_err(|f| f.code());
        assert_eq!(find("runs".as_ref()), Ok(runs.clone()));
        assert_eq!(find(runs.as_os_str()), Ok(runs));
        assert_eq!(find("text".as_ref()), Err(126));
        assert_eq!(find(text.as_os_str()), Err(126));
        assert_eq!(find("absent".as_ref()), Err(127));
        assert_eq!(find("/absent".as_ref()), Err(127));
        assert_eq!(find("./runs".as_ref()), Err(127), "with a slash $PATH is not searched");
    }

    #[test]
    fn exit_codes_pass_through() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(42 << 8)), 42);
        assert_eq!(code(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn a_lease_that_cannot_be_seen_is_over_some_seconds_after_its_end() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let end = Some(at("2026-11-24T12:00:00Z"));
        assert!(!is_past(end, at("2026-11-24T12:00:04Z")) && is_past(end, at("2026-11-24T12:00:06Z")));
        assert!(!is_past(None, at("2026-11-24T12:00:06Z")));
    }
}
