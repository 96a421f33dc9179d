//! A token for a lease's account, minted by the caller: with delivery TokenRequest nobody else may.

use std::time::Duration;

use http::{Method, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use tokio::time::Instant;

use super::{connect::Cluster, exit::Failure, fetch, view::lease};
use crate::{
    api::{CredentialLease, Time, lifecycle::DeliveryType, names::ISSUING_NAMESPACE, status::AccountIdentity},
    cluster::{
        exchange::{Ask, Exchange},
        token::Token,
    },
};

/// The life of a token, in seconds: the least the API server mints, and the most the policy allows.
pub const TOKEN_SECONDS: i64 = 600;
/// The longest a call may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a refusal right after issue may be an API server that has not yet seen the caller's right.
const CATCHING_UP: Duration = Duration::from_secs(3);

/// A minted token and when it stops.
pub struct Minted {
    pub token: Token,
    /// The earlier of the token's own expiry and the lease's end.
    pub until: Time,
}

/// Mints for a lease, for these audiences; none means those of the lease, or the API server's own if it has none.
///
/// # Errors
/// [`Failure::Ended`] once the lease has ended, [`Failure::Refused`] if the caller may not, [`Failure::Usage`] if the lease's
/// token is in a Secret. No error quotes an answer that could hold a token.
pub async fn mint(
    cluster: &Cluster,
    of: &CredentialLease,
    audiences: &[String],
    seconds: i64,
) -> Result<Minted, Failure> {
    let account = account(of)?;
    let audiences = if audiences.is_empty() { &of.spec.audiences } else { audiences };
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audiences.to_vec(),
            expiration_seconds: Some(seconds),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let path = format!("/api/v1/namespaces/{ISSUING_NAMESPACE}/serviceaccounts/{}/token", account.name);
    let exchange = Exchange::new(cluster.client.clone(), DEADLINE);
    let begun = Instant::now();
    let unreachable = |e: crate::domain::call::Failure| {
        Failure::Unreachable(format!("the API server gave no token: {}; try again", e.message))
    };
    let reply = loop {
        let ask = Ask::new(Method::POST, &path).json(&request).map_err(unreachable)?;
        let reply = exchange.send(ask).await.map_err(unreachable)?;
        if !matches!(reply.code, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED) {
            break reply;
        }
        // Ask what became of the lease before a refusal is believed: it has ended, or the right is too young.
        let now = fetch::lease(cluster, lease::name(of)).await?;
        if lease::is_over(&now) || now.metadata.uid != of.metadata.uid {
            return Err(ended(&now));
        }
        if begun.elapsed() > CATCHING_UP {
            let message = reply.failure().message;
            return Err(match reply.code {
                StatusCode::UNAUTHORIZED => Failure::unknown_caller(&message),
                _ => Failure::Refused(message),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if !reply.code.is_success() {
        let message = reply.failure().message;
        return Err(if reply.code.is_client_error() && reply.code != StatusCode::TOO_MANY_REQUESTS {
            Failure::Refused(message)
        } else {
            Failure::Unreachable(format!("the API server gave no token: {message}; try again"))
        });
    }
    let minted: TokenRequest = reply.decode().map_err(unreachable)?;
    let status = minted.status.ok_or_else(|| Failure::Unreachable("the API server gave no token; try again".into()))?;
    let expires = Time::from(&status.expiration_timestamp);
    let until = lease::expires(of).map_or(expires, |end| end.min(expires));
    Ok(Minted { token: Token::new(status.token), until })
}

/// The account that tokens are minted for, if the lease has one now.
///
/// # Errors
/// As [`mint`].
pub fn account(of: &CredentialLease) -> Result<&AccountIdentity, Failure> {
    if lease::is_over(of) {
        return Err(ended(of));
    }
    let credential = of.status.as_ref().and_then(|status| status.credential.as_ref());
    if of.spec.delivery.kind == DeliveryType::Secret {
        let name = credential.and_then(|c| c.secret.as_ref()).map_or("which status.credential names", |s| &s.name);
        return Err(Failure::Usage(format!(
            "the token of lease {} is in Secret {name} of namespace {}: read it there, or ask for a lease with --delivery TokenRequest",
            lease::name(of),
            lease::namespace(of)
        )));
    }
    credential.and_then(|c| c.service_account.as_ref()).ok_or_else(|| {
        Failure::Other(format!(
            "lease {} is {}, it has no credential yet: wait for it with kubectl wait --for=condition=Active credentiallease/{}",
            lease::name(of),
            lease::phase(of),
            lease::name(of)
        ))
    })
}

/// That a lease is over, in a sentence.
#[must_use]
pub fn ended(of: &CredentialLease) -> Failure {
    let why = of.status.as_ref().and_then(|s| s.end_reason).map(|reason| format!(" ({reason})")).unwrap_or_default();
    Failure::Ended(format!("lease {} has ended{why}: ask for another one with kubectl lease request", lease::title(of)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn only_a_live_lease_with_an_account_of_its_own_can_be_minted_for() {
        let active = waiting(|l| {
            l["status"]["phase"] = json!("Active");
            l["status"]["credential"] =
                json!({"serviceAccount": {"namespace": "leasehold-leases", "name": "a", "uid": "1"}});
        });
        assert_eq!(account(&active).map(|a| a.name.as_str()), Ok("a"));
        assert!(matches!(account(&waiting(|_| {})), Err(Failure::Other(text)) if text.contains("AwaitingApproval")));
        for phase in ["Ending", "Expired", "Revoked", "Denied", "Failed"] {
            let over = waiting(|l| l["status"]["phase"] = json!(phase));
            assert_eq!(account(&over).map_err(|f| f.code()), Err(122), "{phase}");
        }
        let stored = waiting(|l| {
            l["status"]["phase"] = json!("Active");
            l["spec"]["delivery"] = json!({"type": "Secret"});
            l["status"]["credential"] = json!({"secret": {"name": "lease-rollout", "uid": "1"}});
        });
        assert!(matches!(account(&stored), Err(Failure::Usage(text)) if text.contains("Secret lease-rollout")));
    }
}
