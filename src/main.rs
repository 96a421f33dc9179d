//! The operator; and `drain`, before it is removed.

use std::process::ExitCode;

use clap::Parser;
use leasehold::{
    drain,
    runtime::{
        run,
        settings::{Command, Settings},
        telemetry,
    },
};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    if let Err(error) = telemetry::start(&settings.log, settings.log_format) {
        eprintln!("leasehold: {error}");
        return ExitCode::from(2);
    }
    if let Some(Command::Drain(flags)) = &settings.command {
        return match drain::run(flags).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("leasehold drain: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "leasehold cannot run");
            ExitCode::FAILURE
        }
    }
}
