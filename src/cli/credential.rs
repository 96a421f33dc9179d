//! `credential`: what kubectl and every client-go program call to get the token of a lease (exec credential plugin,
//! `client.authentication.k8s.io`). The caller's own credentials mint it, each time anew.

use clap::Args;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    connect::{Global, connect},
    exit::Failure,
    fetch,
    mint::{self, Minted},
    output::emit,
    reference::LeaseName,
};

/// What is written if the caller does not say which version it reads.
pub const API_VERSION: &str = "client.authentication.k8s.io/v1";
/// The other version with the same fields.
const BETA: &str = "client.authentication.k8s.io/v1beta1";

/// Flags of `credential`.
#[derive(Args, Clone, Debug)]
pub struct Credential {
    /// The lease.
    #[arg(long, value_name = "NAME")]
    pub lease: LeaseName,
}

/// Prints an ExecCredential.
///
/// # Errors
/// As [`mint::mint`]; [`Failure::Usage`] if the caller wants a version that is not known.
pub async fn run(global: &Global, flags: &Credential) -> Result<u8, Failure> {
    let version = version(std::env::var("KUBERNETES_EXEC_INFO").ok().as_deref())?;
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await.map_err(|failure| match failure {
        // Ended leases are kept for a time and then deleted: what is not there any more has ended.
        Failure::Other(text) => Failure::Ended(text),
        other => other,
    })?;
    let minted = mint::mint(&cluster, &lease, &[], mint::TOKEN_SECONDS).await?;
    emit(&String::from_utf8_lossy(&render(version, &minted)?))?;
    Ok(0)
}

/// The version that the caller reads, from the ExecCredential in `KUBERNETES_EXEC_INFO`.
fn version(info: Option<&str>) -> Result<&'static str, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        api_version: String,
    }
    let Some(info) = info.filter(|info| !info.is_empty()) else { return Ok(API_VERSION) };
    let asked = serde_json::from_str::<Info>(info).map(|info| info.api_version).unwrap_or_default();
    [API_VERSION, BETA].into_iter().find(|known| *known == asked).ok_or_else(|| {
        Failure::Usage(format!(
            "KUBERNETES_EXEC_INFO asks for `{asked}`, which is not known here: write apiVersion: {API_VERSION} in the kubeconfig's exec"
        ))
    })
}

/// The object that the caller reads.
fn render(version: &str, minted: &Minted) -> Result<Zeroizing<Vec<u8>>, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ExecCredential<'a> {
        api_version: &'a str,
        kind: &'a str,
        status: Status<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Status<'a> {
        token: &'a str,
        expiration_timestamp: String,
    }
    // RFC 3339 in whole seconds, cut down: never later than the truth.
    let until = jiff::Timestamp::from_second(minted.until.as_millis().div_euclid(1000)).unwrap_or_default();
    let status = Status { token: minted.token.expose(), expiration_timestamp: until.to_string() };
    let object = ExecCredential { api_version: version, kind: "ExecCredential", status };
    // Large enough never to move: what it moved from could not be wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(16 << 10));
    serde_json::to_writer(&mut *text, &object)
        .map_err(|_| Failure::Other("the credential cannot be written as JSON".into()))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::token::Token;

    #[test]
    fn a_credential_is_written_in_the_version_that_is_asked_for() {
        let info = |version: &str| {
            format!(r#"{{"kind":"ExecCredential","apiVersion":"{version}","spec":{{"interactive":false}}}}"#)
        };
        assert_eq!(version(None), Ok(API_VERSION));
        assert_eq!(version(Some("")), Ok(API_VERSION));
        assert_eq!(version(Some(&info(API_VERSION))), Ok(API_VERSION));
        assert_eq!(version(Some(&info(BETA))), Ok(BETA));
        for odd in [info("client.authentication.k8s.io/v1alpha1"), "not json".into()] {
            assert_eq!(version(Some(&odd)).map_err(|f| f.code()), Err(2), "{odd}");
        }
    }

    #[test]
    fn a_credential_says_until_when_and_never_later() {
        let until = "2026-11-24T12:00:00.999Z".parse().unwrap();
        let minted = Minted { token: Token::new("abc".into()), until };
        assert_eq!(
            String::from_utf8_lossy(&render(API_VERSION, &minted).unwrap()),
            "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"abc\",\"expirationTimestamp\":\"2026-11-24T12:00:00Z\"}}\n"
        );
    }
}
