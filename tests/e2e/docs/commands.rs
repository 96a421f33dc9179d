//! Every command that a page shows runs as it is, in the order of the page, in a cluster that has Leasehold and nothing else.
//!
//! A page begins with what it needs (a sample, mostly), and may rest on nothing that another page did. What cannot run here is in
//! [`NOT_RUN`], with why; there, the plugin's commands are at least taken by the plugin.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use leasehold_harness::Options;

use super::pages::{Page, ROOT, all};
use crate::{
    pipelines::lines,
    support::{Lab, run},
};

/// What a command that cannot run here begins with, and why it cannot. A row that fits no command fails the test.
const NOT_RUN: &[(&str, &str)] = &[
    ("make ", "runs this test, or the demo, or the faults"),
    ("docker ", "needs a container engine"),
    ("kind ", "needs a container engine"),
    ("cargo ", "builds what this test was built with"),
    ("rustup ", "changes the machine's toolchain"),
    ("target/release/kubectl-lease install", "needs the release build"),
    ("export ", "names what `make demo` leaves"),
    ("helm ", "tests of the chart and on a real node run it"),
];

/// Longer than the longest `--timeout` that a page waits for.
const PATIENCE: Duration = Duration::from_secs(120);

fn why_not(command: &str) -> Option<&'static str> {
    NOT_RUN.iter().find(|(begin, _)| command.starts_with(begin)).map(|(_, why)| *why)
}

/// Where a page's commands run: a directory with what a checkout has, and PATH with our own tools first.
struct Desk {
    directory: PathBuf,
    path: String,
    kubeconfig: PathBuf,
}

impl Desk {
    fn set(lab: &Lab) -> Result<Self> {
        let directory = lab.plane.dir().join("docs");
        let (bin, home) = (directory.join("bin"), directory.join("home"));
        fs::create_dir_all(&bin)?;
        fs::create_dir_all(&home)?;
        for name in ["config", "charts", "crds", "docs"] {
            let there = Path::new(ROOT).join(name);
            if there.exists() {
                symlink(there, directory.join(name))?;
            }
        }
        symlink(lab.plane.kubectl_path(), bin.join("kubectl"))?;
        symlink(env!("CARGO_BIN_EXE_kubectl-lease"), bin.join("kubectl-lease"))?;
        // What a reader's own pipeline would run.
        fs::write(directory.join("deploy.sh"), "#!/bin/sh\nexec kubectl auth whoami\n")?;
        fs::set_permissions(directory.join("deploy.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Ok(Self { directory, path, kubeconfig: lab.plane.admin_kubeconfig().to_owned() })
    }

    async fn runs(&self, command: &str) -> Result<Output> {
        let mut bash = Command::new("bash");
        bash.args(["-ec", command]).current_dir(&self.directory).stdin(Stdio::null());
        bash.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.directory.join("home"));
        let ended = tokio::task::spawn_blocking(move || bash.output());
        Ok(tokio::time::timeout(PATIENCE, ended).await.context("it does not end")???)
    }
}

/// Back to a cluster that has Leasehold and nothing else.
async fn clean(lab: &Lab) -> Result<()> {
    let namespaces = lab.kubectl(&["get", "namespaces", "-o", "name"], None).await?;
    let ours = ["default", "kube-system", "kube-public", "kube-node-lease", "leasehold-system", "leasehold-leases"];
    for namespace in namespaces.lines().filter_map(|n| n.strip_prefix("namespace/")).filter(|n| !ours.contains(n)) {
        lab.kubectl(&["delete", "namespace", namespace, "--timeout=60s"], None).await?;
    }
    lab.kubectl(&["delete", "clpol,csys", "--all"], None).await?;
    Ok(())
}

async fn page_runs(lab: &Lab, desk: &Desk, page: &Page) -> Result<()> {
    for command in page.commands() {
        if why_not(&command).is_some() {
            for words in lines::lines(&command) {
                lines::parses(&words).with_context(|| format!("`{command}`"))?;
            }
            continue;
        }
        let output = desk.runs(&command).await.with_context(|| format!("`{command}`"))?;
        if !output.status.success() {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!(
                "`{command}`: {}\n{out}{err}\n(run nothing here that cannot run: see NOT_RUN in tests/e2e/docs/commands.rs)",
                output.status
            );
        }
    }
    clean(lab).await
}

#[test]
fn every_command_of_the_documentation_runs() {
    run(async {
        let pages: Vec<Page> = all()?.into_iter().filter(|page| !page.commands().is_empty()).collect();
        let commands: Vec<String> = pages.iter().flat_map(Page::commands).collect();
        for (begin, why) in NOT_RUN {
            ensure!(commands.iter().any(|c| c.starts_with(begin)), "no command begins with {begin:?} any more ({why})");
        }
        // The Deployment becomes ready on a node of KWOK's; who does its work is the operator beside it.
        let lab = Lab::start(Options { kwok_nodes: 1, ..Options::default() }, &[]).await?;
        let desk = Desk::set(&lab)?;
        let mut wrong = vec![];
        for page in &pages {
            if let Err(error) = page_runs(&lab, &desk, page).await {
                wrong.push(format!("{}: {error:#}", page.path));
                clean(&lab).await?;
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        lab.stop().await
    });
}
