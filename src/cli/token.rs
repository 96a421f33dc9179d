//! `token`: a token of a lease, on standard output and nowhere else.

use std::io::IsTerminal;

use clap::Args;
use zeroize::Zeroizing;

use super::{
    connect::{Global, connect},
    exit::Failure,
    fetch, mint,
    output::{emit, tell},
    reference::LeaseName,
};
use crate::api::Duration;

/// Flags of `token`.
#[derive(Args, Clone, Debug)]
pub struct Token {
    /// The lease.
    pub lease: LeaseName,
    /// Whom the token is for; only audiences that the lease has. Default: those of the lease, or the API server.
    #[arg(long = "audience", value_name = "AUDIENCE")]
    pub audiences: Vec<String>,
    /// How long the token lives at most; it dies with the lease whatever it says. The API server mints none below 10m,
    /// Leasehold's policy allows none above.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub duration: Duration,
}

/// Prints a token.
///
/// # Errors
/// As [`mint::mint`].
pub async fn run(global: &Global, flags: &Token) -> Result<u8, Failure> {
    if flags.duration.as_secs() < mint::TOKEN_SECONDS {
        return Err(Failure::Usage(format!(
            "the API server mints no token shorter than 10m, so --duration {} cannot be had: leave it out, the token dies with the lease",
            flags.duration
        )));
    }
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await?;
    let minted = mint::mint(&cluster, &lease, &flags.audiences, flags.duration.as_secs()).await?;
    let mut text = Zeroizing::new(String::with_capacity(minted.token.expose().len() + 1));
    text.push_str(minted.token.expose());
    text.push('\n');
    if std::io::stdout().is_terminal() {
        tell(&format!("warning: this is a credential, good until {}: clear your screen", minted.until));
    }
    emit(&text)?;
    Ok(0)
}
