//! Runs a tool that is built from its Go module, as the tests do: `tool helm-docs --chart-search-root charts`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use leasehold_harness::assets;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tool: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool> {
    let mut args = std::env::args().skip(1);
    let module = match args.next().as_deref() {
        Some("helm") => assets::HELM,
        Some("helm-docs") => assets::HELM_DOCS,
        _ => bail!("usage: tool helm|helm-docs [ARGUMENTS]"),
    };
    let program = assets::go_tool(module).await?;
    let status = Command::new(&program).args(args).status().with_context(|| format!("run {}", program.display()))?;
    Ok(status.success())
}
