//! Lifecycles: accepted or not, lacking what others bring, stopped, holding a standing credential.

use anyhow::Result;
use kube::api::{Patch, PatchParams, PostParams};
use leasehold::api::ConditionStatus::{self, False, True};
use serde_json::{Value, json};

use super::readers::{DONE, FRESH, LACKING, MOVING, Reading, Sheet, WRONG};
use crate::support::{Lab, Tenant};

type Row = (&'static str, Value, (&'static str, ConditionStatus, &'static str), Reading);

/// Name and change of its spec, what it comes to say, and how that is read.
fn rows() -> Vec<Row> {
    let rule = json!([{"expression": "lease.ttll < duration('1h')", "message": "short ones only"}]);
    let step = json!([{"name": "told", "at": "Issue", "system": "nowhere", "operation": "tell", "with": {}}]);
    let grants = |role: &str| json!([{"name": "read", "roleRef": {"kind": "Role", "name": role}}]);
    let standing = json!([{"name": "agent", "grants": ["read"], "secret": "agent-token", "ttl": "10m"}]);
    let asked = json!({"ttl": {"max": "1h"}, "delivery": ["Secret"], "approval": {"type": "Required"}});
    vec![
        ("accepted", json!({}), ("Leasable", True, "Leasable"), DONE),
        (
            "broken",
            json!({"terms": {"ttl": {"max": "1h"}, "delivery": ["Secret"], "validations": rule}}),
            ("Ready", False, "ValidationInvalid"),
            WRONG,
        ),
        ("no-role", json!({"grants": grants("missing")}), ("GrantsAllowed", False, "RoleNotFound"), LACKING),
        ("no-right", json!({"grants": grants("requester")}), ("GrantsAllowed", False, "MissingRight"), LACKING),
        ("no-system", json!({"workflow": step}), ("WorkflowAllowed", False, "StepInvalid"), LACKING),
        ("stopped", json!({"stopPolicy": "HoldAndRevoke"}), ("Leasable", False, "Stopped"), DONE),
        ("expired", json!({"expirationTime": "2026-01-01T00:00:00Z"}), ("Leasable", False, "Expired"), DONE),
        (
            "unreviewed",
            json!({"review": {"everyDays": 30, "lastReviewed": "2020-02-29"}}),
            ("Leasable", False, "ReviewOverdue"),
            DONE,
        ),
        ("held", json!({"standing": standing}), ("StandingReady", True, "Delivered"), DONE),
        ("not-held", json!({"standing": standing, "terms": asked}), ("StandingReady", False, "NotHeld"), LACKING),
        (
            "stopped-standing",
            json!({"standing": standing, "stopPolicy": "Hold"}),
            ("StandingReady", False, "NotHeld"),
            DONE,
        ),
    ]
}

async fn create(tenant: &Tenant<'_>, name: &str, spec: Value) -> Result<Value> {
    let object = tenant.lifecycle_json(name, |all| {
        for (field, value) in spec.as_object().into_iter().flatten() {
            all[field] = value.clone();
        }
    });
    // As the syncer, who holds everything: an author could not grant what he may not bind.
    let created = tenant.lifecycles().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(serde_json::to_value(created)?)
}

async fn note(sheet: &mut Sheet, tenant: &Tenant<'_>, (name, _, says, reading): &Row) -> Result<()> {
    let (kind, status, reason) = says;
    let lifecycle = tenant.lifecycle_says(name, kind, *status, reason).await?;
    sheet.note(format!("a lifecycle whose {kind} is {status:?}, {reason}"), &lifecycle, *reading)
}

pub async fn fill(lab: &Lab, sheet: &mut Sheet) -> Result<()> {
    let tenant = lab.tenant("lifecycles").await?;
    let rows = rows();
    for (name, spec, ..) in &rows {
        let mut spec = spec.clone();
        // One Secret each.
        if spec.get("standing").is_some() {
            spec["standing"][0]["secret"] = json!(name);
        }
        let fresh = create(&tenant, name, spec).await?;
        sheet.note(format!("a lifecycle {name} that nobody has looked at"), &fresh, FRESH)?;
    }
    for row in &rows {
        note(sheet, &tenant, row).await?;
    }
    // As the API server answers the change, before anybody can have looked at it.
    let patch = json!({"spec": {"purpose": "Reads the ledger at night"}});
    let changed = tenant.lifecycles().patch("accepted", &PatchParams::default(), &Patch::Merge(patch)).await?;
    sheet.note("a lifecycle that was changed a moment ago", &changed, MOVING)?;

    // Guardrails are for all of a namespace.
    for (label, spec, says, reading) in [
        (
            "guarded",
            json!({"grants": {"forbidRules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]}}),
            ("PoliciesSatisfied", False, "Violated"),
            LACKING,
        ),
        ("halted", json!({"stopPolicy": "Hold"}), ("Leasable", False, "PolicyStopped"), DONE),
    ] {
        let tenant = lab.tenant(label).await?;
        tenant.policy("p", spec).await?;
        create(&tenant, "nightly", json!({})).await?;
        note(sheet, &tenant, &("nightly", Value::Null, says, reading)).await?;
    }
    Ok(())
}
