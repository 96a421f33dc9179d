//! `CredentialLease`: one credential and one life.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DNS_LABEL, Duration, SECRET_NAME, Time,
    lifecycle::DeliveryType,
    quantities::{TTL_MESSAGE, TTL_RULE},
    status::CredentialLeaseStatus,
    workflow::{CompletionKind, CompletionRef, StandingRef},
};

/// A request for one credential and the record of its one life. Immutable as a whole; never in Git.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leasehold.dev",
    version = "v1alpha1",
    kind = "CredentialLease",
    namespaced,
    status = "CredentialLeaseStatus",
    shortname = "clease",
    category = "leasehold",
    derive = "PartialEq",
    doc = "A request for one credential and the record of its one life. Immutable as a whole; never in Git.",
    printcolumn(name = "Lifecycle", type_ = "string", json_path = ".spec.lifecycleRef.name"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requestedBy.username"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expirationTime"),
    printcolumn(name = "Revoked", type_ = "string", json_path = ".status.conditions[?(@.type==\"Revoked\")].status"),
    printcolumn(name = "Approvals", type_ = "string", json_path = ".status.approvals.summary", priority = 1),
    printcolumn(name = "Grants", type_ = "string", json_path = ".spec.grants", priority = 1),
    printcolumn(name = "Delivery", type_ = "string", json_path = ".spec.delivery.type", priority = 1),
    printcolumn(name = "Ended by", type_ = "string", json_path = ".status.endReason", priority = 1),
    printcolumn(name = "Evidence", type_ = "string", json_path = ".status.credential.evidence", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.lifecycleRef.name",
    selectable = ".spec.requestedBy.username",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it"),
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("a lease is immutable: create another one, and delete this one to end it now")
        .field_path(".spec"),
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialLeaseSpec {
    /// The lifecycle in the same namespace that is leased.
    pub lifecycle_ref: LifecycleRef,
    /// What is asked for, by the names of the lifecycle's grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub grants: Vec<String>,
    /// The life of the lease. Absent means the lifecycle's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    pub ttl: Option<Duration>,
    /// Not before this time: agreed by day, issued at night. Absent means as soon as it is agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Why it is needed.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
    /// The change or incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub ticket: Option<String>,
    /// Whom the tokens are for. Absent means the API server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Vec<String>,
    /// How the token reaches its holder.
    pub delivery: Delivery,
    /// The lease ends when this ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_ref: Option<CompletionRef>,
    /// The standing credential it was made for. Only the operator makes such leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_ref: Option<StandingRef>,
    /// Who asks. Proven by admission policy to be the one who created the lease.
    pub requested_by: Identity,
}

impl CredentialLeaseSpec {
    /// Whether the lease ends with the very pod that asked for it.
    #[must_use]
    pub fn ends_with_own_pod(&self) -> bool {
        let own = self.requested_by.pod_name.as_ref();
        self.completion_ref.as_ref().is_some_and(|it| it.kind == CompletionKind::Pod && Some(&it.name) == own)
    }
}

/// A lifecycle in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LifecycleRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
}

/// How the token reaches its holder.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.type == 'Secret' || !has(self.secret)")
    .message("delivery.secret goes with type Secret: set type to Secret, or leave secret out")
    .field_path(".secret"))]
pub struct Delivery {
    /// TokenRequest or Secret.
    #[serde(rename = "type")]
    pub kind: DeliveryType,
    /// With type Secret: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretDelivery>,
}

/// The Secret a token is written into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretDelivery {
    /// Its name; only one that the lifecycle lists in `terms.secretNames`.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
}

/// Who asked or decided, as the API server authenticated them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The user name.
    #[schemars(length(min = 1, max = 512))]
    pub username: String,
    /// The user's UID, where the authenticator gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub uid: Option<String>,
    /// The user's groups, without those that begin with `system:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub groups: Vec<String>,
    /// The pod whose token was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod_name: Option<String>,
    /// The id of the credential that was used (`JTI=…` of a token, `X509SHA256=…` of a certificate).
    #[serde(default, rename = "credentialID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub credential_id: Option<String>,
}
