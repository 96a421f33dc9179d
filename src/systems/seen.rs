//! A connected system as decisions look at it.

use super::check::check;
use crate::{
    api::ConnectedSystem,
    domain::workflow::{SystemSeen, Uses},
};

/// A system with what each of its operations uses, or why it cannot be used.
#[must_use]
pub fn seen(object: &ConnectedSystem) -> SystemSeen {
    let operations = object.spec.operations.iter().map(|operation| {
        let uses = check(&object.spec, operation)
            .map(|checked| Uses { token: checked.uses_token, credential: checked.uses_credential });
        (operation.name.clone(), uses)
    });
    SystemSeen {
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        spec: object.spec.clone(),
        operations: operations.collect(),
    }
}
