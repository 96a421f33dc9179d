//! Starts and ends a control plane by hand, for the demo and for looking around.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use leasehold_harness::assets::{self, Program};
use leasehold_harness::{ControlPlane, DetachedRun, Options};

const USAGE: &str = "\
usage: controlplane build            build the executables, or find them in the cache
       controlplane up [--dir D]     start a control plane that stays; prints KUBECONFIG
       controlplane down [--dir D]   end it and delete its directory
D is target/controlplane/demo unless given.";

/// Where `up` puts a run that names no directory.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/controlplane/demo");

enum Command {
    Build,
    Up(PathBuf),
    Down(PathBuf),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match command {
        Command::Build => build().await,
        Command::Up(dir) => up(dir).await,
        Command::Down(dir) => down(dir).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<Command> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["build"] => Some(Command::Build),
        ["up"] => Some(Command::Up(DEMO.into())),
        ["up", "--dir", dir] => Some(Command::Up(dir.into())),
        ["down"] => Some(Command::Down(DEMO.into())),
        ["down", "--dir", dir] => Some(Command::Down(dir.into())),
        _ => None,
    }
}

async fn build() -> Result<()> {
    let apiserver = assets::program(Program::KubeApiserver).await?;
    let kwok = assets::kwok().await?;
    println!("{}\n{}", apiserver.display(), kwok.display());
    Ok(())
}

async fn up(dir: PathBuf) -> Result<()> {
    if let Ok(run) = DetachedRun::load(&dir) {
        bail!("one is there already: KUBECONFIG={}", run.kubeconfig().display());
    }
    let options = Options { dir: Some(dir), detached: true, ..Options::default() };
    let run = ControlPlane::start(options).await?.detach()?;
    println!("KUBECONFIG={}", run.kubeconfig().display());
    Ok(())
}

async fn down(dir: PathBuf) -> Result<()> {
    DetachedRun::load(&dir)?.stop().await.with_context(|| format!("end the control plane in {}", dir.display()))
}
