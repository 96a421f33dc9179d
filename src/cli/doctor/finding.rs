//! What an examination says, one line each.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It could not be looked at; the line says why.
    Skip,
    /// It works, and somebody should know.
    Warn,
    /// Something does not work, or is not safe.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was looked at.
    pub about: &'static str,
    /// What was found, and what to do if something is to be done.
    pub text: String,
}

impl Finding {
    /// A line.
    pub fn new(level: Level, about: &'static str, text: impl Into<String>) -> Self {
        Self { level, about, text: text.into() }
    }
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread(pub String);

impl From<kube::Error> for Unread {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self("you may not read it".into()),
            kube::Error::Api(status) if status.code == 404 => Self("the cluster does not serve it".into()),
            other => Self(crate::cli::exit::Failure::from(other).to_string()),
        }
    }
}

/// What was read.
pub type Seen<T> = Result<T, Unread>;

/// A line for what was read, or the one that it was not.
pub fn judge<T>(about: &'static str, seen: &Seen<T>, with: impl FnOnce(&T) -> Vec<Finding>) -> Vec<Finding> {
    match seen {
        Ok(seen) => with(seen),
        Err(Unread(why)) => vec![Finding::new(Level::Skip, about, format!("not looked at: {why}"))],
    }
}
