mod calls;
mod hostile;
mod logins;
mod rendering;
mod server;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    Request, Systems,
    facts::{CredentialFacts, Facts, LeaseFacts, LifecycleFacts, TokenFact},
    render::Renderer,
};
use crate::{
    api::{ConnectedSystem, Duration, Time, lease::Identity, lifecycle::Owner, system::Operation},
    cluster::{lead::Lead, token::Token},
    domain::outcome::Outcome,
    runtime::{clock::Clock, evaluator::Evaluator, metrics::Metrics},
};

/// What must never be seen outside of a request.
const SECRET: &str = "eyJhbGciOi.the-token.of-the-lease";

fn operation(spec: Value) -> Operation {
    let mut whole = json!({"name": "op", "method": "POST", "path": "'/items'"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn facts() -> Facts {
    Facts {
        params: BTreeMap::new(),
        lease: LeaseFacts {
            name: "tonight".into(),
            namespace: "payments".into(),
            uid: "5f2c8a8e-0000-4000-8000-000000000000".into(),
            reason: "release 7".into(),
            ticket: None,
            grants: vec!["deploy".into(), "read".into()],
            ttl: Duration::from_secs(900),
            request_digest: "sha256:00".into(),
            end_reason: String::new(),
            end_time: None,
            evidence: String::new(),
            approvers: vec!["alice".into()],
        },
        lifecycle: LifecycleFacts {
            name: "nightly".into(),
            namespace: "payments".into(),
            class: "Pipeline".into(),
            owner: Owner { team: "payments".into(), contact: "#payments".into() },
            purpose: "moves money".into(),
        },
        requester: Identity { username: "bob".into(), groups: vec!["sre".into()], ..Identity::default() },
        credential: Some(CredentialFacts {
            token: TokenFact::Held(Arc::new(Token::new(SECRET.into()))),
            service_account: "payments.nightly.x.1".into(),
            expiration_time: Some(Time::from_millis(0)),
            server: "https://kubernetes.default.svc".into(),
            ca: "PEM".into(),
        }),
        now: Time::from_millis(1_767_268_800_000),
    }
}

fn with(params: &[(&str, &str)]) -> Facts {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Facts { params, ..facts() }
}

fn renderer() -> Renderer {
    Renderer::new(Evaluator::unhurried().unwrap())
}

fn system(spec: Value) -> ConnectedSystem {
    let mut whole = json!({"type": "HTTP", "namespaces": {"from": "All"}, "operations": []});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "ConnectedSystem",
        "metadata": {"name": "ci", "uid": "u-1", "generation": 1}, "spec": whole,
    }))
    .unwrap()
}

/// A call that is rendered and sent.
async fn call(systems: &Systems, system: &ConnectedSystem, spec: Value) -> Outcome {
    let request: Request = systems.render(&operation(spec), &facts()).await.unwrap();
    systems.call(system, &request, "uid/op").await
}

fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done => "",
        Outcome::Again { message, .. } | Outcome::Refused { message } => message,
    }
}

/// Systems whose API server is this.
fn systems_with(api: server::ApiServer) -> (Systems, Arc<Metrics>) {
    systems_of(api, Lead::always(Clock::system()))
}

/// The same of a replica that leads as this says.
fn systems_of(api: server::ApiServer, lead: Lead) -> (Systems, Arc<Metrics>) {
    let metrics = Metrics::new();
    (Systems::new(Evaluator::unhurried().unwrap(), api.exchange(), metrics.clone(), lead), metrics)
}

fn systems() -> Systems {
    systems_with(server::ApiServer::default()).0
}
