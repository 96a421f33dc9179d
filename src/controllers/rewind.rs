//! Notices that the API server's store has gone back in time, as after a restore from a backup.
//!
//! A watch goes on from the version that it has seen last. After a restore that version lies ahead of the store, and the API server
//! leaves out every event before it is reached again: the operator would be deaf without knowing it. What it knows of objects would
//! be ahead of them, too, so that it is no use to list again: nothing here takes an older version for news. Whoever notices ends, and
//! starts again with what is there.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;
use tokio::sync::Notify;

use super::index::{Doubt, Index};
use crate::{
    cluster::exchange::{Ask, Exchange},
    domain::call::{Class, Failure},
};

/// How often it is looked although no watch has failed.
const EVERY: Duration = Duration::from_secs(30);
/// How soon what could not be asked is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// One lease, for the version of the whole list. Without a resourceVersion the answer is never older than what was written before.
const PATH: &str = "/apis/leasehold.dev/v1alpha1/credentialleases?limit=1";

/// The store is older than what was read from it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server's store has gone back from version {seen} to {found}, as after a restore from a backup: leasehold ends, to start with what is there now"
)]
pub struct Rewound {
    pub seen: u64,
    pub found: u64,
}

/// The metadata of a list is all that is read of it.
#[derive(Deserialize)]
struct Listed {
    metadata: ListMeta,
}

/// So it is of an object.
#[derive(Deserialize)]
struct Got {
    metadata: ObjectMeta,
}

/// Returns once the store has gone back. `disturbed` is told whenever a watch fails or has listed anew: a restore ends every one.
pub async fn noticed(index: Arc<Index>, exchange: Exchange, disturbed: Arc<Notify>) -> Rewound {
    let (mut seen, mut doubt) = (0, None);
    loop {
        // Taken before the question is sent: the answer cannot be older than that, unless the store is.
        seen = seen.max(index.newest_version());
        let listed = version(&exchange).await;
        if let Ok(Some(found)) = listed {
            if let Some(rewound) = went_back(seen, found) {
                return rewound;
            }
            seen = found;
        }
        // A restore may raise the store's version (etcdutl --bump-revision): then it is objects that have gone back.
        doubt = index.take_doubt().or(doubt);
        let settled = match &doubt {
            Some(doubt) => object_version(&exchange, doubt).await,
            None => Ok(None),
        };
        if let (Some(doubt), Ok(Some(found))) = (&doubt, &settled)
            && let Some(rewound) = went_back(doubt.version, *found)
        {
            return rewound;
        }
        if settled.is_ok() {
            doubt = None;
        }
        let failures = [listed.err(), settled.err()];
        let again = failures.iter().flatten().filter_map(asked_again).max();
        let (unanswered, pause) = (again.is_some(), again.unwrap_or(EVERY));
        tokio::select! {
            () = disturbed.notified(), if !unanswered => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How soon to ask again, if that is worth it: not before the API server lets us. A definition or a right that is missing is missed
/// by the watches, too, and told by them.
fn asked_again(failure: &Failure) -> Option<Duration> {
    // A question is in no conflict with anything.
    let busy = matches!(failure.class, Class::Transient | Class::Throttled);
    busy.then(|| failure.retry_after.unwrap_or_default().max(AGAIN))
}

/// The store's version; `None`: it is no number.
async fn version(exchange: &Exchange) -> Result<Option<u64>, Failure> {
    let reply = exchange.send(Ask::new(Method::GET, PATH).metadata_list()).await?;
    let version = reply.decode::<Listed>()?.metadata.resource_version;
    Ok(version.and_then(|version| version.parse().ok()))
}

/// The version of a lease; `None` if it is not there, or another one by now.
async fn object_version(exchange: &Exchange, doubt: &Doubt) -> Result<Option<u64>, Failure> {
    let path = format!("/apis/leasehold.dev/v1alpha1/namespaces/{}/credentialleases/{}", doubt.namespace, doubt.name);
    let reply = exchange.send(Ask::new(Method::GET, path).metadata()).await?;
    if reply.code == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let metadata = reply.decode::<Got>()?.metadata;
    let version = metadata.resource_version.and_then(|version| version.parse().ok());
    Ok(version.filter(|_| metadata.uid.as_deref() == Some(&doubt.uid)))
}

fn went_back(seen: u64, found: u64) -> Option<Rewound> {
    (found < seen).then_some(Rewound { seen, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_asked_is_asked_again_soon_and_not_before_the_api_server_lets_us() {
        let failed = |class, seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            asked_again(&Failure { retry_after, ..Failure::new(class, "no") })
        };
        assert_eq!(failed(Class::Transient, None), Some(AGAIN));
        assert_eq!(failed(Class::Throttled, Some(7)), Some(Duration::from_secs(7)));
        assert_eq!(failed(Class::Forbidden, None), None);
    }

    #[test]
    fn only_an_older_version_is_a_step_back() {
        assert_eq!(went_back(0, 7), None);
        assert_eq!(went_back(7, 7), None);
        assert_eq!(went_back(8, 7), Some(Rewound { seen: 8, found: 7 }));
    }
}
