//! What the operator says about a lease: one object that tells the whole story.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition, Duration, Time,
    decision::DecisionType,
    lease::{Identity, SecretDelivery},
    lifecycle::{DeliveryType, Independence, RoleRef},
    reasons::{EndReason, Evidence, Happening, Outlives, Phase},
    workflow::{CompletionRef, ResolvedStep, StandingRef, StepStatus},
};

/// Status of a `CredentialLease`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialLeaseStatus {
    /// The generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the lease is: a copy of the reason of condition Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The resolved document: exactly what is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<ResolvedRequest>,
    /// `sha256:` of the canonical JSON (RFC 8785) of `request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub request_digest: Option<String>,
    /// How many must agree, and how many have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// The decisions that count: approvals, and what denied or revoked it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".into()]))]
    pub decisions: Vec<DecisionStatus>,
    /// The CredentialLeasePolicies that guard it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub policies: Vec<String>,
    /// When the credential was usable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_time: Option<Time>,
    /// When the lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// When the lease ended: the moment its end was due or seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// The credential and the proof that it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
    /// The RoleBindings that were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["grant".into()]))]
    pub bindings: Vec<BindingStatus>,
    /// The steps of the workflow that were begun, each try recorded before it is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,
    /// What completionRef names, as it was seen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<ObjectIdentity>,
    /// What happened, each record chained to the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Allowed, Approved, Issued, Active, Revoked; RoleWidened and PolicyViolated where it was noticed; Reconciling while it moves; Stalled if
    /// it was denied or failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Exactly what is issued, to whom and for how long.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRequest {
    /// Who asked: user name, UID and groups. The pod and the credential that were used are in the spec: they differ between
    /// requests that are equal.
    pub requester: Identity,
    /// The lifecycle it was asked of.
    pub lifecycle: ObjectIdentity,
    /// What is granted, role by role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Vec<ResolvedGrant>,
    /// The life of the lease.
    pub ttl: Duration,
    /// Whom the tokens are for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Vec<String>,
    /// How the token reaches its holder.
    pub delivery: ResolvedDelivery,
    /// Not before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// What is called in other systems, as it will run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub workflow: Vec<ResolvedStep>,
    /// What it is made for: the lease ends when this ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionRef>,
    /// The standing credential it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingRef>,
}

/// How many must agree, and how many have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approvals {
    /// How many different people must agree.
    pub required: i32,
    /// How many have, whose decisions count.
    pub have: i32,
    /// Both, as a column shows them.
    #[schemars(length(max = 24))]
    pub summary: String,
    /// Until when an answer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A decision that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionStatus {
    /// UID of the CredentialLeaseDecision.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Approved, Denied or Revoked.
    pub decision: DecisionType,
    /// User name of who decided.
    #[schemars(length(max = 512))]
    pub by: String,
    /// When it was created, by the API server's clock.
    pub time: Time,
    /// The longest life it agrees to.
    #[serde(default, rename = "maxTTL", skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Duration>,
    /// The lease it was made for, where it covers an equal later request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub repeats: Option<String>,
    /// `Recorded`: the decider could act as the requester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub independence: Option<Independence>,
}

/// An object of a namespace known from the context, pinned by its UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectIdentity {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// One grant with the rules its role had when it was resolved.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedGrant {
    /// The grant's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The namespace it is bound in.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The role.
    pub role_ref: RoleRef,
    /// The role's UID.
    #[serde(rename = "roleUID")]
    #[schemars(length(max = 64))]
    pub role_uid: String,
    /// `sha256:` of the canonical JSON of the role's rules.
    #[schemars(length(max = 71))]
    pub rules_digest: String,
    /// The role's rules, if they are at most 32; above that the digest speaks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rules: Vec<PolicyRule>,
    /// By what a holder could leave something behind that outlives the lease.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub outlives: Vec<Outlives>,
}

/// A rule of RBAC, `rbac.authorization.k8s.io/v1.PolicyRule`, as it is recorded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs; `*` is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub verbs: Vec<String>,
    /// API groups; the empty one is core, `*` is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub api_groups: Vec<String>,
    /// Resources, `resource/subresource` for subresources; `*` is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub resources: Vec<String>,
    /// Names; none is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub resource_names: Vec<String>,
    /// Paths that are no resources.
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub non_resource_urls: Vec<String>,
}

impl std::fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups: Vec<&str> = self.api_groups.iter().map(|g| if g.is_empty() { "core" } else { g }).collect();
        write!(f, "{}", self.verbs.join(","))?;
        if !self.non_resource_urls.is_empty() {
            return write!(f, " on {}", self.non_resource_urls.join(","));
        }
        write!(f, " on {} of {}", self.resources.join(","), groups.join(","))?;
        if self.resource_names.is_empty() { Ok(()) } else { write!(f, " named {}", self.resource_names.join(",")) }
    }
}

/// How the token reaches its holder, with every name resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedDelivery {
    /// TokenRequest or Secret.
    #[serde(rename = "type")]
    pub kind: DeliveryType,
    /// With type Secret: which one, if the requester chose one. Absent means `lease-<lease name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretDelivery>,
}

/// The credential of a lease. Never the token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// The lease's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<AccountIdentity>,
    /// The Secret that was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<DeliveredSecret>,
    /// The token's `JTI=…`, as the API server's audit log names it; only where the operator minted it.
    #[serde(default, rename = "credentialID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub credential_id: Option<String>,
    /// The token's own expiry, as the API server set it; only where the operator minted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expiration_time: Option<Time>,
    /// Until when verifiers that never ask the API server may accept a token of this lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_expiration_time: Option<Time>,
    /// When the account and the RoleBindings were gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_time: Option<Time>,
    /// Seconds from the end to `revocationTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub revocation_lag_seconds: Option<String>,
    /// When it was proven that the credential is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_time: Option<Time>,
    /// What proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountIdentity {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// A delivered Secret, in the lease's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredSecret {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When it was gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_time: Option<Time>,
}

/// One RoleBinding of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BindingStatus {
    /// The grant it gives.
    #[schemars(length(max = 63))]
    pub grant: String,
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The last records, and the ends of their chain.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The hash before the first record that is kept; of the lease's UID at the beginning.
    #[schemars(length(max = 64))]
    pub seed: String,
    /// The hash after the last one.
    #[schemars(length(max = 64))]
    pub head: String,
    /// The records; the audit stream on standard output has all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["seq".into()]))]
    pub records: Vec<Record>,
}

/// One thing that happened to a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub time: Time,
    /// What.
    pub event: Happening,
    /// By whom.
    #[schemars(length(max = 512))]
    pub actor: String,
    /// More about it.
    #[schemars(length(max = 1024))]
    pub detail: String,
}
