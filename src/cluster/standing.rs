//! The calls of standing credentials: leases are asked for, tokens minted and written, consumers restarted.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::ResourceExt;
use serde::Deserialize;

use super::{
    consumers,
    exchange::{Ask, Exchange, Reply},
    execute::by_uid,
    paths::{collection, gone, path},
    render::{self, Endpoint},
    secret::is_strangers_secret,
    token,
};
use crate::{
    api::{
        CredentialLease, CredentialLeaseSpec, Duration, ServiceAccountLifecycle, Time,
        lease::{Delivery, Identity, LifecycleRef, SecretDelivery},
        lifecycle::DeliveryType,
        names,
        standing::StandingSecret,
        workflow::{Standing, StandingRef},
    },
    domain::{
        call::{Class, Failure},
        standing::seen::{Answer, Call, LeaseFacts, SecretSeen, State},
    },
};

/// Makes the calls that were decided on.
#[derive(Clone)]
pub struct Keeper {
    exchange: Exchange,
    endpoint: Endpoint,
}

/// The standing credential a call is made for.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub lifecycle: &'a ServiceAccountLifecycle,
    pub name: &'a str,
}

/// Just enough of any object.
#[derive(Deserialize)]
struct Partial {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl Keeper {
    /// Writes through `exchange`; delivered kubeconfigs name `endpoint`.
    #[must_use]
    pub fn new(exchange: Exchange, endpoint: Endpoint) -> Self {
        Self { exchange, endpoint }
    }

    /// Performs one call, but for writes of the lifecycle's status.
    pub async fn perform(&self, of: Place<'_>, call: &Call, now: Time) -> Answer {
        let namespace = of.lifecycle.namespace().unwrap_or_default();
        let answer = match call {
            Call::CreateLease { name } => self.create(of, &namespace, name).await,
            Call::ReadLease { name } => self.read(&namespace, name).await.map(|found| facts(of, found.as_ref())),
            Call::LookAtSecret { name } => self.look(of, &namespace, name).await.map(Answer::Secret),
            Call::Deliver { secret, lease } => self.deliver(of, &namespace, secret, lease, now).await,
            Call::DeleteSecret { name, uid } => self.delete(&namespace, name, uid).await,
            Call::ListConsumers { secret } => {
                consumers::list(&self.exchange, &namespace, secret).await.map(Answer::Consumers)
            }
            Call::Restart { consumer, marks } => {
                consumers::restart(&self.exchange, &namespace, consumer, marks).await.map(|()| Answer::Done)
            }
            Call::Write(_) => Err(Failure::new(Class::Invalid, "this call is not for the executor")),
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    /// Creates the lease, or finds the one of an earlier self.
    async fn create(&self, of: Place<'_>, namespace: &str, name: &str) -> Result<Answer, Failure> {
        let Some(lease) = lease(of, name) else {
            return Err(Failure::new(Class::Conflict, "it is no longer declared"));
        };
        let path = format!("{}?fieldManager={}", collection::<CredentialLease>(namespace), names::MANAGER);
        let reply = self.exchange.send(Ask::new(Method::POST, path).json(&lease)?).await?;
        if reply.code != StatusCode::CONFLICT {
            return Ok(facts(of, Some(&reply.decode::<CredentialLease>()?)));
        }
        match self.read(namespace, name).await? {
            // Whatever was in the way is gone again.
            None => Err(reply.failure()),
            Some(found) => Ok(facts(of, Some(&found))),
        }
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<CredentialLease>, Failure> {
        let reply = self.exchange.send(Ask::new(Method::GET, path::<CredentialLease>(namespace, name))).await?;
        if reply.code == StatusCode::NOT_FOUND { Ok(None) } else { reply.decode().map(Some) }
    }

    /// Looks at the Secret without any right to read it: an empty dry-run patch that answers metadata only.
    async fn look(&self, of: Place<'_>, namespace: &str, name: &str) -> Result<SecretSeen, Failure> {
        let ask = Ask::new(Method::PATCH, format!("{}?dryRun=All", path::<Secret>(namespace, name)))
            .patch("application/merge-patch+json")
            .json(&serde_json::json!({}))?
            .metadata();
        let reply = self.exchange.send(ask).await?;
        match reply.code {
            StatusCode::NOT_FOUND => Ok(SecretSeen::Absent),
            StatusCode::FORBIDDEN if is_strangers_secret(&reply) => Ok(SecretSeen::Stranger),
            _ => Ok(judge(of, &reply.decode::<Partial>()?.metadata)),
        }
    }

    /// Mints a token and writes it: into a new Secret, or into the one that an earlier self made. A JSON patch that tests our
    /// labels reads nothing, and changes nothing of a stranger's.
    async fn deliver(
        &self,
        of: Place<'_>,
        namespace: &str,
        name: &str,
        lease: &LeaseFacts,
        now: Time,
    ) -> Result<Answer, Failure> {
        let State::Active { account, expires, .. } = &lease.state else {
            return Err(Failure::new(Class::Conflict, "the lease is not active"));
        };
        let left = expires.since(now).max(0) / 1000 + 1;
        let (token, token_expires) = token::mint(&self.exchange, account, vec![], left).await?;
        let end = token_expires.min(*expires);
        let data = render::credential(&lease.works_in, &token, end, &self.endpoint);
        let metadata = metadata(of, namespace, name, &lease.name);
        let written = |reply: &Reply| {
            let uid = reply.decode::<Partial>()?.metadata.uid;
            Ok(Answer::Delivered(StandingSecret {
                name: name.to_owned(),
                uid,
                lease: Some(lease.name.clone()),
                write_time: Some(now),
                token_expiration_time: Some(token_expires),
            }))
        };
        let body = secret(&metadata, &data);
        let path_new = format!("{}?fieldManager={}", collection::<Secret>(namespace), names::MANAGER);
        let reply = self.exchange.send(Ask::new(Method::POST, path_new).json(&body)?.metadata()).await?;
        if reply.code != StatusCode::CONFLICT {
            return written(&reply);
        }
        let label = |name: &str| format!("/metadata/labels/{}", name.replace('/', "~1"));
        let patch = serde_json::json!([
            {"op": "test", "path": label(names::LABEL_STANDING), "value": of.name},
            {"op": "test", "path": label(names::LABEL_LIFECYCLE), "value": of.lifecycle.name_any()},
            {"op": "add", "path": "/metadata/ownerReferences", "value": metadata.owner_references},
            {"op": "add", "path": "/metadata/annotations", "value": metadata.annotations},
            {"op": "add", "path": "/data", "value": data},
        ]);
        let path_there = format!("{}?fieldManager={}", path::<Secret>(namespace, name), names::MANAGER);
        let ask = Ask::new(Method::PATCH, path_there).patch("application/json-patch+json").json(&patch)?.metadata();
        let reply = self.exchange.send(ask).await?;
        match reply.code {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Secret(SecretSeen::Stranger)),
            StatusCode::FORBIDDEN if is_strangers_secret(&reply) => Ok(Answer::Secret(SecretSeen::Stranger)),
            StatusCode::NOT_FOUND => Err(Failure { class: Class::Conflict, ..reply.failure() }),
            _ => written(&reply),
        }
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<Answer, Failure> {
        let ask = Ask::new(Method::DELETE, path::<Secret>(namespace, name)).json(&by_uid(uid))?;
        // Whether a finalizer of others holds it makes no difference: its token is dead.
        let reply = self.exchange.send(ask.metadata()).await?;
        if !reply.code.is_success() {
            gone(&reply)?;
        }
        Ok(Answer::Done)
    }
}

/// What is known of a lease, if it is one of this credential.
fn facts(of: Place<'_>, lease: Option<&CredentialLease>) -> Answer {
    let ours = |lease: &&CredentialLease| {
        lease.spec.lifecycle_ref.name == of.lifecycle.name_any()
            && lease.spec.standing_ref.as_ref().is_some_and(|standing| standing.name == of.name)
    };
    Answer::Lease(lease.filter(ours).map(|lease| LeaseFacts::of(lease, true)))
}

/// The lease as the lifecycle declares it.
fn lease(of: Place<'_>, name: &str) -> Option<CredentialLease> {
    let entry: &Standing = of.lifecycle.spec.standing.iter().find(|entry| entry.name == of.name)?;
    let ttl: Duration = entry.ttl;
    let spec = CredentialLeaseSpec {
        lifecycle_ref: LifecycleRef { name: of.lifecycle.name_any() },
        grants: entry.grants.clone(),
        ttl: Some(ttl),
        not_before: None,
        reason: format!("standing credential {}", entry.name),
        ticket: None,
        audiences: vec![],
        delivery: Delivery { kind: DeliveryType::Secret, secret: Some(SecretDelivery { name: entry.secret.clone() }) },
        completion_ref: None,
        standing_ref: Some(StandingRef { name: entry.name.clone() }),
        requested_by: Identity { username: names::OPERATOR_USERNAME.into(), ..Identity::default() },
    };
    let mut lease = CredentialLease::new(name, spec);
    lease.metadata.namespace = of.lifecycle.namespace();
    lease.metadata.owner_references = Some(owner(of));
    lease.metadata.labels = Some(
        [(names::LABEL_STANDING, of.name), (names::LABEL_MANAGED_BY, names::MANAGER)]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
    );
    Some(lease)
}

fn owner(of: Place<'_>) -> Vec<OwnerReference> {
    let uid = of.lifecycle.uid().unwrap_or_default();
    render::owner("leasehold.dev/v1alpha1", "ServiceAccountLifecycle", &of.lifecycle.name_any(), &uid)
}

/// The Secret is the lifecycle's, whichever lease's token is in it: it goes when the lifecycle goes.
fn metadata(of: Place<'_>, namespace: &str, name: &str, lease: &str) -> ObjectMeta {
    let lifecycle = of.lifecycle.name_any();
    let labels = [
        (names::LABEL_STANDING, of.name),
        (names::LABEL_LIFECYCLE, lifecycle.as_str()),
        (names::LABEL_NAMESPACE, namespace),
        (names::LABEL_MANAGED_BY, names::MANAGER),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        annotations: Some([(names::ANNOTATION_LEASE.to_owned(), format!("{namespace}/{lease}"))].into()),
        owner_references: Some(owner(of)),
        ..ObjectMeta::default()
    }
}

fn secret(metadata: &ObjectMeta, data: &BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: metadata.clone(),
        type_: Some(names::SECRET_TYPE.into()),
        data: Some(data.clone()),
        ..Secret::default()
    }
}

fn judge(of: Place<'_>, metadata: &ObjectMeta) -> SecretSeen {
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let uid = metadata.uid.clone().unwrap_or_default();
    if label(names::LABEL_STANDING) != Some(of.name)
        || label(names::LABEL_LIFECYCLE) != Some(of.lifecycle.name_any().as_str())
    {
        return SecretSeen::Stranger;
    }
    let owned = metadata.owner_references.iter().flatten().any(|o| Some(&o.uid) == of.lifecycle.metadata.uid.as_ref());
    let managers = || metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    if !owned || managers().any(|manager| manager != names::MANAGER) {
        return SecretSeen::Touched { uid };
    }
    let annotation = metadata.annotations.as_ref().and_then(|all| all.get(names::ANNOTATION_LEASE));
    let lease = annotation.and_then(|lease| names::lease_in(lease)).map(|(_, name)| name.to_owned());
    SecretSeen::Ours { uid, lease }
}
