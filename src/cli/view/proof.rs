//! What can be computed again from a lease by anybody: its request's digest, and the chain of its history.

use crate::{
    api::{CredentialLease, names::LeaseUid, status::ResolvedRequest},
    domain::{digest, rbac},
};

use super::lease;

/// One thing that was computed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What was compared.
    pub what: &'static str,
    /// What was found; `Err` if it differs.
    pub found: Result<String, String>,
}

impl Proof {
    fn new(what: &'static str, found: Result<String, String>) -> Self {
        Self { what, found }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.found.is_ok()
    }
}

/// `sha256:` over the canonical JSON of a request: over what this program understands of it, and so over what it shows.
///
/// # Errors
/// If the request has no canonical form.
pub fn digest(request: &ResolvedRequest) -> Result<String, digest::NotCanonical> {
    digest::canonical(request).map(|text| digest::sha256(&text))
}

/// Whether the digest that would be agreed to is that of the request that was shown; the digest.
///
/// # Errors
/// Why it must not be agreed to, as a sentence.
pub fn agreed_digest(shown: &ResolvedRequest, stated: Option<&str>) -> Result<String, String> {
    let computed = digest(shown).map_err(|e| format!("the request has no digest: {e}"))?;
    let roles = shown.grants.iter().find(|g| !g.rules.is_empty() && rbac::digest(&g.rules) != g.rules_digest);
    if let Some(grant) = roles {
        return Err(format!(
            "the rules of grant {} are not those of its rulesDigest: the status was tampered with, or is of another version; approve nothing, and tell the platform team",
            grant.name
        ));
    }
    match stated {
        Some(stated) if stated == computed => Ok(computed),
        Some(stated) => Err(format!(
            "the request shown has digest {computed}, but status.requestDigest is {stated}: it changed, was tampered with, or the operator is newer than this program; look again with a program of the operator's version"
        )),
        None => {
            Err("the lease has no requestDigest yet: wait until the operator has resolved it, and look again".into())
        }
    }
}

/// Everything about a lease that can be computed again.
#[must_use]
pub fn of(lease: &CredentialLease) -> Vec<Proof> {
    let status = lease.status.clone().unwrap_or_default();
    let mut proofs = vec![];
    if let Some(request) = lease::request(lease) {
        proofs.push(Proof::new("request", agreed_digest(request, status.request_digest.as_deref())));
    } else if status.request_digest.is_some() {
        proofs.push(Proof::new("request", Err("there is a requestDigest, but no request".into())));
    }
    let uid = lease.metadata.uid.as_deref().and_then(LeaseUid::parse);
    proofs.push(Proof::new("history", history(uid.as_ref(), status.history.as_ref())));
    proofs
}

fn history(uid: Option<&LeaseUid>, history: Option<&crate::api::status::History>) -> Result<String, String> {
    let Some(history) = history else {
        return Err("there is no history: the operator has not looked at it yet".into());
    };
    let (Some(first), Some(last)) = (history.records.first(), history.records.last()) else {
        return Err("the history has no records".into());
    };
    if first.seq == 1 && uid.is_none_or(|uid| digest::seed(uid) != history.seed) {
        return Err("the seed is not that of this lease: the history is another one's".into());
    }
    if let Some((before, after)) =
        history.records.iter().zip(history.records.iter().skip(1)).find(|(a, b)| a.seq + 1 != b.seq)
    {
        return Err(format!("after record {} comes record {}", before.seq, after.seq));
    }
    if !digest::verify(history) {
        return Err("the records do not lead from the seed to the head: one of them was changed".into());
    }
    let from = if first.seq == 1 { "from the lease's UID" } else { "from the records that were dropped" };
    Ok(format!("records {} to {} chain {from} to head {}", first.seq, last.seq, history.head))
}

#[cfg(test)]
mod tests {
    use super::{super::lease::tests::waiting, *};
    use crate::api::{Time, reasons::Happening};

    #[test]
    fn only_what_was_shown_is_agreed_to() {
        let lease = waiting(|_| {});
        let request = lease::request(&lease).unwrap();
        let stated = lease.status.as_ref().unwrap().request_digest.clone().unwrap();
        assert_eq!(agreed_digest(request, Some(&stated)), Ok(stated.clone()));

        let mut other = request.clone();
        other.ttl = "8h".parse().unwrap();
        assert!(agreed_digest(&other, Some(&stated)).unwrap_err().contains("status.requestDigest is"));
        let mut other = request.clone();
        other.grants[0].rules[0].verbs.push("delete".into());
        let forged = digest(&other).unwrap();
        assert!(
            agreed_digest(&other, Some(&forged)).unwrap_err().contains("rulesDigest"),
            "rules that are not the digest's"
        );
        assert!(agreed_digest(request, None).unwrap_err().contains("wait"));
    }

    #[test]
    fn the_digest_is_over_the_canonical_json_of_the_status() {
        let lease = waiting(|_| {});
        let request = serde_json::to_value(lease::request(&lease).unwrap()).unwrap();
        let canonical = crate::domain::digest::canonical(&request).unwrap();
        assert_eq!(digest(lease::request(&lease).unwrap()).unwrap(), crate::domain::digest::sha256(&canonical));
    }

    fn with_history(edit: impl FnOnce(&mut crate::api::status::History)) -> CredentialLease {
        let mut lease = waiting(|_| {});
        let uid = LeaseUid::parse(lease.metadata.uid.as_deref().unwrap()).unwrap();
        let mut history = crate::domain::digest::begin(&uid);
        for n in 1..4 {
            crate::domain::digest::append(
                &mut history,
                Time::from_millis(n * 1000),
                Happening::Issued,
                "leasehold",
                "x",
            );
        }
        edit(&mut history);
        lease.status.as_mut().unwrap().history = Some(history);
        lease
    }

    #[test]
    fn an_edited_history_does_not_verify() {
        let found = |lease: &CredentialLease| of(lease).last().unwrap().found.clone();
        assert!(found(&with_history(|_| {})).unwrap().starts_with("records 1 to 3 chain from the lease's UID"));
        assert!(found(&with_history(|h| h.records[1].actor = "x".into())).unwrap_err().contains("changed"));
        assert_eq!(found(&with_history(|h| drop(h.records.remove(1)))).unwrap_err(), "after record 1 comes record 3");
        assert!(found(&with_history(|h| h.seed = "0".repeat(64))).unwrap_err().contains("another one's"));
        assert!(found(&waiting(|_| {})).unwrap_err().contains("no history"));
    }
}
