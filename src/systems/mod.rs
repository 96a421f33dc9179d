//! Other systems: how a call to one is rendered from its operation, sent, and judged.

pub mod facts;
