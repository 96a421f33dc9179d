//! `kubectl lease`: the commands of people and pipelines. One file a command; what they share: [`connect`] (flags to a client),
//! [`exit`] (codes and errors), [`output`] (what is printed, and how).

pub mod approve;
pub mod ask;
pub mod asking;
pub mod check;
pub mod complete;
pub mod completion;
pub mod connect;
pub mod credential;
pub mod csv;
pub mod decide;
pub mod doctor;
pub mod exit;
pub mod fetch;
pub mod import;
pub mod install;
pub mod interrupt;
pub mod kubeconfig;
pub mod list;
pub mod mint;
pub mod operator;
pub mod origin;
pub mod output;
pub mod own_pod;
pub mod progress;
pub mod reference;
pub mod report;
pub mod request;
pub mod revoke;
pub mod run;
pub mod show;
pub mod standing;
pub mod stop;
pub mod token;
pub mod version;
pub mod view;
pub mod wanted;
pub mod watch;
pub mod withdraw;

use clap::{Parser, Subcommand};

use connect::Global;
use exit::Failure;

const ABOUT: &str = "Ask for short-lived credentials, decide about them, end them, and see what happened.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "kubectl-lease", bin_name = "kubectl lease", version = crate::version::long(), about = ABOUT, long_about = None)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask for a lease.
    Request(Box<request::Request>),
    /// Run a command under a lease.
    Run(Box<run::Run>),
    /// Print a token of a lease.
    Token(token::Token),
    /// Print a kubeconfig that uses a lease.
    Kubeconfig(kubeconfig::Kubeconfig),
    /// Answer kubectl and other programs that ask for a lease's token.
    Credential(credential::Credential),
    /// Print what a shell has to load to complete this executable.
    Completion(completion::Completion),
    /// Copy this executable into a directory.
    Install(install::Install),
    /// Look at a request, and agree to exactly what is shown.
    Approve(approve::Approve),
    /// Refuse a request.
    Deny(approve::Deny),
    /// End leases now.
    Revoke(revoke::Revoke),
    /// Stop what reaches some namespaces, or everything, in one step.
    Stop(stop::Stop),
    /// Take a stop back, or list the stops in force.
    Resume(stop::Resume),
    /// List leases.
    List(list::List),
    /// Tell one lease's whole story, and verify it.
    Show(show::Show),
    /// Write a report for auditors, and for people who would rather look than read.
    Report(Box<report::ReportFlags>),
    /// Tell what would happen if you asked for a lease.
    Check(Box<check::Check>),
    /// See whether everything is there that Leasehold stands on.
    Doctor(doctor::Doctor),
    /// Print a lifecycle made from an existing ServiceAccount and its bindings.
    Import(import::Import),
    /// Print the versions of this plugin and of the operator.
    Version(version::Version),
}

/// Runs one command.
///
/// # Errors
/// Whatever the command says; [`Failure::code`] is the exit code.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Request(flags) => request::run(global, flags).await,
        Command::Run(flags) => run::run(global, flags).await,
        Command::Token(flags) => token::run(global, flags).await,
        Command::Kubeconfig(flags) => kubeconfig::run(global, flags).await,
        Command::Credential(flags) => credential::run(global, flags).await,
        Command::Completion(flags) => completion::run(flags),
        Command::Install(flags) => install::run(flags),
        Command::Approve(flags) => approve::approve(global, flags).await,
        Command::Deny(flags) => approve::deny(global, flags).await,
        Command::Revoke(flags) => revoke::run(global, flags).await,
        Command::Stop(flags) => stop::stop(global, flags).await,
        Command::Resume(flags) => stop::resume(global, flags).await,
        Command::List(flags) => list::run(global, flags).await,
        Command::Show(flags) => show::run(global, flags).await,
        Command::Report(flags) => report::run(global, flags).await,
        Command::Check(flags) => check::run(global, flags).await,
        Command::Doctor(flags) => doctor::run(global, flags).await,
        Command::Import(flags) => import::run(global, flags).await,
        Command::Version(flags) => version::run(global, flags).await,
    }
}
