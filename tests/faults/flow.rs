//! The flows: each is one way in which a lease may live, from the asking to the proof.

use std::fmt;

/// How one lease lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    MintedDeleted,
    MintedRevoked,
    SecretDeleted,
    SecretRevoked,
    /// Somebody has to agree first.
    AgreedRevoked,
    /// The grant is for another namespace.
    CrossDeleted,
    MintedExpired,
    SecretCompleted,
    MintedStopped,
    SecretRetired,
    SecretWidened,
    /// Whoever is asked says no.
    AskedDenied,
    /// Agreed to for later; the agreement is taken back before it is issued, then denied.
    AskedWithdrawn,
    /// A gate, two dependents and somebody who is told of the end, in another system.
    WorkflowRevoked,
    WorkflowCompleted,
    /// A third dependent refuses: what the first two did is undone in reverse.
    WorkflowRolledBack,
    /// A standing credential: the next lease takes over, a consumer is restarted, the one before ends.
    StandingRotated,
}

/// How the token reaches its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    TokenRequest,
    Secret,
}

/// What has to happen before it is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    Plain,
    Agreed,
    Withdrawn,
    Cross,
    Workflow,
    BrokenWorkflow,
    Standing,
}

/// What ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The lease is deleted.
    Deleted,
    /// Its requester says so.
    Revoked,
    /// Its time is up.
    Time,
    /// The Job that it is for completes.
    Completed,
    /// Its lifecycle says `HoldAndRevoke`.
    Stopped,
    /// Its lifecycle is deleted.
    Retired,
    /// The role that it holds gains a right.
    Widened,
    /// An approver says no, before it is issued.
    Denied,
    /// A step of its workflow fails for good.
    StepFailed,
    /// The next lease of its standing credential is held.
    Superseded,
}

/// What a flow needs: where it is asked for, and how it goes on.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    pub delivery: Delivery,
    pub terms: Terms,
    pub end: End,
}

/// How the name of a lifecycle begins that is used once.
pub const OWN_LIFECYCLE: &str = "own-";

impl Flow {
    pub const ALL: [Self; 17] = [
        Self::MintedDeleted,
        Self::MintedRevoked,
        Self::SecretDeleted,
        Self::SecretRevoked,
        Self::AgreedRevoked,
        Self::CrossDeleted,
        Self::MintedExpired,
        Self::SecretCompleted,
        Self::MintedStopped,
        Self::SecretRetired,
        Self::SecretWidened,
        Self::AskedDenied,
        Self::AskedWithdrawn,
        Self::WorkflowRevoked,
        Self::WorkflowCompleted,
        Self::WorkflowRolledBack,
        Self::StandingRotated,
    ];

    pub fn script(self) -> Script {
        use Delivery::{Secret, TokenRequest};
        let script = |delivery, terms, end| Script { delivery, terms, end };
        match self {
            Self::MintedDeleted => script(TokenRequest, Terms::Plain, End::Deleted),
            Self::MintedRevoked => script(TokenRequest, Terms::Plain, End::Revoked),
            Self::SecretDeleted => script(Secret, Terms::Plain, End::Deleted),
            Self::SecretRevoked => script(Secret, Terms::Plain, End::Revoked),
            Self::AgreedRevoked => script(TokenRequest, Terms::Agreed, End::Revoked),
            Self::CrossDeleted => script(TokenRequest, Terms::Cross, End::Deleted),
            Self::MintedExpired => script(TokenRequest, Terms::Plain, End::Time),
            Self::SecretCompleted => script(Secret, Terms::Plain, End::Completed),
            Self::MintedStopped => script(TokenRequest, Terms::Plain, End::Stopped),
            Self::SecretRetired => script(Secret, Terms::Plain, End::Retired),
            Self::SecretWidened => script(Secret, Terms::Plain, End::Widened),
            Self::AskedDenied => script(TokenRequest, Terms::Agreed, End::Denied),
            Self::AskedWithdrawn => script(TokenRequest, Terms::Withdrawn, End::Denied),
            Self::WorkflowRevoked => script(Secret, Terms::Workflow, End::Revoked),
            Self::WorkflowCompleted => script(Secret, Terms::Workflow, End::Completed),
            Self::WorkflowRolledBack => script(Secret, Terms::BrokenWorkflow, End::StepFailed),
            Self::StandingRotated => script(Secret, Terms::Standing, End::Superseded),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Script {
    /// Whether a credential is issued if nothing is in the way.
    pub fn issues(self) -> bool {
        self.end != End::Denied
    }

    /// Whether it lives before it ends: a workflow that breaks ends it while it is issued.
    pub fn is_active(self) -> bool {
        self.issues() && self.end != End::StepFailed
    }

    /// Whether we end it, and so could do that at any call; the others end of themselves.
    pub fn is_ended_by_us(self) -> bool {
        !matches!(self.end, End::Time | End::StepFailed | End::Superseded | End::Denied)
    }

    pub fn has_workflow(self) -> bool {
        matches!(self.terms, Terms::Workflow | Terms::BrokenWorkflow)
    }

    /// Whether its lifecycle is used once: what ends the lease is done to the lifecycle, or it makes its leases itself.
    pub fn has_own_lifecycle(self) -> bool {
        self.terms == Terms::Standing || matches!(self.end, End::Stopped | End::Retired)
    }

    /// Whether it takes much longer than others: it runs apart, so that nobody waits for it.
    pub fn is_slow(self) -> bool {
        self.end == End::Time
    }
}
