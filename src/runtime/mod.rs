//! The process: settings, clock, evaluation threads, audit stream, metrics, health, the seat of the one that leads,
//! and the wiring of it all.

pub mod audit;
pub mod clock;
pub mod evaluator;
pub mod health;
mod listener;
pub mod metrics;
pub mod run;
pub mod seat;
pub mod settings;
pub mod telemetry;
mod wiring;
