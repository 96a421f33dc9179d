//! The custom resources of `leasehold.dev/v1alpha1`: types only, one file a kind.
//!
//! There is no conversion webhook, so names and shapes are for life. Conventions, held by tests over the generated schema:
//! absent has one spelling (no `null`), every string and list is bounded, lists are maps or sets, nothing inside a list item
//! has a default, and no field that decides about security has one at all.

pub mod condition;
pub mod decision;
pub mod lease;
pub mod lifecycle;
pub mod names;
pub mod policy;
pub mod quantities;
pub mod reasons;
pub mod review;
pub mod standing;
pub mod status;
pub mod system;
pub mod uid;
pub mod workflow;

pub use condition::{Condition, ConditionStatus};
pub use decision::{CredentialLeaseDecision, CredentialLeaseDecisionSpec};
pub use lease::{CredentialLease, CredentialLeaseSpec};
pub use lifecycle::{ServiceAccountLifecycle, ServiceAccountLifecycleSpec};
pub use policy::{CredentialLeasePolicy, CredentialLeasePolicySpec};
pub use quantities::{Duration, Time};
pub use system::{ConnectedSystem, ConnectedSystemSpec};

/// The API group of every kind of Leasehold.
pub const GROUP: &str = "leasehold.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// A DNS label (RFC 1123): what becomes a label value and a part of an account's name.
pub(crate) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// What a Secret can be called, as far as it is told before one is made.
pub(crate) const SECRET_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
