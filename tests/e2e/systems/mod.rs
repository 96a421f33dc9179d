//! The systems that are shipped in `config/systems`, each against a server that keeps its vendor's documented contract.
//!
//! - [`shipped`]: every file is accepted by the API server, and every expression in it can be used;
//! - [`stage`]: a shipped system, as the operator would call it; [`vendor`]: the other side;
//! - one file for each vendor: its contract, and what the shipped operations come to under it.

mod cloudevents;
mod github;
mod gitlab;
mod jira;
mod servicenow;
mod shipped;
mod slack;
mod stage;
mod teams;
mod vault;
mod vendor;
