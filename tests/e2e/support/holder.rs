//! Whoever holds a token, and what the API server answers them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::Tenant;

/// The holder of a token.
pub struct Holder {
    pub client: Client,
    namespace: String,
}

/// What a holder saw, in milliseconds after the moment it was told to count from.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// The first 403.
    pub forbidden: Option<i64>,
    /// The first 401.
    pub unauthorized: i64,
}

impl Holder {
    /// Somebody with this token.
    pub fn new(tenant: &Tenant<'_>, token: &str) -> Result<Self> {
        Ok(Self { client: tenant.lab.plane.token_client(token)?, namespace: tenant.namespace.clone() })
    }

    /// The HTTP code of reading the ledger.
    pub async fn reads(&self) -> Result<u16> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        code(api.get("ledger").await)
    }

    /// Reads every few milliseconds until the answer is 401; counts from `zero`, which may still be to come.
    pub async fn fate(&self, zero: jiff::Timestamp, patience: Duration) -> Result<Fate> {
        let (begun, mut forbidden) = (Instant::now(), None);
        let since = || jiff::Timestamp::now().as_millisecond() - zero.as_millisecond();
        while begun.elapsed() < patience {
            match self.reads().await? {
                401 => return Ok(Fate { forbidden, unauthorized: since() }),
                403 if forbidden.is_none() => forbidden = Some(since()),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the token still authenticates after {patience:?}; first 403 after {forbidden:?} ms")
    }
}

/// The HTTP code of an answer.
pub fn code<T>(answer: kube::Result<T>) -> Result<u16> {
    match answer {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
    }
}
