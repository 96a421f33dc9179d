//! Expressions in CEL: what they may know, and what one may cost, before it runs.
//!
//! The interpreter has no budget and cannot be stopped. So what an expression may cost is bounded from its text and the bounds of
//! its input alone, and it runs on threads of its own (`runtime::evaluator`). Who may write an expression, and what it knows, is an
//! [`Environment`]: tenants' rules ([`super::validations`]), and the operations of connected systems (`systems`).

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value};

use crate::api::condition;

mod cost;
mod environment;
mod nesting;
mod pattern;
mod weight;

pub use environment::Environment;
pub(crate) use environment::{duration, is_within, object, timestamp};
pub use weight::Weight;

/// How much of the interpreter's own words a message takes over, in bytes.
pub(crate) const MAX_DETAIL: usize = 512;

/// The language: the standard one without optional syntax, which no expression needs.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// Why an expression cannot be used, or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More characters than its place allows.
    #[error("the expression has more than {} characters", crate::domain::validations::MAX_EXPRESSION)]
    TooLong,
    /// It is no CEL.
    #[error("the expression cannot be parsed: {0}")]
    Unparsable(String),
    /// Parts within parts.
    #[error("the expression is nested too deeply: at most {} levels", cost::MAX_DEPTH)]
    TooDeep,
    /// A macro within the body of a macro.
    #[error("a macro (all, exists, exists_one, filter, map) stands within another one's body")]
    NestedMacros,
    /// Too many macros.
    #[error("the expression has more than {} macros (all, exists, exists_one, filter, map)", cost::MAX_MACROS)]
    TooManyMacros,
    /// A list or map written out with too many entries.
    #[error("a list or map has more than {} entries", cost::MAX_ENTRIES)]
    TooManyEntries,
    /// Evaluated over the largest lease it would take too long or too much memory.
    #[error("over a large lease the expression would cost too much: compare less, or use a simpler pattern")]
    TooExpensive,
    /// A pattern that is not written out, so that its cost cannot be known.
    #[error("matches() takes its pattern as a string written out in the expression")]
    PatternNotLiteral,
    /// A variable or field that is not there.
    #[error("`{0}` is not known: there are lease, lifecycle, requester, approval and now, with the documented fields")]
    UnknownName(String),
    /// A function that is not there.
    #[error("the function `{0}` is not available")]
    UnknownFunction(String),
    /// A form of CEL that rules have no use for, such as building messages.
    #[error("the expression builds a structure, which rules cannot")]
    Structure,
    /// The lease or lifecycle is larger than its schema allows.
    #[error("`{0}` is larger than its schema allows")]
    InputTooLarge(String),
    /// It gave something else than true or false.
    #[error("the expression gives a value of type {0}, not true or false")]
    NotBool(String),
    /// It failed.
    #[error("the expression failed: {0}")]
    Failed(String),
    /// It did not end in time.
    #[error("the expression took too long")]
    TookTooLong,
    /// The interpreter failed in a way of its own.
    #[error("the expression made the interpreter fail")]
    Crashed,
}

impl Problem {
    /// The interpreter's own words. They may quote values.
    pub(crate) fn failed(error: &ExecutionError) -> Self {
        Self::Failed(detail(error))
    }
}

/// An expression that may be evaluated.
#[derive(Debug)]
pub struct Expression {
    program: Program,
    used: BTreeSet<String>,
}

/// Takes an expression if it can be parsed and is bound to be cheap.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub fn compile(expression: &str, environment: &Environment) -> Result<Expression, Problem> {
    if expression.chars().nth(environment.longest()).is_some() {
        return Err(Problem::TooLong);
    }
    nesting::check(expression)?;
    let program = LANGUAGE.compile(expression).map_err(|errors| Problem::Unparsable(detail(&errors)))?;
    let used = cost::check(program.expression(), environment)?;
    Ok(Expression { program, used })
}

impl Expression {
    /// Its value over these variables.
    pub(crate) fn evaluate<N: Into<String>>(
        &self,
        variables: impl IntoIterator<Item = (N, Value)>,
    ) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        // Only an environment with `urlquery()` lets an expression with it through.
        if context.add_function("urlquery", |text: Arc<String>| urlquery(&text)).is_err() {
            return Err(ExecutionError::undeclared_reference("urlquery"));
        }
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        self.program.execute(&context)
    }

    /// Whether it uses this name, a field of it, or something that holds it.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.used.iter().any(|used| used == name || is_within(used, name) || is_within(name, used))
    }

    /// Its tree.
    pub(crate) fn tree(&self) -> &cel::common::ast::Expr {
        &self.program.expression().expr
    }
}

/// A text as a segment of a path or a part of a query: everything but RFC 3986's unreserved characters is percent-encoded.
#[must_use]
pub fn urlquery(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl From<nesting::Refusal> for Problem {
    fn from(refusal: nesting::Refusal) -> Self {
        match refusal {
            nesting::Refusal::TooDeep => Self::TooDeep,
            nesting::Refusal::Spelling(why) => Self::Unparsable(why.to_owned()),
        }
    }
}

/// What the interpreter says, cut to what fits a message.
fn detail(error: &impl ToString) -> String {
    let mut text = error.to_string();
    condition::bound(&mut text, MAX_DETAIL);
    text
}
