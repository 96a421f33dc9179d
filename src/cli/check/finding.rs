//! What rules say about a request, and what follows.

use std::fmt;

use serde::Serialize;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Says {
    /// It is met.
    Yes,
    /// It is not met.
    No,
    /// Somebody has to agree.
    Wait,
    /// Good to know.
    Note,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "OK",
            Self::No => "NO",
            Self::Wait => "WAIT",
            Self::Note => "NOTE",
        })
    }
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub says: Says,
    pub rule: &'static str,
    pub text: String,
}

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    Granted,
    Waits,
    Refused,
}

/// What follows from all findings.
#[must_use]
pub fn outcome(findings: &[Finding]) -> Outcome {
    let any = |says| findings.iter().any(|f| f.says == says);
    if any(Says::No) {
        Outcome::Refused
    } else if any(Says::Wait) {
        Outcome::Waits
    } else {
        Outcome::Granted
    }
}
