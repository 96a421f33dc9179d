//! `CredentialLeasePolicy`: the platform's guardrails.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition, Duration, SECRET_NAME,
    lifecycle::{ApprovalType, Backstop, DeliveryType, Independence, OnRoleChange, RoleRef, StopPolicy, Validation},
    quantities::{TTL_MESSAGE, TTL_RULE, WAIT_MESSAGE, WAIT_RULE},
    status::PolicyRule,
};

/// The platform's guardrails for what is granted into namespaces, whoever applies the lifecycles. Belongs in Git; an emergency
/// stop is one more object, which is not.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leasehold.dev",
    version = "v1alpha1",
    kind = "CredentialLeasePolicy",
    plural = "credentialleasepolicies",
    status = "CredentialLeasePolicyStatus",
    shortname = "clpol",
    category = "leasehold",
    derive = "PartialEq",
    doc = "The platform's guardrails for what is granted into namespaces, whoever applies the lifecycles. Belongs in Git; an emergency stop is one more object, which is not.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Stop", type_ = "string", json_path = ".spec.stopPolicy"),
    printcolumn(name = "Approval", type_ = "string", json_path = ".spec.terms.approval.type"),
    printcolumn(name = "Max ttl", type_ = "string", json_path = ".spec.terms.ttl.max"),
    printcolumn(name = "Lifecycles", type_ = "integer", json_path = ".status.lifecycles"),
    printcolumn(name = "Violating", type_ = "integer", json_path = ".status.violating"),
    printcolumn(name = "On violation", type_ = "string", json_path = ".spec.onViolation", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("name the policy with at most 63 characters: leases record it"),
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialLeasePolicySpec {
    /// What it guards. Absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#match: Option<PolicyMatch>,
    /// Terms, merged with those of the lifecycle: the lower number wins, lists intersect, all validations apply, the stricter
    /// approval wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<PolicyTerms>,
    /// What may be granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantRules>,
    /// What happens to live leases that hold what this policy forbids. Absent means Report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_violation: Option<OnViolation>,
    /// The emergency stop for all that the policy matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_policy: Option<StopPolicy>,
}

/// What a policy guards: both selectors must match; an absent one matches every namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyMatch {
    /// Labels of the namespaces that are granted into. A lease is guarded if any of its grants is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_namespaces: Option<Selector>,
    /// Labels of the lifecycle's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_namespaces: Option<Selector>,
}

/// A label selector, `meta/v1.LabelSelector` with bounds. All of it must match; an empty one matches everything.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.matchLabels) || self.matchLabels.all(k, k.size() <= 317 && self.matchLabels[k].size() <= 63)")
    .message("a label has a key of at most 317 characters and a value of at most 63")
    .field_path(".matchLabels"))]
pub struct Selector {
    /// Labels that must have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a label selector.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
    .message("operators In and NotIn need values; Exists and DoesNotExist take none")
    .field_path(".values"))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With In and NotIn: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values: Vec<String>,
}

/// How a requirement compares a label. `NotIn` also holds where the label is absent, as everywhere in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// The terms of a policy: those of a lifecycle, and what is absent says nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTerms {
    /// How long a lease may live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<PolicyTtl>,
    /// The most leases of one lifecycle that live at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_active: Option<i32>,
    /// The most leases of one lifecycle that one requester has at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_active_per_requester: Option<i32>,
    /// The ways in which a token may reach its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub delivery: Option<Vec<DeliveryType>>,
    /// Names a requester may choose for a delivered Secret; an empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253), regex(pattern = SECRET_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub secret_names: Option<Vec<String>>,
    /// What ends a lease when the operator is dead; Job wins over None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backstop: Option<Backstop>,
    /// Audiences a lease may ask for besides the API server's own; an empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Option<Vec<String>>,
    /// Who has to agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<PolicyApproval>,
    /// What happens to live leases when a granted role gains rights; RevokeIfWidened wins over Report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_role_change: Option<OnRoleChange>,
    /// Rules in CEL that every lease must meet, over `lease`, `lifecycle`, `requester`, `approval` and `now`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub validations: Vec<Validation>,
}

/// Who has to agree under a policy, besides what the lifecycle says: the stricter wins. What is absent says nothing, but for
/// `type`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.type) || self.type != 'NotRequired' || !(has(self.count) || has(self.timeout) || has(self.maxRepeat) || has(self.independence))")
    .message("approval type NotRequired says nothing in a policy: leave approval out, or choose Required or Retrospective"))]
pub struct PolicyApproval {
    /// The least strict type that is let pass. Absent means Required, as everywhere.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ApprovalType>,
    /// So many different people at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub count: Option<i32>,
    /// An answer counts so long after the request at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub timeout: Option<Duration>,
    /// Where those who may agree are reached, if the lifecycle does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub contact: Option<String>,
    /// A decision covers equal requests so long at most. A lifecycle that asks, and does not speak of repeats, wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub max_repeat: Option<Duration>,
    /// With Required: one who could act as the requester may not agree, whatever the lifecycle says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub independence: Option<Independence>,
}

impl PolicyApproval {
    /// The kind in force.
    #[must_use]
    pub fn kind(&self) -> ApprovalType {
        self.kind.unwrap_or(ApprovalType::Required)
    }
}

/// How long a lease may live under a policy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyTtl {
    /// The longest life of a lease.
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    pub max: Duration,
}

/// What may be granted into the guarded namespaces.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRules {
    /// Whether a lifecycle may grant into a namespace that is not its own. That is forbidden unless a policy opens it; among
    /// policies that speak of it, the stricter wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_namespace: Option<CrossNamespace>,
    /// Roles that are never granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub forbid_roles: Vec<RoleRef>,
    /// Rights that no granted role may contain, by the semantics of RBAC: `*` stands for all, no resourceNames for every name,
    /// and a subresource is another resource than its parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub forbid_rules: Vec<PolicyRule>,
}

/// Whether a lifecycle may grant into a namespace that is not its own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.type == 'SameLabel') == has(self.label)")
    .message("label goes with type SameLabel, and only with it: name the label whose value both namespaces must share")
    .field_path(".label"))]
pub struct CrossNamespace {
    /// Forbid, SameLabel or Allow.
    #[serde(rename = "type")]
    pub kind: CrossNamespaceType,
    /// With SameLabel: the label that both namespaces must have, with the same value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub label: Option<String>,
}

/// The kinds of consent to grants from other namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CrossNamespaceType {
    /// Never.
    Forbid,
    /// Where both namespaces have the same value of a label.
    SameLabel,
    /// From everywhere that `match` selects.
    Allow,
}

/// What happens to live leases that hold what a policy forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnViolation {
    /// The lease says so in its conditions and lives on.
    Report,
    /// The lease ends.
    Revoke,
}

/// What the operator says about a policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialLeasePolicyStatus {
    /// The generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Lifecycles that it guards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycles: Option<i32>,
    /// Of these, lifecycles that grant what it forbids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violating: Option<i32>,
    /// Ready; Stalled while the spec has to be mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl CredentialLeasePolicySpec {
    /// The stop in force.
    #[must_use]
    pub fn stop(&self) -> StopPolicy {
        self.stop_policy.unwrap_or(StopPolicy::None)
    }

    /// What happens to live leases that hold what this policy forbids.
    #[must_use]
    pub fn on_violation(&self) -> OnViolation {
        self.on_violation.unwrap_or(OnViolation::Report)
    }
}

impl Operator {
    /// As it is written in a selector.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}
