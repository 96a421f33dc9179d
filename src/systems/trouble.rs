//! Why a call came to no answer that could be judged.

use std::time::Duration;

use super::{path::Unsafe, proof::Unproven, send::NoAnswer, trust::Untrusted};
use crate::domain::outcome::Outcome;

/// Why a call came to no answer that could be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no answer: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("it does not answer; it is asked again in {} s", .0.as_secs())]
    Shut(Duration),
    #[error("as many calls as its limits allow are running")]
    NoPlace,
    #[error("as many calls as its limits allow in a minute were made")]
    TooSoon(Duration),
    #[error("the operator cannot prove who it is: {0}")]
    Unproven(#[from] Unproven),
    #[error("its path: {0}")]
    Path(#[from] Unsafe),
    #[error("{0}")]
    Untrusted(#[from] Untrusted),
    #[error("header {0} is the operator's own to set")]
    Header(String),
    #[error("{0}")]
    Shape(&'static str),
}

impl Trouble {
    /// What it means for the call.
    pub(super) fn outcome(&self) -> Outcome {
        let message = self.to_string();
        if self.is_final() { Outcome::Refused { message } } else { Outcome::Again { message, after: self.after() } }
    }

    /// Whether another try would be the same as long as the spec is.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoAnswer(why) => why.is_final(),
            Self::Unproven(why) => *why == Unproven::Audience,
            Self::Shut(_) | Self::NoPlace | Self::TooSoon(_) => false,
            Self::Path(_) | Self::Untrusted(_) | Self::Header(_) | Self::Shape(_) => true,
        }
    }

    fn after(&self) -> Option<Duration> {
        match self {
            Self::Shut(after) | Self::TooSoon(after) => Some(*after),
            _ => None,
        }
    }
}
