//! The plugin: `kubectl lease`, or `kubectl-lease` by itself in a container.

use std::process::ExitCode;

use clap::Parser;
use leasehold::cli::{self, Cli};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure)
        }
    }
}
