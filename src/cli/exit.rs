//! How the plugin ends: one table of exit codes, and errors that are one sentence which says what to do.

use std::process::ExitCode;

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
    /// 122: the lease ended before the command did.
    #[error("{0}")]
    Ended(String),
    /// 124: waiting took too long; the request was withdrawn.
    #[error("{0}")]
    TimedOut(String),
    /// 125: the API server or the operator cannot be reached.
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
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 120,
            Self::Denied(_) => 121,
            Self::Ended(_) => 122,
            Self::TimedOut(_) => 124,
            Self::Unreachable(_) => 125,
            Self::NotExecutable(_) => 126,
            Self::NotFound(_) => 127,
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
            kube::Error::Api(status) if matches!(status.code, 401 | 403 | 422) => Self::Refused(status.message.clone()),
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
