//! `kubectl lease`: the commands of people and pipelines. One file a command; what they share: [`connect`] (flags to a client),
//! [`exit`] (codes and errors), [`output`] (what is printed, and how).

pub mod connect;
pub mod exit;
pub mod output;

use clap::{Parser, Subcommand};

use connect::Global;
use exit::Failure;

/// Ask for short-lived credentials, decide about them, end them, and see what happened.
#[derive(Debug, Parser)]
#[command(name = "kubectl-lease", bin_name = "kubectl lease", version, about)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {}

/// Runs one command.
///
/// # Errors
/// Whatever the command says; [`Failure::code`] is the exit code.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    match cli.command {}
}
