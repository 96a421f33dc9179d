//! Images without a registry and without an engine: the Dockerfile's last stage as it stands, over what this machine has built.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::executables;
use crate::assets::{self, Program};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What an engine on Alpine takes from its package, this machine has from its own.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The programs that the shell of [`programs`] knows.
const APPLETS: [&str; 6] = ["cat", "cp", "ls", "sh", "sleep", "test"];

/// An image in an archive of the OCI layout, which `podman load`, `skopeo copy` and `ctr images import` read.
#[derive(Debug, Clone)]
pub struct Image {
    /// Registry, repository and tag.
    pub name: String,
    /// The file.
    pub archive: PathBuf,
    /// Of its manifest: `sha256:...`.
    pub digest: String,
}

impl Image {
    /// One that was built before.
    ///
    /// # Errors
    /// If there is no such archive.
    pub async fn read(name: &str, archive: &Path) -> Result<Self> {
        let digest = digest(archive).await?;
        Ok(Self { name: name.to_owned(), archive: archive.to_owned(), digest })
    }
}

/// The operator and the plugin: `<directory>/leasehold.tar`. Takes minutes for the executables the first time.
///
/// # Errors
/// If a tool cannot be had, or the build fails: the error carries what was said.
pub async fn leasehold(name: &str, directory: &Path) -> Result<Image> {
    let built = executables::built().await?;
    let context = fresh(&directory.join("leasehold"))?;
    let stage = context.join("image");
    for (from, to, mode) in [
        (built.join("leasehold"), "leasehold", 0o755),
        (built.join("kubectl-lease"), "kubectl-lease", 0o755),
        (PathBuf::from(CERTIFICATES), "etc/ssl/certs/ca-certificates.crt", 0o644),
    ] {
        put(&from, &stage, to, mode)?;
    }
    let dockerfile = fs::read_to_string(Path::new(ROOT).join("Dockerfile")).context("read the Dockerfile")?;
    let last = dockerfile.rfind("\nFROM ").context("the Dockerfile has a stage for the build and one for the image")?;
    build(name, &dockerfile[last..], &context, &directory.join("leasehold.tar")).await
}

/// A shell and kubectl, for pods of tests; its entry point waits: `<directory>/programs.tar`.
///
/// # Errors
/// As [`leasehold`].
pub async fn programs(name: &str, directory: &Path) -> Result<Image> {
    let context = fresh(&directory.join("programs"))?;
    let stage = context.join("image");
    put(&assets::debian_files("busybox-static").await?.join("bin/busybox"), &stage, "bin/busybox", 0o755)?;
    put(&assets::program(Program::Kubectl).await?, &stage, "bin/kubectl", 0o755)?;
    for applet in APPLETS {
        symlink("busybox", stage.join("bin").join(applet))?;
    }
    let file = "FROM scratch\nCOPY --from=build /image /\nENTRYPOINT [\"/bin/sleep\", \"infinity\"]\n";
    build(name, file, &context, &directory.join("programs.tar")).await
}

/// Build one stage. What it copies from the stage `build` is in `context`.
async fn build(name: &str, stage: &str, context: &Path, archive: &Path) -> Result<Image> {
    let store = fresh(&context.with_extension("store"))?;
    let file = store.join("Dockerfile");
    fs::write(&file, stage)?;
    let iid = store.join("id");
    let mut bud = buildah(&store).await?;
    // Nothing is run, so nothing has to be isolated: `chroot` is what works where user namespaces do not.
    bud.args(["bud", "--isolation", "chroot", "--pull-never", "--timestamp", "0", "--build-context"]);
    bud.arg(format!("build={}", context.display())).arg("--iidfile").arg(&iid).arg("--file").arg(&file).arg(context);
    run(bud).await?;
    fs::remove_file(archive).or_else(|error| if archive.exists() { Err(error) } else { Ok(()) })?;
    let mut push = buildah(&store).await?;
    push.arg("push").arg(fs::read_to_string(&iid)?.trim()).arg(format!("oci-archive:{}:{name}", archive.display()));
    run(push).await?;
    fs::remove_dir_all(&store)?;
    fs::remove_dir_all(context)?;
    Image::read(name, archive).await
}

/// The archive's index names its one manifest.
async fn digest(archive: &Path) -> Result<String> {
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--to-stdout").arg("--file").arg(archive).arg("index.json");
    let index: Value = serde_json::from_str(&run(tar).await?)?;
    let digest = index["manifests"][0]["digest"].as_str().context("an image has a digest")?;
    ensure!(digest.starts_with("sha256:"), "{digest}");
    Ok(digest.to_owned())
}

/// With a store of its own, so that no image of the machine's is used or left.
async fn buildah(store: &Path) -> Result<Command> {
    let mut command = Command::new(assets::debian_program("buildah", "buildah").await?);
    command
        .arg("--root")
        .arg(store.join("root"))
        .arg("--runroot")
        .arg(store.join("run"))
        .args(["--storage-driver", "vfs"]);
    Ok(command)
}

fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory.to_owned())
}

/// Copies a file to `name` below `stage`. Modes are part of the image, and must not depend on anybody's umask.
fn put(from: &Path, stage: &Path, name: &str, mode: u32) -> Result<()> {
    let to = stage.join(name);
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    for directory in to.ancestors().skip(1).take_while(|directory| directory.starts_with(stage)) {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        set(directory, 0o755)?;
    }
    fs::copy(from, &to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    set(&to, mode).with_context(|| format!("set the mode of {}", to.display()))
}

async fn run(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("start {}", command.as_std().get_program().display()))?;
    if !output.status.success() {
        bail!("{:?} failed, {}:\n{}", command.as_std(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
