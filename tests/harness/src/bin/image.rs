//! Makes the image where there is no container engine: `make image`.

use std::path::Path;
use std::process::ExitCode;

use leasehold_harness::node;

const USAGE: &str = "usage: image NAME      such as registry.example.com/leasehold:0.1.0";

/// Beside everything else that is built.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/image");

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
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
