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
    // One at a time, across processes: apt-get refuses to wait for another one by default.
    let lock = File::create(std::env::temp_dir().join("leasehold-harness-apt.lock")).context("create a lock file")?;
    let _held = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?.context("wait for the lock")?;
    if let Some(path) = found(program) {
        return Ok(path);
    }
    progress::while_waiting(&format!("installing {package}"), "usually under a minute, once", install(package)).await?;
    found(program).with_context(|| format!("the package {package} has no program {program}"))
}

async fn install(package: &str) -> Result<()> {
    let args = ["install", "--yes", "--no-install-recommends", package];
    // The lists may be missing or old: fetched only when they do not do.
    if apt_get(&args).await.is_err() {
        apt_get(&["update"]).await?;
        apt_get(&args).await?;
    }
    Ok(())
}

/// The files of the Debian package `package`, unpacked into `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/debian/`, once for each
/// version of it. Nothing is installed: the machine stays as it is, and no service starts. What it depends on must be there.
///
/// # Errors
/// Where there is no apt-get, or it finds no such package: the error carries what it said.
pub async fn debian_files(package: &str) -> Result<PathBuf> {
    let download = ["download", "--print-uris", package];
    let known = match apt_get(&download).await {
        Err(_) if is_root() => {
            apt_get(&["update"]).await?;
            apt_get(&download).await?
        }
        outcome => outcome?,
    };
    // 'http://.../containerd_1.6.20_amd64.deb' containerd_1.6.20_amd64.deb 25911111 SHA256:...
    let file =
        known.split_whitespace().nth(1).with_context(|| format!("apt-get says not where {package} is: {known}"))?;
    cache::entry("debian", file.trim_end_matches(".deb"), async |scratch| {
        let mut fetch = command("apt-get", &["--quiet=2", "download", package]);
        run(fetch.current_dir(&scratch)).await?;
        let archive = scratch.join(file);
        run(command("dpkg-deb", &["--extract"]).arg(&archive).arg(&scratch)).await?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
    })
    .await
}

async fn apt_get(args: &[&str]) -> Result<String> {
    run(command("apt-get", &["--option=DPkg::Lock::Timeout=300"]).args(args)).await
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// Its stdout.
async fn run(command: &mut Command) -> Result<String> {
    let output = command.output().await.with_context(|| format!("start {:?}", command.as_std()))?;
    if !output.status.success() {
        bail!("{:?} failed, {}:\n{}", command.as_std(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
    }
}
