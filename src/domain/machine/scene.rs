//! Where a search begins.

use serde_json::json;

use crate::domain::{workflow_tests, world::World};

/// What kind of lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// The operator mints, and delivers a Secret.
    Secret,
    /// The requester mints.
    TokenRequest,
    /// Somebody has to agree first.
    Agreement,
    /// Somebody has to agree afterwards.
    Retrospective,
    /// A gate, two steps that can be taken back, and one that tells of the end.
    Workflow,
}

impl Scene {
    pub const ALL: [Self; 5] = [Self::Secret, Self::TokenRequest, Self::Agreement, Self::Retrospective, Self::Workflow];

    pub fn world(self) -> World {
        let asking = |approval| World::new("TokenRequest").asking(approval);
        match self {
            Self::Secret => World::new("Secret"),
            Self::TokenRequest => World::new("TokenRequest"),
            Self::Agreement => asking(json!({"timeout": "2m"})),
            Self::Retrospective => asking(json!({"type": "Retrospective", "timeout": "40s"})),
            Self::Workflow => workflow_tests::world("Secret", true),
        }
    }

    /// Whether nothing may be made before somebody has agreed.
    pub fn needs_agreement(self) -> bool {
        self == Self::Agreement
    }
}
