//! Where an identity stands between two reviews.

use crate::api::{Time, review::Review};

/// So many days before a review is due, it is said to be due soon.
const SOON_DAYS: i64 = 14;
const DAY_MILLIS: i64 = 24 * 3_600_000;

/// Where an identity stands between two reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has said that it is to be reviewed.
    NotAsked,
    /// It was reviewed, and the next review is some time off.
    Current,
    /// The next review is due within two weeks.
    DueSoon,
    /// A review is due; leases are issued until `until`.
    Due { until: Time },
    /// A review was due and was not made in the days of grace: nothing more is leased.
    Overdue { since: Time },
    /// The day of the last review lies ahead. That is nobody's review: nothing more is leased.
    Ahead,
}

impl Standing {
    /// Each as a label of a metric.
    pub const LABELS: [&'static str; 5] = ["NotAsked", "Current", "DueSoon", "Due", "Overdue"];

    /// As a label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAsked => "NotAsked",
            Self::Current => "Current",
            Self::DueSoon => "DueSoon",
            Self::Due { .. } => "Due",
            Self::Overdue { .. } | Self::Ahead => "Overdue",
        }
    }
}

/// When the next review is due: so many days after the last one.
#[must_use]
pub fn next(review: &Review) -> Time {
    review.last_reviewed.begins().plus_millis(i64::from(review.every_days).saturating_mul(DAY_MILLIS))
}

/// From when on nothing more is leased if no review is made.
#[must_use]
pub fn stops(review: &Review) -> Time {
    next(review).plus_millis(i64::from(review.grace_days()).saturating_mul(DAY_MILLIS))
}

/// Where the identity stands. Somewhere on Earth the day has begun before it does in UTC, so the day of the last review may
/// begin a day from now.
#[must_use]
pub fn standing(review: Option<&Review>, now: Time) -> Standing {
    let Some(review) = review else { return Standing::NotAsked };
    let (next, stops) = (next(review), stops(review));
    if review.last_reviewed.begins().since(now) > DAY_MILLIS {
        Standing::Ahead
    } else if stops <= now {
        Standing::Overdue { since: stops }
    } else if next <= now {
        Standing::Due { until: stops }
    } else if next.since(now) <= SOON_DAYS * DAY_MILLIS {
        Standing::DueSoon
    } else {
        Standing::Current
    }
}

/// Why nothing is leased, if a review is missing.
#[must_use]
pub fn missing(review: Option<&Review>, now: Time) -> Option<String> {
    match standing(review, now) {
        Standing::Overdue { since } => Some(format!(
            "it was to be reviewed by {since}: look whether it is still needed, then move review.lastReviewed to today"
        )),
        Standing::Ahead => Some("review.lastReviewed lies ahead: write the day on which it was reviewed".into()),
        Standing::NotAsked | Standing::Current | Standing::DueSoon | Standing::Due { .. } => None,
    }
}

/// When this next changes, if nobody does anything.
#[must_use]
pub fn changes(review: &Review, now: Time) -> Option<Time> {
    let ahead = review.last_reviewed.begins().plus_millis(-DAY_MILLIS);
    [ahead, next(review), stops(review)].into_iter().filter(|at| *at > now).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review() -> Review {
        Review { every_days: 90, grace_days: None, last_reviewed: "2026-01-01".parse().unwrap() }
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_review_is_due_then_overdue_and_a_day_ahead_is_no_review() {
        let table = [
            ("2025-12-30T23:59:59Z", Standing::Ahead),
            ("2025-12-31T00:00:00Z", Standing::Current),
            ("2026-03-17T23:59:59Z", Standing::Current),
            ("2026-03-18T00:00:00Z", Standing::DueSoon),
            ("2026-04-01T00:00:00Z", Standing::Due { until: at("2026-04-15T00:00:00Z") }),
            ("2026-04-15T00:00:00Z", Standing::Overdue { since: at("2026-04-15T00:00:00Z") }),
        ];
        for (now, expected) in table {
            assert_eq!(standing(Some(&review()), at(now)), expected, "{now}");
            let refused = matches!(expected, Standing::Overdue { .. } | Standing::Ahead);
            assert_eq!(missing(Some(&review()), at(now)).is_some(), refused, "{now}");
            assert!(Standing::LABELS.contains(&expected.label()));
        }
        assert_eq!(standing(None, at("2099-01-01T00:00:00Z")), Standing::NotAsked);
    }

    #[test]
    fn the_first_and_the_last_day_that_can_be_written_are_judged_like_any_other() {
        for (day, expected) in [
            ("0000-01-01", Standing::Overdue { since: at("0000-04-14T00:00:00Z") }),
            ("9999-12-30", Standing::Ahead),
            ("9999-12-31", Standing::Ahead),
        ] {
            let review = Review { last_reviewed: day.parse().unwrap(), ..review() };
            assert_eq!(standing(Some(&review), at("2026-11-24T12:00:00Z")), expected, "{day}");
        }
    }

    #[test]
    fn without_grace_it_stops_on_the_day() {
        let strict = Review { grace_days: Some(0), ..review() };
        assert_eq!(
            standing(Some(&strict), at("2026-04-01T00:00:00Z")),
            Standing::Overdue { since: at("2026-04-01T00:00:00Z") }
        );
    }

    #[test]
    fn it_is_looked_at_again_at_every_change_and_then_no_more() {
        let mut now = at("2025-01-01T00:00:00Z");
        let mut seen = vec![];
        while let Some(next) = changes(&review(), now) {
            seen.push(next.to_string());
            now = next;
        }
        assert_eq!(seen, ["2025-12-31T00:00:00Z", "2026-04-01T00:00:00Z", "2026-04-15T00:00:00Z"]);
    }
}
