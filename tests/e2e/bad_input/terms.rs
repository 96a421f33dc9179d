//! Requests that the API server takes and the operator refuses, each with the sentence that its requester reads.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::Phase,
};
use serde_json::{Value, json};

use super::{all_is_well, none};
use crate::support::{Lab, Tenant, run};

/// A condition as a test compares it.
fn said(conditions: &[condition::Condition], kind: &str) -> String {
    condition::find(conditions, kind).map_or_else(
        || format!("no condition {kind}"),
        |c| format!("{kind} {:?} {}: {}", c.status, c.reason, c.message),
    )
}

/// What is wrong with how a lease was refused; nothing, if it says exactly this and left nothing behind.
async fn refusal(tenant: &Tenant<'_>, lease: &str, says: &str) -> Result<Vec<String>> {
    let lease: CredentialLease = tenant.lease_in(lease, Phase::Denied).await?;
    let status = lease.status.context("no status")?;
    let expected = [
        format!("Allowed False TermsViolated: {says}"),
        "Issued False NotIssued: the request was refused".to_owned(),
        format!("Active False Denied: {says}"),
        format!("Stalled True Denied: {says}"),
        "no condition Revoked".to_owned(),
    ];
    let kinds = ["Allowed", "Issued", "Active", "Stalled", "Revoked"];
    let mut wrong = vec![];
    for (kind, expected) in kinds.iter().zip(expected) {
        let found = said(&status.conditions, kind);
        if found != expected {
            wrong.push(format!(
                "{}:\n  said     {found}\n  expected {expected}",
                lease.metadata.name.clone().unwrap_or_default()
            ));
        }
    }
    ensure!(status.credential.is_none() && status.bindings.is_empty(), "a denied lease has a credential");
    Ok(wrong)
}

fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(expression, message)| json!({"expression": expression, "message": message})).collect()
}

#[test]
fn a_request_beyond_the_terms_is_denied_with_every_reason_at_once() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("terms").await?;
        tenant.lifecycle("plain", |_| {}).await?;
        tenant.lifecycle("grantless", |s| s["grants"] = json!([])).await?;
        tenant.lifecycle("minted", |s| s["terms"]["delivery"] = json!(["TokenRequest"])).await?;
        tenant
            .lifecycle("narrow", |s| {
                s["terms"]["secretNames"] = json!(["ours", "theirs"]);
                s["terms"]["audiences"] = json!(["vault"]);
                s["terms"]["validations"] = rules(&[
                    ("lease.reason.contains('CHG-')", "name a change, like CHG-17, in reason"),
                    ("lease.ttl <= duration('10m')", "at most 10m without a ticket"),
                ]);
            })
            .await?;
        tenant.lifecycle("held", |s| s["stopPolicy"] = json!("Hold")).await?;
        tenant.lifecycle("stopped", |s| s["stopPolicy"] = json!("HoldAndRevoke")).await?;
        tenant.lifecycle("ended", |s| s["expirationTime"] = json!("2026-01-01T00:00:00Z")).await?;
        tenant.lifecycle("full", |s| s["terms"]["maxActive"] = json!(1)).await?;
        tenant.lifecycle("fair", |s| s["terms"]["maxActivePerRequester"] = json!(1)).await?;
        for name in ["full", "fair"] {
            tenant.lease(&format!("{name}-first"), name, |s| s["ttl"] = json!("10m")).await?;
            tenant.lease_in(&format!("{name}-first"), Phase::Active).await?;
        }

        let requester = &tenant.requester.name;
        let cases: Vec<(&str, &str, Value, String)> = vec![
            ("unknown-lifecycle", "nope", json!({}), "there is no ServiceAccountLifecycle nope in this namespace: create it, or name another one".into()),
            ("unknown-grant", "plain", json!({"grants": ["write"]}), "the lifecycle has no grant write: choose from read".into()),
            ("no-grants", "plain", json!({"grants": []}), "spec.grants names nothing: choose from read".into()),
            ("no-grants-to-have", "grantless", json!({"grants": []}), "spec.grants names nothing: choose from none".into()),
            ("too-long", "plain", json!({"ttl": "61m"}), "a ttl of 1h1m is longer than the lifecycle's 1h: ask for at most 1h".into()),
            ("too-long-by-far", "plain", json!({"ttl": "8760h"}), "a ttl of 8760h is longer than the lifecycle's 1h: ask for at most 1h".into()),
            ("no-secret", "minted", json!({"delivery": {"type": "Secret"}}), "the lifecycle does not allow delivery Secret: choose from TokenRequest".into()),
            ("own-secret-name", "plain", json!({"delivery": {"type": "Secret", "secret": {"name": "mine"}}}), "the lifecycle does not allow the Secret name mine: leave delivery.secret out, or choose from none".into()),
            ("no-audience", "plain", json!({"audiences": ["vault"]}), "a ttl of 30s is too short for audiences that verify without asking the API server: ask for at least 10m; the lifecycle does not allow audience vault: choose from none, or leave audiences out".into()),
            ("held", "held", json!({}), "the lifecycle is stopped (stopPolicy Hold): ask its owner".into()),
            ("stopped", "stopped", json!({}), "the lifecycle is stopped (stopPolicy HoldAndRevoke): ask its owner".into()),
            ("ended", "ended", json!({}), "the lifecycle ended at 2026-01-01T00:00:00Z: its owner must move expirationTime".into()),
            ("full", "full", json!({}), "1 leases of this lifecycle are active, the most it allows (maxActive): wait for one to end".into()),
            ("fair", "fair", json!({}), format!("{requester} has 1 active leases of this lifecycle, the most it allows (maxActivePerRequester): end one first")),
            ("rule", "narrow", json!({"ttl": "10m"}), "name a change, like CHG-17, in reason".into()),
            ("everything", "narrow", json!({
                "grants": ["write", "read"], "ttl": "61m", "audiences": ["vault", "s3"],
                "delivery": {"type": "Secret", "secret": {"name": "mine"}}}),
                "the lifecycle has no grant write: choose from read; \
                 a ttl of 1h1m is longer than the lifecycle's 1h: ask for at most 1h; \
                 the lifecycle does not allow the Secret name mine: leave delivery.secret out, or choose from ours, theirs; \
                 the lifecycle does not allow audience s3: choose from vault, or leave audiences out; \
                 name a change, like CHG-17, in reason; at most 10m without a ticket".into()),
        ];
        for (name, lifecycle, change, _) in &cases {
            tenant.lease(name, lifecycle, |spec| super::merge(spec, change)).await?;
        }
        let mut wrong = vec![];
        for (name, _, _, says) in &cases {
            wrong.extend(refusal(&tenant, name, says).await?);
        }
        for name in ["held", "stopped"] {
            let policy = if name == "held" { "Hold" } else { "HoldAndRevoke" };
            wrong.extend(
                lifecycle_says(
                    &tenant,
                    name,
                    &format!(
                        "Leasable False Stopped: stopPolicy is {policy}: nothing is leased until it is taken back"
                    ),
                )
                .await?,
            );
        }
        wrong.extend(
            lifecycle_says(&tenant, "ended", "Leasable False Expired: expirationTime 2026-01-01T00:00:00Z has passed")
                .await?,
        );
        none(wrong)?;

        // What was in error is good as soon as it is mended.
        let mend = Patch::Merge(json!({"spec": {"stopPolicy": null}}));
        tenant.lifecycles().patch("held", &PatchParams::default(), &mend).await?;
        tenant.lifecycle_says("held", "Leasable", ConditionStatus::True, "Leasable").await?;
        tenant.lease("mended", "held", |_| {}).await?;
        tenant.lease_in("mended", Phase::Active).await?;
        all_is_well(&tenant).await
    });
}

/// What is wrong with a lifecycle's condition.
async fn lifecycle_says(tenant: &Tenant<'_>, name: &str, expected: &str) -> Result<Vec<String>> {
    let mut words = expected.split([' ', ':']);
    let (kind, status, reason) = (words.next().unwrap_or_default(), words.next(), words.next().unwrap_or_default());
    let status = if status == Some("True") { ConditionStatus::True } else { ConditionStatus::False };
    let object = tenant.lifecycle_says(name, kind, status, reason).await?;
    let found = said(&object.status.context("no status")?.conditions, kind);
    Ok(if found == expected { vec![] } else { vec![format!("{name}:\n  said     {found}\n  expected {expected}")] })
}

/// Expressions that cannot be used, and why.
fn broken_rules() -> Vec<(&'static str, String, &'static str)> {
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    vec![
        (
            "unparsable",
            "lease.ttl <".into(),
            "the expression cannot be parsed: ERROR: <input>:1:12: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n| lease.ttl <\n| ...........^",
        ),
        (
            "other-types",
            "lease.reason > 3".into(),
            "the expression failed: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        (
            "other-types-again",
            "lease.ttl < '5m'".into(),
            "the expression failed: found no matching overload for '_<_' applied to '(google.protobuf.Duration, string)'",
        ),
        ("too-nested", deep, "the expression is nested too deeply: at most 32 levels"),
        (
            "unknown-field",
            "lease.colour == 'red'".into(),
            "`lease.colour` is not known: there are lease, lifecycle, requester, approval and now, with the documented fields",
        ),
        (
            "unknown-variable",
            "object.spec.ttl == '5m'".into(),
            "`object.spec.ttl` is not known: there are lease, lifecycle, requester, approval and now, with the documented fields",
        ),
        ("unknown-function", "shell('id') == ''".into(), "the function `shell` is not available"),
        (
            "macro-in-macro",
            "lease.grants.all(g, requester.groups.exists(h, h == g))".into(),
            "a macro (all, exists, exists_one, filter, map) stands within another one's body",
        ),
        ("no-bool", "lease.reason".into(), "the expression gives a value of type string, not true or false"),
        (
            "dear",
            "requester.groups.map(g, requester.groups).size() > 0".into(),
            "over a large lease the expression would cost too much: compare less, or use a simpler pattern",
        ),
        (
            "own-pattern",
            "lease.reason.matches(lease.name)".into(),
            "matches() takes its pattern as a string written out in the expression",
        ),
        ("out-of-range", "lease.grants[7] == 'read'".into(), "the expression failed: Index out of bounds: Int(7)"),
    ]
}

#[test]
fn a_validation_that_cannot_be_used_is_named_and_lets_nothing_pass() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("rules").await?;
        let broken = broken_rules();
        for (name, expression, _) in &broken {
            tenant
                .lifecycle(name, |s| {
                    s["terms"]["validations"] = rules(&[("true", "never said"), (expression, "never said either")])
                })
                .await?;
            tenant.lease(name, name, |_| {}).await?;
        }
        let mut wrong = vec![];
        for (name, expression, problem) in &broken {
            wrong.extend(
                lifecycle_says(
                    &tenant,
                    name,
                    &format!("Ready False ValidationInvalid: validation `{expression}` cannot be used: {problem}"),
                )
                .await?,
            );
            wrong.extend(
                lifecycle_says(
                    &tenant,
                    name,
                    "Leasable False NotReady: a validation cannot be used, so no lease passes it: mend what condition Ready names",
                )
                .await?,
            );
            let says = format!(
                "the rule `{expression}` cannot be evaluated ({problem}), so nothing passes it: ask the owner of the lifecycle or of the policy it stands in to mend it"
            );
            wrong.extend(refusal(&tenant, name, &says).await?);
        }
        none(wrong)?;
        all_is_well(&tenant).await
    });
}

#[test]
fn a_role_that_does_not_exist_is_named_and_leases_of_it_are_denied() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("roles").await?;
        let mut lifecycle = tenant.lifecycle_json("nightly", |s| {
            s["grants"] = json!([{"name": "read", "roleRef": {"kind": "Role", "name": "missing"}}]);
        });
        lifecycle["metadata"]["name"] = json!("nightly");
        // Its author may not bind what he cannot name: the administrator may.
        lab.kubectl(&["apply", "-f", "-"], Some(&lifecycle.to_string())).await?;
        let mut wrong = lifecycle_says(
            &tenant,
            "nightly",
            &format!(
                "GrantsAllowed False RoleNotFound: Role missing not found in namespace {}: create it first",
                tenant.namespace
            ),
        )
        .await?;
        tenant.lease("run", "nightly", |_| {}).await?;
        wrong.extend(
            refusal(
                &tenant,
                "run",
                &format!(
                    "the Role missing of grant read does not exist in namespace {}: create it first",
                    tenant.namespace
                ),
            )
            .await?,
        );
        none(wrong)?;
        all_is_well(&tenant).await
    });
}
