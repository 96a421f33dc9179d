//! Writes `charts/leasehold/files/` from `crds/` and `config/`: `cargo run --bin chartgen -- charts/leasehold/files`; with
//! `--check` it only compares.
//!
//! A chart can only read what is inside of it, and a symbolic link does not survive every way in which GitOps tools fetch
//! one. So the chart has copies of the manifests, and this keeps them equal.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What the chart is made of: a directory of the repository, and its name in the chart.
const SOURCES: [(&str, &str); 13] = [
    ("crds", "crds"),
    ("config/namespaces", "namespaces"),
    ("config/policies", "policies"),
    ("config/components/stamping", "stamping"),
    ("config/rbac", "rbac"),
    ("config/flowcontrol", "flowcontrol"),
    ("config/manager", "manager"),
    ("config/baseline", "baseline"),
    ("config/strict", "strict"),
    ("config/prometheus", "prometheus"),
    ("config/dashboards", "dashboards"),
    ("config/drain", "drain"),
    ("config/drain/finish", "drain-finish"),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(dir), check) = (args.next(), args.next().as_deref() == Some("--check")) else {
        eprintln!("usage: chartgen DIRECTORY [--check]");
        return ExitCode::from(2);
    };
    let done = if check { compare(Path::new(&dir)) } else { write(Path::new(&dir)).map(|()| true) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chartgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The files as they should be: name below the directory, and text.
fn wanted() -> io::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for (source, name) in SOURCES {
        for path in listed(Path::new(source))? {
            let file = path.file_name().unwrap_or_default();
            // What kustomize reads; the chart has its own way to choose.
            if file != "kustomization.yaml" && path.extension().is_some_and(|end| end == "yaml" || end == "json") {
                files.insert(Path::new(name).join(file), read(&path)?);
            }
        }
    }
    Ok(files)
}

fn write(dir: &Path) -> io::Result<()> {
    let files = wanted()?;
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(|e| at(dir, &e))?;
    }
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(|e| at(&path, &e))?;
        fs::write(&path, text).map_err(|e| at(&path, &e))?;
    }
    Ok(())
}

fn compare(dir: &Path) -> io::Result<bool> {
    let wanted = wanted()?;
    let mut stale: Vec<PathBuf> = Vec::new();
    for (name, text) in &wanted {
        if fs::read_to_string(dir.join(name)).ok().as_ref() != Some(text) {
            stale.push(name.clone());
        }
    }
    for folder in listed(dir)?.into_iter().filter(|path| path.is_dir()) {
        let strangers = listed(&folder)?.into_iter().filter_map(|path| Some(path.strip_prefix(dir).ok()?.to_owned()));
        stale.extend(strangers.filter(|name| !wanted.contains_key(name)));
    }
    for name in &stale {
        let path = dir.join(name);
        eprintln!("{} is not what config/ and crds/ say: run `make generate` and commit the result", path.display());
    }
    Ok(stale.is_empty())
}

fn listed(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|e| at(dir, &e))?;
    entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>().map_err(|e| at(dir, &e))
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|e| at(path, &e))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
