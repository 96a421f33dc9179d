//! PURE: what is asked, which rules hold, what follows, who is next. No client, clock, environment, randomness or logging.
//!
//! The way of one lease: [`decide::decide`] looks at what is known ([`observed::Observed`]) and names the next call, or several
//! that do not depend on each other; the caller performs them; [`learn::learn`] folds each answer in; `decide` is asked again.
//! Nothing is planned ahead and there is no step counter, so a restart is the same loop knowing less.

pub mod agenda;
pub mod agreement;
pub mod ambient;
pub mod call;
pub mod consent;
pub mod decide;
pub mod digest;
pub mod election;
pub mod ending;
pub mod expression;
pub mod guards;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod independence;
pub mod issue;
pub mod learn;
pub mod lifecycle;
pub mod observed;
pub mod outcome;
pub mod outlives;
pub mod policy;
pub mod rbac;
pub mod recorded;
pub mod refusal;
pub mod report;
pub mod request;
pub mod review;
pub mod standing;
pub mod steady;
pub mod steps;
pub mod system;
pub mod task;
pub mod terms;
pub mod validations;
pub mod workflow;

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod workflow_tests;
#[cfg(any(test, fuzzing))]
pub(crate) mod world;
