//! Labelled facts below each other: what most views are made of.

use super::text::safe;
use crate::cli::output::{Hue, Style};

/// Facts, each a label and its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Vec<(String, Vec<String>)>);

impl Facts {
    /// One more fact.
    pub fn say(&mut self, label: &str, line: impl AsRef<str>) {
        self.0.push((label.to_owned(), vec![safe(line.as_ref())]));
    }

    /// One more fact, where there is one.
    pub fn maybe(&mut self, label: &str, line: Option<impl AsRef<str>>) {
        if let Some(line) = line {
            self.say(label, line);
        }
    }

    /// One more line of the last fact.
    pub fn more(&mut self, line: impl AsRef<str>) {
        if let Some((_, lines)) = self.0.last_mut() {
            lines.push(safe(line.as_ref()));
        }
    }

    /// As aligned text.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
        let mut out = String::new();
        for (name, lines) in &self.0 {
            let padding = " ".repeat(width.saturating_sub(name.chars().count()));
            for (n, line) in lines.iter().enumerate() {
                let head = match n {
                    0 => format!("{}{padding}", style.paint(hue(name), name)),
                    _ => " ".repeat(width),
                };
                let stands_out = line.trim_start().starts_with("! ");
                let line = if stands_out { style.paint(Hue::Waiting, line) } else { line.clone() };
                out.push_str(format!("{head}  {line}").trim_end());
                out.push('\n');
            }
        }
        out
    }

    /// As aligned text without colour.
    #[must_use]
    pub fn plain(&self) -> String {
        self.render(Style::plain())
    }
}

/// Labels stand back, unless they are a verdict.
fn hue(label: &str) -> Hue {
    match label {
        "OK" => Hue::Good,
        "DIFFERS" => Hue::Bad,
        _ => Hue::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_fact_stand_below_each_other() {
        let mut facts = Facts::default();
        facts.say("Lease", "payments/rollout");
        facts.more("two\nlines");
        facts.maybe("Ticket", None::<&str>);
        facts.say("Requester", "ci");
        assert_eq!(facts.plain(), "Lease      payments/rollout\n           two\\u{a}lines\nRequester  ci\n");
    }
}
