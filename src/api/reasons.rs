//! Every word that a status may say: closed lists, documented in `docs/reference`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares an enum whose variants are written as they are named, with a list of all and the sentence that documents each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[doc = $text])+ $variant),+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is written in a status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// What it means, for the reference.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text),+).trim_ascii()),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Types of the conditions of leases, lifecycles, policies and connected systems.
    ConditionType {
        /// Lease: the terms of the lifecycle and of the policies that guard it allow it.
        Allowed,
        /// Lease: whoever must agree has agreed.
        Approved,
        /// Lease: account, bindings and token were made, and the token was delivered.
        Issued,
        /// Lease: the credential is usable now.
        Active,
        /// Lease: the credential is dead, and that is proven. Unknown until then.
        Revoked,
        /// Lease: what its workflow calls when it is issued was done in other systems.
        DependentsUpdated,
        /// Lease: what its workflow did in other systems, or what a standing credential's consumers were given, is taken back. False until it is: that is tried for ever.
        RolledBack,
        /// Lease: it is moving towards its next state.
        Reconciling,
        /// Lease: it was denied or it failed; nothing more will happen. Lifecycle, policy, connected system: its spec has to be mended.
        Stalled,
        /// Lease: a role that it holds has gained rights since it was issued.
        RoleWidened,
        /// Lease: it holds what a policy forbids by now, and the policy says to report it.
        PolicyViolated,
        /// Lifecycle: what it grants, and how, is within every policy that guards it.
        PoliciesSatisfied,
        /// Lifecycle, policy: its spec was accepted. Connected system: it can be called.
        Ready,
        /// Lifecycle: the operator may bind every granted role.
        GrantsAllowed,
        /// Lifecycle: every step of its workflow can run: its system is there, may be used, and has the operation.
        WorkflowAllowed,
        /// Lifecycle: every standing credential is there.
        StandingReady,
        /// Lifecycle: leases may be issued now.
        Leasable,
        /// Lifecycle: every lease also holds what the cluster gives to all service accounts.
        AmbientRights,
    }
}

words! {
    /// Where a lease is. Also the reason of its condition Active.
    Phase {
        /// It was created and is being looked at, or waits for something the conditions name.
        Pending,
        /// It waits for people who have to agree.
        AwaitingApproval,
        /// It is agreed, and waits for its notBefore.
        Scheduled,
        /// Its objects are being made.
        Issuing,
        /// Its credential is usable.
        Active,
        /// Its end has come; what was made is being taken down, or its death is being proven.
        Ending,
        /// What it was made for has ended, and the lease with it.
        Completed,
        /// It ended because its time was up.
        Expired,
        /// It ended before its time was up.
        Revoked,
        /// It was refused; nothing was issued.
        Denied,
        /// Issuing it failed; whatever was made is gone.
        Failed,
    }
}

words! {
    /// Why a lease ended.
    EndReason {
        /// Its time was up.
        Expired,
        /// What its completionRef names has completed.
        TaskCompleted,
        /// What its completionRef names has failed.
        TaskFailed,
        /// What its completionRef names was deleted.
        TaskDeleted,
        /// The lease was deleted.
        LeaseDeleted,
        /// The lifecycle's stopPolicy is HoldAndRevoke.
        LifecycleStopped,
        /// The lifecycle's expirationTime has passed.
        LifecycleExpired,
        /// The lifecycle was deleted.
        LifecycleDeleted,
        /// The lifecycle no longer grants what the lease holds.
        GrantWithdrawn,
        /// A role that the lease holds gained rights.
        RoleWidened,
        /// Somebody else deleted the lease's account.
        AccountDeleted,
        /// Somebody else deleted a binding of the lease.
        BindingDeleted,
        /// Somebody else deleted or changed the delivered Secret.
        SecretChanged,
        /// The request was refused: a rule is not met.
        Denied,
        /// Somebody who may approve denied it.
        DecisionDenied,
        /// Too few have agreed in time.
        ApprovalTimeout,
        /// It was issued before anybody agreed (Retrospective), and too few have agreed in time. The lifecycle is held until somebody decides.
        ApprovalMissing,
        /// Somebody who may revoke, or the requester, ended it.
        DecisionRevoked,
        /// A policy's stopPolicy is HoldAndRevoke.
        PolicyStopped,
        /// It holds what a policy forbids by now, and the policy says to revoke.
        PolicyViolated,
        /// It was created while the admission policies were not in force: who asked is not proven.
        CreatedUnproven,
        /// A step at Request did not pass: the other system said no, or nothing in time.
        GateRefused,
        /// A step at Issue failed for good; what the workflow had done is taken back.
        StepFailed,
        /// The next lease of its standing credential took its place.
        Superseded,
        /// Consumers of its standing credential did not become healthy with it, and were moved back.
        RolledBack,
        /// An object that is not the lease's has a name that the lease needs.
        NameCollision,
        /// A role changed between the decision and the binding.
        ApprovalStale,
        /// The operator lacks a right that issuing needs; the message has what to add.
        MissingRight,
        /// The API server refused what issuing needs for good.
        Rejected,
    }
}

words! {
    /// What proves that a credential is dead.
    Evidence {
        /// An API server refused the very token, which it had accepted after issue; every API server in contact with etcd refuses it within 10 s of the deletion.
        TokenReviewRefused,
        /// The account's UID is gone, and the 10 s for which any API server may remember a token have passed.
        AccountGoneAndWaited,
        /// The account's UID is gone, and every token that was ever minted for it is past its own expiry: for audiences that verify without asking the API server.
        AccountGoneAndExpired,
    }
}

words! {
    /// Reasons of a lease's conditions besides phases, end reasons and evidence.
    LeaseReason {
        /// Allowed: every rule is met.
        TermsMet,
        /// Allowed: at least one rule is not met; the message names all of them.
        TermsViolated,
        /// Allowed: not decided yet.
        Checking,
        /// Allowed: the admission policies that Leasehold rests on are not in force; nothing is issued until they are.
        PolicyNotEnforced,
        /// Approved: the terms ask nobody.
        NotRequired,
        /// Approved: not enough people have agreed yet; the message says who may, and which decisions do not count and why.
        AwaitingApproval,
        /// Approved: enough people have agreed to exactly this request.
        Agreed,
        /// Approved: it was issued before anybody agreed, as the terms say; an answer is due.
        Retrospective,
        /// Allowed: a step at Request has not passed yet; the message says which.
        AwaitingGate,
        /// DependentsUpdated: steps at Issue are being called.
        StepsRunning,
        /// DependentsUpdated: every step at Issue is done, or failed and may.
        StepsDone,
        /// RolledBack: steps are being taken back.
        Undoing,
        /// RolledBack: every step that was begun is taken back.
        Undone,
        /// RolledBack: the consumers of the standing credential hold the lease before this one again.
        MovedBack,
        /// RolledBack: a step could not be taken back yet; the message says which and why. It is tried for ever.
        UndoFailing,
        /// Issued: account, bindings and token are there.
        Delivered,
        /// Issued: a call failed and is tried again. What may pass by itself is told from its second failure on, or at once where the pause is long.
        Retrying,
        /// Issued: nothing was made.
        NotIssued,
        /// Revoked: the account is gone; the time for which API servers may remember a token is running.
        Waiting,
        /// Revoked: what must be deleted could not be deleted; it is tried again for ever.
        DeletionFailing,
        /// Revoked: gone from the API server, but verifiers that never ask it accept a token until `offlineExpirationTime`.
        NotRevocableOffline,
        /// Revoked: the lease is active.
        NotEnded,
        /// Reconciling: something is left to delete, or not known to be gone, although the credential is dead or none is known of.
        CleaningUp,
        /// RoleWidened, PolicyViolated: it was noticed, and the terms or the policy say to report it.
        Reported,
    }
}

words! {
    /// Reasons of a lifecycle's conditions.
    LifecycleReason {
        /// Ready: the spec is accepted.
        Accepted,
        /// Ready: a validation cannot be used; the message says which and why.
        ValidationInvalid,
        /// GrantsAllowed: the operator may bind every granted role. WorkflowAllowed: every step can run.
        Allowed,
        /// GrantsAllowed: the operator may not bind a granted role; the message has the manifest to add.
        MissingRight,
        /// GrantsAllowed: a granted role does not exist.
        RoleNotFound,
        /// GrantsAllowed: the API server could not be asked.
        Unknown,
        /// WorkflowAllowed: a system or an operation is not there, or may not be used; the message says which.
        StepInvalid,
        /// StandingReady: the Secret of every standing credential holds the token of its newest lease.
        Delivered,
        /// StandingReady: the next lease is being issued, or consumers are being moved to it; the one before is still good.
        Renewing,
        /// StandingReady: no lease is held, and the next one is not issued yet; the message says what it waits for.
        NotHeld,
        /// StandingReady: the next lease was refused or failed; the message says why. It is tried again.
        LeaseFailed,
        /// StandingReady: consumers did not become healthy with the next lease: they hold the one before again. It is tried again.
        RolledBack,
        /// StandingReady: another object has the name of the Secret.
        NameCollision,
        /// StandingReady: the Secret could not be written, or a consumer not be restarted; the message says why. It is tried again.
        DeliveryFailing,
        /// StandingReady: there is no standing credential any more, and something of one is still to be removed.
        Withdrawing,
        /// Leasable: leases may be issued.
        Leasable,
        /// Leasable: stopPolicy holds.
        Stopped,
        /// Leasable: a policy's stopPolicy holds.
        PolicyStopped,
        /// Leasable: a lease was issued without an answer in time (Retrospective); the message names it. Approve or deny it to lift this.
        Held,
        /// PoliciesSatisfied: no policy that guards it forbids anything of it.
        Satisfied,
        /// PoliciesSatisfied: a policy forbids something of it; the message names policy and grant.
        Violated,
        /// PoliciesSatisfied: no policy guards it, and the operator runs with --require-policy.
        NoPolicy,
        /// Leasable: expirationTime has passed.
        Expired,
        /// Leasable: a review was due, and was not made in the days of grace.
        ReviewOverdue,
        /// Leasable: the admission policies that Leasehold rests on are not in force.
        PolicyNotEnforced,
        /// Leasable: the spec is not accepted.
        NotReady,
        /// AmbientRights: roles are bound to every service account; the message names the bindings.
        Found,
        /// AmbientRights: nothing beyond what every cluster gives.
        NoneFound,
    }
}

words! {
    /// Reasons of a policy's conditions.
    PolicyReason {
        /// Ready: the spec is accepted, and in force.
        Accepted,
        /// Ready: a validation cannot be used, so no lease that the policy guards passes it; the message says which and why.
        ValidationInvalid,
    }
}

words! {
    /// Reasons of a connected system's conditions.
    SystemReason {
        /// Ready: it was reached, and took our credentials where the probe asks for them.
        Reachable,
        /// Ready: it has not been asked yet.
        Checking,
        /// Ready: it does not answer, or not as it should; it is asked again.
        Unreachable,
        /// Ready: an expression of an operation cannot be used; the message says which and why.
        ExpressionInvalid,
        /// Ready: the Secret with its credentials cannot be read; the message has the manifest to add.
        SecretUnreadable,
        /// Ready: its address or its audience is one that the operator never sends anything to.
        Forbidden,
    }
}

words! {
    /// By what the holder of a grant could leave something behind that outlives the lease.
    Outlives {
        /// `watch`: an open watch is authenticated only once, and goes on.
        Watch,
        /// `exec`, `attach` or `portforward` into pods: an open stream goes on, and what was started runs on.
        Exec,
        /// Creating or changing pods, or what makes pods: it runs on, as any account of its namespace.
        Workloads,
        /// Reading or writing Secrets: what was read is known; a token Secret that is made never expires.
        Secrets,
        /// Minting tokens of service accounts: they live as long as was asked.
        Tokens,
        /// Changing roles or bindings: what was given stays.
        Rbac,
        /// Impersonating others.
        Impersonate,
        /// Requesting or approving client certificates: they are valid until they expire.
        Certificates,
    }
}

words! {
    /// What a record of the history tells.
    Happening {
        /// The lease was created.
        Requested,
        /// The terms were met.
        Allowed,
        /// The request was resolved, and waits for people to agree.
        AwaitingApproval,
        /// Somebody agreed.
        Approved,
        /// What was agreed to has changed: earlier approvals no longer count.
        ApprovalVoid,
        /// It holds what a policy forbids by now.
        PolicyViolated,
        /// A step at Request passed: the other system said yes.
        GatePassed,
        /// A step at Issue or Revoke is done.
        StepDone,
        /// A step failed for good.
        StepFailed,
        /// What a step had done is taken back.
        StepUndone,
        /// What a step had done could not be taken back at first: it is tried for ever.
        UndoFailed,
        /// It was refused.
        Denied,
        /// The credential was issued.
        Issued,
        /// Issuing failed.
        Failed,
        /// The end came.
        Ended,
        /// The account was gone: nobody can mint for it, and its tokens die within seconds.
        Removed,
        /// Its death was proven.
        Revoked,
        /// Something was found that nobody answers for, and taken down.
        Swept,
        /// A granted role gained rights.
        RoleWidened,
    }
}

impl EndReason {
    /// The phase in which a lease with this end rests.
    #[must_use]
    pub fn phase(self) -> Phase {
        match self {
            Self::Expired => Phase::Expired,
            Self::TaskCompleted | Self::TaskFailed | Self::TaskDeleted => Phase::Completed,
            Self::Denied | Self::DecisionDenied | Self::ApprovalTimeout | Self::CreatedUnproven | Self::GateRefused => {
                Phase::Denied
            }
            Self::NameCollision
            | Self::ApprovalStale
            | Self::MissingRight
            | Self::Rejected
            | Self::StepFailed
            | Self::RolledBack => Phase::Failed,
            _ => Phase::Revoked,
        }
    }
}

impl Phase {
    /// Whether nothing more will happen to a lease in this phase.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Expired | Self::Revoked | Self::Denied | Self::Failed)
    }
}
