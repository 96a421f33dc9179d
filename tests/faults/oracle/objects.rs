//! What is there afterwards, and whose it is.

use super::{Case, OPERATOR};

/// What the operator makes: each of them bears its lease's name.
const MADE: [&str; 6] = ["serviceaccounts", "jobs", "roles", "rolebindings", "secrets", "configmaps"];

/// I4: nothing that was made for it is left, in the cluster or in another system.
pub fn i4_no_orphans(case: &Case<'_>) -> Vec<String> {
    let mut broken = vec![];
    if !case.life.left.is_empty() {
        broken.push(format!("left behind: {}", case.life.left.join(", ")));
    }
    if !case.life.kept.is_empty() {
        broken.push(format!("the other system still keeps {}", case.life.kept.join(", ")));
    }
    broken
}

/// I5: what the operator writes in the lease's namespaces is the lease's, its status, or said about it.
pub fn i5_no_foreign_damage(case: &Case<'_>) -> Vec<String> {
    let home = &case.life.namespace;
    let far = format!("{home}-far");
    let here = |namespace: &str| namespace == home || namespace.starts_with(&far);
    let ours = |r: &leasehold_harness::Record| {
        case.about.iter().any(|a| a.audit_id == r.audit_id) || r.name.is_empty() || r.uri.contains("dryRun=")
    };
    let writes = case.audit.iter().filter(|r| {
        r.user == OPERATOR && here(&r.namespace) && MADE.contains(&r.resource.as_str()) && (200..300).contains(&r.code)
    });
    let writes = writes.filter(|r| ["create", "patch", "update", "delete"].contains(&r.verb.as_str()));
    writes.filter(|r| !ours(r)).map(|r| format!("{} {}/{}", super::kind(r), r.namespace, r.name)).collect()
}

/// I16: a lease of the same name as one before it has nothing of it: its account, its words and its history are its own.
pub fn i16_nothing_is_inherited(case: &Case<'_>) -> Vec<String> {
    let Some(status) = &case.life.status else { return vec![] };
    let mut broken = vec![];
    let hex = case.life.uid.replace('-', "");
    let account = status.credential.as_ref().and_then(|c| c.service_account.as_ref());
    if let Some(account) = account.filter(|account| !account.name.contains(&hex)) {
        broken.push(format!("its account is {}", account.name));
    }
    if let Some(binding) = status.bindings.iter().find(|binding| !binding.name.contains(&hex)) {
        broken.push(format!("its binding is {}", binding.name));
    }
    let first = status.history.as_ref().and_then(|h| h.records.first()).map(|r| jiff::Timestamp::from(r.time));
    if let Some(first) = first.filter(|first| *first < case.audit_begins()) {
        broken.push(format!("its history begins before it, at {first}"));
    }
    broken
}

impl Case<'_> {
    /// No lease of a round is older than what was asked for first in it; server times have no parts of seconds.
    fn audit_begins(&self) -> jiff::Timestamp {
        let first = self.audit.iter().map(|r| r.received).min().unwrap_or_default();
        jiff::Timestamp::from_second(first.as_second()).unwrap_or_default()
    }
}
