//! The plugin's command lines in what is shipped, as a shell or a container would read them.

use anyhow::{Context, Result};
use clap::Parser;
use leasehold::cli::Cli;
use serde_json::Value;

/// The plugin's command lines in a script or a page: from its name to the end of the line, or to `--`.
pub fn lines(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut found = vec![];
    for line in text.lines() {
        let line = line.trim_start_matches(['$', ' ', '-']);
        let words = words(line);
        let Some(start) = (0..words.len()).find(|&at| {
            words[at].ends_with("kubectl-lease")
                || (words[at] == "kubectl" && words.get(at + 1).is_some_and(|w| w == "lease"))
        }) else {
            continue;
        };
        let after = if words[start] == "kubectl" { start + 2 } else { start + 1 };
        let mut arguments: Vec<String> = words[after..].to_vec();
        if let Some(end) = arguments.iter().position(|word| [";", "&&", "|", "#", ">"].contains(&word.as_str())) {
            arguments.truncate(end);
        }
        found.push(arguments);
    }
    found
}

/// A line's words, with quotes as a shell reads them; enough for what is written in samples.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (vec![], String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (Some(q), _) if q == c => quote = None,
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// That the plugin takes these arguments.
pub fn parses(arguments: &[String]) -> Result<()> {
    let all = std::iter::once("kubectl-lease").chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(all).map(drop).with_context(|| format!("kubectl lease {}", arguments.join(" ")))
}

/// Every `command` with `args` in a document that is the plugin's.
pub fn commands(value: &Value, found: &mut Vec<Vec<String>>) {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    match value {
        Value::Object(fields) => {
            let words = [list(&value["command"]), list(&value["args"])].concat();
            if words.first().is_some_and(|word| word.ends_with("/kubectl-lease")) {
                found.push(words[1..].to_vec());
            }
            fields.values().for_each(|value| commands(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| commands(value, found)),
        _ => {}
    }
}
