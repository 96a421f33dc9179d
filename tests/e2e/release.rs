//! What a release hands out: made here as RELEASING.md says, and looked at as whoever gets it would.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn output(program: &str, arguments: &[&str], directory: &Path) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().context(program.to_owned())?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} {arguments:?}: {}\n{out}{err}", output.status);
    Ok(out)
}

/// The archive of the plugin that this test was built with, and its name.
fn package(into: &Path) -> Result<String> {
    let executable = Path::new(env!("CARGO_BIN_EXE_kubectl-lease")).parent().context("it lies nowhere")?;
    let (from, into) = (format!("FROM={}", executable.display()), format!("INTO={}", into.display()));
    let said =
        output("make", &["--no-print-directory", "package", &from, &into, "PLATFORM=linux-test"], Path::new(ROOT))?;
    Ok(said.split_whitespace().nth(1).context("no checksum is printed")?.to_owned())
}

#[test]
fn an_archive_of_the_plugin_runs_where_it_is_unpacked_and_is_the_same_when_made_again() {
    let check = || -> Result<()> {
        let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let name = package(one.path())?;
        ensure!(name == format!("kubectl-lease-{VERSION}-linux-test.tar.gz"), "{name}");
        ensure!(package(other.path())? == name, "another name");
        for file in [name.as_str(), "SHA256SUMS"] {
            let same = fs::read(one.path().join(file))? == fs::read(other.path().join(file))?;
            ensure!(same, "{file} differs when it is made again");
        }
        output("sha256sum", &["--check", "SHA256SUMS"], one.path())?;
        output("tar", &["-xzf", &name], one.path())?;
        ensure!(fs::read(one.path().join("LICENSE"))? == fs::read(Path::new(ROOT).join("LICENSE"))?, "another licence");
        let plugin = one.path().join("kubectl-lease");
        let said = output(plugin.to_str().context("no text")?, &["version", "--client"], one.path())?;
        ensure!(said.starts_with(&format!("Client Version: {VERSION} (commit ")), "{said}");
        Ok(())
    };
    check().unwrap();
}
