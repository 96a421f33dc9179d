//! What one call in another system came to.

use std::time::Duration;

/// What one call in another system came to. Texts never hold what the other side answered, nor anything of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer says that it is done.
    Done,
    /// Not yet, or nobody knows: it is worth another try. `after`: not earlier than so, as the other side asked.
    Again { message: String, after: Option<Duration> },
    /// The answer says no, or the call cannot be made as it is written: another try would be the same.
    Refused { message: String },
}
