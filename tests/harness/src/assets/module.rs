//! Builds executables from the Go modules of this repository, `tests/<name>`.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use ring::digest;

use super::{cache, go, progress};

/// Where they are: next to this crate.
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The executable of the module `tests/<name>`, built once for each content of it and version of Go, into
/// `${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/<name>/`.
///
/// # Errors
/// If Go cannot build it: the error carries what Go said.
pub async fn go_module(name: &str) -> Result<PathBuf> {
    const LINK_FLAGS: &str = "-s -w";
    let module = Path::new(TESTS).join(name);
    let key = key(&module, &sources(&module)?, &go::version(&module).await?, LINK_FLAGS)?;
    let directory = cache::entry(name, &key, |scratch| async move {
        build(&module, LINK_FLAGS, &scratch.join(name), name, "usually 1 to 2 minutes on two cores, once").await
    })
    .await?;
    Ok(directory.join(name))
}

/// Builds a module into an executable, saying that it goes on.
pub(super) async fn build(module: &Path, link_flags: &str, into: &Path, what: &str, usually: &str) -> Result<()> {
    let mut command = go::go(module);
    command.args(["build", "-trimpath", "-ldflags", link_flags, "-o"]).arg(into).arg(".");
    progress::while_waiting(&format!("building {what}"), usually, go::run(&mut command)).await.map(drop)
}

/// The files of a module, all in its root.
pub(super) fn sources(module: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(module).with_context(|| format!("read {}", module.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|e| e == "go" || e == "mod" || e == "sum") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// A hash of all that decides what a build makes.
pub(super) fn key(module: &Path, sources: &[String], go_version: &str, link_flags: &str) -> Result<String> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for source in sources {
        let path = module.join(source);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        hash.update(format!("{source} {}\n", content.len()).as_bytes());
        hash.update(&content);
    }
    hash.update(format!("{go_version}\n{link_flags}\n").as_bytes());
    let mut key = String::new();
    for byte in &hash.finish().as_ref()[..10] {
        write!(key, "{byte:02x}")?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_go_version_or_other_flags_are_another_entry() {
        let module = Path::new(TESTS).join("gitops-health");
        let sources = sources(&module).unwrap();
        assert_eq!(sources, ["argo.go", "flux.go", "go.mod", "go.sum", "main.go"]);
        let key_of = |sources: &[String], go, flags| key(&module, sources, go, flags).unwrap();
        assert_eq!(key_of(&sources, "go1.26.8", "-s"), key_of(&sources, "go1.26.8", "-s"));
        assert_ne!(key_of(&sources, "go1.26.8", "-s"), key_of(&sources, "go1.26.9", "-s"));
        assert_ne!(key_of(&sources, "go1.26.8", "-s"), key_of(&sources, "go1.26.8", "-w"));
        assert_ne!(key_of(&sources, "go1.26.8", "-s"), key_of(&sources[1..], "go1.26.8", "-s"));
    }
}
