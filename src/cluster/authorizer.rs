//! What somebody may do, as the API server's authorizer says once it can know.

use futures::future::try_join_all;
use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};

use super::{
    exchange::{Ask, Exchange},
    render,
};
use crate::{
    api::lease::Identity,
    domain::call::{Class, Failure},
};

/// Asks about others.
///
/// An API server that has just begun answers before it has read every role and binding, and to whatever it has not read it says no
/// (kubernetes/kubernetes issue 121635). Its `/readyz` waits for them (check `informer-sync`, pull request 92644): no "no" counts
/// that was said before that.
pub struct Authorizer<'a>(pub &'a Exchange);

impl Authorizer<'_> {
    /// Whether `by` has this right. A no is asked for again once the API server is ready.
    ///
    /// # Errors
    /// If the API server does not answer, or is not ready.
    pub async fn may(&self, by: &Identity, right: ResourceAttributes) -> Result<bool, Failure> {
        if self.ask(by, right.clone()).await? {
            return Ok(true);
        }
        self.is_ready().await?;
        self.ask(by, right).await
    }

    /// Whether `by` has one of these rights, which nobody should have: every question at once, as none needs another's answer.
    ///
    /// # Errors
    /// If the API server does not answer, or is not ready.
    pub async fn may_any(&self, by: &Identity, rights: Vec<ResourceAttributes>) -> Result<bool, Failure> {
        self.is_ready().await?;
        let has = try_join_all(rights.into_iter().map(|right| self.ask(by, right))).await?;
        Ok(has.contains(&true))
    }

    async fn ask(&self, by: &Identity, right: ResourceAttributes) -> Result<bool, Failure> {
        let ask = Ask::new(Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .json(&render::access_review(by, right))?;
        let review: SubjectAccessReview = self.0.send(ask).await?.decode()?;
        let missing = || Failure::new(Class::Transient, "the API server did not answer a question about rights");
        Ok(review.status.ok_or_else(missing)?.allowed)
    }

    /// Whether a no of the API server's authorizer counts.
    ///
    /// # Errors
    /// If the API server does not answer, or is not ready.
    pub async fn is_ready(&self) -> Result<(), Failure> {
        let reply = self.0.send(Ask::new(Method::GET, "/readyz")).await?;
        // Where we may not ask, nothing tells.
        if reply.code.is_success() || reply.code == StatusCode::FORBIDDEN {
            return Ok(());
        }
        let why = "the API server is not ready, and may not know yet who may do what";
        Err(Failure { message: why.into(), class: Class::Transient, ..reply.failure() })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use http::{Request, Response};
    use serde_json::json;

    use super::*;

    /// An API server that knows nobody's rights until it was asked once whether it is ready, and answers that with `readyz`; after that
    /// it is ready, and `allows`.
    fn server(readyz: u16, allows: bool) -> Exchange {
        let asked = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let knows = asked.load(Ordering::Relaxed) > 0;
            let is_readyz = request.uri().path() == "/readyz";
            asked.fetch_add(usize::from(is_readyz), Ordering::Relaxed);
            let status = match (is_readyz, knows) {
                (true, false) => readyz,
                (true, true) => 200,
                (false, _) => 201,
            };
            let body = json!({"spec": {}, "status": {"allowed": knows && allows}}).to_string().into_bytes();
            std::future::ready(Ok::<_, std::convert::Infallible>(
                Response::builder().status(status).body(kube::client::Body::from(body)).unwrap(),
            ))
        });
        Exchange::new(kube::Client::new(service, "default"), Duration::from_secs(5))
    }

    #[tokio::test]
    async fn no_is_believed_only_of_an_api_server_that_is_ready() {
        let (by, right) = (Identity::default(), ResourceAttributes::default());
        let begun = server(500, true);
        let early = Authorizer(&begun);
        assert_eq!(early.may(&by, right.clone()).await.unwrap_err().class, Class::Transient);
        assert!(early.may(&by, right.clone()).await.unwrap(), "once it is ready");

        let begun = server(500, true);
        let early = Authorizer(&begun);
        assert_eq!(early.may_any(&by, vec![right.clone()]).await.unwrap_err().class, Class::Transient);
        assert!(early.may_any(&by, vec![right.clone()]).await.unwrap(), "once it is ready");

        for readyz in [200, 403] {
            let knows_since = server(readyz, true);
            assert!(
                Authorizer(&knows_since).may(&by, right.clone()).await.unwrap(),
                "what was said before does not count"
            );
            let refuses = server(readyz, false);
            assert!(!Authorizer(&refuses).may(&by, right.clone()).await.unwrap(), "{readyz}");
        }
    }
}
