//! The operator.

use std::process::ExitCode;

use clap::Parser;
use leasehold::runtime::{run, settings::Settings, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    if let Err(error) = telemetry::start(&settings.log, settings.log_format) {
        eprintln!("leasehold: {error}");
        return ExitCode::from(2);
    }
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "leasehold cannot run");
            ExitCode::FAILURE
        }
    }
}
