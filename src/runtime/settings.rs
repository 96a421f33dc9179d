//! What can be set, by flags or environment.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// Leases short-lived, least-privilege credentials to non-human identities, and proves that they ended.
///
/// Runs in the cluster as its service account, or outside with KUBECONFIG; the same defaults, the same rights.
/// Records go to standard output as JSON lines (the audit stream), logs to standard error.
#[derive(Clone, Debug, Parser)]
#[command(name = "leasehold", version = crate::version::long(), about, long_about)]
pub struct Settings {
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "LEASEHOLD_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// How long ended leases stay before they are deleted, like 30m, 24h or 168h; 0s: not at all.
    #[arg(long, env = "LEASEHOLD_RETENTION", default_value = "24h", value_name = "DURATION", value_parser = duration)]
    pub retention: Duration,

    /// Refuses every lifecycle that no CredentialLeasePolicy guards.
    #[arg(long, env = "LEASEHOLD_REQUIRE_POLICY")]
    pub require_policy: bool,

    /// The API server's URL that delivered kubeconfigs name. Default: the in-cluster address, or the one of KUBECONFIG.
    #[arg(long, env = "LEASEHOLD_SERVER_URL", value_name = "URL")]
    pub server_url: Option<String>,

    /// How long one request to the API server may take, like 10s; at most 2m.
    #[arg(long, env = "LEASEHOLD_CALL_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = call_timeout)]
    pub call_timeout: Duration,

    /// Leases that are issued at the same time.
    #[arg(long, env = "LEASEHOLD_ISSUE_WIDTH", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub issue_width: u16,

    /// Leases that are ended at the same time. Issuing never takes these places.
    #[arg(long, env = "LEASEHOLD_END_WIDTH", default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub end_width: u16,

    /// Ends that failed before, and proofs, at the same time.
    #[arg(long, env = "LEASEHOLD_RETRY_WIDTH", default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub retry_width: u16,

    /// What is logged: error, warn, info, debug, or a filter like leasehold=debug,kube=warn.
    #[arg(long, env = "LEASEHOLD_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// How logs are written.
    #[arg(long, env = "LEASEHOLD_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crate::api::Duration = text.parse().map_err(|e: crate::api::quantities::BadDuration| e.to_string())?;
    u64::try_from(parsed.as_secs()).map(Duration::from_secs).map_err(|e| e.to_string())
}

fn call_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    let fits = (1..=120).contains(&timeout.as_secs());
    fits.then_some(timeout).ok_or_else(|| "write a duration from 1s to 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn a_bad_retention_says_what_to_write() {
        let error = Settings::try_parse_from(["leasehold", "--retention", "7d"]).unwrap_err().to_string();
        assert!(error.contains("like 90s, 15m or 1h30m"), "{error}");
    }
}
