//! What is shown of leases, as data and text: pure, so that every view can be tested without a cluster.

pub mod changes;
pub mod facts;
pub mod lease;
pub mod lifecycle;
pub mod proof;
pub mod request;
pub mod stream;
pub mod text;
pub mod timeline;
pub mod when;
