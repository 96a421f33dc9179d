//! `install`: copies this very executable, for init containers: the image has no shell and no `cp`.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{exit::Failure, output::emit};

/// Flags of `install`.
#[derive(Args, Clone, Debug)]
pub struct Install {
    /// The directory, such as an emptyDir that the next container mounts, or one on your PATH.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Copies the executable to `DIR/kubectl-lease`, and lets kubectl complete it by the name `kubectl_complete-lease`.
///
/// # Errors
/// If it cannot be read, or the directory cannot be written.
pub fn run(flags: &Install) -> Result<u8, Failure> {
    let wrong = |e: io::Error| Failure::Other(format!("nothing was installed in {}: {e}", flags.dir.display()));
    let path = place(&std::env::current_exe().map_err(wrong)?, &flags.dir).map_err(wrong)?;
    emit(&format!("{}\n", path.display()))?;
    Ok(0)
}

/// Under its final name there is at every moment the old executable or the new one, whole.
fn place(executable: &Path, dir: &Path) -> io::Result<PathBuf> {
    let (target, complete) = (dir.join("kubectl-lease"), dir.join("kubectl_complete-lease"));
    let mut copy = tempfile::NamedTempFile::new_in(dir)?;
    io::copy(&mut File::open(executable)?, copy.as_file_mut())?;
    copy.as_file().set_permissions(Permissions::from_mode(0o755))?;
    copy.as_file().sync_all()?;
    copy.persist(&target)?;
    match symlink("kubectl-lease", &complete) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_can_be_executed_and_installed_again() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::write(&source, "new").unwrap();
        std::fs::write(dir.path().join("kubectl-lease"), "old").unwrap();
        for _ in 0..2 {
            let target = place(&source, dir.path()).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
            assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("kubectl_complete-lease")).unwrap(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "no copy is left over");
        assert!(place(&source, &dir.path().join("absent")).is_err());
    }
}
