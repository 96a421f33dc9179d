//! What a status says: a pure function of what was observed, so that a failure midway needs no special path.
//!
//! Every function here returns the whole status as it should be; whoever calls it compares it with the one that is there.

mod active;
mod draft;
mod ended;
mod stepped;
mod waiting;

pub use active::{active, issued};
pub use ended::{concluded, deletion_failing, revoked};
pub use stepped::stepped;
pub use waiting::{agreed, awaiting, not_enforced, not_known_yet, retrying, scheduled};
