//! Slack: `POST /api/chat.postMessage`, with a JSON body and a bot token.

use anyhow::{Result, ensure};
use leasehold::domain::outcome::Outcome;
use serde_json::{Value, json};

use super::{
    stage::{self, REASON, Stage, ended, issued, requested},
    vendor::{Answer, Call, Contract, Vendor, only},
};
use crate::support::{Lab, run};

/// A workspace with a bot that is a member of one channel.
struct Slack {
    channel: &'static str,
    messages: Vec<String>,
}

fn no(error: &str) -> Answer {
    Answer::json(200, json!({"ok": false, "error": error}))
}

/// The text of a section that neither formats nor mentions.
fn plain_text(block: &Value) -> Result<String, String> {
    only(block, &["type", "text"], &["block_id"])?;
    only(&block["text"], &["type", "text"], &["emoji"])?;
    let text = block["text"]["text"].as_str().unwrap_or_default();
    if block["type"] != "section" || block["text"]["type"] != "plain_text" {
        return Err("a block that is no section of plain text".to_owned());
    }
    if text.is_empty() || text.chars().count() > 3000 {
        Err("a section's text has 1 to 3000 characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

impl Contract for Slack {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        let known = call.header("authorization") == "Bearer xoxb-1";
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/api/auth.test") if known => return Ok(Answer::json(200, json!({"ok": true, "bot_id": "B1"}))),
            ("POST", "/api/auth.test") => return Ok(no("invalid_auth")),
            ("POST", "/api/chat.postMessage") => {}
            _ => return Err("no such method".to_owned()),
        }
        if call.header("content-type") != "application/json; charset=utf-8" {
            return Err("a JSON body has to say its charset".to_owned());
        }
        if !known {
            return Ok(no("invalid_auth"));
        }
        let message = call.json()?;
        only(&message, &["channel", "text", "blocks"], &["mrkdwn", "unfurl_links", "unfurl_media"])?;
        // Of `text`, which is markup, nothing may come from people.
        if message["text"].as_str().is_none_or(|text| text.is_empty() || text.contains(['<', '>', '&', '*'])) {
            return Err(format!("text {}", message["text"]));
        }
        if message["channel"] != self.channel {
            return Ok(no("channel_not_found"));
        }
        for block in message["blocks"].as_array().ok_or("blocks are a list")? {
            self.messages.push(plain_text(block)?);
        }
        Ok(Answer::json(200, json!({"ok": true, "channel": self.channel, "ts": "1503435956.000247", "message": {}})))
    }
}

async fn stage(channel: &'static str, token: &str) -> Result<(Vendor<Slack>, Stage)> {
    let vendor = Vendor::open(Slack { channel, messages: Vec::new() }).await?;
    let stage = Stage::of(Lab::shared().await?, "slack.yaml", vendor.url(), &[("token", token)]).await?;
    Ok((vendor, stage))
}

#[test]
fn a_channel_hears_of_both_ends_and_what_people_wrote_cannot_mention_or_format() {
    run(async {
        let (vendor, stage) = stage("C0123456789", "xoxb-1").await?;
        stage.done("probe", &requested()).await?;
        stage.done("tell-issued", &issued()).await?;
        stage.done("tell-ended", &ended()).await?;
        let messages = vendor.with(|it| it.messages.clone());
        let [first, .., last] = messages.as_slice() else { anyhow::bail!("{messages:?}") };
        ensure!(first.contains(REASON), "{first}");
        ensure!(last.contains("Completed") && last.contains("TokenReviewRefused"), "{last}");

        for (error, again) in
            [("internal_error", true), ("ratelimited", true), ("not_in_channel", false), ("is_archived", false)]
        {
            vendor.instead(no(error));
            let outcome = stage.call("tell-ended", &ended()).await?;
            ensure!(stage::is_again(&outcome) == again && outcome != Outcome::Done, "{error}: {outcome:?}");
        }
        vendor.instead(Answer::json(429, json!({"ok": false, "error": "ratelimited"})).with("Retry-After", "30"));
        ensure!(stage::is_again(&stage.call("tell-ended", &ended()).await?));
        vendor.was_kept()
    });
}

#[test]
fn a_no_with_status_200_is_a_failure() {
    run(async {
        let (elsewhere, stage) = stage("C9999999999", "xoxb-1").await?;
        ensure!(stage::is_refused(&stage.call("tell-issued", &issued()).await?), "the channel is another one");
        let stage = Stage::of(Lab::shared().await?, "slack.yaml", elsewhere.url(), &[("token", "xoxb-2")]).await?;
        ensure!(stage::is_refused(&stage.call("tell-issued", &issued()).await?), "the token is another one");
        ensure!(stage::is_refused(&stage.call("probe", &requested()).await?), "the token is another one");
        elsewhere.was_kept()
    });
}
