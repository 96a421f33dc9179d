//! Whoever holds a token, and what the API server answers them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};

use crate::story::NAMESPACE;

/// How often a holder asks.
const EVERY: Duration = Duration::from_millis(10);

/// The holder of a token.
#[derive(Clone)]
pub struct Holder(pub Client);

/// What a holder saw, in milliseconds from the moment it counts from.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// The first 403.
    pub forbidden: Option<i64>,
    /// The first 401.
    pub unauthorized: i64,
}

impl Holder {
    /// The HTTP code of reading the ledger.
    pub async fn reads(&self) -> Result<u16> {
        code(self.configmaps(NAMESPACE).get("ledger").await)
    }

    /// The HTTP code of correcting the ledger.
    pub async fn writes(&self) -> Result<u16> {
        let patch = Patch::Merge(serde_json::json!({"data": {"balance": "8"}}));
        code(self.configmaps(NAMESPACE).patch("ledger", &PatchParams::default(), &patch).await)
    }

    /// The HTTP codes of what nobody granted: another verb, another namespace, the cluster.
    pub async fn oversteps(&self) -> Result<[u16; 3]> {
        Ok([
            code(self.configmaps(NAMESPACE).delete("ledger", &DeleteParams::default()).await)?,
            code(self.configmaps("default").list(&ListParams::default()).await)?,
            code(Api::<Node>::all(self.0.clone()).list(&ListParams::default()).await)?,
        ])
    }

    /// Reads every few milliseconds until the answer is 401; counts from `zero`, which may be still to come.
    pub async fn fate(self, zero: Timestamp, patience: Duration) -> Result<Fate> {
        let (begun, mut forbidden) = (Instant::now(), None);
        let since = || Timestamp::now().as_millisecond() - zero.as_millisecond();
        while begun.elapsed() < patience {
            match self.reads().await? {
                401 => return Ok(Fate { forbidden, unauthorized: since() }),
                403 if forbidden.is_none() => forbidden = Some(since()),
                _ => {}
            }
            tokio::time::sleep(EVERY).await;
        }
        bail!(
            "not as told: the token still authenticates after {patience:?}; its first 403 came after {forbidden:?} ms"
        )
    }

    fn configmaps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.0.clone(), namespace)
    }
}

fn code<T>(answer: kube::Result<T>) -> Result<u16> {
    match answer {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
    }
}
