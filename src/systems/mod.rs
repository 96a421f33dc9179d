//! Other systems: how a call to one is rendered from its operation, sent, and judged.
//!
//! ```text
//! Operation + Facts ─ render ─> Request ─ caller ─> send ─> Answer ─ judge ─> Outcome
//!                                           │
//!                                           ├ breaker, pace: whether now
//!                                           └ proof, vault: as whom
//! ```
//!
//! - [`render`], [`known`], [`path`], [`json`]: expressions, before anything is sent
//! - [`send`], [`connect`], [`address`], [`trust`]: one call over one connection, under one deadline
//! - [`judge`]: what an answer means
//! - [`caller`]: the whole of it, for one system apart from all others

mod address;
mod answer;
mod breaker;
mod caller;
mod connect;
pub mod facts;
mod json;
mod judge;
mod known;
mod pace;
mod path;
mod problem;
mod proof;
mod render;
mod request;
pub mod seen;
mod send;
mod state;
mod trouble;
mod trust;
mod vault;

pub use caller::Systems;
pub use problem::{Part, Problem};
pub use render::{Checked, Renderer, check_operation};
pub use request::{Body, Request};
