//! The cache of built executables: a directory an entry, there completely or not at all.

use std::fs::{self, File};
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::progress;

/// `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/<shelf>`.
fn shelf(shelf: &str) -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("leasehold").join(shelf))
}

/// The directory `<shelf>/<key>`, made by `build` unless it is there.
///
/// `build` fills a scratch directory, which is moved into place when it is done, so an interrupted build leaves no
/// entry. A file lock has others who want the same entry wait; it ends with the process that holds it.
pub(super) async fn entry<F, Fut>(shelf_name: &str, key: &str, build: F) -> Result<PathBuf>
where
    F: FnOnce(PathBuf) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let shelf = shelf(shelf_name)?;
    let entry = shelf.join(key);
    if entry.is_dir() {
        return Ok(entry);
    }
    fs::create_dir_all(&shelf).with_context(|| format!("create {}", shelf.display()))?;
    let _held = lock(&shelf.join(format!("{key}.lock"))).await?;
    if entry.is_dir() {
        return Ok(entry);
    }
    let scratch = shelf.join(format!("{key}.unfinished"));
    remove_all(&scratch)?;
    fs::create_dir(&scratch)?;
    build(scratch.clone()).await?;
    fs::rename(&scratch, &entry).with_context(|| format!("move the build to {}", entry.display()))?;
    Ok(entry)
}

async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress::say(&format!("another run is building it; waiting for {}", path.display()));
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?.context("wait for the build lock")
}

fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
