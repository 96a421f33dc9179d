//! Who agrees, when it counts and when not, against the model.

mod answers;
mod counts;
mod life;
mod voids;

use serde_json::json;

use super::{
    observed::{DecisionSeen, Memory, Observed},
    world::{START, World, active, uid},
};
use crate::api::{Time, condition, reasons::Phase};

fn asking(approval: serde_json::Value) -> World {
    World::new("TokenRequest").asking(approval)
}

fn waits(world: &World) -> bool {
    world.status.phase == Some(Phase::AwaitingApproval)
}

/// A decision as admission lets it pass, `after` seconds after the request.
fn word(world: &World, by: &str, decision: &str, after: i64) -> DecisionSeen {
    let mut spec = json!({
        "leaseRef": {"name": "lease", "uid": uid().to_string()}, "lifecycleRef": {"name": "lc"}, "requester": "ci",
        "decision": decision, "reason": "because", "decidedBy": {"username": by},
    });
    if decision == "Approved" {
        spec["requestDigest"] = json!(world.status.request_digest);
    }
    DecisionSeen {
        uid: format!("{by}-{decision}-{after}"),
        name: format!("by-{by}"),
        created: Time::from_millis(START + after * 1000),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

fn decide(world: &mut World, by: &str, decision: &str, after: i64) {
    let word = word(world, by, decision, after);
    world.now = world.now.max(word.created.as_millis());
    world.decisions.push(word);
}

/// Alice has agreed, and that is written down.
fn once_agreed(approval: serde_json::Value) -> (World, Memory) {
    let (mut world, mut memory) = (asking(approval), Memory::default());
    world.run(&mut memory, |w| waits(w) || active(w));
    decide(&mut world, "alice", "Approved", 10);
    world.run(&mut memory, |w| w.status.approvals.as_ref().is_some_and(|a| a.have == 1));
    (world, memory)
}

fn approved_message(world: &World) -> String {
    condition::find(&world.status.conditions, "Approved").map(|c| c.message.clone()).unwrap_or_default()
}

/// A world in which something is not known yet, as after a restart.
fn half_seen(world: &World, spoil: fn(&mut Observed)) -> Observed {
    let mut seen = world.observe(&Memory::default());
    spoil(&mut seen);
    seen
}
