//! Tenants' own rules: expressions in CEL that every lease of a lifecycle must meet.
//!
//! They run in the process that must revoke, and the interpreter has no budget and cannot be stopped. So what an expression may
//! cost is bounded before it runs, from its text and the bounds of its input alone ([`super::expression`]), and it runs on threads of its own
//! (`runtime::evaluator`). Everything fails closed: an expression that cannot be used is a rule that is not met.

use std::sync::LazyLock;

use cel::Value;

#[cfg(test)]
use super::expression::MAX_DETAIL;
pub use super::expression::Problem;
use super::{
    expression::{self, Environment, Expression, Weight, duration, object, timestamp},
    guards::Effective,
    observed::Observed,
    outlives,
};
use crate::api::{
    CredentialLeaseSpec, Duration, ServiceAccountLifecycleSpec, Time,
    lease::Identity,
    lifecycle::{ApprovalType, Class, DeliveryType, Owner, Terms, TtlTerms},
    reasons::Outlives,
};

/// The longest expression, in characters.
pub const MAX_EXPRESSION: usize = 1024;
/// What rules know, with the bounds of the resources' schemas (metadata: those of the API server).
static KNOWN: LazyLock<Environment> = LazyLock::new(|| {
    let fields = [
        ("lease.name", Weight::chars(253)),
        ("lease.namespace", Weight::chars(63)),
        ("lease.ttl", Weight::SMALL),
        ("lease.reason", Weight::chars(512)),
        ("lease.ticket", Weight::chars(128)),
        ("lease.grants", Weight::texts(16, 63)),
        ("lease.audiences", Weight::texts(4, 253)),
        ("lease.delivery", Weight::chars(16)),
        ("lease.outlives", Weight::texts(16, 16)),
        ("lifecycle.name", Weight::chars(253)),
        ("lifecycle.namespace", Weight::chars(63)),
        ("lifecycle.class", Weight::chars(16)),
        ("lifecycle.owner.team", Weight::chars(128)),
        ("lifecycle.owner.contact", Weight::chars(256)),
        ("lifecycle.purpose", Weight::chars(512)),
        ("requester.username", Weight::chars(512)),
        ("requester.uid", Weight::chars(256)),
        ("requester.groups", Weight::texts(256, 256)),
        ("requester.podName", Weight::chars(253)),
        ("approval.type", Weight::chars(16)),
        ("approval.count", Weight::SMALL),
        ("now", Weight::SMALL),
    ];
    Environment::new(MAX_EXPRESSION, fields.map(|(name, weight)| (name.into(), weight)).into())
});

/// An expression that may be evaluated.
#[derive(Debug)]
pub struct Rule(Expression);

/// What expressions are about. Its texts and lists must be within the bounds of the resources' schemas.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// `lease`.
    pub lease: LeaseInput,
    /// `lifecycle`.
    pub lifecycle: LifecycleInput,
    /// `requester`: username, uid, groups and podName. What is absent is an empty text.
    pub requester: Identity,
    /// `approval`.
    pub approval: ApprovalInput,
    /// `now`.
    pub now: Time,
}

/// `approval` in an expression: who has to agree, after every policy has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalInput {
    /// `approval.type`: `'Required'`, `'Retrospective'` or `'NotRequired'`.
    pub kind: ApprovalType,
    /// `approval.count`; 0 where nobody is asked.
    pub count: i32,
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
    /// `lease.outlives`: by what a holder of the granted roles could leave something behind, such as `'Exec'`.
    pub outlives: Vec<Outlives>,
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
    expression::compile(expression, &KNOWN).map(Rule)
}

/// Whether a rule is met.
///
/// # Errors
/// Why there is no answer; it counts as not met.
pub fn evaluate(rule: &Rule, input: &Input) -> Result<bool, Problem> {
    match rule.0.evaluate(input.variables()?) {
        Ok(Value::Bool(met)) => Ok(met),
        Ok(other) => Err(Problem::NotBool(other.type_of().to_string())),
        Err(error) => Err(Problem::failed(&error)),
    }
}

/// When every sample is made, in milliseconds: 2026-01-01T12:00:00Z. Any time will do, as long as it is the same each time.
const SAMPLE_MILLIS: i64 = 1_767_268_800_000;

/// A lease as it could be asked for, on which each rule is tried when a lifecycle is seen: a name that is not there, or a
/// comparison of different types, shows before anybody waits for a lease. Whether the rule is met says nothing.
#[must_use]
pub fn sample(namespace: &str, name: &str, lifecycle: &ServiceAccountLifecycleSpec, terms: &Effective) -> Input {
    let lease = CredentialLeaseSpec {
        lifecycle_ref: crate::api::lease::LifecycleRef { name: name.to_owned() },
        grants: lifecycle.grants.iter().map(|grant| grant.name.clone()).collect(),
        ttl: None,
        not_before: None,
        reason: "a sample".into(),
        ticket: Some("CHG-1".into()),
        audiences: terms.audiences.clone(),
        delivery: crate::api::lease::Delivery {
            kind: terms.delivery.first().copied().unwrap_or(DeliveryType::TokenRequest),
            secret: None,
        },
        completion_ref: None,
        standing_ref: None,
        requested_by: Identity {
            username: "sample".into(),
            uid: Some("5f2c8a8e-0000-4000-8000-000000000000".into()),
            groups: vec!["sample".into()],
            pod_name: Some("sample".into()),
            credential_id: None,
        },
    };
    let asked = Asked { namespace, name: "sample", spec: &lease, ttl: terms.ttl_default, outlives: &[Outlives::Watch] };
    Input::of(&asked, lifecycle, terms, Time::from_millis(SAMPLE_MILLIS))
}

/// The same for a policy, which no lifecycle need meet yet.
#[must_use]
pub fn sample_of_any() -> Input {
    let lifecycle = ServiceAccountLifecycleSpec {
        owner: Owner { team: "sample".into(), contact: "#sample".into() },
        purpose: "a sample".into(),
        class: Class::Workload,
        grants: vec![],
        terms: Terms {
            ttl: TtlTerms { default: None, max: Duration::from_secs(600) },
            max_active: None,
            max_active_per_requester: None,
            delivery: vec![DeliveryType::TokenRequest],
            secret_names: vec![],
            backstop: None,
            audiences: vec![],
            approval: None,
            on_role_change: None,
            validations: vec![],
        },
        workflow: vec![],
        standing: vec![],
        expiration_time: None,
        review: None,
        stop_policy: None,
    };
    sample("sample", "sample", &lifecycle, &Effective::of(&lifecycle.terms, &[]))
}

/// A request, as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a CredentialLeaseSpec,
    pub ttl: Duration,
    pub outlives: &'a [Outlives],
}

impl Input {
    /// What a lease asks of its lifecycle, as it is seen; `None` where there is no spec or no lifecycle.
    #[must_use]
    pub fn seen(seen: &Observed, now: Time) -> Option<Self> {
        let (spec, lifecycle, terms) = (seen.lease.spec.as_ref()?, seen.lifecycle()?, seen.terms()?);
        let mut kinds: Vec<Outlives> = seen.roles.values().flat_map(|role| outlives::of(&role.rules)).collect();
        kinds.sort();
        kinds.dedup();
        let asked = Asked {
            namespace: &seen.lease.namespace,
            name: &seen.lease.name,
            spec,
            ttl: seen.ttl_under(&terms),
            outlives: &kinds,
        };
        Some(Self::of(&asked, &lifecycle.spec, &terms, now))
    }

    /// What a request asks of a lifecycle.
    #[must_use]
    pub fn of(asked: &Asked, lifecycle: &ServiceAccountLifecycleSpec, terms: &Effective, now: Time) -> Self {
        let spec = asked.spec;
        Self {
            lease: LeaseInput {
                name: asked.name.to_owned(),
                namespace: asked.namespace.to_owned(),
                ttl: asked.ttl,
                reason: spec.reason.clone(),
                ticket: spec.ticket.clone(),
                grants: spec.grants.clone(),
                audiences: spec.audiences.clone(),
                delivery: spec.delivery.kind,
                outlives: asked.outlives.to_vec(),
            },
            lifecycle: LifecycleInput {
                name: spec.lifecycle_ref.name.clone(),
                namespace: asked.namespace.to_owned(),
                class: lifecycle.class,
                owner: lifecycle.owner.clone(),
                purpose: lifecycle.purpose.clone(),
            },
            requester: spec.requested_by.clone(),
            approval: ApprovalInput { kind: terms.approval.kind.value, count: terms.approval.count },
            now,
        }
    }

    fn variables(&self) -> Result<[(&'static str, Value); 5], Problem> {
        let (lease, lifecycle, requester) = (&self.lease, &self.lifecycle, &self.requester);
        let outlives: Vec<String> = lease.outlives.iter().map(ToString::to_string).collect();
        Ok([
            (
                "lease",
                object([
                    ("name", text("lease.name", &lease.name)?),
                    ("namespace", text("lease.namespace", &lease.namespace)?),
                    ("ttl", duration("lease.ttl", lease.ttl.as_secs())?),
                    ("reason", text("lease.reason", &lease.reason)?),
                    ("ticket", text("lease.ticket", lease.ticket.as_deref().unwrap_or_default())?),
                    ("grants", list("lease.grants", &lease.grants)?),
                    ("audiences", list("lease.audiences", &lease.audiences)?),
                    ("delivery", text("lease.delivery", lease.delivery.as_str())?),
                    ("outlives", list("lease.outlives", &outlives)?),
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
            (
                "approval",
                object([
                    ("type", text("approval.type", self.approval.kind.as_str())?),
                    ("count", Value::Int(self.approval.count.into())),
                ]),
            ),
            ("now", timestamp("now", self.now)?),
        ])
    }
}

fn text(path: &str, text: &str) -> Result<Value, Problem> {
    KNOWN.text(path, text)
}

fn list(path: &str, entries: &[String]) -> Result<Value, Problem> {
    KNOWN.list(path, entries)
}

#[cfg(test)]
mod tests;
