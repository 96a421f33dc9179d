//! Tenants' own rules: expressions in CEL that every lease of a lifecycle must meet.
//!
//! They run in the process that must revoke, and the interpreter has no budget and cannot be stopped. So what an expression may
//! cost is bounded before it runs, from its text and the bounds of its input alone (`cost`), and it runs on threads of its own
//! (`runtime::evaluator`). Everything fails closed: an expression that cannot be used is a rule that is not met.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, Value};

use crate::api::{
    CredentialLease, Duration, ServiceAccountLifecycle, Time, condition,
    lease::Identity,
    lifecycle::{Class, DeliveryType, Owner},
};

mod cost;
mod nesting;
mod pattern;

/// The longest expression, in characters.
pub const MAX_EXPRESSION: usize = 1024;
/// How much of the interpreter's own words a message takes over, in bytes.
const MAX_DETAIL: usize = 512;

/// The language: the standard one without optional syntax, which no rule needs.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// Why an expression cannot be used, or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More than [`MAX_EXPRESSION`] characters.
    #[error("the expression has more than {MAX_EXPRESSION} characters")]
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
    #[error("`{0}` is not known: there are lease, lifecycle, requester and now, with the documented fields")]
    UnknownName(String),
    /// A function that is not there.
    #[error("the function `{0}` is not available")]
    UnknownFunction(String),
    /// A form of CEL that rules have no use for, such as building messages.
    #[error("the expression builds a structure, which rules cannot")]
    Structure,
    /// The lease or lifecycle is larger than its schema allows.
    #[error("`{0}` is larger than its schema allows")]
    InputTooLarge(&'static str),
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

/// An expression that may be evaluated.
#[derive(Debug)]
pub struct Rule(cel::Program);

/// What expressions are about. Its texts and lists must be within the bounds of the resources' schemas.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// `lease`.
    pub lease: LeaseInput,
    /// `lifecycle`.
    pub lifecycle: LifecycleInput,
    /// `requester`: username, uid, groups and podName. What is absent is an empty text.
    pub requester: Identity,
    /// `now`.
    pub now: Time,
}

/// `lease` in an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseInput {
    /// `lease.name`.
    pub name: String,
    /// `lease.namespace`.
    pub namespace: String,
    /// `lease.ttl`, a duration: what the lease asks for, or the lifecycle's default.
    pub ttl: Duration,
    /// `lease.reason`.
    pub reason: String,
    /// `lease.ticket`; absent is an empty text.
    pub ticket: Option<String>,
    /// `lease.grants`.
    pub grants: Vec<String>,
    /// `lease.audiences`.
    pub audiences: Vec<String>,
    /// `lease.delivery`: `'TokenRequest'` or `'Secret'`.
    pub delivery: DeliveryType,
}

/// `lifecycle` in an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleInput {
    /// `lifecycle.name`.
    pub name: String,
    /// `lifecycle.namespace`.
    pub namespace: String,
    /// `lifecycle.class`.
    pub class: Class,
    /// `lifecycle.owner`, with `team` and `contact`.
    pub owner: Owner,
    /// `lifecycle.purpose`.
    pub purpose: String,
}

/// Takes an expression if it can be parsed and is bound to be cheap.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub fn compile(expression: &str) -> Result<Rule, Problem> {
    if expression.chars().nth(MAX_EXPRESSION).is_some() {
        return Err(Problem::TooLong);
    }
    nesting::check(expression)?;
    let program = LANGUAGE.compile(expression).map_err(|errors| Problem::Unparsable(detail(&errors)))?;
    cost::check(program.expression())?;
    Ok(Rule(program))
}

/// Whether a rule is met.
///
/// # Errors
/// Why there is no answer; it counts as not met.
pub fn evaluate(rule: &Rule, input: &Input) -> Result<bool, Problem> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    for (name, value) in input.variables()? {
        context.add_variable_from_value(name, value);
    }
    match rule.0.execute(&context) {
        Ok(Value::Bool(met)) => Ok(met),
        Ok(other) => Err(Problem::NotBool(other.type_of().to_string())),
        Err(error) => Err(Problem::Failed(detail(&error))),
    }
}

/// A lease as it could be asked for, on which each rule is tried when a lifecycle is seen: a name that is not there, or a
/// comparison of different types, shows before anybody waits for a lease. Whether the rule is met says nothing.
#[must_use]
pub fn sample(lifecycle: &ServiceAccountLifecycle) -> Input {
    let terms = &lifecycle.spec.terms;
    Input {
        lease: LeaseInput {
            name: "sample".into(),
            namespace: lifecycle.metadata.namespace.clone().unwrap_or_default(),
            ttl: terms.default_ttl(),
            reason: "a sample".into(),
            ticket: Some("CHG-1".into()),
            grants: lifecycle.spec.grants.iter().map(|grant| grant.name.clone()).collect(),
            audiences: terms.audiences.clone(),
            delivery: terms.delivery.first().copied().unwrap_or(DeliveryType::TokenRequest),
        },
        lifecycle: LifecycleInput::of(lifecycle),
        requester: Identity {
            username: "sample".into(),
            uid: Some("5f2c8a8e-0000-4000-8000-000000000000".into()),
            groups: vec!["sample".into()],
            pod_name: Some("sample".into()),
            credential_id: None,
        },
        // 2026-01-01T12:00:00Z: any time will do, as long as it is the same each time.
        now: Time::from_millis(1_767_268_800_000),
    }
}

impl Input {
    /// What a lease asks of a lifecycle.
    #[must_use]
    pub fn of(lease: &CredentialLease, lifecycle: &ServiceAccountLifecycle, now: Time) -> Self {
        let spec = &lease.spec;
        Self {
            lease: LeaseInput {
                name: lease.metadata.name.clone().unwrap_or_default(),
                namespace: lease.metadata.namespace.clone().unwrap_or_default(),
                ttl: spec.ttl.unwrap_or_else(|| lifecycle.spec.terms.default_ttl()),
                reason: spec.reason.clone(),
                ticket: spec.ticket.clone(),
                grants: spec.grants.clone(),
                audiences: spec.audiences.clone(),
                delivery: spec.delivery.kind,
            },
            lifecycle: LifecycleInput::of(lifecycle),
            requester: spec.requested_by.clone(),
            now,
        }
    }

    fn variables(&self) -> Result<[(&'static str, Value); 4], Problem> {
        let (lease, lifecycle, requester) = (&self.lease, &self.lifecycle, &self.requester);
        Ok([
            (
                "lease",
                object([
                    ("name", text("lease.name", &lease.name)?),
                    ("namespace", text("lease.namespace", &lease.namespace)?),
                    ("ttl", duration(lease.ttl)?),
                    ("reason", text("lease.reason", &lease.reason)?),
                    ("ticket", text("lease.ticket", lease.ticket.as_deref().unwrap_or_default())?),
                    ("grants", list("lease.grants", &lease.grants)?),
                    ("audiences", list("lease.audiences", &lease.audiences)?),
                    ("delivery", text("lease.delivery", lease.delivery.as_str())?),
                ]),
            ),
            (
                "lifecycle",
                object([
                    ("name", text("lifecycle.name", &lifecycle.name)?),
                    ("namespace", text("lifecycle.namespace", &lifecycle.namespace)?),
                    ("class", text("lifecycle.class", lifecycle.class.as_str())?),
                    (
                        "owner",
                        object([
                            ("team", text("lifecycle.owner.team", &lifecycle.owner.team)?),
                            ("contact", text("lifecycle.owner.contact", &lifecycle.owner.contact)?),
                        ]),
                    ),
                    ("purpose", text("lifecycle.purpose", &lifecycle.purpose)?),
                ]),
            ),
            (
                "requester",
                object([
                    ("username", text("requester.username", &requester.username)?),
                    ("uid", text("requester.uid", requester.uid.as_deref().unwrap_or_default())?),
                    ("groups", list("requester.groups", &requester.groups)?),
                    ("podName", text("requester.podName", requester.pod_name.as_deref().unwrap_or_default())?),
                ]),
            ),
            ("now", timestamp(self.now)?),
        ])
    }
}

impl LifecycleInput {
    fn of(lifecycle: &ServiceAccountLifecycle) -> Self {
        Self {
            name: lifecycle.metadata.name.clone().unwrap_or_default(),
            namespace: lifecycle.metadata.namespace.clone().unwrap_or_default(),
            class: lifecycle.spec.class,
            owner: lifecycle.spec.owner.clone(),
            purpose: lifecycle.spec.purpose.clone(),
        }
    }
}

impl From<nesting::Refusal> for Problem {
    fn from(refusal: nesting::Refusal) -> Self {
        match refusal {
            nesting::Refusal::TooDeep => Self::TooDeep,
            nesting::Refusal::Spelling(why) => Self::Unparsable(why.to_owned()),
        }
    }
}

fn object<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Map(HashMap::from(fields).into())
}

/// A text, if it is within the bounds that costs were reckoned with.
fn text(path: &'static str, text: &str) -> Result<Value, Problem> {
    let fits = cost::field(path).is_some_and(|bound| cost::text(text.len()) <= bound.total);
    if fits { Ok(Value::String(Arc::new(text.to_owned()))) } else { Err(Problem::InputTooLarge(path)) }
}

/// A list of texts, if it is within the bounds that costs were reckoned with.
fn list(path: &'static str, entries: &[String]) -> Result<Value, Problem> {
    let Some(bound) = cost::field(path) else { return Err(Problem::InputTooLarge(path)) };
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if count > bound.items || entries.iter().any(|entry| cost::text(entry.len()) > bound.each) {
        return Err(Problem::InputTooLarge(path));
    }
    Ok(Value::List(Arc::new(entries.iter().map(|entry| Value::String(Arc::new(entry.clone()))).collect())))
}

fn duration(duration: Duration) -> Result<Value, Problem> {
    chrono::Duration::try_seconds(duration.as_secs()).map(Value::Duration).ok_or(Problem::InputTooLarge("lease.ttl"))
}

fn timestamp(time: Time) -> Result<Value, Problem> {
    let time = chrono::DateTime::from_timestamp_millis(time.as_millis()).ok_or(Problem::InputTooLarge("now"))?;
    Ok(Value::Timestamp(time.fixed_offset()))
}

/// What the interpreter says, cut to what fits a message.
fn detail(error: &impl ToString) -> String {
    let mut text = error.to_string();
    condition::bound(&mut text, MAX_DETAIL);
    text
}

#[cfg(test)]
mod tests;
