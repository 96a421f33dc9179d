//! How the plugin ends: one table of exit codes, and errors that are one sentence which says what to do.

use std::process::ExitCode;

/// The exit codes, as docs/plugin.md lists them.
pub mod code {
    /// Something else went wrong.
    pub const OTHER: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// A rule refused it.
    pub const REFUSED: u8 = 120;
    /// A person denied or revoked it.
    pub const DENIED: u8 = 121;
    /// The lease ended first, or could not be issued.
    pub const ENDED: u8 = 122;
    /// Not agreed to, or not active, in time.
    pub const TIMED_OUT: u8 = 124;
    /// Nothing can be asked or seen.
    pub const UNREACHABLE: u8 = 125;
    /// The command cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command is not found.
    pub const NOT_FOUND: u8 = 127;
}

/// Why a command failed. Each kind has an exit code of its own, so that a pipeline can tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 1: something else went wrong.
    #[error("{0}")]
    Other(String),
    /// 2: the command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// 120: a rule refused the request: an admission policy, RBAC, the lifecycle's terms or a CredentialLeasePolicy.
    #[error("{0}")]
    Refused(String),
    /// 121: a person denied the request or revoked the lease.
    #[error("{0}")]
    Denied(String),
    /// 122: the lease ended before the command did, or it could not be issued.
    #[error("{0}")]
    Ended(String),
    /// 124: nobody agreed in time, or waiting took too long; then the request was withdrawn, unless `--keep`.
    #[error("{0}")]
    TimedOut(String),
    /// 125: the API server cannot be reached or does not know the caller, the operator does not get to the lease, or nothing can
    /// be seen of it.
    #[error("{0}")]
    Unreachable(String),
    /// 126: the command after `--` cannot be executed.
    #[error("{0}")]
    NotExecutable(String),
    /// 127: the command after `--` is not found.
    #[error("{0}")]
    NotFound(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Other(_) => code::OTHER,
            Self::Usage(_) => code::USAGE,
            Self::Refused(_) => code::REFUSED,
            Self::Denied(_) => code::DENIED,
            Self::Ended(_) => code::ENDED,
            Self::TimedOut(_) => code::TIMED_OUT,
            Self::Unreachable(_) => code::UNREACHABLE,
            Self::NotExecutable(_) => code::NOT_EXECUTABLE,
            Self::NotFound(_) => code::NOT_FOUND,
        }
    }

    /// Credentials that the API server does not take (401): no rule has looked at the request.
    #[must_use]
    pub fn unknown_caller(message: &str) -> Self {
        Self::Unreachable(format!(
            "the API server does not take your credentials ({message}): log in again, or check the kubeconfig and its context"
        ))
    }

    /// One failure for several things that failed, and whose own failures were told: it has the exit code of each if all are
    /// refusals or all were not answered, otherwise that of anything else.
    #[must_use]
    pub fn of_all(failures: &[Self], text: String) -> Self {
        if failures.iter().all(|failure| matches!(failure, Self::Refused(_))) {
            Self::Refused(text)
        } else if failures.iter().all(|failure| matches!(failure, Self::Unreachable(_))) {
            Self::Unreachable(text)
        } else {
            Self::Other(text)
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

/// A failed call to the API server, as the user should read it: refusals keep the server's words, which say what to do.
impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::unknown_caller(&status.message),
            kube::Error::Api(status) if matches!(status.code, 403 | 422) => Self::Refused(status.message.clone()),
            kube::Error::Api(status) if status.code >= 500 || status.code == 429 => {
                Self::Unreachable(format!("the API server cannot answer now: {}; try again", status.message))
            }
            kube::Error::Api(status) => Self::Other(status.message.clone()),
            other => Self::Unreachable(format!(
                "the API server cannot be reached: {}; check --context and --kubeconfig",
                innermost(&other)
            )),
        }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_api_server_says_has_the_exit_code_of_its_cause() {
        let table =
            [(400, 1), (401, 125), (403, 120), (404, 1), (409, 1), (422, 120), (429, 125), (500, 125), (503, 125)];
        for (status, code) in table {
            let error = kube::Error::Api(Box::new(Status { code: status, message: "no".into(), ..Status::default() }));
            assert_eq!(Failure::from(error).code(), code, "{status}");
        }
    }

    #[test]
    fn several_failures_of_one_kind_are_of_that_kind() {
        let (refused, lost) = (Failure::Refused("a".into()), Failure::Unreachable("b".into()));
        let code = |failures: &[Failure]| Failure::of_all(failures, "see above".into()).code();
        assert_eq!(code(&[refused.clone(), refused.clone()]), code::REFUSED);
        assert_eq!(code(std::slice::from_ref(&lost)), code::UNREACHABLE);
        assert_eq!(code(&[refused, lost]), code::OTHER);
    }
}
