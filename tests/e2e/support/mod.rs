//! What every test stands on.

mod conform;
mod holder;
mod lab;
mod operator;
mod people;
mod tenant;
pub mod trail;

use std::{future::Future, sync::LazyLock};

use anyhow::Result;

pub use conform::{condition_of, is_conform};
pub use holder::{Holder, code, since};
pub use lab::Lab;
pub use operator::Operator;

pub use people::Person;
pub use tenant::Tenant;

/// I1: an API server remembers a token for 10 s, its watch may lag 2 s, and the end itself may take one more.
pub const OUTLIVES_MILLIS: i64 = 13_000;
/// Within that a refusal came from what was done, and not from a memory that ran out; how quick it is is for the benchmarks to say.
pub const AT_ONCE_MILLIS: i64 = 3_000;

/// Held by whoever does what would delay all others, such as to start a control plane.
pub static QUIET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One runtime for all tests: clients of the shared control plane outlive the test that made them.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime"));

/// Runs a test.
pub fn run(test: impl Future<Output = Result<()>>) {
    if let Err(error) = RUNTIME.block_on(test) {
        panic!("{error:#}");
    }
}
