#![doc = "Leasehold: leases of short-lived, least-privilege credentials for non-human identities, ended with proof."]
pub mod api;
pub mod schema;
