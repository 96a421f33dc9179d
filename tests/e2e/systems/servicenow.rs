//! ServiceNow: Table API (`GET /api/now/table/{tableName}`) and Import Set API (`POST /api/now/import/{stagingTableName}`).

use anyhow::{Context, Result, ensure};
use leasehold::domain::outcome::Outcome;
use serde_json::{Map, Value, json};

use super::{
    stage::{self, Stage, ended, requested, ticket},
    vendor::{Answer, Call, Contract, Vendor, only},
};
use crate::support::{Lab, run};

/// `leasehold:s3cret`.
const BASIC: &str = "Basic bGVhc2Vob2xkOnMzY3JldA==";

/// An instance with the staging table and transform map that the shipped file tells to make.
struct ServiceNow {
    changes: Vec<Value>,
    notes: Vec<(String, String)>,
}

fn change(number: &str, state: &str, approval: &str, item: &str) -> Value {
    json!({"sys_id": "46e2fee9", "number": number, "state": state, "approval": approval, "cmdb_ci.name": item,
        "start_date": "2026-11-24 14:00:00", "end_date": "2026-11-24 16:00:00", "short_description": "not asked for"})
}

/// A condition of an encoded query: `field=value`.
fn matches(change: &Value, condition: &str) -> Result<bool, String> {
    let (field, value) = condition.split_once('=').ok_or_else(|| format!("no operator in {condition}"))?;
    Ok(change[field] == value)
}

impl ServiceNow {
    fn table(&self, call: &Call) -> Result<Answer, String> {
        let known = [
            "sysparm_query",
            "sysparm_fields",
            "sysparm_display_value",
            "sysparm_exclude_reference_link",
            "sysparm_limit",
        ];
        if let Some((name, _)) = call.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(format!("parameter {name}"));
        }
        let query = call.param("sysparm_query").ok_or("no query: every change would be read")?;
        let fields: Vec<&str> =
            call.param("sysparm_fields").ok_or("no fields: whole records would be read")?.split(',').collect();
        let mut found = Vec::new();
        for change in &self.changes {
            // `^` is and, `^OR` or, `^NQ` begins another query.
            let mut any = false;
            for alternative in query.split("^NQ").flat_map(|query| query.split("^OR")) {
                let all: Result<Vec<bool>, String> =
                    alternative.split('^').map(|condition| matches(change, condition)).collect();
                any |= all?.into_iter().all(|holds| holds);
            }
            if any {
                let record: Map<String, Value> =
                    fields.iter().map(|field| ((*field).to_owned(), change[*field].clone())).collect();
                found.push(Value::Object(record));
            }
        }
        found.truncate(call.param("sysparm_limit").and_then(|limit| limit.parse().ok()).unwrap_or(10_000));
        Ok(Answer::json(200, json!({"result": found})))
    }

    fn import(&mut self, call: &Call) -> Result<Answer, String> {
        let row = call.json()?;
        only(&row, &["u_number", "u_work_notes"], &[])?;
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let known = self.changes.iter().any(|change| change["number"] == row["u_number"]);
        let status = if known { "updated" } else { "ignored" };
        if known {
            self.notes.push((text("u_number"), text("u_work_notes")));
        }
        Ok(Answer::json(
            201,
            json!({"import_set": "ISET0010001", "staging_table": "u_leasehold_outcome", "result": [
            {"transform_map": "Leasehold outcome", "table": "change_request", "display_name": "number",
             "display_value": text("u_number"), "record_link": "https://example.service-now.com/x", "status": status, "sys_id": "46e2fee9"}]}),
        ))
    }
}

impl Contract for ServiceNow {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        if call.header("accept") != "application/json" {
            return Err("no Accept".to_owned());
        }
        if call.header("authorization") != BASIC {
            return Ok(Answer::json(
                401,
                json!({"error": {"message": "User Not Authenticated",
                "detail": "Required to provide Auth information"}, "status": "failure"}),
            ));
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/api/now/table/change_request") => self.table(call),
            ("POST", "/api/now/import/u_leasehold_outcome") => self.import(call),
            _ => Err("no such resource".to_owned()),
        }
    }
}

async fn stage(changes: Vec<Value>) -> Result<(Vendor<ServiceNow>, Stage)> {
    let vendor = Vendor::open(ServiceNow { changes, notes: Vec::new() }).await?;
    let data = [("username", "leasehold"), ("password", "s3cret")];
    let stage = Stage::of(Lab::shared().await?, "servicenow.yaml", vendor.url(), &data).await?;
    Ok((vendor, stage))
}

#[test]
fn only_an_approved_change_of_the_namespace_that_is_in_its_window_opens_the_gate() {
    run(async {
        let changes = vec![
            change("CHG0030001", "-1", "approved", "payments"),
            change("CHG0030002", "-1", "approved", "checkout"),
            change("CHG0030003", "-2", "approved", "payments"),
            change("CHG0030004", "3", "approved", "payments"),
            change("CHG0030005", "-4", "rejected", "payments"),
            change("CHG0030006", "-1", "requested", "payments"),
        ];
        let (vendor, stage) = stage(changes).await?;
        let asks = async |number: &str, now: &str| {
            let mut facts = ticket(requested(), number);
            facts.now = now.parse()?;
            stage.call("assert-approved", &facts).await
        };
        let noon = "2026-11-24T14:30:00Z";
        ensure!(asks("CHG0030001", noon).await? == Outcome::Done);
        // Its window: from the first second on, and not at the last.
        ensure!(asks("CHG0030001", "2026-11-24T14:00:00Z").await? == Outcome::Done);
        ensure!(
            stage::is_again(&asks("CHG0030001", "2026-11-24T13:59:59Z").await?),
            "it is too early, and will not be"
        );
        ensure!(stage::is_refused(&asks("CHG0030001", "2026-11-24T16:00:00Z").await?), "its window is over");
        ensure!(stage::is_refused(&asks("CHG0030002", noon).await?), "it is somebody else's");
        ensure!(stage::is_again(&asks("CHG0030003", noon).await?), "it is scheduled, and will be implemented");
        for (number, why) in [
            ("CHG0030004", "it is closed"),
            ("CHG0030005", "it is rejected"),
            ("CHG0030006", "it is implemented without an approval"),
            ("CHG9999999", "there is none"),
            ("", "there is no ticket"),
            ("CHG0030002^ORnumber=CHG0030001", "the query was widened to two"),
            ("CHG9999999^ORnumber=CHG0030001", "the query was widened to another one"),
        ] {
            let outcome = asks(number, noon).await?;
            ensure!(stage::is_refused(&outcome), "{why}: {outcome:?}");
        }
        vendor.was_kept()
    });
}

#[test]
fn the_change_is_told_the_outcome_and_an_unknown_one_is_not_made() {
    run(async {
        let (vendor, stage) = stage(vec![change("CHG0030001", "-1", "approved", "payments")]).await?;
        stage.done("note-outcome", &ticket(ended(), "CHG0030001")).await?;
        let (number, note) = vendor.with(|it| std::mem::take(&mut it.notes)).pop().context("a note")?;
        ensure!(number == "CHG0030001" && note.contains("payments/rollout-2-3"), "{note}");
        ensure!(
            note.contains("Completed") && note.contains("TokenReviewRefused") && note.contains("2026-11-24T14:40:00Z"),
            "{note}"
        );
        ensure!(stage::is_refused(&stage.call("note-outcome", &ticket(ended(), "CHG9999999")).await?));
        ensure!(vendor.with(|it| it.notes.is_empty()));
        vendor.was_kept()
    });
}

#[test]
fn a_limit_of_the_instance_is_waited_out_and_a_wrong_password_is_not() {
    run(async {
        let (vendor, stage) = stage(vec![change("CHG0030001", "-1", "approved", "payments")]).await?;
        let facts = ticket(requested(), "CHG0030001");
        stage.done("probe", &requested()).await?;
        vendor
            .instead(Answer::json(429, json!({"error": {"message": "Rate limit exceeded"}})).with("Retry-After", "7"));
        let limited = stage.call("assert-approved", &facts).await?;
        ensure!(matches!(limited, Outcome::Again { after: Some(after), .. } if after.as_secs() == 7), "{limited:?}");
        vendor.as_before();
        let wrong = [("username", "leasehold"), ("password", "wrong")];
        let stage = Stage::of(Lab::shared().await?, "servicenow.yaml", vendor.url(), &wrong).await?;
        for operation in ["probe", "assert-approved"] {
            ensure!(stage::is_refused(&stage.call(operation, &facts).await?), "{operation}");
        }
        vendor.was_kept()
    });
}
