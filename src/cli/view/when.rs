//! Points in time, as people say them.

use crate::{api::Time, cli::output::age};

/// `in 12m`, `3h ago`, `now`.
#[must_use]
pub fn relative(at: Time, now: Time) -> String {
    match at.since(now).div_euclid(1000) {
        0 => "now".into(),
        s if s > 0 => format!("in {}", age(s)),
        s => format!("{} ago", age(-s)),
    }
}
