//! The audit stream: what the operator said about a lease, also after the lease is gone.

use anyhow::Result;
use leasehold::api::{reasons::Happening, status::Record};
use serde::Deserialize;

/// One line of the stream.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    target: String,
    pub lease: About,
    #[serde(flatten)]
    pub record: Record,
    pub hash: String,
}

/// The lease a line is about.
#[derive(Debug, Clone, Deserialize)]
pub struct About {
    pub uid: String,
}

/// The lines about a lease in what an operator has printed: its log goes to the same file.
pub fn trail(printed: &str, uid: &str) -> Vec<Line> {
    let lines = printed.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter(|line| line.target == "audit" && line.lease.uid == uid).collect()
}

/// The detail of the first line that tells this.
pub fn detail(lines: &[Line], event: Happening) -> Result<String> {
    let found = lines.iter().find(|line| line.record.event == event).map(|line| line.record.detail.clone());
    found.ok_or_else(|| anyhow::anyhow!("nothing tells {event} in {lines:#?}"))
}
