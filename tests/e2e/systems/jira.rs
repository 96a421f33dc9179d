//! Jira Cloud, REST API v3: `GET /rest/api/3/issue/{issueIdOrKey}`, `POST /rest/api/3/issue/{issueIdOrKey}/comment`.

use anyhow::{Result, ensure};
use leasehold::domain::outcome::Outcome;
use serde_json::{Map, Value, json};

use super::{
    stage::{self, REASON, Stage, ended, issued, requested, ticket},
    vendor::{Answer, Call, Contract, Vendor, decoded, only},
};
use crate::support::{Lab, run};

/// `leasehold@example.com:api-token`.
const BASIC: &str = "Basic bGVhc2Vob2xkQGV4YW1wbGUuY29tOmFwaS10b2tlbg==";

/// A site.
struct Jira {
    issues: Vec<Value>,
    comments: Vec<(String, String)>,
}

fn issue(key: &str, status: (&str, &str), labels: &[&str]) -> Value {
    let project = key.split('-').next();
    json!({"id": "10001", "key": key, "self": "https://example.atlassian.net/rest/api/3/issue/10001", "fields": {
        "status": {"name": status.0, "statusCategory": {"key": status.1}}, "project": {"key": project}, "labels": labels, "summary": "not asked for"}})
}

/// Atlassian Document Format, as far as paragraphs of plain text go; the text.
fn text_of(document: &Value) -> Result<String, String> {
    only(document, &["type", "version", "content"], &[])?;
    if document["type"] != "doc" || document["version"] != 1 {
        return Err("no document of version 1".to_owned());
    }
    let mut all = String::new();
    for paragraph in document["content"].as_array().ok_or("no content")? {
        only(paragraph, &["type", "content"], &[])?;
        for node in paragraph["content"].as_array().ok_or("no content")? {
            only(node, &["type", "text"], &[])?;
            let text = node["text"].as_str().filter(|text| !text.is_empty()).ok_or("a text node without text")?;
            if paragraph["type"] != "paragraph" || node["type"] != "text" {
                return Err("an unknown node".to_owned());
            }
            all.push_str(text);
        }
    }
    Ok(all)
}

impl Contract for Jira {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        if call.header("accept") != "application/json" {
            return Err("no Accept".to_owned());
        }
        if call.header("authorization") != BASIC {
            return Ok(Answer::json(
                401,
                json!({"message": "Client must be authenticated to access this resource.", "status-code": 401}),
            ));
        }
        if (call.method.as_str(), call.path.as_str()) == ("GET", "/rest/api/3/project/PAY") {
            return Ok(Answer::json(200, json!({"id": "10000", "key": "PAY", "name": "Payments"})));
        }
        let rest = call.path.strip_prefix("/rest/api/3/issue/").ok_or("no such resource")?;
        let (key, sub) = rest.split_once('/').map_or((rest, None), |(key, sub)| (key, Some(sub)));
        let key = decoded(key);
        // A moved issue is found under its old key as well.
        let now = if key == "OLD-1" { "PAY-12" } else { key.as_str() };
        let Some(issue) = self.issues.iter().find(|issue| issue["key"] == now) else {
            return Ok(Answer::json(
                404,
                json!({"errorMessages": ["Issue does not exist or you do not have permission to see it."], "errors": {}}),
            ));
        };
        match (call.method.as_str(), sub) {
            ("GET", None) => {
                let fields = call.param("fields").ok_or("no fields: the whole issue would be read")?;
                let some: Map<String, Value> =
                    fields.split(',').map(|field| (field.to_owned(), issue["fields"][field].clone())).collect();
                Ok(Answer::json(
                    200,
                    json!({"id": issue["id"], "key": issue["key"], "self": issue["self"], "fields": some}),
                ))
            }
            ("POST", Some("comment")) => {
                let comment = call.json()?;
                only(&comment, &["body"], &["visibility", "properties"])?;
                self.comments.push((now.to_owned(), text_of(&comment["body"])?));
                Ok(Answer::json(201, json!({"id": "20001", "body": comment["body"]})))
            }
            _ => Err("no such resource".to_owned()),
        }
    }
}

async fn stage(issues: Vec<Value>) -> Result<(Vendor<Jira>, Stage)> {
    let vendor = Vendor::open(Jira { issues, comments: Vec::new() }).await?;
    let data = [("username", "leasehold@example.com"), ("password", "api-token")];
    let stage = Stage::of(Lab::shared().await?, "jira.yaml", vendor.url(), &data).await?;
    Ok((vendor, stage))
}

#[test]
fn only_an_approved_issue_of_the_project_that_names_the_namespace_opens_the_gate() {
    run(async {
        let (approved, open, done) =
            (("Approved", "indeterminate"), ("In Review", "indeterminate"), ("Rejected", "done"));
        let (vendor, stage) = stage(vec![
            issue("PAY-12", approved, &["lease-payments"]),
            issue("PAY-13", open, &["lease-payments"]),
            issue("PAY-14", done, &["lease-payments"]),
            issue("PAY-15", approved, &["lease-checkout"]),
            issue("OPS-1", approved, &["lease-payments"]),
        ])
        .await?;
        let asks = async |key: &str| stage.call("assert-approved", &ticket(requested(), key)).await;
        ensure!(asks("PAY-12").await? == Outcome::Done);
        ensure!(stage::is_again(&asks("PAY-13").await?), "it may still be approved");
        for (key, why) in [
            ("PAY-14", "it was rejected"),
            ("PAY-15", "it is for another namespace"),
            ("OPS-1", "it is of another project"),
            ("OLD-1", "it was moved: its key is another one"),
            ("PAY-99", "there is none"),
            ("PAY-12?expand=x", "it is no key"),
        ] {
            let outcome = asks(key).await?;
            ensure!(stage::is_refused(&outcome), "{why}: {outcome:?}");
        }
        vendor.was_kept()
    });
}

#[test]
fn the_issue_hears_what_was_issued_and_how_it_ended_as_plain_text() {
    run(async {
        let (vendor, stage) = stage(vec![issue("PAY-12", ("Approved", "indeterminate"), &[])]).await?;
        stage.done("probe", &requested()).await?;
        stage.done("comment-issued", &ticket(issued(), "PAY-12")).await?;
        stage.done("comment-ended", &ticket(ended(), "PAY-12")).await?;
        let comments = vendor.with(|it| it.comments.clone());
        let [(_, first), .., (_, last)] = comments.as_slice() else { anyhow::bail!("{comments:?}") };
        ensure!(first.contains(REASON) && first.contains("2026-11-24T14:45:00Z"), "{first}");
        ensure!(last.contains("Completed") && last.contains("TokenReviewRefused"), "{last}");
        ensure!(
            stage::is_refused(&stage.call("comment-ended", &ticket(ended(), "PAY-99")).await?),
            "there is no such issue"
        );
        vendor.was_kept()
    });
}
