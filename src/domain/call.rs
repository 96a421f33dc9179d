//! What can be called, and what can come back: closed lists.

use std::time::Duration;

use super::{
    agenda::Lane,
    guards::Labels,
    observed::{Child, DeciderSeen, ObjectId, RoleSeen, TokenFacts},
    refusal::Refusal,
    steps::Task,
};
use crate::api::{ServiceAccountLifecycle, Time, status::CredentialLeaseStatus};

/// One call, with the identity it was decided on.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// SubjectAccessReview: may the requester still `lease` this lifecycle?
    CheckAccess,
    /// SubjectAccessReviews: may the one who made this decision still `approve`, and could he act as the requester?
    CheckDecider { decision: String },
    /// Evaluate the validations in force. No API call.
    Evaluate,
    /// Take a place in the lifecycle's quotas. No API call; exact under concurrency.
    Reserve,
    /// GET the lifecycle: absence and refusal are never concluded from a watch that may lag.
    ReadLifecycle,
    /// GET a namespace that the watch does not have: its labels say which policies guard it.
    ReadNamespace { name: String },
    /// GET the role of a grant.
    ReadRole { grant: String },
    /// Create an object of the lease; one that is there already is taken as ours only if it is.
    Create(Child),
    /// Look for an object of the lease whose creation may or may not have reached the server.
    Find(Child),
    /// Look at an object that claims to be the lease's: is it?
    Inspect { child: Child, id: ObjectId },
    /// GET an object that was recorded and that no watch has: is it gone?
    Confirm { child: Child, id: ObjectId },
    /// Mint the token of a lease with delivery Secret.
    MintToken { account: ObjectId },
    /// TokenReview of the token this process holds, with the token's own audiences.
    ReviewToken,
    /// Start a call of a step in another system: it runs beside the visits, and its answer wakes the lease. No API call.
    Start { task: Task, tries: i32, document: String },
    /// Delete exactly this object.
    Delete { child: Child, id: ObjectId },
    /// PUT the status on the resourceVersion the decision was made on.
    WriteStatus(Box<CredentialLeaseStatus>),
    /// Record what a status would say of a lease that is no longer there. No API call.
    Record(Box<CredentialLeaseStatus>),
    /// GET the lease by name: is it gone, or another one?
    ConfirmGone,
    /// Delete the lease: its retention is over.
    DeleteLease,
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The requester may (true) or may not lease.
    Access(bool),
    /// What the authorizer says about one who decided.
    Decider(DeciderSeen),
    /// The namespace's labels, if it is there.
    Namespace(Option<Labels>),
    /// The validations that are not met.
    Validated(Vec<Refusal>),
    /// A place was taken.
    Reserved,
    /// No place is free.
    Full(Refusal),
    /// The lifecycle as it is now.
    Lifecycle(Option<Box<ServiceAccountLifecycle>>),
    /// The role as it is now.
    Role(Option<RoleSeen>),
    /// The object is there and ours.
    Present(ObjectId),
    /// The object is there and lost: being deleted (somebody's finalizer holds it), or without the mark that it is ours.
    Deleting(ObjectId),
    /// The object is not there.
    Absent,
    /// The object is there and ours, but was made for another state of the lifecycle.
    Outdated(ObjectId),
    /// An object that is not ours has the name.
    Stranger,
    /// The Secret is there but somebody else has written to it.
    Touched(ObjectId),
    /// A token was minted; it stays with the executor.
    Token(TokenFacts),
    /// The API server knows the token (true), or does not.
    Reviewed(bool),
    /// The status was written; the object's new resourceVersion.
    Written(String),
    /// The call runs.
    Started,
    /// Done, and there is nothing to say about it.
    Done,
    /// It did not work.
    Failed(Failure),
}

/// How a call failed, and what the server said. The text never holds a token: bodies of token calls are not quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: Class,
    /// The server's message.
    pub message: String,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure, by what may be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 409: what was decided on has changed.
    Conflict,
    /// 403: a right is missing, or a policy or a terminating namespace refuses.
    Forbidden,
    /// 400, 404 of the collection, 405, 413, 415, 422: the server will not take it however often it is tried.
    Invalid,
    /// 429: too many calls.
    Throttled,
    /// Everything that may pass: 5xx, connection lost, no answer in time, 401.
    Transient,
}

impl Failure {
    /// A failure of this class, with the server's or our own words.
    #[must_use]
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None }
    }
}

impl Class {
    /// Whether the same call may be taken the next time. Of one that creates it also says that it may have been carried out.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Conflict | Self::Throttled | Self::Transient)
    }

    /// As it is written in messages and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid",
            Self::Throttled => "Throttled",
            Self::Transient => "Transient",
        }
    }
}

/// What follows from what is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// These calls, at once: none needs another's answer. They belong into this lane.
    Do(Lane, Vec<Call>),
    /// Nothing until one of these moments, or until something changes. With `backoff`, something failed: also after a pause in that lane.
    Rest { wishes: Vec<(Lane, Time)>, backoff: Option<Lane> },
    /// Nothing ever again: whatever is kept of this lease can be dropped.
    Forget,
}

impl Next {
    /// Rest until something changes.
    #[must_use]
    pub fn idle() -> Self {
        Self::Rest { wishes: vec![], backoff: None }
    }

    /// Rest until `at`, then be visited in `lane`.
    #[must_use]
    pub fn at(lane: Lane, at: Time) -> Self {
        Self::Rest { wishes: vec![(lane, at)], backoff: None }
    }
}
