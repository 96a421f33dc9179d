//! `request`: asks for a lease.

use std::time::Duration as Span;

use clap::Args;

use super::{
    asking::{self, Asking},
    connect::{Global, connect},
    exit::Failure,
    interrupt::Interrupts,
    output::{self, Format, Hue, Style, emit, tell},
    progress::Progress,
    reference::qualified,
    view::lease,
    wanted::Delivered,
};
use crate::api::CredentialLease;

/// Flags of `request`.
#[derive(Args, Clone, Debug)]
pub struct Request {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub delivered: Delivered,
    /// Wait until it can be used.
    #[arg(long)]
    pub wait: bool,
    /// As a name, JSON or YAML.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_objects())]
    pub output: Option<Format>,
}

/// Asks for a lease, and waits for it if it should.
///
/// # Errors
/// If it was not created; with `--wait` also if it will not be active, or not in time.
pub async fn run(global: &Global, flags: &Request) -> Result<u8, Failure> {
    let delivery = flags.delivered.delivery()?;
    let reason = asking::reason(flags.asking.reason.as_deref())?;
    let mut interrupts = Interrupts::take()?;
    let cluster = connect(global).await?;
    let me = cluster.whoami().await?;
    let grants = flags.asking.grants(&cluster).await?;
    let wanted = flags.asking.lease(&cluster.namespace, grants, &reason, delivery, me);
    let created = asking::create(&cluster, wanted, flags.asking.name.is_some()).await?;
    if flags.output.is_none() {
        emit(&format!("{} created\n", qualified(&created)))?;
    }
    let mut shown = created;
    if flags.wait {
        let patience = Span::from_secs(flags.asking.timeout.as_secs().unsigned_abs());
        let wait = asking::Wait { patience, keep: flags.asking.keep, progress: Progress::new(global.no_color) };
        match asking::wait(&cluster, &shown, &mut interrupts, wait).await? {
            asking::Waited::Active(active) => shown = *active,
            asking::Waited::Interrupted(code) => return Ok(code),
        }
        tell(&told(&shown, Style::stderr(global.no_color)));
    }
    if let Some(format) = flags.output {
        emit(&output::object(format, &shown)?)?;
    }
    Ok(0)
}

fn told(lease: &CredentialLease, style: Style) -> String {
    let until = lease::expires(lease).map(|at| format!(" until {at}")).unwrap_or_default();
    format!("{}{until}", style.paint(Hue::Good, "active"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{
        super::{Cli, Command},
        *,
    };

    fn parse(line: &str) -> Result<Request, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Request(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_what_the_command_line_says() {
        let line = "kubectl-lease request payments-deployer --grant deploy --grant close --ttl 90m --reason x --ticket CHG-1 \
                    --audience a --not-before 2026-11-28T02:00:00Z --name rollout --wait --timeout 5m -o yaml -n payments";
        let request = parse(&line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
        assert!(request.wait && request.output == Some(Format::Yaml) && request.asking.timeout.as_secs() == 300);
        let grants = request.asking.wanted.grants.clone();
        let lease =
            request.asking.lease("payments", grants, "x", request.delivered.delivery().unwrap(), Default::default());
        assert_eq!(
            serde_json::to_value(&lease).unwrap(),
            serde_json::json!({
                "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": "rollout", "namespace": "payments"},
                "spec": {
                    "lifecycleRef": {"name": "payments-deployer"}, "grants": ["deploy", "close"], "ttl": "1h30m", "reason": "x", "ticket": "CHG-1",
                    "audiences": ["a"], "notBefore": "2026-11-28T02:00:00Z", "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": ""},
                },
            })
        );
    }

    #[test]
    fn a_delivery_is_written_in_any_case() {
        for word in ["Secret", "secret"] {
            let request = parse(&format!("kubectl-lease request l --delivery {word}")).unwrap();
            assert_eq!(request.delivered.delivery().unwrap().kind, crate::api::lifecycle::DeliveryType::Secret);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
        for line in [
            "request",
            "request l --ttl 5",
            "request l --not-before tomorrow",
            "request l -o csv",
            "request l --delivery Mail",
        ] {
            assert!(parse(&format!("kubectl-lease {line}")).is_err(), "{line}");
        }
    }
}
