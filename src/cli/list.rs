//! `list`: leases at a glance.

use clap::{Args, ValueEnum};

use super::{
    connect::{Global, connect},
    exit::Failure,
    fetch,
    view::{
        lease::{self, Filter},
        table,
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
    /// Only leases that wait for people to agree.
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

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Name,
    Json,
    Yaml,
    Csv,
}

const HEAD: [&str; 7] = ["NAME", "LIFECYCLE", "REQUESTER", "PHASE", "EXPIRES", "APPROVALS", "GRANTS"];

/// Lists leases.
///
/// # Errors
/// If they cannot be read.
pub async fn run(global: &Global, flags: &List) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let mut leases = fetch::leases(&cluster, flags.all_namespaces, &flags.filter).await?;
    leases.retain(|lease| flags.ended || !lease::phase(lease).is_final());
    if flags.waiting || flags.for_me {
        leases.retain(|lease| lease::phase(lease) == Phase::AwaitingApproval);
    }
    if flags.for_me && !leases.is_empty() {
        let (caller, may) = (cluster.whoami().await?, fetch::may_on(&cluster, "approve", &leases).await?);
        leases.retain(|lease| {
            lease.spec.requested_by.username != caller.username && may.get(&fetch::lifecycle_of(lease)) == Some(&true)
        });
    }
    match flags.output {
        None if leases.is_empty() => eprintln!("no leases"),
        None if flags.all_namespaces => print!("{}", everywhere(&leases, fetch::now())),
        None => print!("{}", plain(&leases, fetch::now())),
        Some(Format::Name) => leases.iter().for_each(|lease| println!("{}", named(lease, flags.all_namespaces))),
        Some(Format::Csv) => print!("{}", csv(&leases)),
        Some(Format::Json) => println!("{}", serde_json::to_string_pretty(&as_list(&leases)).map_err(unwritable)?),
        Some(Format::Yaml) => print!("{}", serde_saphyr::to_string(&as_list(&leases)).map_err(unwritable)?),
    }
    Ok(0)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::Other(format!("the leases cannot be written: {error}"))
}

fn named(lease: &CredentialLease, with_namespace: bool) -> String {
    if with_namespace { lease::title(lease) } else { lease::name(lease).to_owned() }
}

fn as_list(leases: &[CredentialLease]) -> serde_json::Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": leases})
}

/// As a table; the namespace is known.
#[must_use]
pub fn plain(leases: &[CredentialLease], now: Time) -> String {
    let rows = leases.iter().map(|lease| row(lease, now).to_vec()).collect();
    table::render(&HEAD, rows)
}

/// As a table with namespaces.
#[must_use]
pub fn everywhere(leases: &[CredentialLease], now: Time) -> String {
    let head: Vec<&str> = std::iter::once("NAMESPACE").chain(HEAD).collect();
    let row = |lease| std::iter::once(lease::namespace(lease).to_owned()).chain(row(lease, now)).collect();
    table::render(&head, leases.iter().map(row).collect())
}

fn row(lease: &CredentialLease, now: Time) -> [String; 7] {
    let approvals = lease.status.as_ref().and_then(|s| s.approvals.as_ref()).map(|a| a.summary.clone());
    [
        lease::name(lease).to_owned(),
        lease.spec.lifecycle_ref.name.clone(),
        safe(&lease.spec.requested_by.username),
        lease::phase(lease).to_string(),
        lease::expires(lease).map_or_else(|| "-".into(), |at| when::relative(at, now)),
        approvals.unwrap_or_else(|| "-".into()),
        if lease.spec.grants.is_empty() { "-".into() } else { lease.spec.grants.join(",") },
    ]
}

/// As comma-separated values (RFC 4180), with points in time as they are.
fn csv(leases: &[CredentialLease]) -> String {
    let head = "namespace,name,lifecycle,requester,phase,created,issued,expires,ended,endReason,evidence,approvals,grants,reason,ticket\r\n";
    leases.iter().fold(head.to_owned(), |mut out, lease| {
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
        out.push_str(&cells.map(|cell| cell_of(&cell)).join(","));
        out.push_str("\r\n");
        out
    })
}

/// One cell. What a spreadsheet would take for a formula is kept from being one: reasons are their requesters' texts.
fn cell_of(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
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
rollout  payments-deployer  system:serviceaccount:payments:ci  AwaitingApproval  in 12m   0/2        deploy
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&plain(&[lease.clone()], now)), squeezed(expected));
        assert!(everywhere(&[lease], now).starts_with("NAMESPACE  NAME"));
    }

    #[test]
    fn a_reason_is_no_formula() {
        let lease = waiting(|lease| lease["spec"]["reason"] = "=HYPERLINK(\"http://x\"),1".into());
        let text = csv(&[lease]);
        assert!(text.ends_with(",0/2,deploy,\"'=HYPERLINK(\"\"http://x\"\"),1\",CHG-1234\r\n"), "{text}");
    }
}
