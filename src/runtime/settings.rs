//! What can be set, by flags or environment.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use rand::RngExt;

use crate::{
    domain::election::{Terms, Unfit},
    drain::Drain,
};

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
    #[arg(
        long, env = "LEASEHOLD_REQUIRE_POLICY", default_value_t = false, value_name = "true|false", action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub require_policy: bool,

    /// The API server's URL that delivered kubeconfigs name. Default: the in-cluster address, or the one of KUBECONFIG.
    #[arg(long, env = "LEASEHOLD_SERVER_URL", value_name = "URL")]
    pub server_url: Option<String>,

    /// How long one request to the API server may take, like 10s; at most 2m.
    #[arg(long, env = "LEASEHOLD_CALL_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = call_timeout)]
    pub call_timeout: Duration,

    /// Leases that are issued at the same time. One whose answer is late gives its place to another.
    #[arg(long, env = "LEASEHOLD_ISSUE_WIDTH", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub issue_width: u16,

    /// Leases that are ended at the same time. Issuing never takes these places.
    #[arg(long, env = "LEASEHOLD_END_WIDTH", default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub end_width: u16,

    /// Ends that failed before, and proofs, at the same time.
    #[arg(long, env = "LEASEHOLD_RETRY_WIDTH", default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub retry_width: u16,

    /// One replica leads, elected by a Lease of coordination.k8s.io, and the others stand by. With false this one leads at once.
    #[arg(
        long, env = "LEASEHOLD_LEADER_ELECTION", default_value_t = true, value_name = "true|false", action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub leader_election: bool,

    /// How long the others leave the leader's Lease alone that is not renewed, like 15s; at most 5m.
    #[arg(long, env = "LEASEHOLD_LEADER_ELECTION_LEASE_DURATION", default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub leader_election_lease_duration: Duration,

    /// After how long without a renewal the leader stops; shorter than the lease duration.
    #[arg(long, env = "LEASEHOLD_LEADER_ELECTION_RENEW_DEADLINE", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,

    /// How often the leader renews, and how soon what failed is tried again; at most half the renew deadline.
    #[arg(long, env = "LEASEHOLD_LEADER_ELECTION_RETRY_PERIOD", default_value = "2s", value_name = "DURATION", value_parser = retry_period)]
    pub leader_election_retry_period: Duration,

    /// The name of this replica in that Lease, before a random suffix. Default: the host's name, which in a pod is the pod's.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// What is logged: error, warn, info, debug, or a filter like leasehold=debug,kube=warn.
    #[arg(long, env = "LEASEHOLD_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// How logs are written.
    #[arg(long, env = "LEASEHOLD_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the executable does instead of being the operator.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Drain(Drain),
}

impl Settings {
    /// How the leader is elected; `None`: there is no election.
    ///
    /// # Errors
    /// If the durations do not go together.
    pub fn election(&self) -> Result<Option<Terms>, Unfit> {
        let terms = || {
            Terms::new(
                self.leader_election_lease_duration,
                self.leader_election_renew_deadline,
                self.leader_election_retry_period,
            )
        };
        self.leader_election.then(terms).transpose()
    }

    /// A name that no other process has, nor this one after a restart.
    #[must_use]
    pub fn identity(&self) -> String {
        let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let name = self.pod_name.clone().or_else(host).unwrap_or_else(|| "leasehold".into());
        format!("{name}_{:08x}", rand::rng().random::<u32>())
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A length of time, from a flag.
///
/// # Errors
/// What to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crate::api::Duration = text.parse().map_err(|e: crate::api::quantities::BadDuration| e.to_string())?;
    u64::try_from(parsed.as_secs()).map(Duration::from_secs).map_err(|e| e.to_string())
}

fn call_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    let fits = (1..=120).contains(&timeout.as_secs());
    fits.then_some(timeout).ok_or_else(|| "write a duration from 1s to 2m".to_owned())
}

fn retry_period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    (!period.is_zero()).then_some(period).ok_or_else(|| "write a duration of at least 1s".to_owned())
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
    fn a_switch_is_taken_alone_and_with_its_value() {
        let parsed = |args: &[&str]| Settings::try_parse_from([&["leasehold"], args].concat());
        for (args, on) in [
            (&[][..], false),
            (&["--require-policy"][..], true),
            (&["--require-policy=true"][..], true),
            (&["--require-policy=false"][..], false),
            (&["--require-policy", "drain"][..], true),
        ] {
            assert_eq!(parsed(args).unwrap().require_policy, on, "{args:?}");
        }
        assert!(parsed(&["--require-policy=true", "--require-policy=false"]).is_err(), "which of them counts?");
    }

    #[test]
    fn the_election_is_held_unless_it_is_turned_off_and_its_durations_go_together() {
        let parsed = |args: &[&str]| Settings::try_parse_from([&["leasehold"], args].concat()).unwrap();
        let terms = parsed(&[]).election().unwrap().unwrap();
        assert_eq!((terms.lease, terms.renew, terms.retry), (15_000, 10_000, 2_000));
        assert_eq!(parsed(&["--leader-election=false"]).election(), Ok(None));
        assert!(parsed(&["--leader-election"]).leader_election);
        assert_eq!(parsed(&["--leader-election-renew-deadline", "15s"]).election(), Err(Unfit::LeaseTooShort));
        assert!(Settings::try_parse_from(["leasehold", "--leader-election-retry-period", "0s"]).is_err());
        assert_ne!(parsed(&["--pod-name", "a"]).identity(), parsed(&["--pod-name", "a"]).identity());
    }

    #[test]
    fn a_bad_retention_says_what_to_write() {
        let error = Settings::try_parse_from(["leasehold", "--retention", "7d"]).unwrap_err().to_string();
        assert!(error.contains("like 90s, 15m or 1h30m"), "{error}");
    }
}
