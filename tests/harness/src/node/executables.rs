//! The executables of the image: linked statically against musl, as the Dockerfile's first stage links them on Alpine.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::assets;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const NAMES: [&str; 2] = ["leasehold", "kubectl-lease"];

/// The directory they are in.
///
/// # Errors
/// If a tool cannot be had, or Cargo fails; what it says goes to stderr.
pub(super) async fn built() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    // ring is C and assembly in part.
    assets::debian_program("musl-gcc", "musl-tools").await?;
    if !has(&target).await? {
        let mut rustup = Command::new("rustup");
        run(rustup.args(["target", "add", &target])).await.context("rustup gets the target: https://rustup.rs")?;
    }
    let root = std::fs::canonicalize(ROOT)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&root).args(["build", "--release", "--locked", "--package", "leasehold", "--target", &target]);
    for name in NAMES {
        cargo.args(["--bin", name]);
    }
    // What Cargo tells whoever it starts, us for one: with another package's name, ring builds itself again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|told| name.to_string_lossy().starts_with(told)) {
            cargo.env_remove(name);
        }
    }
    run(cargo.env("RUSTFLAGS", flags(&root)?)).await?;
    let out = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(out).join(target).join("release"))
}

/// No path of this machine is in the executables: they do not depend on where they were built.
fn flags(root: &Path) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    Ok(format!("--remap-path-prefix={}=/cargo --remap-path-prefix={}=/src", home.display(), root.display()))
}

async fn has(target: &str) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).stdin(Stdio::null()).kill_on_drop(true);
    let output = rustc.output().await.context("start rustc")?;
    Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

async fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("start {}", command.as_std().get_program().display()))?;
    ensure!(status.success(), "{:?} failed, {status}", command.as_std());
    Ok(())
}
