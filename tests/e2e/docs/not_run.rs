//! The commands of pages that cannot run here, each with why. They are still read by the programs that they are for: the plugin parses
//! its own, kubectl and Helm are asked for help with all the flags, and files of ours must be there.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{desk::Desk, pages::ROOT};
use crate::pipelines::lines;

/// What a command that cannot run here begins with, and why it cannot. A row that fits no command of any page fails the test.
pub const NOT_RUN: &[(&str, &str)] = &[
    ("make ", "runs this test, or the demo, or the faults, or the benchmarks, or mutants, or the tests on a node"),
    ("docker ", "needs a container engine"),
    ("kind ", "needs a container engine"),
    ("cargo build ", "builds what this test was built with"),
    ("target/release/kubectl-lease install", "needs the release build"),
    ("export ", "names what `make demo` or a build leaves"),
    ("git ", "changes the repository"),
    ("cosign ", "signs with a person's identity"),
    ("cargo deny check advisories", "fetches what was published this morning"),
    ("helm ", "the tests of the chart install, test, upgrade, roll back and uninstall"),
    ("kubectl apply --server-side --force-conflicts -k .", "the directory is the reader's own"),
    ("kubectl delete -k config/default", "takes away what the pages after it stand on"),
    ("kubectl apply -k config/drain", "ends the install; the tests of drain run what its Jobs run"),
    ("kubectl wait --for=condition=Complete job/leasehold-drain", "waits for a pod, and no pod runs here"),
    ("kubectl delete deployment leasehold", "takes away what the pages after it stand on"),
    ("kubectl delete clusterrole,clusterrolebinding leasehold-drain", "follows what cannot run here"),
    ("kubectl delete namespace leasehold-system", "takes away what the pages after it stand on"),
    ("KUBECONFIG=operator.kubeconfig leasehold", "does not end; an operator like it runs beside this test"),
    ("kubectl logs ", "no pod runs here; on a real node one does"),
    ("kubectl get clease -A | grep ", "finds nothing here, and grep says so by its exit code"),
    ("kubectl create -f lease.yaml", "the file is the reader's own"),
    ("kubectl kustomize config/argocd | kubectl patch", "there is no Argo CD here"),
    ("kubectl apply -k config/prometheus", "its kinds are the Prometheus operator's"),
    ("kubectl create configmap leasehold-dashboard -n monitoring", "the namespace is the reader's Grafana's"),
    ("kubectl label configmap leasehold-dashboard -n monitoring", "the namespace is the reader's Grafana's"),
    ("kubectl lease report -A --since 4w --from-audit operator.log", "the file is the reader's own"),
    (
        "kubectl lease request payments-oncall --name restart --ttl 10m --reason 'Restart the ledger' --wait",
        "waits for the next command of the README",
    ),
    ("kubectl lease approve restart  ", "follows a command that waits for it"),
    ("kubectl lease run payments-release --grant deploy -- ", "the README is on no namespace"),
    ("kubectl lease run payments-release --grant deploy --ttl 10m", "runs in a pipeline, as the pipeline"),
    ("kubectl lease stop --reaching env=prod --reason INC-7", "asks whoever types it"),
    ("kubectl lease run payments-deployer --grant deploy --ttl 15m", "waits for somebody to agree"),
];

/// Why a command with words such as NAME or NAMESPACE in it cannot run.
const PLACEHOLDER: &str = "names what only the reader knows";

/// Why `command` cannot run here; `None` if it can.
pub fn why_not(command: &str) -> Option<&'static str> {
    let row = NOT_RUN.iter().find(|(begin, _)| command.starts_with(begin)).map(|(_, why)| *why);
    row.or_else(|| words(command).iter().any(|word| is_placeholder(word)).then_some(PLACEHOLDER))
}

fn is_placeholder(word: &str) -> bool {
    word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase())
}

/// The words of a command, without the comment at its end.
fn words(command: &str) -> Vec<String> {
    lines::words(command).into_iter().take_while(|word| !word.starts_with('#')).collect()
}

/// That the programs named by a command that is not run would take it, and the files of the repository that it names are there.
pub fn would_be_taken(desk: &Desk, command: &str) -> Result<()> {
    for segment in words(command).split(|word| word == "|") {
        let begin = segment.iter().position(|word| !word.contains('=')).context("no program is named")?;
        let (program, arguments) = segment[begin..].split_first().context("no program is named")?;
        for file in
            arguments.iter().filter(|word| ["config/", "charts/", "docs/"].iter().any(|at| word.starts_with(at)))
        {
            ensure!(Path::new(ROOT).join(file).exists(), "there is no {file}");
        }
        match (program.as_str(), arguments) {
            ("kubectl", [lease, rest @ ..]) if lease == "lease" => lines::parses(rest)?,
            ("kubectl" | "helm", _) => desk.takes(program, arguments)?,
            _ if program.ends_with("/kubectl-lease") => lines::parses(arguments)?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_command_runs_unless_a_row_or_a_placeholder_says_why_not() {
    assert!(why_not("docker build .").is_some());
    assert_eq!(why_not("kubectl lease show NAME -n payments"), Some(PLACEHOLDER));
    for runs in ["kubectl lease list -A", "kubectl get sal -A   # NEXT REVIEW", "kubectl lease stop --reason INC-7"] {
        assert_eq!(why_not(runs), None, "{runs}");
    }
}
