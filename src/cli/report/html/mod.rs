//! A report as one page for a browser: its style and script are in it, and its policy lets it ask nobody for anything.
//!
//! [`maud`] escapes every text. The page works without its script, which only filters.

mod evidence;
mod parts;
mod rows;
mod scale;
mod sections;
mod timeline;

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::model::Report;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub fn page(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // Nothing but the style and the script of this very page: they are known by their hashes. `data:` is the empty icon,
                // without which a browser would ask the server of a published page for one.
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                link rel="icon" href="data:,";
                title { "Lease report, " (parts::day(report.made.time)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body(report))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn policy() -> String {
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// As a policy names an inline text.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

fn body(report: &Report) -> Markup {
    html! {
        a.skip href="#leases" { "Skip to the leases" }
        (sections::head(report))
        main {
            (sections::attention(report))
            (sections::filter(report))
            (timeline::section(report))
            (rows::leases(report))
            (rows::decisions(report))
            (evidence::lags(report))
            (sections::refusals(report))
            (sections::lifecycles(report))
            (sections::standing(report))
            (sections::policies(report))
            (evidence::limits())
        }
        (evidence::made(report))
    }
}

#[cfg(test)]
mod tests;
