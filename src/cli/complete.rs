//! What can come next on a command line: commands, flags, and what the cluster has.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::{
    Cli,
    connect::{Cluster, Global, connect},
    fetch,
};
use crate::api::{CredentialLease, ServiceAccountLifecycle};

/// The name under which kubectl calls this executable to complete it.
pub const KUBECTL_COMPLETE: &str = "kubectl_complete-lease";
/// kubectl's `ShellCompDirectiveNoFileComp`: what is not listed is no file name either.
const NO_FILES: &str = ":4";
/// Whoever presses a key does not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the cluster is asked for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Leases,
    Lifecycles,
    Grants,
    Namespaces,
}

/// The names of arguments, in whatever command, and what completes them.
const ASKED: [(&str, Ask); 7] = [
    ("lease", Ask::Leases),
    ("leases", Ask::Leases),
    ("lifecycle", Ask::Lifecycles),
    ("grants", Ask::Grants),
    ("namespace", Ask::Namespaces),
    ("namespaces", Ask::Namespaces),
    ("reaching", Ask::Namespaces),
];

/// The command line with completers in it.
#[must_use]
pub fn command() -> clap::Command {
    with_completers(Cli::command())
}

fn with_completers(mut command: clap::Command) -> clap::Command {
    for (id, ask) in ASKED {
        if command.get_arguments().any(|arg| arg.get_id() == id) {
            command =
                command.mut_arg(id, |arg| arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(ask, typed))));
        }
    }
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_completers))
}

/// What kubectl reads: a candidate a line with its description, then a directive. `words` are those after `kubectl lease`, the
/// last one being typed.
#[must_use]
pub fn for_kubectl(words: &[OsString]) -> String {
    let mut line: Vec<OsString> = vec!["kubectl-lease".into()];
    line.extend_from_slice(words);
    if words.is_empty() {
        line.push(OsString::new());
    }
    let typed = line.len() - 1;
    let candidates = complete(&mut command(), line, typed, None).unwrap_or_default();
    let mut out = String::new();
    for candidate in candidates.iter().filter(|c| !c.is_hide_set()) {
        out.push_str(&candidate.get_value().to_string_lossy());
        if let Some(help) = candidate.get_help() {
            out.push('\t');
            out.push_str(help.to_string().lines().next().unwrap_or_default());
        }
        out.push('\n');
    }
    out + NO_FILES + "\n"
}

/// Names of the cluster's objects that begin so. Whatever goes wrong: nothing is offered, and nothing said.
fn candidates(ask: Ask, typed: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let typed = typed.to_string_lossy();
    let names = std::thread::scope(|scope| scope.spawn(|| blocking(ask, &words)).join()).unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

fn blocking(ask: Ask, words: &[OsString]) -> Vec<String> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return vec![] };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, names(ask, words)).await }).unwrap_or_default()
}

async fn names(ask: Ask, words: &[OsString]) -> Vec<String> {
    let Ok(cluster) = connect(&global(words)).await else { return vec![] };
    match ask {
        Ask::Leases => of::<CredentialLease>(&Api::namespaced(cluster.client, &cluster.namespace)).await,
        Ask::Lifecycles => of::<ServiceAccountLifecycle>(&Api::namespaced(cluster.client, &cluster.namespace)).await,
        Ask::Namespaces => of::<Namespace>(&Api::all(cluster.client)).await,
        Ask::Grants => grants(&cluster, words).await,
    }
}

async fn of<K: Resource + Clone + std::fmt::Debug + DeserializeOwned>(api: &Api<K>) -> Vec<String> {
    let found = fetch::all(api, &ListParams::default()).await.unwrap_or_default();
    found.iter().map(ResourceExt::name_any).collect()
}

/// The grants of whichever lifecycle the command line names.
async fn grants(cluster: &Cluster, words: &[OsString]) -> Vec<String> {
    let api: Api<ServiceAccountLifecycle> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let lifecycles = fetch::all(&api, &ListParams::default()).await.unwrap_or_default();
    let named = lifecycles.into_iter().find(|l| words.iter().any(|word| word.to_str() == l.metadata.name.as_deref()));
    named.map(|l| l.spec.grants.into_iter().map(|grant| grant.name).collect()).unwrap_or_default()
}

/// The connection flags of a command line that need not be complete.
fn global(words: &[OsString]) -> Global {
    let value = |long: &str, short: Option<&str>| {
        let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            if word == long || short == Some(word.as_str()) {
                return words.next();
            }
            if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
                return Some(value.to_owned());
            }
        }
        None
    };
    Global {
        namespace: value("--namespace", Some("-n")),
        context: value("--context", None),
        kubeconfig: value("--kubeconfig", None).map(PathBuf::from),
        impersonate: value("--as", None),
        // Completion only looks: what it may not see, it does not offer.
        impersonate_groups: vec![],
        no_color: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn kubectl_is_told_commands_and_flags_and_that_no_files_follow() {
        let commands = for_kubectl(&words("re"));
        assert!(commands.contains("request\tAsk for a lease\n"), "{commands}");
        assert!(commands.ends_with("\n:4\n") && !commands.contains("token"), "{commands}");
        let flags = for_kubectl(&words("request --not"));
        assert!(flags.starts_with("--not-before\t"), "{flags}");
        let values = for_kubectl(&words("request --delivery "));
        assert!(values.starts_with("TokenRequest"), "{values}");
        assert!(for_kubectl(&[]).contains("run\t"));
    }

    #[test]
    fn the_cluster_is_the_one_that_the_line_names() {
        let global = global(&words("kubectl-lease -n payments token --context=prod --kubeconfig /a"));
        assert_eq!(global.namespace.as_deref(), Some("payments"));
        assert_eq!(global.context.as_deref(), Some("prod"));
        assert_eq!(global.kubeconfig, Some("/a".into()));
    }
}
