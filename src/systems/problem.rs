//! Why a call cannot be rendered, or an answer not be judged. No text holds anything of what an expression knows.

use std::fmt;

use cel::ExecutionError;

use crate::{domain::expression, runtime::evaluator::Overrun};

/// The longest expression of an operation, in characters; those of headers, `success` and `retryable` are shorter by the schema.
pub(crate) const MAX_EXPRESSION: usize = 4096;
/// The longest text or JSON that is sent, in bytes.
pub(crate) const MAX_BODY: usize = 256 << 10;

/// A part of an operation that is an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Path,
    /// The header of this name, of which the schema allows 128 characters.
    Header(String),
    Body,
    Success,
    Retryable,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header {name:.128}"),
            Self::Body => f.write_str("body"),
            Self::Success => f.write_str("success"),
            Self::Retryable => f.write_str("retryable"),
        }
    }
}

/// Why a call cannot be rendered, or an answer not be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The expression cannot be used, or failed.
    #[error("{part}: {}", told(.why))]
    Expression { part: Part, why: expression::Problem },
    /// The step's params are not the operation's.
    #[error("the operation takes exactly these params: {0}")]
    Params(String),
    /// The expression gave another type than its place takes.
    #[error("{part}: the expression gives a value of type {got}, not {wanted}")]
    Type { part: Part, got: String, wanted: &'static str },
    /// Something in the path is not written out and not encoded.
    #[error(
        "path: it is made of texts that are written out and of urlquery(...), put together with + or chosen with ?: — put every other value into urlquery(), as in '/v1/items/' + urlquery(params.id)"
    )]
    NotEncoded,
    /// The path uses the token.
    #[error(
        "path: it uses credential.token, which a path must not hold: servers log paths; send it in the body or a header"
    )]
    TokenInPath,
    /// The path, as rendered, could lead elsewhere.
    #[error("path: {0}")]
    Path(#[from] super::path::Unsafe),
    /// A header that only the operator sets.
    #[error("header {0:.128}: it is the operator's own to set")]
    HeaderReserved(String),
    /// A header's value has characters that a header cannot hold.
    #[error("header {0:.128}: its value holds characters that a header cannot hold, such as a line's end")]
    HeaderValue(String),
    /// The body has no JSON form, or is too large.
    #[error("body: {0}")]
    Body(&'static str),
    /// An expression uses what is only there once something is issued.
    #[error("{0}: it uses credential, and nothing is issued yet")]
    NothingIssued(Part),
    /// An expression uses the token, which this process does not hold.
    #[error("{0}: it uses credential.token, which the operator does not hold here")]
    TokenNotHeld(Part),
    /// An expression looks at an answer that has too many values.
    #[error("{0}: the answer's body has more values than an expression may look at")]
    AnswerTooLarge(Part),
    /// It could not be evaluated for now.
    #[error(transparent)]
    Overrun(#[from] Overrun),
}

impl Problem {
    /// Whether the same might be possible later, without anything being changed.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Overrun(_) | Self::Expression { why: expression::Problem::TookTooLong, .. })
    }
}

/// The problem in the words of operations: those of `expression` itself speak of rules.
fn told(why: &expression::Problem) -> String {
    use expression::Problem as P;
    match why {
        P::TooLong => format!("the expression has more than {MAX_EXPRESSION} characters"),
        P::UnknownName(name) => {
            format!("`{name}` is not known here: see the reference for what an operation's expressions know")
        }
        P::Structure => "the expression builds a structure, which operations cannot".to_owned(),
        P::InputTooLarge(name) => format!("`{name}` is larger than can be"),
        other => other.to_string(),
    }
}

/// What the interpreter says, in our own words: its own quote values.
pub(super) fn failed(error: &ExecutionError) -> expression::Problem {
    use ExecutionError as E;
    expression::Problem::Failed(
        match error {
            E::NoSuchKey(_) => "a field that is looked for is not there",
            E::IndexOutOfBounds(_) => "an entry that is looked for is not there",
            E::NoSuchOverload(_)
            | E::UnsupportedTargetType { .. }
            | E::NotSupportedAsMethod { .. }
            | E::UnexpectedType { .. }
            | E::ValuesNotComparable(..)
            | E::UnsupportedBinaryOperator(..)
            | E::UnsupportedKeyType(_)
            | E::UnsupportedIndex(..) => "an operator or function is used on a value of a type it does not take",
            E::DivisionByZero(_) | E::RemainderByZero(_) => "something is divided by zero",
            E::Overflow(..) => "a number, time or duration becomes too large",
            E::DuplicateKey(_) => "a map has a key twice",
            E::FunctionError { .. } => "a function does not take this value",
            _ => "it gives no value",
        }
        .to_owned(),
    )
}
