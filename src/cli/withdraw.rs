//! The end of a lease by the one who asked for it.

use std::time::Duration;

use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};

use super::{
    connect::Cluster,
    decide::{self, Word},
    exit::Failure,
    view::lease,
    watch::{Follower, Seen},
};
use crate::api::CredentialLease;

/// How often an API server that does not answer is asked.
const TRIES: u32 = 4;
/// How long one try may take, and the operator to confirm.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a lease was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By a decision, which stays on record.
    Revoked,
    /// By deleting it, since the caller may not decide; the record goes with it, the audit stream stays.
    Deleted,
    /// It was gone already.
    Gone,
}

impl How {
    /// As a part of a sentence.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Deleted => "deleted (you may not create credentialleasedecisions)",
            Self::Gone => "gone already",
        }
    }
}

/// Ends a lease: by a decision of the requester, or where that is refused by deleting it.
///
/// # Errors
/// If neither was possible: then the lease lives until its time is up.
pub async fn withdraw(cluster: &Cluster, of: &CredentialLease, reason: &str) -> Result<How, Failure> {
    let mut last = Failure::Unreachable("the API server does not answer".into());
    for again in 0..TRIES {
        tokio::time::sleep(Duration::from_millis(500) * again).await;
        match tokio::time::timeout(PATIENCE, once(cluster, of, reason)).await {
            Ok(Err(failure @ Failure::Unreachable(_))) => last = failure,
            Ok(done) => return done,
            Err(_) => {}
        }
    }
    Err(last)
}

async fn once(cluster: &Cluster, of: &CredentialLease, reason: &str) -> Result<How, Failure> {
    // Asked again: a pod's token may have been renewed since, and a decision names the credential it is made with.
    let me = cluster.whoami().await?;
    let decided = decide::send(cluster, &decide::decision(of, Word::Revoked, reason, &me)).await;
    let refused = match decided {
        Ok(_) => return Ok(How::Revoked),
        Err(failure @ Failure::Unreachable(_)) => return Err(failure),
        Err(failure) => failure,
    };
    let api: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), lease::namespace(of));
    let preconditions = Preconditions { uid: of.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(lease::name(of), &params).await {
        Ok(_) => Ok(How::Deleted),
        // 409: another lease has the name by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(How::Gone),
        Err(error) => match Failure::from(error) {
            failure @ Failure::Unreachable(_) => Err(failure),
            // The first refusal says more: what whoever asks for leases needs.
            _ => Err(refused),
        },
    }
}

/// Waits until the operator has taken a revoked lease's rights down; whether it said so in time.
pub async fn confirmed(cluster: &Cluster, of: &CredentialLease) -> bool {
    let ended = async {
        let mut follower = Follower::of(cluster, of);
        loop {
            match follower.next().await {
                Seen::Gone => return,
                Seen::Lease(lease) if is_down(&lease) => return,
                Seen::Lease(_) | Seen::Blind(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

/// Whether nothing of the lease gives a right any more.
fn is_down(of: &CredentialLease) -> bool {
    let status = of.status.as_ref();
    lease::phase(of).is_final()
        || status
            .is_some_and(|s| s.end_time.is_some() && s.credential.as_ref().is_none_or(|c| c.revocation_time.is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn a_lease_is_down_when_its_account_is_gone_not_when_its_end_was_seen() {
        let ending = |credential: serde_json::Value| {
            waiting(|l| {
                l["status"]["phase"] = json!("Ending");
                l["status"]["endTime"] = json!("2026-11-24T12:00:00Z");
                l["status"]["credential"] = credential;
            })
        };
        assert!(!is_down(&ending(json!({}))));
        assert!(is_down(&ending(json!({"revocationTime": "2026-11-24T12:00:00Z"}))));
        assert!(!is_down(&waiting(|_| {})));
        assert!(is_down(&waiting(|l| l["status"]["phase"] = json!("Revoked"))));
    }
}
