//! The book as it is read: built, and every link of its pages followed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::pages::ROOT;

/// Pages that mdBook makes beside ours; what they hold is in ours too.
const MDBOOKS_OWN: &[&str] = &["404.html", "print.html", "toc.html"];

/// What `attribute="..."` says, each time.
fn attributes<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    html.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn pages(directory: &Path, into: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            pages(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "html") && !MDBOOKS_OWN.contains(&name.as_str()) {
            into.push(path);
        }
    }
    Ok(())
}

/// Whether a link of `page` leads to a file, and to the anchor there if it names one.
fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let mut target = page.to_owned();
    if !path.is_empty() {
        target.pop();
        target.push(path);
    }
    if target.is_dir() {
        target.push("index.html");
    }
    let Ok(bytes) = fs::read(&target) else { return false };
    anchor.is_empty() || attributes(&String::from_utf8_lossy(&bytes), "id").contains(&anchor) || is_redirect(&bytes)
}

/// Whether a page only sends on; the browser keeps the anchor.
fn is_redirect(html: &[u8]) -> bool {
    String::from_utf8_lossy(html).contains("http-equiv=\"refresh\"")
}

#[test]
fn every_link_of_the_book_leads_somewhere() {
    let broken = || -> Result<Vec<String>> {
        let output = Command::new("make").args(["--no-print-directory", "book"]).current_dir(ROOT).output()?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && !said.contains("WARN"), "the book is not built without a warning: {said}");
        let mut found = vec![];
        pages(&Path::new(ROOT).join("target/book/docs"), &mut found)?;
        ensure!(found.len() > 40, "pages are missing: {found:?}");
        let mut broken = vec![];
        for page in &found {
            let html = fs::read_to_string(page)?;
            for link in [attributes(&html, "href"), attributes(&html, "src")].concat() {
                if !link.contains(':') && !leads_somewhere(page, link) {
                    broken.push(format!("{}: {link}", page.display()));
                }
            }
        }
        Ok(broken)
    };
    let broken = broken().unwrap();
    assert!(broken.is_empty(), "these lead nowhere in the book:\n{}", broken.join("\n"));
}
