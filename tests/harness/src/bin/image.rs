//! Makes the image where there is no container engine: `make image`.

use std::path::Path;
use std::process::ExitCode;

use leasehold_harness::node;

const USAGE: &str = "usage: image [REGISTRY/REPOSITORY:TAG]";

/// As the manifests name it.
const DEFAULT: &str = concat!("leasehold:", env!("CARGO_PKG_VERSION"));

/// Beside everything else that is built.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/image");

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = match arguments.as_slice() {
        [] => DEFAULT,
        [name] => name,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match node::leasehold(name, Path::new(DIRECTORY)).await {
        Ok(image) => {
            println!("{}\n{}@{}", image.archive.display(), image.name, image.digest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("image: {error:#}");
            ExitCode::FAILURE
        }
    }
}
