//! Writes `crds/` from the types in `src/api`: `cargo run --bin crdgen -- crds`; with `--check` it only compares.

use std::{fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(dir), check) = (args.next(), args.next().as_deref() == Some("--check")) else {
        eprintln!("usage: crdgen DIRECTORY [--check]");
        return ExitCode::from(2);
    };
    let mut stale = 0;
    for (name, text) in leasehold::schema::files() {
        let path = Path::new(&dir).join(name);
        if check {
            if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
                eprintln!("{} is not what src/api says: run `make generate` and commit the result", path.display());
                stale += 1;
            }
        } else if let Err(error) = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, text)) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
