//! The workflow of a lifecycle: what is called in other systems around a lease, and the credentials that always are.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DNS_LABEL, Duration, SECRET_NAME, Time,
    quantities::{TTL_MESSAGE, TTL_RULE, WAIT_MESSAGE, WAIT_RULE},
    status::ObjectIdentity,
    system::With,
};

/// How long a step is tried if nothing is said, in seconds.
pub const DEFAULT_STEP_SECONDS: i64 = 60;

/// One call in another system, at one moment of a lease's life.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.undo) || self.at == 'Issue'")
        .message("undo goes with a step at Issue: only what such a step has done is undone, when the lease ends")
        .field_path(".undo"),
    validation = Rule::new("!has(self.onFailure) || self.at != 'Revoke' || self.onFailure == 'Continue'")
        .message("a step at Revoke tells of an end, which nothing rolls back: leave onFailure out")
        .field_path(".onFailure"),
    validation = Rule::new("!has(self.with) || self.with.all(k, k.size() <= 63 && self.with[k].size() <= 1024)")
        .message("a parameter has a name of at most 63 characters and a value of at most 1024")
        .field_path(".with")
)]
pub struct Step {
    /// Its name in this workflow.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// When it is called.
    pub at: StepTime,
    /// The ConnectedSystem.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub system: String,
    /// The operation of that system.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub operation: String,
    /// The operation's params.
    #[serde(default, skip_serializing_if = "With::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub with: With,
    /// The operation of the same system, with the same params, that takes back what this step did. It has to be content where
    /// there is nothing to take back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub undo: Option<String>,
    /// How long it is tried, all tries together. Absent means 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(WAIT_RULE).message(WAIT_MESSAGE))]
    pub timeout: Option<Duration>,
    /// What follows when it fails for good. Absent means RollBack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// When a step is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepTime {
    /// Before the credential is issued: a gate, which changes nothing.
    Request,
    /// When the credential was issued, and before the lease is said to be active.
    Issue,
    /// When it is revoked, and that is proven.
    Revoke,
}

impl StepTime {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "Request",
            Self::Issue => "Issue",
            Self::Revoke => "Revoke",
        }
    }
}

/// What follows when a step fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// At Request the lease is denied. At Issue later steps do not run, done ones are undone in reverse, and the credential is
    /// revoked.
    RollBack,
    /// It is recorded, and the next step runs.
    Continue,
}

/// A credential that must always be there: the lifecycle makes lease after lease for it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name in this lifecycle.
    #[schemars(length(min = 1, max = 40), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// What it holds, by the names of the lifecycle's grants.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub grants: Vec<String>,
    /// The Secret in the lifecycle's namespace that always holds the newest token. Made by the operator; no other object may
    /// have the name. To change it, declare a second entry first: another name in place withdraws the credential and begins
    /// anew, with a gap between.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub secret: String,
    /// The life of each of its leases, 10m at least. The next one is issued when two thirds of it have passed: whoever has to
    /// agree to it has the last third for that.
    #[x_kube(validation = Rule::new(TTL_RULE).message(TTL_MESSAGE))]
    #[x_kube(validation = Rule::new("!self.matches('^([0-9]{1,5}(h|m|s)){1,3}$') || duration(self) >= duration('10m')").message("write a ttl of at least 10m: in its last third the next lease is issued, agreed to and rolled out"))]
    pub ttl: Duration,
}

/// The standing credential a lease was made for. Only the operator makes such leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandingRef {
    /// Its name in the lifecycle.
    #[schemars(length(min = 1, max = 40), regex(pattern = DNS_LABEL))]
    pub name: String,
}

/// What a lease is made for, in its own namespace: the lease ends when this ends.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.kind == 'Job' && self.apiVersion == 'batch/v1') || (self.kind == 'Pod' && self.apiVersion == 'v1')")
    .message("completionRef names a Job (batch/v1) or a Pod (v1); for other kinds set an ownerReference when the lease is created"))]
pub struct CompletionRef {
    /// `batch/v1` or `v1`.
    #[schemars(length(min = 1, max = 63))]
    pub api_version: String,
    /// Job or Pod.
    pub kind: CompletionKind,
    /// Its name. It may be created after the lease.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
}

/// The kinds whose end ends a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CompletionKind {
    Job,
    Pod,
}

impl CompletionKind {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }
}

/// A step as it will run: part of the document that people agree to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedStep {
    /// The step's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// When it is called.
    pub at: StepTime,
    /// The system.
    pub system: ObjectIdentity,
    /// The operation.
    #[schemars(length(max = 63))]
    pub operation: String,
    /// `sha256:` of the canonical JSON of the system's type, its place (url, and of a Vault mount and namespace), operation and
    /// undo operation.
    #[schemars(length(max = 71))]
    pub definition_digest: String,
    /// The operation's params.
    #[serde(default, skip_serializing_if = "With::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub with: With,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub undo: Option<String>,
    /// How long it is tried.
    pub timeout: Duration,
    /// What follows when it fails for good.
    pub on_failure: OnFailure,
}

/// What has become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// It is being tried: the try that `tries` counts was recorded before it was made.
    Running,
    /// It is done.
    Done,
    /// It failed for good.
    Failed,
    /// What it did, or may have done, is being taken back.
    Undoing,
    /// What it did is taken back.
    Undone,
}

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// When in the lease's life it is called.
    pub at: StepTime,
    /// What has become of it.
    pub state: StepState,
    /// How often it was tried. Of a gate, which changes nothing, not every try is counted here.
    pub tries: i32,
    /// When it was tried first.
    pub start_time: Time,
    /// When it was done, or failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// How often taking it back was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_tries: Option<i32>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_time: Option<Time>,
    /// What the last try came to. Never what the other side answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

impl Step {
    /// How long it is tried, all tries together.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(DEFAULT_STEP_SECONDS))
    }

    /// What follows when it fails for good.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        let told = if self.at == StepTime::Revoke { OnFailure::Continue } else { OnFailure::RollBack };
        self.on_failure.unwrap_or(told)
    }
}
