//! What somebody wants to lease: the flags that `request`, `run` and `check` share.

use clap::{Args, ValueEnum};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;

use super::exit::Failure;
use crate::api::{
    CredentialLease, CredentialLeaseSpec, Duration, ServiceAccountLifecycle, Time,
    lease::{Delivery, Identity, LifecycleRef, SecretDelivery},
    lifecycle::DeliveryType,
    workflow::{CompletionKind, CompletionRef},
};

/// What is wanted.
#[derive(Args, Clone, Debug)]
pub struct Wanted {
    /// The lifecycle that is leased.
    #[arg(value_name = "LIFECYCLE")]
    pub lifecycle: String,
    /// What you need, by the names of the lifecycle's grants. May be left out if it has one.
    #[arg(long = "grant", value_name = "GRANT", value_delimiter = ',')]
    pub grants: Vec<String>,
    /// For how long, like 10m. Default: as the lifecycle says.
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// The change or incident it belongs to.
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// Whom tokens are for; may be repeated. Default: the API server.
    #[arg(long = "audience", value_name = "AUDIENCE")]
    pub audiences: Vec<String>,
    /// Not before this time, in RFC 3339: agreed by day, issued at night.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<Time>,
    /// What it is for, like job/nightly or pod/worker-0: the lease ends when that has completed, failed or is deleted.
    #[arg(long, value_name = "KIND/NAME", value_parser = completion)]
    pub completion: Option<CompletionRef>,
    /// Who owns the lease, in its namespace, like tekton.dev/v1/PipelineRun/release-7/UID: it is deleted with its owner, and so ends.
    #[arg(long, value_name = "APIVERSION/KIND/NAME/UID", value_parser = owner)]
    pub owner: Option<OwnerReference>,
}

/// `APIVERSION/KIND/NAME/UID`; the first may have a slash of its own.
fn owner(text: &str) -> Result<OwnerReference, String> {
    let parts: Vec<&str> = text.rsplitn(4, '/').collect();
    let [uid, name, kind, api_version] = parts.as_slice() else {
        return Err("write APIVERSION/KIND/NAME/UID, such as batch/v1/Job/nightly/2ab3f0c4-...".into());
    };
    if parts.iter().any(|part| part.is_empty()) || api_version.matches('/').count() > 1 {
        return Err("write APIVERSION/KIND/NAME/UID: none of them is empty, and only the first may have a slash".into());
    }
    let [api_version, kind, name, uid] = [api_version, kind, name, uid].map(|part| (*part).to_owned());
    Ok(OwnerReference { api_version, kind, name, uid, ..OwnerReference::default() })
}

/// `job/NAME` or `pod/NAME`.
fn completion(text: &str) -> Result<CompletionRef, String> {
    let (kind, api_version, name) = match text.split_once('/') {
        Some(("job" | "jobs" | "job.batch" | "jobs.batch", name)) => (CompletionKind::Job, "batch/v1", name),
        Some(("pod" | "pods" | "po", name)) => (CompletionKind::Pod, "v1", name),
        _ => return Err("write job/NAME or pod/NAME".into()),
    };
    if name.is_empty() {
        return Err(format!("write the name of the {}, like {text}nightly", kind.as_str()));
    }
    Ok(CompletionRef { api_version: api_version.into(), kind, name: name.to_owned() })
}

impl Wanted {
    /// The grants: those that were named, or the only one that the lifecycle has; none if there is a choice to be made.
    #[must_use]
    pub fn chosen(&self, lifecycle: &ServiceAccountLifecycle) -> Vec<String> {
        match lifecycle.spec.grants.as_slice() {
            [only] if self.grants.is_empty() => vec![only.name.clone()],
            _ => self.grants.clone(),
        }
    }

    /// The lease with these grants; its name is the caller's to choose.
    #[must_use]
    pub fn lease(
        &self,
        namespace: &str,
        grants: Vec<String>,
        reason: &str,
        delivery: Delivery,
        me: Identity,
    ) -> CredentialLease {
        let spec = CredentialLeaseSpec {
            lifecycle_ref: LifecycleRef { name: self.lifecycle.clone() },
            grants,
            ttl: self.ttl,
            not_before: self.not_before,
            reason: reason.to_owned(),
            ticket: self.ticket.clone(),
            audiences: self.audiences.clone(),
            delivery,
            completion_ref: self.completion.clone(),
            standing_ref: None,
            requested_by: me,
        };
        let metadata = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        CredentialLease { metadata, spec, status: None }
    }
}

/// How the token should reach its holder.
#[derive(Args, Clone, Debug, Default)]
pub struct Delivered {
    /// How the token reaches its holder. Default: you mint it yourself, nothing is stored; with --secret-name Secret.
    #[arg(long, value_enum, value_name = "TYPE", ignore_case = true)]
    pub delivery: Option<How>,
    /// With delivery Secret: which one, of those that the lifecycle lists.
    #[arg(long, value_name = "NAME")]
    pub secret_name: Option<String>,
}

/// How the token reaches its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum How {
    #[value(name = "TokenRequest")]
    TokenRequest,
    #[value(name = "Secret")]
    Secret,
}

impl Delivered {
    /// As a lease's spec has it.
    ///
    /// # Errors
    /// [`Failure::Usage`] if a Secret is named for a token that is not stored.
    pub fn delivery(&self) -> Result<Delivery, Failure> {
        let secret = self.secret_name.clone().map(|name| SecretDelivery { name });
        let kind = match (self.delivery, &secret) {
            (Some(How::TokenRequest), Some(_)) => {
                return Err(Failure::Usage("--secret-name goes with --delivery Secret: leave one of them out".into()));
            }
            (Some(How::Secret), _) | (None, Some(_)) => DeliveryType::Secret,
            _ => DeliveryType::TokenRequest,
        };
        Ok(Delivery { kind, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_written_in_one_word() {
        let run = owner("tekton.dev/v1/PipelineRun/release-7/0a-1").unwrap();
        let parts = [run.api_version, run.kind, run.name, run.uid];
        assert_eq!(parts, ["tekton.dev/v1", "PipelineRun", "release-7", "0a-1"]);
        let pod = owner("v1/Pod/worker-0/0a-1").unwrap();
        assert_eq!([pod.api_version, pod.kind, pod.name, pod.uid], ["v1", "Pod", "worker-0", "0a-1"]);
        for wrong in ["", "Pod/worker-0/0a-1", "v1/Pod/worker-0/", "a/b/v1/Pod/worker-0/0a-1"] {
            assert!(owner(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secrets_name_means_delivery_into_it() {
        let delivery = |how: Option<How>, name: Option<&str>| {
            Delivered { delivery: how, secret_name: name.map(str::to_owned) }.delivery()
        };
        let named = delivery(None, Some("s")).unwrap();
        assert_eq!((named.kind, named.secret.map(|s| s.name)), (DeliveryType::Secret, Some("s".into())));
        assert!(delivery(Some(How::TokenRequest), Some("s")).is_err());
        assert_eq!(delivery(Some(How::Secret), None).unwrap().kind, DeliveryType::Secret);
        assert_eq!(delivery(None, None).unwrap().kind, DeliveryType::TokenRequest);
    }
}
