//! The plugin: `kubectl lease`, or `kubectl-lease` by itself in a container. Under the name `kubectl_complete-lease` it completes
//! command lines for kubectl.

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;
use clap_complete::CompleteEnv;
use leasehold::cli::{self, Cli, complete, completion, exit::Failure, output};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == complete::KUBECTL_COMPLETE) {
        let words: Vec<OsString> = words.collect();
        // kubectl offers what it is told; there is nobody to read an error.
        return output::emit(&complete::for_kubectl(&words)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    CompleteEnv::with_factory(complete::command).var(completion::VARIABLE).complete();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|e| Failure::Other(format!("the process cannot start: {e}"))).and_then(|runtime| {
        let done = runtime.block_on(cli::run(cli));
        // A name that is still being looked up keeps nobody waiting.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::tell(&format!("error: {failure}"));
            ExitCode::from(failure)
        }
    }
}
