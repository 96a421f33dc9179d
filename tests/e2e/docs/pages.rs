//! The pages there are, and what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A page of Markdown.
pub struct Page {
    /// From the root of the repository, such as `docs/install.md`.
    pub path: String,
    pub text: String,
}

/// All pages for readers: the book's, and those at the root.
pub fn all() -> Result<Vec<Page>> {
    let mut paths = vec![];
    markdown(&Path::new(ROOT).join("docs"), &mut paths)?;
    markdown(&Path::new(ROOT).join("config"), &mut paths)?;
    markdown(&Path::new(ROOT).join("charts"), &mut paths)?;
    for entry in fs::read_dir(ROOT)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Result<Page> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let path = path.strip_prefix(ROOT)?.to_str().context("a path that is no text")?.to_owned();
    Ok(Page { path, text })
}

fn markdown(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            markdown(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "md") {
            into.push(path);
        }
    }
    Ok(())
}

impl Page {
    fn events(&self) -> Parser<'_> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM)
    }

    /// Where its links and images lead, as they are written.
    pub fn links(&self) -> Vec<String> {
        self.events()
            .filter_map(|event| match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.to_string()),
                _ => None,
            })
            .collect()
    }

    /// The anchors of its headings, as GitHub and mdBook make them; the second of a name has `-1`.
    pub fn anchors(&self) -> Vec<String> {
        let (mut anchors, mut heading): (Vec<String>, Option<String>) = (vec![], None);
        for event in self.events() {
            match event {
                Event::Start(Tag::Heading { level, .. }) if level <= HeadingLevel::H6 => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let earlier = anchors.iter().filter(|a| **a == anchor).count();
                    anchors.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
                }
                _ => {}
            }
        }
        anchors
    }

    /// The commands of its `console` blocks, those that follow a `$ `, in their order; a backslash at the end goes on.
    pub fn commands(&self) -> Vec<Command> {
        let (mut commands, mut inside): (Vec<Command>, bool) = (vec![], false);
        for event in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => inside = &*language == "console",
                Event::End(TagEnd::CodeBlock) => inside = false,
                Event::Text(text) if inside => {
                    for line in text.replace("\\\n", " ").lines() {
                        match (line.strip_prefix("$ "), commands.last_mut()) {
                            (Some(line), _) => commands.push(Command { line: line.to_owned(), shown: String::new() }),
                            (None, Some(command)) => command.shown += &format!("{line}\n"),
                            (None, None) => {}
                        }
                    }
                }
                _ => {}
            }
        }
        commands
    }
}

/// A command of a page, and what the page shows below it.
pub struct Command {
    pub line: String,
    pub shown: String,
}

impl Command {
    /// Whether the page shows that it fails.
    pub fn fails(&self) -> bool {
        self.shown.lines().any(|line| line.starts_with("Error") || line.starts_with("error:"))
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .collect::<String>();
    kept.replace(' ', "-")
}
