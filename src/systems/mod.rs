//! Other systems: how a call to one is rendered from its operation, sent, and judged.
//!
//! ```text
//! Operation + Facts ─ render ─> Request ─ caller ─> send ─> Answer ─ judge ─> Outcome
//!                                           │
//!                                           ├ breaker, pace: whether now
//!                                           └ prover, login: as whom
//! ```
//!
//! - [`render`], [`known`], [`path`], [`json`]: expressions, before anything is sent
//! - [`send`], [`connect`], [`address`], [`trust`]: one call over one connection, under one deadline
//! - [`judge`]: what an answer means
//! - [`vault`]: a call as a Vault takes it
//! - [`proof`], [`prover`], [`login`]: what proves who calls
//! - [`check`], [`probe`]: whether a system can be called at all, for its status
//! - [`caller`]: the whole of it, for one system apart from all others

mod address;
mod answer;
mod breaker;
mod caller;
mod check;
mod connect;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod json;
mod judge;
mod known;
mod login;
mod pace;
mod path;
mod probe;
mod problem;
mod proof;
mod prover;
mod render;
mod request;
pub mod seen;
mod send;
mod state;
mod trouble;
mod trust;
mod vault;

mod shown;

pub use caller::Systems;
pub use check::check_system;
pub use known::known_names;
pub use problem::{Part, Problem};
pub use render::{Checked, Renderer, check_operation};
pub use request::{Body, Request};
pub use shown::{Shown, shown};

#[cfg(test)]
mod tests;
