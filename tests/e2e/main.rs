//! Leasehold on a real control plane: the operator as it ships, under the RBAC and the policies it ships.
//!
//! Tests share one control plane and one operator ([`support::Lab::shared`]) and separate themselves by namespace. Those that
//! break either have their own ([`support::Lab::start`]).

mod agreements;
mod approvals;
mod attacks;
mod audiences;
mod backstop;
mod bad_input;
mod calls;
mod canary;
mod chaos;
mod chart;
mod cli_ask;
mod cli_flow;
mod cli_see;
mod docs;
mod drain;
mod ends;
mod faults;
mod gitops;
mod gitops_health;
mod gitops_order;
mod gitops_samples;
mod gitops_warnings;
mod guardrails;
mod ha;
mod held;
mod install;
mod lifetimes;
mod lives_on;
mod mission;
mod personas;
mod phases;
mod pipelines;
mod quotas;
mod reached;
mod release;
mod report;
mod restored;
mod seeing;
mod standing;
mod status;
mod support;
mod systems;
mod workflow;
