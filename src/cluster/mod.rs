//! The API server: what is read, what is written, and whether an object is ours.

pub mod authorizer;
pub mod client;
pub mod consumers;
pub mod election;
pub mod exchange;
pub mod execute;
pub mod fence;
pub mod lead;
pub mod paths;
pub mod policies;
pub mod probe;
pub mod read;
pub mod render;
pub mod rights;
mod secret;
pub mod standing;
pub mod status;
pub mod token;
pub mod watches;
