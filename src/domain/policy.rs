//! What a policy's own status says.

use crate::api::{
    Condition, ConditionStatus, Time,
    condition::{set, unset},
    policy::CredentialLeasePolicyStatus,
    reasons::{ConditionType, PolicyReason},
};

/// What is known about a policy.
#[derive(Clone, Debug)]
pub struct PolicyObserved {
    pub generation: i64,
    pub status: CredentialLeasePolicyStatus,
    /// What is wrong with a validation, if something is.
    pub broken: Option<String>,
    /// Lifecycles that it guards.
    pub lifecycles: usize,
    /// Of these, lifecycles that grant what it forbids.
    pub violating: usize,
}

/// The status as it should be.
#[must_use]
pub fn status(seen: &PolicyObserved, now: Time) -> CredentialLeasePolicyStatus {
    let mut status = seen.status.clone();
    status.observed_generation = Some(seen.generation);
    status.lifecycles = i32::try_from(seen.lifecycles).ok();
    status.violating = i32::try_from(seen.violating).ok();
    let mut say = |kind: ConditionType, holds, reason: PolicyReason, message: &str| {
        let condition = Condition {
            kind: kind.as_str().into(),
            status: holds,
            observed_generation: Some(seen.generation),
            last_transition_time: now,
            reason: reason.as_str().into(),
            message: message.into(),
        };
        set(&mut status.conditions, condition);
    };
    match &seen.broken {
        None => say(ConditionType::Ready, ConditionStatus::True, PolicyReason::Accepted, "the policy is in force"),
        Some(problem) => {
            let message = format!("no lease that this policy guards is issued until it is mended: {problem}");
            say(ConditionType::Ready, ConditionStatus::False, PolicyReason::ValidationInvalid, &message);
            // Ready False alone would read as in progress for ever.
            say(ConditionType::Stalled, ConditionStatus::True, PolicyReason::ValidationInvalid, &message);
        }
    }
    if seen.broken.is_none() {
        unset(&mut status.conditions, ConditionType::Stalled.as_str());
    }
    status
}
