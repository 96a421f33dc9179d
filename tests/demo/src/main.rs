//! `make demo`: Leasehold's story told on a real control plane, each step measured and checked.
//!
//! | where | what |
//! |---|---|
//! | [`story`] | the steps, in order |
//! | [`cluster`] | where it plays: a control plane of its own, or one of yours; kubectl and its plugin |
//! | [`people`] | who takes part |
//! | [`holder`] | what the API server answers to a token |
//! | [`operator`] | the operator's process |
//! | [`place`] | what stays after the end, for `make demo-down` |
//! | [`timeline`] | what is printed |

mod cluster;
mod holder;
mod operator;
mod people;
mod place;
mod story;
mod timeline;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: demo up [--context NAME] [--yes]   tell the story; with a context: in that cluster, after asking
       demo down                          end what is left running";

enum Command {
    Up { context: Option<String>, yes: bool },
    Down,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let work = async {
        match command {
            Command::Up { context, yes } => story::tell(context.as_deref(), yes).await,
            Command::Down => place::clear().await,
        }
    };
    // Dropped half-way, it ends the processes it has started.
    let outcome: Result<()> = tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<Command> {
    let mut rest = arguments.iter().map(String::as_str);
    match rest.next()? {
        "down" if rest.next().is_none() => Some(Command::Down),
        "up" => {
            let (mut context, mut yes) = (None, false);
            while let Some(argument) = rest.next() {
                match argument {
                    "--context" => context = Some(rest.next()?.to_owned()),
                    "--yes" => yes = true,
                    _ => return None,
                }
            }
            Some(Command::Up { context, yes })
        }
        _ => None,
    }
}

/// The story went on otherwise than it is told.
fn expect(holds: bool, told: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { bail!("not as told: {}", told()) }
}
