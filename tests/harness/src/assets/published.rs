//! Files out of a published Go module, such as the custom resource definitions of another project.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

use super::{cache, go, progress};

/// The directory with these files of a module, each under its own file name: `("github.com/fluxcd/source-controller@v1.9.6",
/// &["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"])`.
///
/// Downloaded once, into `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/published/`; the module itself is not kept, since it may be
/// hundreds of megabytes.
///
/// # Errors
/// If the module cannot be downloaded, or has no such file.
pub async fn files_of_module(module_at_version: &str, files: &[&str]) -> Result<PathBuf> {
    let (path, version) = module_at_version.split_once('@').context("expected <module>@<version>")?;
    ensure!(version.starts_with('v'), "{module_at_version}: only an exact version can be cached");
    let key = format!("{}-{version}", path.replace('/', "_"));
    cache::entry("published", &key, |scratch| async move {
        let modules = scratch.join("modules");
        let mut command = go::go(&scratch);
        // Else what is downloaded cannot be removed.
        command.args(["mod", "download", "-modcacherw", module_at_version]).env("GOMODCACHE", &modules);
        let what = format!("downloading {module_at_version}");
        progress::while_waiting(&what, "usually seconds, once", go::run(&mut command)).await?;
        let module = modules.join(module_at_version);
        for file in files {
            let name = file.rsplit('/').next().unwrap_or(file);
            fs::copy(module.join(file), scratch.join(name)).with_context(|| format!("{module_at_version}: {file}"))?;
        }
        fs::remove_dir_all(&modules).with_context(|| format!("remove {}", modules.display()))
    })
    .await
}
