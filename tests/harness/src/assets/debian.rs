//! Programs that only a distribution has, such as a browser: found, or installed by their package's name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::{cache, progress};

/// Where packages put programs; an account's PATH may lack `sbin`.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The path of `program`, installed from the Debian package `package` if it is missing, this is root, and apt-get is there.
///
/// # Errors
/// If it is missing and cannot be installed: the error says what to install, or what apt-get said.
pub async fn debian_program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = found(program) {
        return Ok(path);
    }
    ensure!(
        is_root() && found("apt-get").is_some(),
        "{program} is not on this machine: install it first (Debian: apt-get install {package})"
    );
    let _alone = alone().await?;
    if let Some(path) = found(program) {
        return Ok(path);
    }
    progress::while_waiting(&format!("installing {package}"), "usually under a minute, once", install(package)).await?;
    found(program).with_context(|| format!("the package {package} has no program {program}"))
}

/// The path of `program`, from the machine, or from the Debian package `package` unpacked into the cache: for packages whose
/// installation would start a daemon. What they depend on must be there.
///
/// # Errors
/// If it is missing, and the package cannot be had: the error says what to install, or what apt-get said.
pub async fn debian_unpacked(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = found(program) {
        return Ok(path);
    }
    let unpacked = debian_files(package).await.with_context(|| {
        format!("{program} is not on this machine: install it first (Debian: apt-get install {package})")
    })?;
    let path = PLACES.iter().map(|place| unpacked.join(&place[1..]).join(program)).find(|path| path.is_file());
    path.with_context(|| format!("the package {package} has no program {program}"))
}

/// The files of the Debian package `package`, unpacked into `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/debian/`, once. Nothing is
/// installed: the machine stays as it is, and no service starts. What it depends on must be there.
///
/// # Errors
/// Where there is no apt-get, or it finds no such package: the error carries what it said.
pub async fn debian_files(package: &str) -> Result<PathBuf> {
    cache::entry("debian", package, |scratch| async move {
        progress::while_waiting(
            &format!("fetching {package}"),
            "usually under a minute, once",
            unpack(package, &scratch),
        )
        .await?;
        Ok(())
    })
    .await
}

/// Held by whoever runs apt-get: one at a time, across processes. It waits for another one that installs, and for none that
/// fetches the lists.
async fn alone() -> Result<File> {
    let lock = File::create(std::env::temp_dir().join("leasehold-harness-apt.lock")).context("create a lock file")?;
    tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?.context("wait for the lock")
}

async fn unpack(package: &str, into: &Path) -> Result<()> {
    let _alone = alone().await?;
    let download = ["download", package];
    // The lists may be missing or old: fetched only when they do not do.
    if apt_get(&download, into).await.is_err() {
        apt_get(&["update"], into).await?;
        apt_get(&download, into).await?;
    }
    let files = fs::read_dir(into)?.collect::<Result<Vec<_>, _>>()?;
    let archive = files.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let archive = archive.with_context(|| format!("apt-get download {package} left no package"))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(&archive).arg(into);
    said_ok(command).await?;
    fs::remove_file(archive).context("remove the archive")
}

async fn install(package: &str) -> Result<()> {
    let args = ["install", "--yes", "--no-install-recommends", package];
    // The lists may be missing or old: fetched only when they do not do.
    let anywhere = Path::new("/");
    if apt_get(&args, anywhere).await.is_err() {
        apt_get(&["update"], anywhere).await?;
        apt_get(&args, anywhere).await?;
    }
    Ok(())
}

async fn apt_get(args: &[&str], within: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("--option=DPkg::Lock::Timeout=300").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command.current_dir(within);
    said_ok(command).await
}

async fn said_ok(mut command: Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("start {}", command.as_std().get_program().display()))?;
    if !output.status.success() {
        bail!("{:?} failed, {}:\n{}", command.as_std(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

fn is_root() -> bool {
    fs::metadata(Path::new("/proc/self")).is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_is_found_and_what_is_no_package_is_an_error() {
        assert!(debian_program("sh", "dash").await.unwrap().is_absolute());
        assert!(debian_program("no-such-program", "no-such-package-of-anybody").await.is_err());
        assert!(debian_unpacked("sh", "dash").await.unwrap().is_absolute());
        assert!(debian_unpacked("no-such-program", "no-such-package-of-anybody").await.is_err());
    }
}
