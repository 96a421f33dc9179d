//! A report's leases as comma-separated values: one line a lease, points in time as they are.

use super::model::{Lease, Millis, Report, Trail};
use crate::{api::Time, cli::csv};

const HEAD: [&str; 26] = [
    "namespace",
    "name",
    "uid",
    "lifecycle",
    "requester",
    "state",
    "phase",
    "created",
    "issued",
    "expires",
    "ended",
    "endReason",
    "endMessage",
    "removed",
    "removalLagSeconds",
    "proven",
    "proofLagSeconds",
    "evidence",
    "offlineUntil",
    "trail",
    "origin",
    "delivery",
    "approvals",
    "grants",
    "reason",
    "ticket",
];

/// The leases.
pub fn leases(report: &Report) -> String {
    let head = csv::record(&HEAD.map(str::to_owned));
    report.leases.iter().fold(head, |out, lease| out + &csv::record(&cells(lease)))
}

fn cells(lease: &Lease) -> [String; HEAD.len()] {
    let time = |time: Option<Time>| time.map(|t| t.to_string()).unwrap_or_default();
    let lag = |lag: Option<Millis>| lag.map(|lag| lag.to_string()).unwrap_or_default();
    [
        lease.namespace.clone(),
        lease.name.clone(),
        lease.uid.clone(),
        lease.lifecycle.clone(),
        lease.requester.clone(),
        format!("{:?}", lease.state),
        lease.phase.map(|p| p.to_string()).unwrap_or_default(),
        lease.created.to_string(),
        time(lease.issued),
        time(lease.expires),
        time(lease.ended),
        lease.end_reason.map(|r| r.to_string()).unwrap_or_default(),
        lease.end_message.clone(),
        time(lease.removed),
        lag(lease.removal_lag),
        time(lease.proven),
        lag(lease.proof_lag),
        lease.evidence.map(|e| e.to_string()).unwrap_or_default(),
        time(lease.offline_until),
        match &lease.trail {
            Trail::Verified => "Verified".into(),
            Trail::Incomplete(problems) => format!("Incomplete: {}", problems.join("; ")),
            Trail::Differs(problems) => format!("Differs: {}", problems.join("; ")),
            Trail::None => String::new(),
        },
        format!("{:?}", lease.origin),
        lease.delivery.unwrap_or_default().to_owned(),
        lease.approvals.clone().unwrap_or_default(),
        lease.grants.join("; "),
        lease.reason.clone(),
        lease.ticket.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::model::fixture, *};

    #[test]
    fn every_lease_is_one_record_with_as_many_cells_as_the_head() {
        let report = fixture::report();
        let text = leases(&report);
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), report.leases.len() + 1);
        assert!(lines[0].starts_with("namespace,name,uid,lifecycle,requester,state"));
        let plain = lines.iter().find(|line| line.contains(",nightly-1,")).unwrap();
        assert_eq!(plain.split(',').count(), HEAD.len(), "{plain}");
        assert!(plain.contains(",0.015,") && plain.contains(",AccountGoneAndWaited,"), "{plain}");
    }

    #[test]
    fn a_requesters_text_is_no_formula() {
        let mut report = fixture::report();
        report.leases[0].reason = "=HYPERLINK(\"http://x\")".into();
        report.leases[0].requester = "+ci".into();
        let text = leases(&report);
        assert!(text.contains("\"'=HYPERLINK(\"\"http://x\"\")\"") && text.contains(",'+ci,"), "{text}");
    }
}
