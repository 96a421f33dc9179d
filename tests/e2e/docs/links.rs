//! No link leads nowhere, and no page is out of the book.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Result, ensure};

use super::pages::{Page, ROOT, all};

/// The path that `link` on `page` leads to, from the root of the repository, and the anchor there.
fn target(page: &Page, link: &str) -> (String, Option<String>) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    let mut parts: Vec<&str> = page.path.split('/').collect();
    if !path.is_empty() {
        parts.pop();
    }
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            other => parts.push(other),
        }
    }
    (parts.join("/"), anchor)
}

#[test]
fn every_link_leads_somewhere() {
    let found = || -> Result<Vec<String>> {
        let pages = all()?;
        ensure!(pages.len() > 40, "pages are missing");
        let mut broken = vec![];
        for page in &pages {
            for link in page.links() {
                if link.starts_with("https://") || link.starts_with("mailto:") {
                    continue;
                }
                let (path, anchor) = target(page, &link);
                let exists = Path::new(ROOT).join(&path).exists();
                let there = anchor.is_none_or(|anchor| {
                    pages.iter().find(|p| p.path == path).is_some_and(|p| p.anchors().contains(&anchor))
                });
                if !exists || !there {
                    broken.push(format!("{}: {link}", page.path));
                }
            }
        }
        Ok(broken)
    };
    let broken = found().unwrap();
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_of_docs_is_in_the_book_once() {
    let summary = fs::read_to_string(format!("{ROOT}/docs/SUMMARY.md")).unwrap();
    let book = Page { path: "docs/SUMMARY.md".into(), text: summary };
    let named: Vec<String> = book.links().iter().map(|link| target(&book, link).0).collect();
    let once: BTreeSet<&String> = named.iter().collect();
    assert_eq!(once.len(), named.len(), "a page is named twice in docs/SUMMARY.md");
    let out: Vec<String> = all()
        .unwrap()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md" && !once.contains(path))
        .collect();
    assert!(out.is_empty(), "add these to docs/SUMMARY.md: {out:?}");
}
