//! Ends what an earlier test run left when it was killed.
//!
//! Our own executables end with their stdin, and the [watchdog](super::watchdog) ends the rest; a sweep is for the
//! case that both were killed too, and it removes the directories.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::run_dir::{RUN_PREFIX, RunDir};
use crate::identity::Identity;

/// Sweep every run in `runs`, the directory of those that name none of their own.
pub(super) fn sweep_all(runs: &Path) -> Result<()> {
    for directory in fs::read_dir(runs).with_context(|| format!("read {}", runs.display()))? {
        let directory = directory?;
        if directory.file_name().to_string_lossy().starts_with(RUN_PREFIX) {
            // Another test run may be sweeping the same directory: what it removed first is no error.
            sweep(&directory.path()).ok();
        }
    }
    Ok(())
}

/// If `directory` is that of a run whose owner is dead, kill the run's processes and delete it.
///
/// A process is killed only if PID and start time are those noted down. A run without an owner was detached, or is
/// being created this very moment, and stays.
pub(super) fn sweep(directory: &Path) -> Result<()> {
    let run = RunDir::existing(directory)?;
    if run.owner().is_none_or(Identity::is_alive) {
        return Ok(());
    }
    for (_name, process) in run.recorded()? {
        process.signal(Signal::KILL)?;
    }
    run.remove()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::process::{Lifetime, Process};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("leasehold-sweep-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        path
    }

    fn sleeper(run: &RunDir) -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::spawn("sleeper", command, &run.log("sleeper"), Lifetime::Detached).unwrap()
    }

    /// The owner file of a process that has ended.
    fn orphan(run: &RunDir) {
        let mut owner = sleeper(run);
        owner.kill().unwrap();
        owner.identity().write(&run.path().join("owner")).unwrap();
    }

    #[test]
    fn a_run_of_a_dead_owner_is_ended_and_deleted() {
        let run = RunDir::create(Some(&scratch("dead"))).unwrap();
        let left = sleeper(&run);
        run.record("sleeper", left.identity()).unwrap();
        orphan(&run);
        sweep(run.path()).unwrap();
        assert!(!left.identity().is_alive());
        assert!(!run.path().exists());
    }

    #[test]
    fn a_process_that_only_has_the_same_pid_is_spared() {
        let run = RunDir::create(Some(&scratch("reused"))).unwrap();
        let stranger = sleeper(&run);
        let recorded = Identity { start_time: stranger.identity().start_time - 1, ..stranger.identity() };
        run.record("sleeper", recorded).unwrap();
        orphan(&run);
        sweep(run.path()).unwrap();
        assert!(stranger.identity().is_alive());
    }

    #[test]
    fn a_run_of_a_living_owner_or_of_none_stays() {
        let run = RunDir::create(Some(&scratch("alive"))).unwrap();
        let process = sleeper(&run);
        run.record("sleeper", process.identity()).unwrap();
        sweep(run.path()).unwrap();
        run.disown().unwrap();
        sweep(run.path()).unwrap();
        assert!(process.identity().is_alive());
        assert!(run.path().exists());
        run.remove().unwrap();
    }
}
