//! Leasehold on a real control plane: the operator as it ships, under the RBAC and the policies it ships.
//!
//! Tests share one control plane and one operator ([`support::Lab::shared`]) and separate themselves by namespace. Those that
//! break either have their own ([`support::Lab::start`]).

mod faults;
mod install;
mod lifetimes;
mod support;
