//! Tools that are installed from a published Go module as they are, such as kwok and helm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{cache, go, progress};

/// The executable of a Go package, named as for `go install`: `helm.sh/helm/v4/cmd/helm@v4.2.4`.
///
/// Built once for each version and version of Go, into `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools/`.
///
/// # Errors
/// If `package_at_version` has no exact version, or Go cannot build it: the error carries what Go said.
pub async fn go_tool(package_at_version: &str) -> Result<PathBuf> {
    let (name, version) = name_and_version(package_at_version)?;
    let anywhere = Path::new("/");
    let key = format!("{name}-{version}-{}", go::version(anywhere).await?);
    let directory = cache::entry("tools", &key, |scratch| async move {
        let mut command = go::go(anywhere);
        command.args(["install", "-trimpath", "-ldflags", "-s -w", package_at_version]).env("GOBIN", scratch);
        let what = format!("building {package_at_version}");
        progress::while_waiting(&what, "usually 1 to 2 minutes on two cores, once", go::run(&mut command)).await?;
        Ok(())
    })
    .await?;
    Ok(directory.join(name))
}

/// `go install` names the executable after the last element of the path, skipping a major version.
fn name_and_version(package_at_version: &str) -> Result<(&str, &str)> {
    let (path, version) = package_at_version.split_once('@').context("expected <package>@<version>")?;
    ensure!(version.starts_with('v'), "{package_at_version}: only an exact version can be cached");
    let name = path.rsplit('/').find(|element| !is_major_version(element)).context("an empty package path")?;
    Ok((name, version))
}

fn is_major_version(element: &str) -> bool {
    element
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_named_as_go_install_names_it() {
        for (package, name, version) in [
            ("sigs.k8s.io/kwok/cmd/kwok@v0.8.0", "kwok", "v0.8.0"),
            ("helm.sh/helm/v4/cmd/helm@v4.2.4", "helm", "v4.2.4"),
            ("sigs.k8s.io/kustomize/kustomize/v5@v5.8.2", "kustomize", "v5.8.2"),
        ] {
            assert_eq!(name_and_version(package).unwrap(), (name, version));
        }
    }

    #[test]
    fn a_moving_version_is_refused() {
        assert!(name_and_version("sigs.k8s.io/kwok/cmd/kwok@latest").is_err());
        assert!(name_and_version("sigs.k8s.io/kwok/cmd/kwok").is_err());
    }
}
