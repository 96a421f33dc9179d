//! `kubeconfig`: a kubeconfig whose user is a lease. It holds no credential: this executable mints when it is asked.

use std::{io::Write, os::unix::fs::PermissionsExt, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use kube::Config;
use serde_json::{Map, Value, json};

use super::{
    connect::{Cluster, Global, connect},
    credential::API_VERSION,
    exit::Failure,
    fetch, mint,
    origin::Origin,
    output::{self, Format, emit, tell},
    reference::LeaseName,
    view::lease,
};
use crate::api::CredentialLease;

/// Flags of `kubeconfig`.
#[derive(Args, Clone, Debug)]
pub struct Kubeconfig {
    /// The lease.
    pub lease: LeaseName,
    /// Into this file, readable by you only, instead of to standard output. A file that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Prints or writes a kubeconfig.
///
/// # Errors
/// If the lease has no credential now, or the file cannot be written.
pub async fn run(global: &Global, flags: &Kubeconfig) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await?;
    mint::account(&lease)?;
    let text = of(&cluster, &Origin::of(global), &lease)?;
    let Some(path) = &flags.write else { return emit(&text).map(|()| 0) };
    let wrong = |e: &dyn std::fmt::Display| Failure::Other(format!("{} cannot be written: {e}", path.display()));
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
    // A temporary file is made 0600, and never stands under its name half written.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| wrong(&e))?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(|e| wrong(&e))?;
    file.write_all(text.as_bytes()).map_err(|e| wrong(&e))?;
    file.persist_noclobber(path).map_err(|e| wrong(&e.error))?;
    tell(&format!("written: use it with KUBECONFIG={}", path.display()));
    Ok(0)
}

/// The kubeconfig of a lease, for the caller that made the connection.
///
/// # Errors
/// If this executable does not know where it is.
pub fn of(cluster: &Cluster, origin: &Origin, lease: &CredentialLease) -> Result<String, Failure> {
    let here = |e: std::io::Error| Failure::Other(format!("this executable does not know its own path: {e}"));
    let executable = std::env::current_exe().map_err(here)?;
    output::document(Format::Yaml, &render(&cluster.config, origin, lease, &executable.display().to_string()))
}

fn render(config: &Config, origin: &Origin, of: &CredentialLease, executable: &str) -> Value {
    let name = format!("lease-{}", lease::name(of));
    let mut args = vec!["credential".to_owned(), format!("--lease={}", lease::name(of))];
    args.push(format!("--namespace={}", lease::namespace(of)));
    args.extend(origin.flags());
    let exec = json!({
        "apiVersion": API_VERSION, "command": executable, "args": args, "interactiveMode": "Never", "provideClusterInfo": false,
        // Whoever uses this file has set KUBECONFIG to it: the plugin must not.
        "env": [{"name": "KUBECONFIG", "value": origin.variable.to_string_lossy()}],
        "installHint": "kubectl-lease is the kubectl plugin of Leasehold; this kubeconfig works only where it is installed under the path above",
    });
    let mut context = json!({"cluster": name, "user": name});
    if let Some(namespace) = sole_namespace(of) {
        context["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": server(config)}],
        "users": [{"name": name, "user": {"exec": exec}}],
        "contexts": [{"name": name, "context": context}],
    })
}

/// The namespace that all grants are in, if it is one.
fn sole_namespace(of: &CredentialLease) -> Option<&str> {
    let grants = &lease::request(of)?.grants;
    let first = grants.first()?.namespace.as_str();
    grants.iter().all(|grant| grant.namespace == first).then_some(first)
}

/// The API server as the caller reached it.
fn server(config: &Config) -> Value {
    let mut cluster = Map::new();
    cluster.insert("server".into(), json!(config.cluster_url.to_string().trim_end_matches('/')));
    if let Some(path) = &config.root_cert_file {
        cluster.insert("certificate-authority".into(), json!(path));
    } else if let Some(certificates) = &config.root_cert {
        let mut pem = String::new();
        for der in certificates {
            let text = STANDARD.encode(der);
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in text.as_bytes().chunks(64) {
                pem.push_str(&String::from_utf8_lossy(line));
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        cluster.insert("certificate-authority-data".into(), json!(STANDARD.encode(pem)));
    }
    if config.accept_invalid_certs {
        cluster.insert("insecure-skip-tls-verify".into(), json!(true));
    }
    if let Some(name) = &config.tls_server_name {
        cluster.insert("tls-server-name".into(), json!(name));
    }
    if let Some(proxy) = &config.proxy_url {
        cluster.insert("proxy-url".into(), json!(proxy.to_string()));
    }
    Value::Object(cluster)
}

#[cfg(test)]
mod tests {
    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn a_kubeconfig_holds_no_credential_and_says_who_mints() {
        let mut config = Config::new("https://api.example.com:6443/".parse().unwrap());
        config.root_cert = Some(vec![vec![1, 2, 3]]);
        let origin = Origin { variable: "/home/a/.kube/x".into(), context: Some("prod".into()), ..Origin::default() };
        let value = render(&config, &origin, &waiting(|_| {}), "/usr/bin/kubectl-lease");
        let cluster = &value["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://api.example.com:6443");
        let pem = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
        assert_eq!(pem, b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
        let user = &value["users"][0]["user"];
        assert_eq!(user.as_object().unwrap().len(), 1, "{user}");
        let exec = &user["exec"];
        assert_eq!(exec["args"], json!(["credential", "--lease=rollout", "--namespace=payments", "--context=prod"]));
        assert_eq!(exec["env"], json!([{"name": "KUBECONFIG", "value": "/home/a/.kube/x"}]));
        assert_eq!(value["contexts"][0]["context"]["namespace"], "payments-prod");
        let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(value).unwrap();
        assert_eq!(kubeconfig.current_context.as_deref(), Some("lease-rollout"));
    }

    #[test]
    fn a_context_has_a_namespace_only_if_it_is_one() {
        let two = waiting(|l| {
            let mut other = l["status"]["request"]["grants"][0].clone();
            other["name"] = json!("other");
            other["namespace"] = json!("elsewhere");
            l["status"]["request"]["grants"].as_array_mut().unwrap().push(other);
        });
        assert_eq!(sole_namespace(&two), None);
        assert_eq!(sole_namespace(&waiting(|_| {})), Some("payments-prod"));
    }
}
