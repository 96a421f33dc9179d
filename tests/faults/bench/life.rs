//! How one lease lived under one plan, as others saw it.

use jiff::Timestamp;
use leasehold::api::status::CredentialLeaseStatus;
use leasehold_harness::Call;

use crate::{proxy::Made, support::trail::Line};

pub struct Life {
    pub namespace: String,
    pub lifecycle: String,
    pub lease: String,
    pub uid: String,
    /// The UIDs of the leases that followed it, of a standing credential.
    pub heirs: Vec<String>,
    /// When somebody agreed.
    pub decided: Option<Timestamp>,
    pub was_active: bool,
    /// Since when it was being ended.
    pub end_begun: Timestamp,
    pub ended: Timestamp,
    pub accepted: Accepted,
    /// Tokens that somebody held.
    pub tokens: Vec<Held>,
    /// Where one of them was seen that does not belong there.
    pub leaks: Vec<String>,
    pub status: Option<CredentialLeaseStatus>,
    pub left: Vec<String>,
    /// `roleRef` of every RoleBinding that was made for it, as they were seen.
    pub bound: Vec<String>,
    pub calls: Vec<Made>,
    /// What was written after it was at rest.
    pub restless: Vec<String>,
    /// What the other system did, in order, and what it still keeps.
    pub effects: Vec<Call>,
    pub kept: Vec<String>,
    /// What the audit stream told of it.
    pub trail: Vec<Line>,
    /// Traps that were not sprung.
    pub unsprung: usize,
    /// How often the operator was taken away while it lived.
    pub outages: u32,
    /// What went wrong on the way.
    pub wrong: Vec<String>,
}

/// When a token was last good for something, counted in seconds from the end, the time without an operator taken off.
#[derive(Default)]
pub struct Accepted {
    /// Its holder was let in.
    pub allowed: Option<f64>,
    /// Its holder was known, let in or not.
    pub known: Option<f64>,
}

/// A token: looked for, never shown.
pub struct Held(String);

impl Held {
    pub fn new(token: &str) -> Self {
        Self(token.to_owned())
    }

    /// Whether a part of its signature is in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let signature = self.0.rsplit('.').next().unwrap_or_default();
        signature.get(8..40).is_some_and(|part| text.contains(part))
    }
}
