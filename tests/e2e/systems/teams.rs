//! Microsoft Teams: the webhook of a workflow, which takes a message with Adaptive Cards.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    stage::{self, REASON, Stage, ended, issued},
    vendor::{Answer, Call, Contract, Vendor, only},
};
use crate::support::{Lab, run};

/// A workflow that posts into a channel.
struct Teams {
    signature: &'static str,
    messages: Vec<String>,
}

/// A card of schema 1.4 with blocks of text runs, which have no markdown.
fn card(content: &Value) -> Result<String, String> {
    only(content, &["$schema", "type", "version", "body"], &["msteams"])?;
    if content["type"] != "AdaptiveCard" || content["version"] != "1.4" {
        return Err("no card of version 1.4".to_owned());
    }
    let mut all = String::new();
    for block in content["body"].as_array().ok_or("no body")? {
        only(block, &["type", "inlines"], &[])?;
        for run in block["inlines"].as_array().ok_or("no inlines")? {
            only(run, &["type", "text"], &["weight"])?;
            if block["type"] != "RichTextBlock" || run["type"] != "TextRun" {
                return Err("a part that knows markdown".to_owned());
            }
            all.push_str(run["text"].as_str().unwrap_or_default());
        }
    }
    Ok(all)
}

impl Contract for Teams {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        let path =
            "/powerautomate/automations/direct/workflows/00000000000000000000000000000000/triggers/manual/paths/invoke";
        if (call.method.as_str(), call.path.as_str()) != ("POST", path) {
            return Err("no such workflow".to_owned());
        }
        let expected = [("api-version", "1"), ("sp", "/triggers/manual/run"), ("sv", "1.0")];
        if expected.iter().any(|(name, value)| call.param(name) != Some(value)) {
            return Err(format!("query {:?}", call.query));
        }
        if call.param("sig") != Some(self.signature) {
            return Ok(Answer::json(
                401,
                json!({"error": {"code": "DirectApiAuthorizationRequired", "message": "The request must be authenticated."}}),
            ));
        }
        let message = call.json()?;
        only(&message, &["type", "attachments"], &[])?;
        if message["type"] != "message" {
            return Err("no message".to_owned());
        }
        for attachment in message["attachments"].as_array().ok_or("no attachments")? {
            only(attachment, &["contentType", "content"], &["contentUrl"])?;
            if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" {
                return Err("no card".to_owned());
            }
            self.messages.push(card(&attachment["content"])?);
        }
        Ok(Answer::empty(202))
    }
}

#[test]
fn a_channel_hears_of_both_ends_in_cards_without_markdown() {
    run(async {
        let vendor = Vendor::open(Teams { signature: "REPLACE", messages: Vec::new() }).await?;
        let stage = Stage::of(Lab::shared().await?, "teams.yaml", vendor.url(), &[]).await?;
        stage.done("tell-issued", &issued()).await?;
        stage.done("tell-ended", &ended()).await?;
        let messages = vendor.with(|it| it.messages.clone());
        let [first, .., last] = messages.as_slice() else { anyhow::bail!("{messages:?}") };
        ensure!(first.contains(REASON), "{first}");
        ensure!(last.contains("Completed") && last.contains("TokenReviewRefused"), "{last}");

        vendor.with(|it| it.signature = "another");
        ensure!(stage::is_refused(&stage.call("tell-ended", &ended()).await?), "the webhook was replaced");
        vendor.instead(Answer::empty(429));
        ensure!(stage::is_again(&stage.call("tell-ended", &ended()).await?));
        vendor.was_kept()
    });
}
