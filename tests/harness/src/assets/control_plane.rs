//! Builds `tests/controlplane`: all programs of the control plane in one executable.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Program, cache, go, module};

/// The Go module, next to this crate.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../controlplane");

const EXECUTABLE: &str = "controlplane";

/// The directory with one link for each [`Program`].
pub(super) async fn built() -> Result<PathBuf> {
    let module = Path::new(MODULE);
    let flags = link_flags(&kubernetes_version(module)?)?;
    let key = module::key(module, &module::sources(module)?, &go::version(module).await?, &flags)?;
    cache::entry("controlplane", &key, |scratch| build(module, flags, scratch)).await
}

async fn build(module: &Path, link_flags: String, into: PathBuf) -> Result<()> {
    let (what, usually) = ("the Kubernetes control plane", "usually 5 to 8 minutes on two cores, once");
    module::build(module, &link_flags, &into.join(EXECUTABLE), what, usually).await?;
    for program in Program::ALL {
        symlink(EXECUTABLE, into.join(program.name()))?;
    }
    Ok(())
}

/// Without the version stamped in, `/version` is a placeholder and a Helm chart's `kubeVersion` refuses it.
fn link_flags(version: &str) -> Result<String> {
    let (major, rest) = version.trim_start_matches('v').split_once('.').context("a version has a minor part")?;
    let (minor, _patch) = rest.split_once('.').context("a version has a patch part")?;
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        write!(
            flags,
            " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )?;
    }
    Ok(flags)
}

/// Such as `v1.36.3`; `go.mod` is the one place that decides it.
fn kubernetes_version(module: &Path) -> Result<String> {
    let path = module.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("{} requires no k8s.io/kubernetes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_module_is_stamped_into_the_executable() {
        let version = kubernetes_version(Path::new(MODULE)).unwrap();
        let flags = link_flags(&version).unwrap();
        assert!(flags.contains(&format!("k8s.io/component-base/version.gitVersion={version} ")), "{flags}");
    }
}
