//! Every command that a page shows runs as it is, in the order of the page, in a cluster that has Leasehold and nothing else.
//!
//! A page begins with what it needs (a sample, mostly), and may rest on nothing that another page did. What is shown below a command
//! is an excerpt, and not compared, but for one thing: where it begins with `Error` or `error:`, the command must fail.

use anyhow::{Context, Result, bail, ensure};
use leasehold_harness::Options;

use super::{
    desk::Desk,
    not_run::{NOT_RUN, why_not, would_be_taken},
    pages::{Command, Page, all},
};
use crate::support::{Lab, run};

/// What to do about a command that failed, for whoever wrote the page.
const ADVICE: &str = "each page has to run by itself, on the samples in config/samples; what cannot run in a test belongs into NOT_RUN in \
    tests/e2e/docs/not_run.rs, with the reason";

/// Back to a cluster that has Leasehold and nothing else.
async fn clean(lab: &Lab) -> Result<()> {
    let namespaces = lab.kubectl(&["get", "namespaces", "-o", "name"], None).await?;
    let ours = ["default", "kube-system", "kube-public", "kube-node-lease", "leasehold-system", "leasehold-leases"];
    let theirs = namespaces.lines().filter_map(|n| n.strip_prefix("namespace/")).filter(|n| !ours.contains(n));
    let theirs: Vec<&str> = theirs.collect();
    if !theirs.is_empty() {
        lab.kubectl(&[&["delete", "namespace", "--timeout=60s"], &theirs[..]].concat(), None).await?;
    }
    lab.kubectl(&["delete", "clpol,csys", "--all"], None).await?;
    Ok(())
}

async fn one(desk: &Desk, before: &str, command: &Command) -> Result<()> {
    let line = &command.line;
    if why_not(line).is_some() {
        return would_be_taken(desk, line);
    }
    let output = desk.runs(&format!("{before}{line}")).await?;
    if output.status.success() == command.fails() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = if command.fails() { "an error is shown, and it ended with" } else { "it ended with" };
        bail!("{expected} {}\n{out}{err}", output.status);
    }
    Ok(())
}

async fn page_runs(lab: &Lab, desk: &Desk, page: &Page) -> Result<()> {
    let mut before = String::new();
    for command in page.commands() {
        one(desk, &before, &command).await.with_context(|| format!("`{}`", command.line))?;
        if command.line.starts_with("cd ") {
            before += &format!("{}\n", command.line);
        }
    }
    clean(lab).await
}

#[test]
fn every_command_of_the_documentation_runs() {
    run(async {
        let pages: Vec<Page> = all()?.into_iter().filter(|page| !page.commands().is_empty()).collect();
        let commands: Vec<Command> = pages.iter().flat_map(Page::commands).collect();
        for (begin, why) in NOT_RUN {
            ensure!(
                commands.iter().any(|c| c.line.starts_with(begin)),
                "no command begins with {begin:?} any more ({why})"
            );
        }
        // The Deployment becomes ready on a node of KWOK's; who does its work is the operator beside it.
        let lab = Lab::start(Options { kwok_nodes: 1, ..Options::default() }, &[]).await?;
        let desk = Desk::set(&lab).await?;
        let mut wrong = vec![];
        for page in &pages {
            let begun = std::time::Instant::now();
            if let Err(error) = page_runs(&lab, &desk, page).await {
                wrong.push(format!("{}: {error:#}", page.path));
                clean(&lab).await?;
            }
            println!("{}: {} commands, {} s", page.path, page.commands().len(), begun.elapsed().as_secs());
        }
        ensure!(wrong.is_empty(), "{}\n\n({ADVICE})", wrong.join("\n\n"));
        lab.stop().await
    });
}
