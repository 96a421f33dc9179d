//! The API server: what is read, what is written, and whether an object is ours.

pub mod ask;
pub mod client;
pub mod exchange;
pub mod execute;
pub mod fence;
pub mod policies;
pub mod render;
pub mod token;
