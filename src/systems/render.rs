//! From an operation and facts to the call as it would be sent.

use std::{sync::Arc, time::Duration};

use cel::Value;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::{
    facts::Facts,
    json,
    known::{self, Known, TOKEN},
    path,
    problem::{MAX_BODY, Part, Problem, failed},
    request::{Body, Request},
};
use crate::{
    api::system::{Header, Operation},
    domain::expression::{self, Environment, Expression},
    runtime::evaluator::Evaluator,
};

/// How long one expression may wait for its thread and run, together.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// Headers that are the operator's own, or the connection's.
const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Renders calls. Expressions run on the evaluator's threads.
#[derive(Clone, Debug)]
pub struct Renderer(Evaluator);

/// What an operation's expressions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether any of them uses `credential.token`.
    pub uses_token: bool,
    /// Whether any of them uses anything of `credential`.
    pub uses_credential: bool,
}

/// Compiles every expression of an operation.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_operation(operation: &Operation) -> Result<Checked, Problem> {
    let (rendering, judging) = (known::rendering(operation), known::judging(&operation.params));
    let mut all = vec![compile_path(&operation.path, &rendering)?];
    for header in &operation.headers {
        check_name(header)?;
        all.push(compile(&Part::Header(header.name.clone()), &header.value, &rendering)?);
    }
    for (part, text, env) in [
        (Part::Body, &operation.body, &rendering),
        (Part::Success, &operation.success, &judging),
        (Part::Retryable, &operation.retryable, &judging),
    ] {
        if let Some(text) = text {
            all.push(compile(&part, text, env)?);
        }
    }
    let uses = |name: &str| all.iter().any(|expression| expression.uses(name));
    // `success` and `retryable` may name `credential` as a whole, in which for them there is no token.
    let sent = all.iter().take(1 + operation.headers.len() + usize::from(operation.body.is_some()));
    Ok(Checked {
        uses_token: sent.into_iter().any(|expression| expression.uses(TOKEN)),
        uses_credential: uses("credential"),
    })
}

impl Renderer {
    /// Renders on the threads of `evaluator`.
    #[must_use]
    pub fn new(evaluator: Evaluator) -> Self {
        Self(evaluator)
    }

    /// The call as it would be sent.
    ///
    /// # Errors
    /// Why it cannot be rendered; [`Problem::passes`] tells whether it might be, later.
    pub async fn render(&self, operation: &Operation, facts: &Facts) -> Result<Request, Problem> {
        let known = Arc::new(Known::of(operation, facts)?);
        let env = Arc::new(known::rendering(operation));
        let eval = async |part: Part, text: &str| self.value(part, text, &env, &known).await;

        let path = text(Part::Path, &eval(Part::Path, &operation.path).await?)?;
        path::check(&path)?;
        let mut headers = Vec::new();
        for header in &operation.headers {
            check_name(header)?;
            let part = Part::Header(header.name.clone());
            let value = text(part.clone(), &eval(part, &header.value).await?)?;
            // A header may hold other bytes, and servers disagree on what they mean.
            if !value.is_ascii() || HeaderValue::from_str(&value).is_err() {
                return Err(Problem::HeaderValue(header.name.clone()));
            }
            headers.push((header.name.clone(), value));
        }
        let body = match &operation.body {
            None => None,
            Some(expression) => Some(body(&eval(Part::Body, expression).await?)?),
        };
        let known = self.judging(operation, known).await?;
        Ok(Request {
            method: operation.method,
            path,
            headers,
            body,
            success: operation.success.clone(),
            retryable: operation.retryable.clone(),
            known,
        })
    }

    /// What judging the answer will have to know, so that what it cannot know shows before anything is sent.
    async fn judging(&self, operation: &Operation, known: Arc<Known>) -> Result<Known, Problem> {
        let parts = [(Part::Success, operation.success.clone()), (Part::Retryable, operation.retryable.clone())];
        let params = operation.params.clone();
        let work = move || {
            let env = known::judging(&params);
            let mut used = Vec::new();
            for (part, text) in parts {
                let Some(text) = text else { continue };
                let expression = compile(&part, &text, &env)?;
                known.suffices(&part, &expression, &env)?;
                used.push(expression);
            }
            Ok(known.used_by(&used))
        };
        self.0
            .run(DEADLINE, move || Ok(work()))
            .await?
            .map_err(|why| Problem::Expression { part: Part::Success, why })?
    }

    async fn value(
        &self,
        part: Part,
        text: &str,
        env: &Arc<Environment>,
        known: &Arc<Known>,
    ) -> Result<Value, Problem> {
        let (text, env, known, of) = (text.to_owned(), Arc::clone(env), Arc::clone(known), part.clone());
        let work = move || {
            let expression = if of == Part::Path { compile_path(&text, &env) } else { compile(&of, &text, &env) }?;
            known.suffices(&of, &expression, &env)?;
            let in_part = |why| Problem::Expression { part: of.clone(), why };
            let variables = known.variables(&expression, &env).map_err(in_part)?.into_variables();
            expression.evaluate(variables).map_err(|error| in_part(failed(&error)))
        };
        self.0.run(DEADLINE, move || Ok(work())).await?.map_err(|why| Problem::Expression { part, why })?
    }
}

pub(super) fn compile(part: &Part, text: &str, env: &Environment) -> Result<Expression, Problem> {
    expression::compile(text, env).map_err(|why| Problem::Expression { part: part.clone(), why })
}

pub(super) fn compile_path(text: &str, env: &Environment) -> Result<Expression, Problem> {
    let expression = compile(&Part::Path, text, env)?;
    if expression.uses(TOKEN) {
        return Err(Problem::TokenInPath);
    }
    if path::is_confined(expression.tree()) { Ok(expression) } else { Err(Problem::NotEncoded) }
}

fn check_name(header: &Header) -> Result<(), Problem> {
    if is_reserved(&header.name) { Err(Problem::HeaderReserved(header.name.clone())) } else { Ok(()) }
}

/// Whether a header is never an operation's to set.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.contains(&name.as_str()) || name.starts_with("proxy-") || name.starts_with("x-forwarded-")
}

fn text(part: Part, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.as_str().to_owned()),
        other => Err(wrong_type(part, other, "text")),
    }
}

fn wrong_type(part: Part, got: &Value, wanted: &'static str) -> Problem {
    Problem::Type { part, got: got.type_of().to_string(), wanted }
}

fn body(value: &Value) -> Result<Body, Problem> {
    let body = match value {
        Value::String(text) => Body::Text(Zeroizing::new(text.as_str().to_owned())),
        Value::Map(_) | Value::List(_) => {
            let json = json::from_value(value).map_err(Problem::Body)?;
            Body::Json(Zeroizing::new(json.to_string()))
        }
        other => return Err(wrong_type(Part::Body, other, "map, list or text")),
    };
    if body.as_str().len() > MAX_BODY { Err(Problem::Body("it is larger than 256 KiB")) } else { Ok(body) }
}
