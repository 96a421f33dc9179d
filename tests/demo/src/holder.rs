//! Whoever holds a token, and what the API server answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};

/// The holder of a token.
pub struct Holder(Client);

impl Holder {
    /// Somebody who has this token and nothing else.
    pub async fn of(kubeconfig: &std::path::Path, context: Option<String>, token: &str) -> Result<Self> {
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;

        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        Ok(Self(Client::try_from(config)?))
    }

    /// The HTTP code of a request.
    pub async fn asks(&self, method: &str, path: &str) -> Result<u16> {
        let request = http_request(method, path)?;
        Ok(self.0.send(request).await.with_context(|| format!("{method} {path}"))?.status().as_u16())
    }

    /// Asks every 10 ms until the answer is this code; when that was.
    pub async fn until(&self, path: &str, code: u16, patience: Duration) -> Result<jiff::Timestamp> {
        let begun = tokio::time::Instant::now();
        loop {
            let answer = self.asks("GET", path).await?;
            if answer == code {
                return Ok(jiff::Timestamp::now());
            }
            if begun.elapsed() > patience {
                bail!("still answered {answer} instead of {code} after {} s", patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn http_request(method: &str, path: &str) -> Result<http::Request<kube::client::Body>> {
    Ok(http::Request::builder().method(method).uri(path).body(kube::client::Body::empty())?)
}
