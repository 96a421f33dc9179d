//! What is shown of lifecycles.

use crate::api::reasons::ConditionType;

/// The conditions that are True where all is well, in the order in which they are told. A lifecycle has those that concern it.
pub const WELL: [ConditionType; 6] = [
    ConditionType::Ready,
    ConditionType::GrantsAllowed,
    ConditionType::PoliciesSatisfied,
    ConditionType::WorkflowAllowed,
    ConditionType::StandingReady,
    ConditionType::Leasable,
];
