//! The version is in one place, `Cargo.toml`; what has to repeat it repeats it rightly.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::pages::{ROOT, all};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What follows each `mark` in a text, as far as a version goes, where it begins as one does.
fn after<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    let rests = text.split(mark).skip(1);
    rests
        .map(|rest| {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || ['.', '-'].contains(&c))).unwrap_or(rest.len());
            rest[..end].trim_end_matches(['.', '-'])
        })
        .filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// The tags of the operator's image in a text.
fn tags(text: &str) -> Vec<&str> {
    [after(text, "leasehold:"), after(text, "newTag: ")].concat()
}

fn texts(directory: &Path, into: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            texts(&path, into)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            into.push((path.display().to_string(), text));
        }
    }
    Ok(())
}

#[test]
fn every_image_of_ours_has_the_version_as_its_tag() {
    let wrong = || -> Result<Vec<String>> {
        let mut found: Vec<(String, String)> = all()?.into_iter().map(|p| (p.path, p.text)).collect();
        texts(&Path::new(ROOT).join("config"), &mut found)?;
        found.push(("Dockerfile".into(), fs::read_to_string(format!("{ROOT}/Dockerfile"))?));
        let tagged: Vec<(String, String)> = found
            .iter()
            .flat_map(|(path, text)| tags(text).into_iter().map(|tag| (path.clone(), tag.to_owned())))
            .collect();
        ensure!(tagged.len() > 5, "no image is found any more");
        Ok(tagged.into_iter().filter(|(_, tag)| tag != VERSION).map(|(path, tag)| format!("{path}: {tag}")).collect())
    };
    let wrong = wrong().unwrap();
    assert!(wrong.is_empty(), "not {VERSION}: {wrong:?}");
}

#[test]
fn the_chart_and_how_to_release_have_the_version() {
    let read = |path: &str| fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
    let chart = read("charts/leasehold/Chart.yaml");
    assert_eq!((after(&chart, "\nversion: "), after(&chart, "\nappVersion: ")), (vec![VERSION], vec![VERSION]));
    let releasing = read("RELEASING.md");
    for mark in ["--sign v", "push origin v", "leasehold-", "VERSION="] {
        let said = after(&releasing, mark);
        assert!(!said.is_empty() && said.iter().all(|it| it.starts_with(VERSION)), "{mark} {said:?}");
    }
}

/// What a release makes untrue.
const UNRELEASED: &[&str] =
    &["no published", "no release has been", "been no release", "had no release", "nothing has been released"];

#[test]
fn how_to_release_names_every_page_that_says_that_nothing_has_been_released() {
    let unnamed = || -> Result<Vec<String>> {
        let pages = all()?;
        let releasing = &pages.iter().find(|page| page.path == "RELEASING.md").context("no RELEASING.md")?.text;
        let last = releasing.trim_end().lines().last().context("an empty page")?;
        // The chart's README is made of its values, which are named.
        let theirs = pages.iter().filter(|p| p.path != "RELEASING.md" && p.path != "charts/leasehold/README.md");
        let saying = theirs.filter(|p| UNRELEASED.iter().any(|words| p.text.to_lowercase().contains(words)));
        let named: Vec<(&str, bool)> =
            saying.map(|p| (p.path.as_str(), last.contains(&format!("`{}`", p.path)))).collect();
        ensure!(named.len() > 5, "only {named:?} say so");
        Ok(named.into_iter().filter(|(_, there)| !there).map(|(path, _)| path.to_owned()).collect())
    };
    assert_eq!(unnamed().unwrap(), Vec::<String>::new(), "add these to the last line of RELEASING.md");
}

#[test]
fn the_changelog_has_notes_of_what_is_not_released_and_no_version_above_ours() {
    let check = || -> Result<()> {
        let text = fs::read_to_string(format!("{ROOT}/CHANGELOG.md"))?;
        let heads: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## [")?.split(']').next()).collect();
        ensure!(heads.first() == Some(&"Unreleased"), "the first section is [Unreleased]: {heads:?}");
        let numbers =
            |version: &str| -> Vec<u64> { version.split(['.', '-']).filter_map(|n| n.parse().ok()).collect() };
        let newest = heads.get(1).map(|version| numbers(version)).unwrap_or_default();
        ensure!(newest <= numbers(VERSION), "the changelog is ahead of Cargo.toml: {heads:?}");
        let notes = std::process::Command::new("make")
            .args(["--no-print-directory", "release-notes", "VERSION=Unreleased"])
            .current_dir(ROOT)
            .output()
            .context("make")?;
        let notes = String::from_utf8(notes.stdout)?;
        ensure!(notes.starts_with("### ") && notes.contains("\n- "), "not the notes of a release: {notes:.200}");
        ensure!(!notes.contains("## ["), "another section's notes: {notes}");
        Ok(())
    };
    check().unwrap();
}
