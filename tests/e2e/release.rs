//! What a release hands out: made here as RELEASING.md says, and looked at as whoever gets it would.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn output(program: &str, arguments: &[&str], directory: &Path) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().context(program.to_owned())?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} {arguments:?}: {}\n{out}{err}", output.status);
    Ok(out)
}

/// The archive of the plugin in `from`, and its name.
fn package(from: &Path, into: &Path) -> Result<String> {
    let (from, into) = (format!("FROM={}", from.display()), format!("INTO={}", into.display()));
    let said =
        output("make", &["--no-print-directory", "package", &from, &into, "PLATFORM=linux-test"], Path::new(ROOT))?;
    Ok(said.split_whitespace().nth(1).context("no checksum is printed")?.to_owned())
}

#[test]
fn an_archive_of_the_plugin_runs_where_it_is_unpacked_and_is_the_same_when_made_again() {
    let check = || -> Result<()> {
        let (from, one, other) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
        // Without what a debugger reads, as in a release.
        let stripped = from.path().join("kubectl-lease").display().to_string();
        output("strip", &["-o", &stripped, env!("CARGO_BIN_EXE_kubectl-lease")], from.path())?;
        let name = package(from.path(), one.path())?;
        ensure!(name == format!("kubectl-lease-{VERSION}-linux-test.tar.gz"), "{name}");
        ensure!(package(from.path(), other.path())? == name, "another name");
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

/// `name version` of every crate that is linked into the operator and the plugin, as Cargo resolves it.
fn linked() -> Result<BTreeSet<String>> {
    let arguments = "tree --locked --package leasehold --edges normal,no-proc-macro --target x86_64-unknown-linux-musl --prefix none";
    let arguments: Vec<&str> = arguments.split(' ').chain(["--format", "{p}"]).collect();
    let tree = output("cargo", &arguments, Path::new(ROOT))?;
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
    });
    Ok(crates.filter(|name| *name != format!("leasehold {VERSION}")).collect())
}

#[test]
fn a_bill_of_materials_names_all_that_is_linked_and_is_the_same_when_made_again() {
    let check = || -> Result<()> {
        let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for made in [&one, &other] {
            let sbom = format!("SBOM={}", made.path().display());
            output("make", &["--no-print-directory", "sbom", &sbom], Path::new(ROOT))?;
        }
        let linked = linked()?;
        ensure!(linked.len() > 100, "Cargo names too few: {linked:?}");
        for executable in ["leasehold", "kubectl-lease"] {
            let name = format!("{executable}.cdx.json");
            let text = fs::read_to_string(one.path().join(&name))?;
            ensure!(text == fs::read_to_string(other.path().join(&name))?, "{name} differs when it is made again");
            ensure!(!text.contains(ROOT), "{name} says where it was made");
            let bill: Value = serde_json::from_str(&text)?;
            ensure!(bill["bomFormat"] == "CycloneDX", "{name} is no bill");
            let root = &bill["metadata"]["component"];
            ensure!(root["name"] == executable && root["version"] == VERSION, "{name} is about {root}");
            let components = bill["components"].as_array().context("it has no components")?;
            let named: BTreeSet<String> = components
                .iter()
                .filter_map(|c| Some(format!("{} {}", c["name"].as_str()?, c["version"].as_str()?)))
                .collect();
            let missing: Vec<&String> = linked.difference(&named).collect();
            ensure!(missing.is_empty(), "{name} lacks {missing:?}");
        }
        Ok(())
    };
    check().unwrap();
}
