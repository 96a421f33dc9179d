//! `ServiceAccountLifecycle`: who an identity is, the most it may hold, on which terms.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition, DNS_LABEL, Duration, SECRET_NAME, Time,
    quantities::{TTL_MESSAGE, TTL_RULE, WAIT_MESSAGE, WAIT_RULE},
    review::Review,
    standing::StandingStatus,
    workflow::{Standing, Step},
};

/// Who a non-human identity is, who owns it, the most it may ever hold, and on which terms. Belongs in Git.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leasehold.dev",
    version = "v1alpha1",
    kind = "ServiceAccountLifecycle",
    namespaced,
    status = "ServiceAccountLifecycleStatus",
    shortname = "sal",
    category = "leasehold",
    derive = "PartialEq",
    doc = "Who a non-human identity is, who owns it, the most it may ever hold, and on which terms. Belongs in Git.",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.team"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Leasable", type_ = "string", json_path = ".status.conditions[?(@.type==\"Leasable\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Leasable\")].reason"),
    printcolumn(
        name = "Grants allowed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"GrantsAllowed\")].status",
        priority = 1
    ),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.activeLeases"),
    printcolumn(name = "Max ttl", type_ = "string", json_path = ".spec.terms.ttl.max", priority = 1),
    printcolumn(name = "Contact", type_ = "string", json_path = ".spec.owner.contact", priority = 1),
    printcolumn(name = "Next review", type_ = "string", json_path = ".status.nextReviewTime", priority = 1),
    printcolumn(name = "Last lease", type_ = "date", json_path = ".status.lastLeaseTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.class",
    selectable = ".spec.owner.team",
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.standing) || self.standing.size() == 0 || self.terms.delivery.exists(d, d == 'Secret')")
        .message("a standing credential is kept in a Secret: add Secret to terms.delivery")
        .field_path(".standing"),
    validation = Rule::new("!has(self.standing) || self.standing.all(s, self.standing.exists_one(o, o.secret == s.secret))")
        .message("each standing credential has a Secret of its own: give them different names")
        .field_path(".standing"),
    validation = Rule::new("!has(self.standing) || self.standing.all(s, s.grants.all(g, has(self.grants) && self.grants.exists(h, h.name == g)))")
        .message("a standing credential holds grants of this lifecycle, by their names")
        .field_path(".standing")
)]
pub struct ServiceAccountLifecycleSpec {
    /// The people who answer for the identity.
    pub owner: Owner,
    /// What the identity does, in a sentence.
    #[schemars(length(min = 1, max = 512))]
    pub purpose: String,
    /// What kind of actor it is: for reports and rules. It loosens nothing.
    pub class: Class,
    /// The ceiling: all that a lease may ask for, by name. Given by RoleBindings, never cluster-wide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Vec<Grant>,
    /// On which terms it is leased.
    pub terms: Terms,
    /// What is called in other systems around each lease, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub workflow: Vec<Step>,
    /// Credentials that must always be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub standing: Vec<Standing>,
    /// When the identity ends. From then on nothing is leased, and what is leased is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// How often people look whether the identity is still needed. Absent means that nobody is reminded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// The emergency stop. Leave it out of Git: a field that Git names is set back by the next sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_policy: Option<StopPolicy>,
}

/// The people who answer for an identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// The owning team.
    #[schemars(length(min = 1, max = 128))]
    pub team: String,
    /// Where the team is reached: an address, a channel, a rota.
    #[schemars(length(min = 1, max = 256))]
    pub contact: String,
}

/// What kind of actor an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Class {
    Workload,
    Pipeline,
    Agent,
    ThirdParty,
    BreakGlass,
}

impl Class {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "Workload",
            Self::Pipeline => "Pipeline",
            Self::Agent => "Agent",
            Self::ThirdParty => "ThirdParty",
            Self::BreakGlass => "BreakGlass",
        }
    }
}

/// One thing that may be held: a role in a namespace, under a name that leases ask for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.namespace) || !(self.namespace.startsWith('kube-') || self.namespace.startsWith('leasehold-'))")
    .message("nothing is granted into namespaces that begin with kube- or leasehold-: name another one")
    .field_path(".namespace"))]
pub struct Grant {
    /// The name by which leases ask for it.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The namespace that is granted into. Absent means the lifecycle's own; another one needs a CredentialLeasePolicy that
    /// opens it (`grants.crossNamespace`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// The role that is bound.
    pub role_ref: RoleRef,
}

/// A role in RBAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RoleRef {
    /// Role (of the grant's namespace) or ClusterRole.
    pub kind: RoleKind,
    /// The role's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The kinds of role that can be granted. They are always bound in a namespace, never cluster-wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RoleKind {
    Role,
    ClusterRole,
}

impl RoleKind {
    /// As RBAC writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::ClusterRole => "ClusterRole",
        }
    }
}

/// The terms on which an identity is leased.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.secretNames) || self.delivery.exists(d, d == 'Secret')")
    .message("secretNames needs delivery to list Secret: add Secret to terms.delivery, or leave secretNames out")
    .field_path(".secretNames"))]
pub struct Terms {
    /// How long a lease may live.
    pub ttl: TtlTerms,
    /// The most leases of this lifecycle that live at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_active: Option<i32>,
    /// The most leases of this lifecycle that one requester has at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_active_per_requester: Option<i32>,
    /// The ways in which a token may reach its holder.
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub delivery: Vec<DeliveryType>,
    /// Names a requester may choose for a delivered Secret. Otherwise it is `lease-<lease name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253), regex(pattern = SECRET_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub secret_names: Vec<String>,
    /// What ends a lease when the operator is dead. Absent means Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backstop: Option<Backstop>,
    /// Audiences a lease may ask for. Without any, tokens are for the API server only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Vec<String>,
    /// Who has to agree. Absent means that one person must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What happens to live leases when a granted role gains rights. Absent means RevokeIfWidened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_role_change: Option<OnRoleChange>,
    /// Rules in CEL that every lease must meet, over `lease`, `lifecycle`, `requester`, `approval` and `now`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub validations: Vec<Validation>,
}

/// How long a lease may live, from the moment it is agreed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.default) || [self.default, self.max].exists(t, !t.matches('^([0-9]{1,5}(h|m|s)){1,3}$')) || duration(self.default) <= duration(self.max)")
    .message("ttl.default must not be longer than ttl.max: shorten it, or leave it out to mean ttl.max")
    .field_path(".default"))]
pub struct TtlTerms {
    /// The life of a lease that asks for none. Absent means `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    pub default: Option<Duration>,
    /// The longest life a lease may ask for.
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    pub max: Duration,
}

/// How a token reaches its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryType {
    /// The requester, and nobody else, mints tokens for the lease's account. Nothing is at rest.
    TokenRequest,
    /// The operator mints one token and writes it into a Secret in the lease's namespace.
    Secret,
}

impl DeliveryType {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenRequest => "TokenRequest",
            Self::Secret => "Secret",
        }
    }
}

/// What ends a lease when the operator is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Backstop {
    /// A Job without pods owns the account; the cluster's own controllers delete both at the deadline.
    Job,
    /// Nothing: the account lives until an operator comes back.
    None,
}

/// Who has to agree to a lease.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.type) || self.type != 'NotRequired' || !(has(self.count) || has(self.timeout) || has(self.maxRepeat) || has(self.independence))")
    .message("approval type NotRequired asks nobody: leave count, timeout, maxRepeat and independence out, or choose Required or Retrospective"))]
pub struct Approval {
    /// Required, Retrospective or NotRequired. Absent means Required.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ApprovalType>,
    /// How many different people must agree. Absent means one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub count: Option<i32>,
    /// How long after the request an answer counts. Unanswered by then, a request is denied; a lease that was issued
    /// (Retrospective) is revoked, and the lifecycle held. Absent means one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub timeout: Option<Duration>,
    /// Where those who may agree are reached; shown to whoever waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub contact: Option<String>,
    /// How long after a decision equal requests of the same requester may be covered by it (its `repeatFor`). Absent means
    /// not at all: every request is decided by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub max_repeat: Option<Duration>,
    /// Whether one who could act as the requester may agree. Absent means Required: he may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub independence: Option<Independence>,
}

/// The kinds of agreement, from the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalType {
    /// Nothing is issued before enough people have agreed.
    Required,
    /// Issued at once and decided afterwards: for emergencies.
    Retrospective,
    /// Whoever may lease gets the lease if the terms allow it.
    NotRequired,
}

impl ApprovalType {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "Required",
            Self::Retrospective => "Retrospective",
            Self::NotRequired => "NotRequired",
        }
    }
}

/// Whether one who could act as the requester (impersonate it, mint tokens for it, run a pod as it) may agree to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Independence {
    /// He may not.
    Required,
    /// He may, and the decision says that he could.
    Recorded,
}

/// How many must agree if nothing is said.
pub const DEFAULT_APPROVALS: i32 = 1;
/// How long an answer counts if nothing is said, in seconds.
pub const DEFAULT_APPROVAL_SECONDS: i64 = 3600;

impl Approval {
    /// The kind in force.
    #[must_use]
    pub fn kind(&self) -> ApprovalType {
        self.kind.unwrap_or(ApprovalType::Required)
    }

    /// How many different people must agree.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count.unwrap_or(DEFAULT_APPROVALS)
    }

    /// How long after the request an answer counts.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(DEFAULT_APPROVAL_SECONDS))
    }

    /// Whether one who could act as the requester may agree.
    #[must_use]
    pub fn independence(&self) -> Independence {
        self.independence.unwrap_or(Independence::Required)
    }
}

/// What happens to live leases when a granted role gains rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnRoleChange {
    /// Leases that hold the role end.
    RevokeIfWidened,
    /// The lease says so in its conditions and lives on.
    Report,
}

/// What an emergency stop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StopPolicy {
    /// Nothing is stopped.
    None,
    /// Nothing more is leased.
    Hold,
    /// Nothing more is leased, and what is leased is revoked.
    HoldAndRevoke,
}

/// One rule in CEL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// An expression that is true for every lease that may be issued. One level of macros, at most 1024 characters.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// What the requester reads when it is not.
    #[schemars(length(min = 1, max = 512))]
    pub message: String,
}

/// What the operator says about a lifecycle.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountLifecycleStatus {
    /// The generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Leases that hold a credential now. Written at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_leases: Option<i32>,
    /// When a lease was last issued. Written at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lease_time: Option<Time>,
    /// When the next review is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_review_time: Option<Time>,
    /// Its standing credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub standing: Vec<StandingStatus>,
    /// Ready, GrantsAllowed, PoliciesSatisfied, StandingReady, Leasable, AmbientRights; WorkflowAllowed where there is a workflow; Stalled while the spec has to be mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl Terms {
    /// The life of a lease that asks for none.
    #[must_use]
    pub fn default_ttl(&self) -> Duration {
        self.ttl.default.unwrap_or(self.ttl.max)
    }

    /// Whether a backstop Job is made.
    #[must_use]
    pub fn backstop(&self) -> Backstop {
        self.backstop.unwrap_or(Backstop::Job)
    }

    /// What happens when a granted role gains rights.
    #[must_use]
    pub fn on_role_change(&self) -> OnRoleChange {
        self.on_role_change.unwrap_or(OnRoleChange::RevokeIfWidened)
    }
}

impl ServiceAccountLifecycleSpec {
    /// The stop in force.
    #[must_use]
    pub fn stop(&self) -> StopPolicy {
        self.stop_policy.unwrap_or(StopPolicy::None)
    }

    /// The grant of this name.
    #[must_use]
    pub fn grant(&self, name: &str) -> Option<&Grant> {
        self.grants.iter().find(|g| g.name == name)
    }
}
