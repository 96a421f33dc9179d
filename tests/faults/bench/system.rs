//! The other system of a slot: its calls meet faults as those of the API server do.

use std::sync::Arc;

use anyhow::Result;
use http_body_util::BodyExt;
use leasehold_harness::{CarryOut, Closed, Front, Other, Sent};
use serde_json::{Value, json};

use crate::proxy::{Cut, Proxy, Whole};

/// One that stands behind the proxy, as slot `slot`'s.
pub async fn start(proxy: &Arc<Proxy>, slot: usize) -> Result<Other> {
    let proxy = proxy.clone();
    let front: Front = Arc::new(move |call, carry_out| {
        let proxy = proxy.clone();
        Box::pin(async move { meet(&proxy, slot, &call.what, carry_out).await })
    });
    Other::behind(front).await
}

async fn meet(proxy: &Proxy, slot: usize, what: &str, carry_out: CarryOut) -> Result<Sent, Closed> {
    let carried_out = async {
        let (parts, body) = carry_out.await.map_err(|_| Cut)?.into_parts();
        let body = body.collect().await.map_err(|never| match never {})?.to_bytes();
        Ok::<Whole, Cut>((parts.status, parts.headers, body))
    };
    let answer = proxy.meet_system(slot, what, carried_out).await?;
    Ok(answer.map(|body| body.map_err(Closed::from).boxed_unsync()))
}

/// It as a `ConnectedSystem`: a call may take as long as one of the API server.
pub fn connected(other: &Other, name: &str) -> Value {
    let mut system = other.system(name);
    system["spec"]["limits"] = json!({"callTimeout": "5s", "concurrency": 16});
    system
}

/// A gate, dependents (the second gets the token), and who is told of the end. A `broken` one has a third dependent that refuses.
pub fn workflow(system: &str, broken: bool) -> Value {
    let step = |name: &str, at: &str, operation: &str, key: &str| {
        let mut step = json!({"name": name, "at": at, "system": system, "operation": operation, "with": {"key": key}, "timeout": "60s"});
        if at == "Issue" {
            step["undo"] = json!("unset");
        }
        step
    };
    let mut steps = vec![
        step("approved", "Request", "gate", "gate"),
        step("registered", "Issue", "set", "fact"),
        step("variable", "Issue", "set-token", "token"),
    ];
    if broken {
        steps.push(step("refused", "Issue", "set", REFUSED));
    }
    steps.push(step("told", "Revoke", "tell", "told"));
    json!(steps)
}

/// What the third dependent is asked to keep, and does not.
pub const REFUSED: &str = "refused";
