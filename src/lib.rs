//! Leasehold: leases of short-lived, least-privilege credentials for non-human identities, ended with proof.
//!
//! The way of one change:
//!
//! ```text
//! watch event ─> controllers::feed ─> controllers::index ─> domain::agenda ─> controllers::visit
//!                                                                               │  ▲
//!                        domain::decide (what next?) ◄── Observed ──────────────┘  │
//!                                │ Call                                            │
//!                        cluster::execute (the only writer) ── Answer ─> domain::learn
//! ```
//!
//! - [`api`]: the custom resources, types only; [`schema`]: their definitions as they are shipped
//! - [`domain`]: pure decisions; no client, clock, environment, randomness, logging
//! - [`cluster`]: the API server
//! - [`systems`]: other systems, as workflows call them
//! - [`controllers`]: watches, the index, the loop that starts visits
//! - [`runtime`]: the process
//! - [`drain`]: `leasehold drain`, before a removal
//! - [`cli`]: `kubectl lease`, the plugin's commands
//! - [`version`]: which Leasehold this is

pub mod api;
pub mod cli;
pub mod cluster;
pub mod controllers;
pub mod domain;
pub mod drain;
pub mod runtime;
pub mod schema;
pub mod systems;
pub mod version;
