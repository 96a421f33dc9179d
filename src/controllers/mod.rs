//! Wiring: watches, the loop that starts visits, one small reconcile each.

pub mod ambient;
pub mod enforcement;
pub mod engine;
pub mod events;
pub mod feed;
pub mod held;
pub mod index;
pub mod lifecycle_status;
pub mod lifecycles;
pub mod pace;
pub mod packed;
pub mod policies;
pub mod rewind;
pub mod standing;
pub mod sweep;
pub mod systems;
pub mod tasks;
pub mod visit;
pub mod work;
