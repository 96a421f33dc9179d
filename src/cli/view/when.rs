//! Points in time, as people say them.

use crate::api::Time;

/// `in 12m`, `3h ago`, `now`.
#[must_use]
pub fn relative(at: Time, now: Time) -> String {
    let seconds = at.since(now).div_euclid(1000);
    match seconds {
        0 => "now".into(),
        s if s > 0 => format!("in {}", length(s)),
        s => format!("{} ago", length(-s)),
    }
}

/// A length of time in its one or two largest units.
#[must_use]
pub fn length(seconds: i64) -> String {
    let (d, h, m, s) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) if m < 5 && s > 0 => format!("{m}m{s}s"),
        (0, 0, m) => format!("{m}m"),
        (0, h, m) if m > 0 => format!("{h}h{m}m"),
        (0, h, _) => format!("{h}h"),
        (d, h, _) if h > 0 && d < 7 => format!("{d}d{h}h"),
        (d, ..) => format!("{d}d"),
    }
}
