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
    /// How often it reads before the first 403.
    pub pace: Duration,
}

/// How often it reads after that: a minute of waiting must not load what others measure.
const UNHURRIED: Duration = Duration::from_millis(100);

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
        let client = tenant.lab.plane.token_client(token)?;
        Ok(Self { client, namespace: tenant.namespace.clone(), pace: Duration::from_millis(10) })
    }

    /// The HTTP code of reading the ledger.
    pub async fn reads(&self) -> Result<u16> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        code(api.get("ledger").await)
    }

    /// Reads every few milliseconds until the answer is 401; counts from `zero`, which may still be to come.
    pub async fn fate(&self, zero: jiff::Timestamp, patience: Duration) -> Result<Fate> {
        let begun = Instant::now();
        let first = self.until(&[401, 403], self.pace, patience).await?;
        if first.0 == 401 {
            return Ok(Fate { forbidden: None, unauthorized: since(zero, first.1) });
        }
        let (_, last) = self.until(&[401], UNHURRIED, patience.saturating_sub(begun.elapsed())).await?;
        Ok(Fate { forbidden: Some(since(zero, first.1)), unauthorized: since(zero, last) })
    }

    /// Reads until the answer is one of these; which, and when.
    pub async fn until(&self, codes: &[u16], pace: Duration, patience: Duration) -> Result<(u16, jiff::Timestamp)> {
        let begun = Instant::now();
        loop {
            let code = self.reads().await?;
            if codes.contains(&code) {
                return Ok((code, jiff::Timestamp::now()));
            }
            if begun.elapsed() > patience {
                bail!("the token is still answered {code} after {patience:?}, not one of {codes:?}");
            }
            tokio::time::sleep(pace).await;
        }
    }
}

/// Milliseconds from `zero`.
pub fn since(zero: jiff::Timestamp, at: jiff::Timestamp) -> i64 {
    at.as_millisecond() - zero.as_millisecond()
}

/// The HTTP code of an answer.
pub fn code<T>(answer: kube::Result<T>) -> Result<u16> {
    match answer {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
    }
}
