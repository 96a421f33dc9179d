//! What an answer means.

use std::sync::Arc;

use cel::Value;
use http::StatusCode;

use super::{
    answer::Answer,
    known::{self, Known},
    problem::{Part, Problem, failed},
    render::{self, DEADLINE},
    request::Request,
};
use crate::{domain::outcome::Outcome, runtime::evaluator::Evaluator};

/// What an answer means, as the operation's `success` and `retryable` say. Whatever goes wrong in judging is no success.
pub(super) async fn judge(evaluator: &Evaluator, request: &Request, answer: &Arc<Answer>) -> Outcome {
    let status = answer.status;
    let done = match &request.success {
        None => status.is_success(),
        Some(text) => match holds(evaluator, Part::Success, text, request, answer).await {
            Ok(done) => done,
            Err(problem) => return unjudged(status, &problem),
        },
    };
    if done {
        return Outcome::Done;
    }
    let again = match &request.retryable {
        None => is_retryable(status),
        Some(text) => match holds(evaluator, Part::Retryable, text, request, answer).await {
            Ok(again) => again,
            Err(problem) => return unjudged(status, &problem),
        },
    };
    let message = told(status, request.success.is_some());
    if again { Outcome::Again { message, after: answer.retry_after() } } else { Outcome::Refused { message } }
}

/// Whether a status is worth another try, if nothing else is said.
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

fn told(status: StatusCode, judged: bool) -> String {
    let code = status.as_u16();
    if status.is_redirection() {
        format!("it answered {code}, a redirect: redirects are not followed; write where it leads in the system's url")
    } else if judged {
        format!("it answered {code}, and success does not hold")
    } else {
        format!("it answered {code}")
    }
}

fn unjudged(status: StatusCode, problem: &Problem) -> Outcome {
    let message = format!("it answered {}, which cannot be judged: {problem}", status.as_u16());
    if problem.passes() { Outcome::Again { message, after: None } } else { Outcome::Refused { message } }
}

async fn holds(
    evaluator: &Evaluator,
    part: Part,
    text: &str,
    request: &Request,
    answer: &Arc<Answer>,
) -> Result<bool, Problem> {
    let (text, of, known, answer) = (text.to_owned(), part.clone(), request.known.clone(), Arc::clone(answer));
    let work = move || evaluate(&of, &text, &known, &answer);
    evaluator.run(DEADLINE, move || Ok(work())).await?.map_err(|why| Problem::Expression { part, why })?
}

pub(super) fn evaluate(part: &Part, text: &str, known: &Known, answer: &Answer) -> Result<bool, Problem> {
    let env = known::judging(&known.params());
    let expression = render::compile(part, text, &env)?;
    known.suffices(part, &expression, &env)?;
    let in_part = |why| Problem::Expression { part: part.clone(), why };
    let mut tree = known.variables(&expression, &env).map_err(in_part)?;
    tree.put("response.status", Value::Int(answer.status.as_u16().into()));
    tree.put("response.headers", answer.headers());
    if expression.uses("response.body") {
        let body = answer.body().ok_or_else(|| Problem::AnswerTooLarge(part.clone()))?;
        tree.put("response.body", body);
    }
    match expression.evaluate(tree.into_variables()) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => {
            Err(Problem::Type { part: part.clone(), got: other.type_of().to_string(), wanted: "true or false" })
        }
        Err(error) => Err(in_part(failed(&error))),
    }
}
