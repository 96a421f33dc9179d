//! `make demo`: what Leasehold does, told on a real control plane by real users, each step measured.
//!
//! It is also a check: a step that does not go as told ends it with an error.

mod holder;
mod stage;
mod story;
mod told;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

const USAGE: &str = "\
usage: demo up OPERATOR CONFIG   tell the story with this executable and these manifests, and leave it running
       demo down                 end what is running
CONTEXT=<kubectl context> tells it on that cluster instead of a control plane of its own.";

enum Command {
    Up { operator: PathBuf, config: PathBuf },
    Down,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = match arguments.as_slice() {
        ["up", operator, config] => Command::Up { operator: operator.into(), config: config.into() },
        ["down"] => Command::Down,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { operator, config } => {
            let mut stage = stage::Stage::set(operator, config).await?;
            let told = story::tell(&mut stage).await;
            if told.is_ok() {
                stage.leave()?
            } else {
                stage.strike()?
            }
            told
        }
        Command::Down => stage::clear().await,
    }
}
