//! Expressions, and answers, that are meant to hurt.

use std::time::{Duration, Instant};

use cel::Value as Cel;

use super::*;
use crate::{
    domain::expression,
    systems::{Part, Problem, check_operation, json, known},
};

fn why(spec: Value) -> expression::Problem {
    match check_operation(&operation(spec)) {
        Err(Problem::Expression { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_would_cost_too_much_over_the_largest_answer_is_refused() {
    use expression::Problem as P;
    let long = format!("'{}'", "x".repeat(5000));
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    for (body, expected) in [
        (long.as_str(), P::TooLong),
        (&deep, P::TooDeep),
        ("requester.groups.map(a, requester.groups.map(b, a + b))", P::NestedMacros),
        ("requester.groups.map(g, requester.groups)", P::TooExpensive),
        ("requester.groups.map(g, credential.ca)", P::TooExpensive),
        ("lease.reason.matches(lease.name) ? 'a' : 'b'", P::PatternNotLiteral),
    ] {
        assert_eq!(why(json!({"body": body})), expected, "{body}");
    }
    for success in [
        "response.body.all(a, response.body.exists(b, a == b))",
        "response.body.exists(a, a in response.body)",
        "response.body.map(a, response.body) == []",
        "response.body.a.b.exists(a, a == response.body)",
        "response.body.map(a, [a, a, a, a, a, a, a, a]).map(a, a + a + a + a).size() > 0",
        "requester.groups.exists(g, response.body == g)",
        r"response.body.matches('(\\w{50}){50}')",
        "(response.body + response.body + response.body + response.body) == response.body.map(a, a + a)",
    ] {
        let why = why(json!({"success": success}));
        assert!(matches!(why, P::TooExpensive | P::NestedMacros), "{success}: {why:?}");
    }
    assert_eq!(why(json!({"success": "params.x == ''"})), P::UnknownName("params.x".into()));
    assert_eq!(why(json!({"success": "response.code == 200"})), P::UnknownName("response.code".into()));
}

/// Answers within the bounds, of the shapes that cost most: one heavy item among many light ones, all alike, one text.
fn worst() -> Vec<serde_json::Value> {
    let most = usize::try_from(known::MAX_VALUES).unwrap();
    let heavy = "x".repeat(known::MAX_ANSWER - 4 * most);
    let mut lopsided = vec![json!(0); most - 2];
    lopsided.push(json!(heavy));
    vec![
        json!(lopsided),
        json!(vec![json!({"name": "abcdefgh"}); most / 3 - 1]),
        json!({"items": vec![json!({"name": "x", "a": [1]}); most / 7 - 1]}),
        json!("x".repeat(known::MAX_ANSWER - 2)),
        json!([vec![0; most / 2 - 4], vec![1; most / 2 - 4]]),
    ]
}

#[test]
fn whatever_is_let_through_comes_to_an_end_over_the_worst_answers() {
    let env = known::judging(&[]);
    let mut slowest = (Duration::ZERO, String::new());
    let mut tried = 0;
    for success in [
        "response.body == response.body",
        "response.body.exists(a, a == 'y')",
        "response.body.all(a, a != 'y' && a != 'z' && a != lease.name)",
        "response.body.items.exists(i, i.name == 'y' && i.a[0] == 2)",
        "response.body.filter(a, a == 0).size() == 1",
        "response.body.map(a, a).size() == 1",
        "response.body.map(a, [a]).size() == 1",
        "response.body.exists(a, size(a) > 1)",
        "response.body[0].exists(a, a == 1)",
        "response.body.contains('yy')",
        "response.body.matches('^a.*b$')",
        "response.body.exists(a, a.matches('y$'))",
        "response.body + 'x' == response.body",
        "'y' in response.body",
    ] {
        let Ok(expression) = expression::compile(success, &env) else { continue };
        for body in worst() {
            let mut tree = known::Tree::default();
            tree.put("response.body", json::to_value(body, &mut known::MAX_VALUES.clone()).expect("within the bounds"));
            tree.put("lease.name", Cel::from("x"));
            let variables = tree.into_variables();
            let begun = Instant::now();
            _ = expression.evaluate(variables);
            slowest = slowest.max((begun.elapsed(), success.to_owned()));
            tried += 1;
        }
    }
    println!("{tried} tried, the slowest {slowest:?}");
    assert!(tried > 40, "{tried}");
    assert!(slowest.0 < Duration::from_secs(3), "{slowest:?}");
}

#[tokio::test]
async fn an_expression_that_overruns_is_no_success_and_is_asked_again() {
    let problem = Problem::Expression { part: Part::Success, why: expression::Problem::TookTooLong };
    assert!(problem.passes());
    let problem = Problem::Expression { part: Part::Success, why: expression::Problem::TooExpensive };
    assert!(!problem.passes());
}

#[test]
fn odd_expressions_never_make_checking_panic() {
    for odd in [
        "",
        "\0",
        "urlquery",
        "urlquery()",
        "urlquery(1, 2)",
        "urlquery(urlquery)",
        "response",
        "response.body[",
        "credential",
        "params",
        "a.map(a, a)",
        "'/' + ''",
        "@",
        "'/' + urlquery(response.body)",
    ] {
        for part in ["path", "body", "success", "retryable"] {
            _ = check_operation(&operation(json!({part: odd})));
        }
    }
}
