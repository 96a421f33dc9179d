//! The Secret that a token is delivered into: written, and looked at without any right to read it.

use http::{Method, StatusCode};

use super::{
    authorizer::Authorizer,
    exchange::{Ask, Reply},
    execute::{Execute, Partial, present, transient},
    fence, paths, render,
};
use crate::{
    api::names,
    domain::{
        call::{Answer, Class, Failure},
        observed::{Child, Observed},
    },
};

impl Execute {
    /// Creates the Secret, or writes into the one that an earlier self created: a JSON patch that tests our label reads nothing.
    pub(super) async fn deliver(&self, seen: &Observed) -> Result<Answer, Failure> {
        let (Some(token), Some((namespace, name))) =
            (self.vault.get(&seen.lease.uid), render::place(&Child::Secret, seen))
        else {
            return Err(transient("this process holds no token for the lease"));
        };
        let (Some(secret), Some(data)) =
            (render::secret(seen, &token, &self.endpoint), render::secret_data(seen, &token, &self.endpoint))
        else {
            return Err(transient("the token's facts are not known"));
        };
        let reply = self
            .exchange
            .send(Ask::new(Method::POST, paths::child_path(&Child::Secret, &namespace, None)).json(&secret)?.metadata())
            .await?;
        if reply.code != StatusCode::CONFLICT {
            return present(&reply.decode::<Partial>()?.metadata);
        }
        let label = "/metadata/labels/leasehold.dev~1lease-uid";
        let patch = serde_json::json!([
            {"op": "test", "path": label, "value": *seen.lease.uid.text()},
            {"op": "add", "path": "/data", "value": data},
        ]);
        let ask = Ask::new(Method::PATCH, paths::child_path(&Child::Secret, &namespace, Some(&name)))
            .patch("application/json-patch+json")
            .json(&patch)?
            .metadata();
        let reply = self.exchange.send(ask).await?;
        match reply.code {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Stranger),
            StatusCode::FORBIDDEN if is_strangers_secret(&reply) => Ok(Answer::Stranger),
            StatusCode::NOT_FOUND => Err(Failure { class: Class::Conflict, ..reply.failure() }),
            _ => present(&reply.decode::<Partial>()?.metadata),
        }
    }

    /// Looks at a delivered Secret without any right to read it: an empty dry-run patch that answers metadata only.
    pub(super) async fn find_secret(&self, seen: &Observed) -> Result<Answer, Failure> {
        let Some((namespace, name)) = render::place(&Child::Secret, seen) else { return Ok(Answer::Absent) };
        let path = format!("{}?dryRun=All", paths::child_path(&Child::Secret, &namespace, Some(&name)));
        let ask = Ask::new(Method::PATCH, path)
            .patch("application/merge-patch+json")
            .json(&serde_json::json!({}))?
            .metadata();
        let reply = self.exchange.send(ask).await?;
        match reply.code {
            StatusCode::NOT_FOUND => return Ok(Answer::Absent),
            StatusCode::FORBIDDEN if is_strangers_secret(&reply) => return Ok(Answer::Stranger),
            StatusCode::FORBIDDEN if seen.memory.end.is_some() && lacks_the_right(&reply) => {
                // Nobody is kept waiting for a right that was never given. Where it was taken away since, a Secret may stay until its
                // lease takes it along.
                Authorizer(&self.exchange).is_ready().await?;
                return Ok(Answer::Absent);
            }
            _ => {}
        }
        let metadata = reply.decode::<Partial>()?.metadata;
        if !fence::is_of(&metadata, &seen.lease.uid) {
            return Ok(Answer::Stranger);
        }
        let foreign = metadata
            .managed_fields
            .iter()
            .flatten()
            .any(|entry| entry.manager.as_deref().is_some_and(|manager| manager != names::MANAGER));
        let Some(id) = fence::identity(&metadata) else { return Err(transient("the answer names no object")) };
        Ok(if foreign { Answer::Touched(id) } else { Answer::Present(id) })
    }
}

/// The operator's own policy refuses to let it touch a Secret of another type: it is somebody else's. A 403 of any other cause
/// says nothing about the Secret.
pub(super) fn is_strangers_secret(reply: &Reply) -> bool {
    reply.failure().message.contains("leasehold-secret-self-limit")
}

/// Whether the authorizer said no, and not an admission policy or webhook (`forbiddenMessage`,
/// staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go).
fn lacks_the_right(reply: &Reply) -> bool {
    reply.failure().message.contains("cannot patch resource")
}
