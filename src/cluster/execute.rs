//! `perform(call) -> answer`: the only writer.

use std::sync::Arc;

use http::{Method, StatusCode};
use k8s_openapi::{
    api::{
        authentication::v1::TokenReview,
        core::v1::{ConfigMap, Namespace},
        rbac::v1::{ClusterRole, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    authorizer::Authorizer,
    exchange::{Ask, Exchange},
    fence,
    paths::{self, path},
    render::{self, Endpoint},
    status::{self, Target},
    token::{self, Vault},
};
use crate::{
    api::{
        CredentialLease, CredentialLeaseDecision, ServiceAccountLifecycle, Time,
        decision::DecisionType,
        lifecycle::{RoleKind, RoleRef},
        names::{self, LeaseUid},
        status::CredentialLeaseStatus,
    },
    domain::{
        call::{Answer, Call, Class, Failure},
        independence,
        observed::{Child, DeciderSeen, ObjectId, Observed, RoleSeen, TokenFacts},
        rbac, steps,
    },
};

/// Makes the calls that were decided on.
pub struct Execute {
    pub(super) exchange: Exchange,
    pub(super) vault: Arc<Vault>,
    pub(super) endpoint: Endpoint,
}

/// Just enough of any object.
#[derive(Deserialize)]
pub(super) struct Partial {
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
}

impl Execute {
    /// Writes through `exchange`, keeps tokens in `vault`; delivered kubeconfigs name `endpoint`.
    #[must_use]
    pub fn new(exchange: Exchange, vault: Arc<Vault>, endpoint: Endpoint) -> Self {
        Self { exchange, vault, endpoint }
    }

    /// Performs one call for the lease as it was seen when the call was decided.
    pub async fn perform(&self, seen: &Observed, call: &Call, now: Time) -> Answer {
        let answer = match call {
            Call::CheckAccess => self.check_access(seen).await,
            Call::CheckDecider { decision } => self.check_decider(seen, decision).await,
            Call::ReadNamespace { name } => self.read_namespace(name).await,
            Call::ReadLifecycle => self.read_lifecycle(seen).await,
            Call::ReadRole { grant } => self.read_role(seen, grant).await,
            Call::Create(child) => self.create(seen, child, now).await,
            Call::Find(Child::Secret) => self.find_secret(seen).await,
            Call::Find(child) => self.find(seen, child).await,
            Call::Inspect { child, id } => self.inspect(seen, child, id).await,
            Call::Confirm { child, id } => self.confirm(seen, child, id).await,
            Call::MintToken { account } => self.mint(seen, account, now).await,
            Call::ReviewToken => self.review(seen).await,
            Call::Delete { child, id } => self.delete(child, id).await,
            Call::WriteStatus(status) => self.write_status(seen, status).await,
            Call::ConfirmGone => self.confirm_gone(seen).await,
            Call::DeleteLease => self.delete_lease(seen).await,
            Call::Evaluate | Call::Reserve | Call::Record(_) | Call::Start { .. } => {
                Err(invalid("this call is not for the API server"))
            }
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    async fn check_access(&self, seen: &Observed) -> Result<Answer, Failure> {
        let Some(spec) = seen.lease.spec.as_ref() else { return Err(invalid("the lease has no spec")) };
        let right = render::custom_verb("lease", &seen.lease.namespace, &spec.lifecycle_ref.name);
        Authorizer(&self.exchange).may(&spec.requested_by, right).await.map(Answer::Access)
    }

    /// May the decider approve, and could he act as the requester? Every question at once: none needs another's answer.
    async fn check_decider(&self, seen: &Observed, decision: &str) -> Result<Answer, Failure> {
        let Some(decision) = seen.decisions.iter().find(|d| d.uid == decision) else {
            return Err(invalid("the decision is not known"));
        };
        let (by, spec) = (&decision.spec.decided_by, &decision.spec);
        // Only approvals are asked about, and one answer counts for all of somebody's.
        let right = render::custom_verb(DecisionType::Approved.verb(), &seen.lease.namespace, &spec.lifecycle_ref.name);
        let ways = independence::ways(&spec.requester).iter().map(render::way).collect();
        let authorizer = Authorizer(&self.exchange);
        let (may, acts) = futures::try_join!(authorizer.may(by, right), authorizer.may_any(by, ways))?;
        Ok(Answer::Decider(DeciderSeen { may, acts_as_requester: acts }))
    }

    async fn read_namespace(&self, name: &str) -> Result<Answer, Failure> {
        let reply = self.exchange.send(Ask::new(Method::GET, path::<Namespace>("", name)).metadata()).await?;
        if reply.code == StatusCode::NOT_FOUND {
            return Ok(Answer::Namespace(None));
        }
        Ok(Answer::Namespace(Some(reply.decode::<Partial>()?.metadata.labels.unwrap_or_default())))
    }

    async fn read_lifecycle(&self, seen: &Observed) -> Result<Answer, Failure> {
        let recorded = seen.lease.status.request.as_ref().map(|r| r.lifecycle.name.as_str());
        let Some(name) = seen.lease.spec.as_ref().map(|s| s.lifecycle_ref.name.as_str()).or(recorded) else {
            return Err(invalid("the lease names no lifecycle"));
        };
        let path = path::<ServiceAccountLifecycle>(&seen.lease.namespace, name);
        Ok(Answer::Lifecycle(self.get::<ServiceAccountLifecycle>(path).await?.map(Box::new)))
    }

    async fn read_role(&self, seen: &Observed, grant: &str) -> Result<Answer, Failure> {
        let Some(role) = seen.role_of(grant) else { return Err(invalid("the lifecycle has no such grant")) };
        self.role(&seen.namespace_of(grant), role).await.map(Answer::Role)
    }

    /// The role as the API server has it now.
    ///
    /// # Errors
    /// If the API server cannot say.
    pub async fn role(&self, namespace: &str, role: &RoleRef) -> Result<Option<RoleSeen>, Failure> {
        let found = match role.kind {
            RoleKind::Role => {
                self.get::<Role>(path::<Role>(namespace, &role.name)).await?.map(|r| (r.metadata, r.rules))
            }
            RoleKind::ClusterRole => {
                self.get::<ClusterRole>(path::<ClusterRole>("", &role.name)).await?.map(|r| (r.metadata, r.rules))
            }
        };
        Ok(found.map(|(metadata, rules)| RoleSeen {
            uid: metadata.uid.unwrap_or_default(),
            rules: rbac::rules(rules.as_ref()),
        }))
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, Failure> {
        let reply = self.exchange.send(Ask::new(Method::GET, path)).await?;
        if reply.code == StatusCode::NOT_FOUND { Ok(None) } else { reply.decode().map(Some) }
    }

    async fn create(&self, seen: &Observed, child: &Child, now: Time) -> Result<Answer, Failure> {
        match child {
            Child::Job => self.post(seen, child, render::job(seen, now)).await,
            Child::Account => self.post(seen, child, render::account(seen)).await,
            Child::Binding(grant) => self.post(seen, child, render::binding(seen, grant)).await,
            Child::MintRole => self.post(seen, child, render::mint_role(seen)).await,
            Child::MintBinding => self.post(seen, child, render::mint_binding(seen)).await,
            Child::Secret => self.deliver(seen).await,
            Child::Ledger => Err(invalid("a ledger is made of what was rendered")),
        }
    }

    /// Writes down how to take the steps of a workflow back, in their order: a name, and the request as JSON.
    pub async fn create_ledger(&self, seen: &Observed, undos: &[(String, String)]) -> Answer {
        let made = self.post(seen, &Child::Ledger, render::ledger(seen, undos)).await;
        made.unwrap_or_else(Answer::Failed)
    }

    /// How a step is to be taken back, as it was written down; `None` if nothing is.
    ///
    /// # Errors
    /// If the API server cannot say.
    pub async fn read_ledger(&self, lease: &LeaseUid, step: &str) -> Result<Option<String>, Failure> {
        let path = path::<ConfigMap>(names::ISSUING_NAMESPACE, &names::issuing(lease));
        let Some(found) = self.get::<ConfigMap>(path).await? else { return Ok(None) };
        if !fence::is_of(&found.metadata, lease) {
            return Ok(None);
        }
        Ok(found.data.and_then(|mut data| data.remove(step)))
    }

    async fn post<T: Serialize>(&self, seen: &Observed, child: &Child, body: Option<T>) -> Result<Answer, Failure> {
        let (Some(body), Some((namespace, _))) = (body, render::place(child, seen)) else {
            return Err(invalid("the lease does not say enough to make it"));
        };
        let reply = self
            .exchange
            .send(Ask::new(Method::POST, paths::child_path(child, &namespace, None)).json(&body)?.metadata())
            .await?;
        if reply.code == StatusCode::CONFLICT {
            return match self.find(seen, child).await? {
                // What was in the way is gone again, or the conflict was another one: it is tried again.
                Answer::Absent => Err(reply.failure()),
                Answer::Outdated(_) => {
                    Err(invalid("what an earlier try has bound is not what is granted now: ask again"))
                }
                other => Ok(other),
            };
        }
        present(&reply.decode::<Partial>()?.metadata)
    }

    /// Looks for an object by its name: ours, a stranger's, or none.
    async fn find(&self, seen: &Observed, child: &Child) -> Result<Answer, Failure> {
        let Some((namespace, name)) = render::place(child, seen) else { return Ok(Answer::Absent) };
        let ask = Ask::new(Method::GET, paths::child_path(child, &namespace, Some(&name)));
        // A binding is compared with ours, since others may write bindings in its namespace; of the rest the metadata says enough.
        let ours = match child {
            Child::Binding(grant) => render::binding(seen, grant),
            _ => None,
        };
        let reply = self.exchange.send(if ours.is_some() { ask } else { ask.metadata() }).await?;
        if reply.code == StatusCode::NOT_FOUND {
            return Ok(Answer::Absent);
        }
        let metadata = reply.decode::<Partial>()?.metadata;
        if !fence::is_of(&metadata, &seen.lease.uid) {
            return Ok(Answer::Stranger);
        }
        let Some(ours) = ours else {
            let written = metadata.annotations.as_ref().and_then(|a| a.get(names::ANNOTATION_WORKFLOW));
            if *child == Child::Ledger && written != steps::workflow_digest(seen).as_ref() {
                return Ok(Answer::Outdated(
                    fence::identity(&metadata).ok_or_else(|| transient("the answer names no object"))?,
                ));
            }
            return present(&metadata);
        };
        let found: RoleBinding = reply.decode()?;
        if fence::same_binding(&found, &ours) {
            present(&metadata)
        } else if fence::is_for(&found, &seen.lease.uid) {
            // Ours, of before the lifecycle was changed: to be deleted, and never to be taken for what is to be bound.
            Ok(Answer::Outdated(fence::identity(&metadata).ok_or_else(|| transient("the answer names no object"))?))
        } else {
            Ok(Answer::Stranger)
        }
    }

    /// Looks at a RoleBinding that claims to be the lease's. Only the operator can have made one for a lease's account.
    async fn inspect(&self, seen: &Observed, child: &Child, id: &ObjectId) -> Result<Answer, Failure> {
        let path = paths::child_path(child, &id.namespace, Some(&id.name));
        let Some(found) = self.get::<RoleBinding>(path).await? else { return Ok(Answer::Absent) };
        let same = found.metadata.uid.as_deref() == Some(id.uid.as_str());
        let ours = same && fence::is_of(&found.metadata, &seen.lease.uid) && fence::is_for(&found, &seen.lease.uid);
        Ok(if ours { Answer::Present(id.clone()) } else { Answer::Stranger })
    }

    /// Whether exactly this object is still there. Without a resourceVersion the answer is never older than the question.
    async fn confirm(&self, seen: &Observed, child: &Child, id: &ObjectId) -> Result<Answer, Failure> {
        let path = paths::child_path(child, &id.namespace, Some(&id.name));
        let reply = self.exchange.send(Ask::new(Method::GET, path).metadata()).await?;
        // With a namespace our rights in it go, too.
        let gone = match reply.code {
            StatusCode::NOT_FOUND => true,
            StatusCode::FORBIDDEN => matches!(self.read_namespace(&id.namespace).await?, Answer::Namespace(None)),
            _ => false,
        };
        if gone {
            return Ok(Answer::Absent);
        }
        let metadata = reply.decode::<Partial>()?.metadata;
        // Without our label no watch tells what becomes of it.
        let stays = metadata.deletion_timestamp.is_none() && fence::is_of(&metadata, &seen.lease.uid);
        Ok(match metadata.uid {
            Some(uid) if uid != id.uid => Answer::Absent,
            None => return Err(transient("the answer names no object")),
            Some(_) if stays => Answer::Present(id.clone()),
            Some(_) => Answer::Deleting(id.clone()),
        })
    }

    async fn mint(&self, seen: &Observed, account: &ObjectId, now: Time) -> Result<Answer, Failure> {
        let Some(deadline) = seen.deadline() else { return Err(invalid("the lease has no deadline")) };
        let left = deadline.since(now).max(0) / 1000 + 1;
        let audiences = seen.lease.spec.as_ref().map(|s| s.audiences.clone()).unwrap_or_default();
        let (token, expires) = token::mint(&self.exchange, account, audiences, left).await?;
        let facts = TokenFacts { credential_id: token.credential_id(), expires };
        self.vault.keep(&seen.lease.uid, token);
        Ok(Answer::Token(facts))
    }

    async fn review(&self, seen: &Observed) -> Result<Answer, Failure> {
        let Some(token) = self.vault.get(&seen.lease.uid) else {
            return Err(transient("this process holds no token for the lease"));
        };
        let ask = Ask::new(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews")
            .json(&render::token_review(&token, seen.audiences()))?;
        let review: TokenReview = self.exchange.send(ask).await?.decode()?;
        let status = review.status.ok_or_else(|| transient("the API server did not say whether it knows the token"))?;
        Ok(Answer::Reviewed(status.authenticated == Some(true)))
    }

    async fn delete(&self, child: &Child, id: &ObjectId) -> Result<Answer, Failure> {
        let path = paths::child_path(child, &id.namespace, Some(&id.name));
        let reply = self.exchange.send(Ask::new(Method::DELETE, path).json(&by_uid(&id.uid))?).await?;
        if !reply.code.is_success() {
            return paths::gone(&reply);
        }
        // A deletion answers with the object if somebody's finalizer holds it: an account held like that still authenticates.
        let held: Option<Partial> = reply.decode().ok();
        match held.and_then(|object| object.metadata.finalizers).filter(|finalizers| !finalizers.is_empty()) {
            None => Ok(Answer::Done),
            Some(finalizers) => Err(conflict(format!(
                "{}/{} is held by finalizers of others: {}",
                id.namespace,
                id.name,
                finalizers.join(", ")
            ))),
        }
    }

    async fn write_status(&self, seen: &Observed, status: &CredentialLeaseStatus) -> Result<Answer, Failure> {
        let lease = &seen.lease;
        let target = Target {
            namespace: &lease.namespace,
            name: &lease.name,
            uid: &lease.uid.text(),
            resource_version: &lease.resource_version,
            spec: lease.spec.as_ref(),
        };
        status::put::<CredentialLease, _, _>(&self.exchange, &target, status).await.map(Answer::Written)
    }

    async fn confirm_gone(&self, seen: &Observed) -> Result<Answer, Failure> {
        if seen.lease.namespace.is_empty() || seen.lease.name.is_empty() {
            // The path would be that of every lease, and its answer would tell of none.
            return Err(invalid("nothing says which lease this was made for"));
        }
        let reply = self
            .exchange
            .send(Ask::new(Method::GET, path::<CredentialLease>(&seen.lease.namespace, &seen.lease.name)).metadata())
            .await?;
        if reply.code == StatusCode::NOT_FOUND {
            return Ok(Answer::Absent);
        }
        let metadata = reply.decode::<Partial>()?.metadata;
        if metadata.uid.as_deref().is_some_and(|uid| seen.lease.uid == *uid) {
            Err(conflict("the lease is there".into()))
        } else {
            Ok(Answer::Absent)
        }
    }

    /// Deletes a decision that is no longer of use.
    ///
    /// # Errors
    /// If it is still there after that.
    pub async fn delete_decision(&self, id: &ObjectId) -> Result<(), Failure> {
        let path = path::<CredentialLeaseDecision>(&id.namespace, &id.name);
        let reply = self.exchange.send(Ask::new(Method::DELETE, path).json(&by_uid(&id.uid))?).await?;
        if reply.code.is_success() { Ok(()) } else { paths::gone(&reply).map(|_| ()) }
    }

    async fn delete_lease(&self, seen: &Observed) -> Result<Answer, Failure> {
        let path = path::<CredentialLease>(&seen.lease.namespace, &seen.lease.name);
        let reply = self.exchange.send(Ask::new(Method::DELETE, path).json(&by_uid(&seen.lease.uid.text()))?).await?;
        if reply.code.is_success() { Ok(Answer::Done) } else { paths::gone(&reply) }
    }
}

pub(super) fn present(metadata: &ObjectMeta) -> Result<Answer, Failure> {
    fence::identity(metadata).map(Answer::Present).ok_or_else(|| transient("the answer names no object"))
}

/// Deletes only the object with this UID, and does not answer with the object where nothing holds it.
pub(super) fn by_uid(uid: &str) -> DeleteOptions {
    DeleteOptions {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        propagation_policy: Some("Background".into()),
        ..DeleteOptions::default()
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(Class::Invalid, message)
}

pub(super) fn transient(message: &str) -> Failure {
    Failure::new(Class::Transient, message)
}

fn conflict(message: String) -> Failure {
    Failure::new(Class::Conflict, message)
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
