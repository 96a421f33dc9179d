//! What the workflow would call, in order, with the requests as they would be sent. Nothing is called.

use serde::Serialize;

use super::{plan::Asked, rules};
use crate::{
    api::{
        ServiceAccountLifecycle,
        system::Operation,
        workflow::{ResolvedStep, StepTime},
    },
    cli::{
        exit::Failure,
        output::{Hue, Style},
        view::text::safe,
    },
    cluster::render::Endpoint,
    domain::workflow::{self, SystemSeen},
    runtime::evaluator::Evaluator,
    systems::{
        Renderer,
        facts::{self, TokenFact},
        shown,
    },
};

/// One call as it would be made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    pub step: String,
    pub at: StepTime,
    pub system: String,
    pub operation: String,
    /// It takes back what an earlier one did.
    pub undo: bool,
    /// What would be sent; absent where it cannot be rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Sent>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A request as it would be sent, without what proves who the operator is; `***` stands for the credential's token.
#[derive(Debug, Serialize)]
pub struct Sent {
    pub method: String,
    pub url: String,
    pub headers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Renders every step in the order in which it would be called: gates, dependents, and at the end what takes them back, from
/// the last to the first, then who is told.
///
/// # Errors
/// If the expressions cannot be evaluated here.
pub async fn rehearse(asked: &Asked, lifecycle: &ServiceAccountLifecycle) -> Result<Vec<Rehearsed>, Failure> {
    let evaluator =
        Evaluator::start().map_err(|e| Failure::Other(format!("no threads to evaluate expressions: {e}")))?;
    let renderer = Renderer::new(evaluator);
    let steps = workflow::resolve(&lifecycle.spec.workflow, &asked.systems);
    let at = |when: StepTime| steps.iter().filter(move |s| s.at == when);
    let mut order: Vec<(&ResolvedStep, bool)> = vec![];
    order.extend(at(StepTime::Request).map(|s| (s, false)));
    order.extend(at(StepTime::Issue).map(|s| (s, false)));
    order.extend(at(StepTime::Issue).rev().filter(|s| s.undo.is_some()).map(|s| (s, true)));
    order.extend(at(StepTime::Revoke).map(|s| (s, false)));
    let mut out = vec![];
    for (step, undo) in order {
        let name = if undo { step.undo.as_deref().unwrap_or_default() } else { &step.operation };
        let Some(system) = asked.systems.get(&step.system.name) else { continue };
        let Some(operation) = system.spec.operation(name) else { continue };
        let rendered = render(&renderer, asked, lifecycle, step, (system, operation)).await;
        let (request, problem) = match rendered {
            Ok(sent) => (Some(sent), None),
            Err(problem) => (None, Some(problem)),
        };
        out.push(Rehearsed {
            step: step.name.clone(),
            at: step.at,
            system: system.name.clone(),
            operation: name.to_owned(),
            undo,
            request,
            problem,
        });
    }
    Ok(out)
}

async fn render(
    renderer: &Renderer,
    asked: &Asked,
    lifecycle: &ServiceAccountLifecycle,
    step: &ResolvedStep,
    (system, operation): (&SystemSeen, &Operation),
) -> Result<Sent, String> {
    let nobody = || "the request says too little".to_owned();
    let mut seen = rules::seen(asked, lifecycle).ok_or_else(nobody)?;
    // As if it were issued now: what is only known then is shown as it would be today.
    seen.lease.status.expiration_time = seen.ttl().map(|ttl| asked.now.plus(ttl));
    let endpoint = Endpoint { server: "https://kubernetes.default.svc".into(), ca_pem: "(the cluster's CA)".into() };
    let mut facts = facts::of(&seen, step, TokenFact::Masked, &endpoint, asked.now).ok_or_else(nobody)?;
    facts.params.retain(|name, _| operation.params.contains(name));
    let request = renderer.render(operation, &facts).await.map_err(|problem| problem.to_string())?;
    let shown = shown(&system.spec, &request)?;
    Ok(Sent { method: shown.method, url: shown.url, headers: shown.headers, body: shown.body })
}

/// For people.
#[must_use]
pub fn text(calls: &[Rehearsed], style: Style) -> String {
    let mut out = String::from("\nIt would call, in this order; nothing was called:\n");
    if calls.is_empty() {
        return "\nIts lifecycle has no workflow that could be rendered.\n".into();
    }
    for call in calls {
        let when = if call.undo { "end".to_owned() } else { call.at.as_str().to_lowercase() };
        let takes_back = if call.undo { ", takes it back" } else { "" };
        out.push_str(&format!("\n{when}: {} ({}/{}{takes_back})\n", call.step, call.system, call.operation));
        if let Some(sent) = &call.request {
            out.push_str(&format!("  {} {}\n", sent.method, safe(&sent.url)));
            for header in &sent.headers {
                out.push_str(&format!("  {}\n", safe(header)));
            }
            if let Some(body) = &sent.body {
                out.push_str(&format!("  {}\n", safe(body)));
            }
        }
        if let Some(problem) = &call.problem {
            out.push_str(&format!("  {}\n", style.paint(Hue::Bad, &safe(problem))));
        }
    }
    out
}
