//! `CredentialLeaseDecision`: one person's word about one request.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DNS_LABEL, Duration,
    lease::{Identity, LifecycleRef},
    lifecycle::Independence,
    quantities::{TTL_MESSAGE, TTL_RULE, WAIT_MESSAGE, WAIT_RULE},
};

/// One person's word about one request: approved, denied, or revoked. Immutable; never in Git.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leasehold.dev",
    version = "v1alpha1",
    kind = "CredentialLeaseDecision",
    namespaced,
    shortname = "cldec",
    category = "leasehold",
    derive = "PartialEq",
    doc = "One person's word about one request: approved, denied, or revoked. Immutable; never in Git.",
    printcolumn(name = "Lease", type_ = "string", json_path = ".spec.leaseRef.name"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.decidedBy.username"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester", priority = 1),
    printcolumn(name = "Lifecycle", type_ = "string", json_path = ".spec.lifecycleRef.name", priority = 1),
    printcolumn(name = "Max ttl", type_ = "string", json_path = ".spec.maxTTL", priority = 1),
    printcolumn(name = "Repeat for", type_ = "string", json_path = ".spec.repeatFor", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.leaseRef.name",
    selectable = ".spec.leaseRef.uid",
    selectable = ".spec.lifecycleRef.name",
    selectable = ".spec.requester",
    selectable = ".spec.decision",
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("a decision is immutable: create another one; to take an approval back before the lease is issued, delete it or deny; afterwards, revoke")
        .field_path(".spec"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.decision == 'Approved') == has(self.requestDigest)")
    .message("requestDigest goes with decision Approved, and only with it: copy status.requestDigest of the lease that you looked at")
    .field_path(".requestDigest"))]
#[x_kube(validation = Rule::new("self.decision == 'Approved' || !(has(self.maxTTL) || has(self.repeatFor) || has(self.independence))")
    .message("maxTTL, repeatFor and independence go with decision Approved only: leave them out"))]
pub struct CredentialLeaseDecisionSpec {
    /// The lease that is decided on, pinned by its UID.
    pub lease_ref: LeaseRef,
    /// The lease's lifecycle: policy checks the decider's right on it, the operator that it is the lease's.
    pub lifecycle_ref: LifecycleRef,
    /// User name of the lease's requester: policy checks that the decider is somebody else, the operator that it is the lease's.
    #[schemars(length(min = 1, max = 512))]
    pub requester: String,
    /// Approved, Denied or Revoked.
    pub decision: DecisionType,
    /// With Approved: `status.requestDigest` of the lease, recomputed from exactly what was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub request_digest: Option<String>,
    /// Why.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
    /// With Approved: the lease may live so long at most.
    #[serde(default, rename = "maxTTL", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    pub max_ttl: Option<Duration>,
    /// With Approved: equal requests (same digest) of the same requester that are made so long after this decision are
    /// approved with it, within the terms' `approval.maxRepeat`. To end that early, delete the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub repeat_for: Option<Duration>,
    /// With Approved: `Recorded` says openly that the decider could act as the requester. Such a decision counts only where
    /// the terms' `approval.independence` is Recorded. Absent means Required: policy refuses a decider who could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub independence: Option<Independence>,
    /// Who decides. Proven by admission policy to be the one who created the decision.
    pub decided_by: Identity,
}

/// A lease in the same namespace, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// Its `metadata.uid`.
    #[schemars(length(min = 36, max = 36), regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
    pub uid: String,
}

/// What can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DecisionType {
    /// The request may be issued. Needs the verb `approve` on the lifecycle.
    Approved,
    /// The request must not be issued; one is enough. Needs the verb `approve` on the lifecycle.
    Denied,
    /// The lease ends now, or is withdrawn. Needs the verb `revoke` on the lifecycle, or to be the requester.
    Revoked,
}

impl DecisionType {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "Approved",
            Self::Denied => "Denied",
            Self::Revoked => "Revoked",
        }
    }

    /// The custom verb on the lifecycle that whoever decides so needs.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Approved | Self::Denied => "approve",
            Self::Revoked => "revoke",
        }
    }
}
