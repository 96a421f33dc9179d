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

/// Held by whoever measures to the millisecond, and by whoever does what would delay all others, such as to start a control
/// plane: on two cores a test would else measure its neighbour.
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
