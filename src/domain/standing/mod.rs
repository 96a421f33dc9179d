//! Credentials that must always be there: the lifecycle makes lease after lease for them.
//!
//! [`lease`] is what a lease made for one has to be, and when its successor ends it. The rest decides how one lease follows
//! another: [`decide::decide`] looks at what is known ([`seen::Seen`]) and names the next call; [`learn::learn`] folds the
//! answer in. What a restart must not forget is in the lifecycle's status, written before it is acted on: which lease is held,
//! which one is to follow, and whether consumers are being moved. So there are never more than two.

pub mod consumer;
pub mod decide;
pub mod handover;
pub mod learn;
pub mod lease;
pub mod report;
pub mod seen;

pub use lease::{Succession, is_standing, succession, to_be_confirmed, unfounded};

#[cfg(test)]
pub(super) mod lease_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
