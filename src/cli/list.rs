//! `list`: leases at a glance.

use clap::Args;

use super::{
    connect::{Global, connect},
    csv,
    exit::Failure,
    fetch,
    output::{self, Format, Hue, Style, Table},
    view::{
        lease::{self, Filter},
        text::safe,
        when,
    },
};
use crate::api::{CredentialLease, Time, reasons::Phase};

/// Flags of `list`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only leases that wait for people to agree, and those that were issued before and still owe an answer.
    #[arg(long)]
    pub waiting: bool,
    /// Only those of them that you may approve, without your own.
    #[arg(long)]
    pub for_me: bool,
    #[command(flatten)]
    pub filter: Filter,
    /// Also leases that have ended.
    #[arg(long, conflicts_with_all = ["waiting", "for_me"])]
    pub ended: bool,
    /// As names, JSON, YAML or CSV.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

const HEAD: [&str; 7] = ["NAME", "LIFECYCLE", "REQUESTER", "PHASE", "EXPIRES", "APPROVALS", "GRANTS"];

/// Lists leases.
///
/// # Errors
/// If they cannot be read.
pub async fn run(global: &Global, flags: &List) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let mut leases = fetch::leases(&cluster, flags.all_namespaces, &flags.filter).await?;
    if flags.waiting || flags.for_me {
        leases.retain(lease::waits_for_people);
    } else {
        leases.retain(|lease| flags.ended || !lease::phase(lease).is_final());
    }
    if flags.for_me && !leases.is_empty() {
        let (caller, may) = (cluster.whoami().await?, fetch::may_on(&cluster, "approve", &leases).await?);
        leases.retain(|lease| {
            lease.spec.requested_by.username != caller.username && may.get(&fetch::lifecycle_of(lease)) == Some(&true)
        });
    }
    let style = Style::stdout(global.no_color);
    match flags.output {
        None if leases.is_empty() => {
            output::tell("no leases");
            Ok(())
        }
        None => output::emit(&table(&leases, fetch::now(), flags.all_namespaces, style)),
        Some(Format::Csv) => output::emit(&rows(&leases)),
        Some(format) => output::emit(&output::objects(format, &leases)?),
    }?;
    Ok(0)
}

/// As a table, with a column for the namespace where it is not known.
#[must_use]
pub fn table(leases: &[CredentialLease], now: Time, everywhere: bool, style: Style) -> String {
    let namespace = |text: &str| everywhere.then(|| text.to_owned());
    let mut table = Table::default();
    table.row(namespace("NAMESPACE").into_iter().chain(HEAD.map(str::to_owned)));
    for lease in leases {
        table.row(namespace(lease::namespace(lease)).into_iter().chain(row(lease, now, style)));
    }
    table.render()
}

fn hue(phase: Phase) -> Hue {
    match phase {
        Phase::Active => Hue::Good,
        Phase::Denied | Phase::Failed => Hue::Bad,
        Phase::Completed | Phase::Expired | Phase::Revoked => Hue::Faint,
        _ => Hue::Waiting,
    }
}

fn row(lease: &CredentialLease, now: Time, style: Style) -> [String; 7] {
    let approvals = lease.status.as_ref().and_then(|s| s.approvals.as_ref()).map(|a| a.summary.clone());
    [
        lease::name(lease).to_owned(),
        lease.spec.lifecycle_ref.name.clone(),
        safe(&lease.spec.requested_by.username),
        style.paint(hue(lease::phase(lease)), lease::phase(lease).as_str()),
        lease::expires(lease).map_or_else(|| "-".into(), |at| when::relative(at, now)),
        approvals.unwrap_or_else(|| "-".into()),
        if lease.spec.grants.is_empty() { "-".into() } else { lease.spec.grants.join(",") },
    ]
}

/// As comma-separated values (RFC 4180), with points in time as they are.
fn rows(leases: &[CredentialLease]) -> String {
    let head = "namespace,name,lifecycle,requester,phase,created,issued,expires,ended,endReason,evidence,approvals,grants,reason,ticket\r\n";
    leases.iter().fold(head.to_owned(), |out, lease| {
        let status = lease.status.clone().unwrap_or_default();
        let time = |time: Option<Time>| time.map(|t| t.to_string()).unwrap_or_default();
        let cells = [
            lease::namespace(lease).to_owned(),
            lease::name(lease).to_owned(),
            lease.spec.lifecycle_ref.name.clone(),
            lease.spec.requested_by.username.clone(),
            lease::phase(lease).to_string(),
            time(lease::created(lease)),
            time(status.issue_time),
            time(status.expiration_time),
            time(status.end_time),
            status.end_reason.map(|r| r.to_string()).unwrap_or_default(),
            status.credential.and_then(|c| c.evidence).map(|e| e.to_string()).unwrap_or_default(),
            status.approvals.map(|a| a.summary).unwrap_or_default(),
            lease.spec.grants.join(" "),
            lease.spec.reason.clone(),
            lease.spec.ticket.clone().unwrap_or_default(),
        ];
        out + &csv::record(&cells)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn a_lease_is_one_line() {
        let lease = waiting(|lease| lease["status"]["expirationTime"] = "2026-11-24T12:12:00Z".into());
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let expected = "\
NAME     LIFECYCLE          REQUESTER                       PHASE             EXPIRES  APPROVALS  GRANTS
rollout  payments-deployer  system:serviceaccount:payments:ci  AwaitingApproval  in 12m   0 of 2     deploy
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&table(std::slice::from_ref(&lease), now, false, Style::plain())), squeezed(expected));
        assert!(table(&[lease], now, true, Style::plain()).starts_with("NAMESPACE   NAME"));
    }

    #[test]
    fn a_reason_is_no_formula() {
        let lease = waiting(|lease| lease["spec"]["reason"] = "=HYPERLINK(\"http://x\"),1".into());
        let text = rows(&[lease]);
        assert!(text.ends_with(",0 of 2,deploy,\"'=HYPERLINK(\"\"http://x\"\"),1\",CHG-1234\r\n"), "{text}");
    }
}
