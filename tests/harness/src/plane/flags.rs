//! The flags of each component: a function of the directory, the ports and the options.

use super::run_dir::RunDir;
use super::{Component, Options, Ports};

/// The controllers Leasehold relies on, and those that make a namespace behave as on any cluster.
const CONTROLLERS: &[&str] = &[
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "clusterrole-aggregation-controller",
    "root-ca-certificate-publisher-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "validatingadmissionpolicy-status-controller",
    "job-controller",
    // Deletes a Job that has ended: with it goes the account of a lease that nobody else ends.
    "ttl-after-finished-controller",
];

/// What rolls workloads out, where there are nodes to run them.
const WORKLOAD_CONTROLLERS: &[&str] = &[
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "disruption-controller",
];

/// Documentation address (RFC 5737). The API server insists on one that is not loopback and, without the endpoint
/// reconciler, does nothing with it.
const ADVERTISED: &str = "192.0.2.1";

/// The command line of `component`.
pub(super) fn flags(component: Component, dir: &RunDir, ports: Ports, options: &Options) -> Vec<String> {
    match component {
        Component::Etcd => etcd(dir, ports),
        Component::Apiserver => apiserver(dir, ports, options),
        Component::ControllerManager => controller_manager(dir, options),
        Component::Scheduler => client_of_the_apiserver(dir, component),
        Component::Kwok => kwok(dir),
    }
}

fn etcd(dir: &RunDir, ports: Ports) -> Vec<String> {
    let (client, peer) = (local("http", ports.etcd_client), local("http", ports.etcd_peer));
    vec![
        format!("--data-dir={}", dir.etcd_data().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=error".to_owned(),
    ]
}

fn apiserver(dir: &RunDir, ports: Ports, options: &Options) -> Vec<String> {
    let mut flags = vec![
        format!("--etcd-servers={}", local("http", ports.etcd_client)),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.apiserver),
        format!("--advertise-address={ADVERTISED}"),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--tls-cert-file={}", dir.server_certificate().display()),
        format!("--tls-private-key-file={}", dir.server_key().display()),
        format!("--client-ca-file={}", dir.authority().display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", dir.service_account_public_key().display()),
        format!("--service-account-signing-key-file={}", dir.service_account_key().display()),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        // A list, which a second flag would only lengthen.
        format!("--authorization-mode={}", if options.real_node { "Node,RBAC" } else { "RBAC" }),
        format!("--audit-policy-file={}", dir.audit_policy().display()),
        format!("--audit-log-path={}", dir.audit_log().display()),
        // Megabytes. The default of 100 would rotate the file under the reader's cursor.
        "--audit-log-maxsize=100000".to_owned(),
    ];
    if options.real_node {
        flags.extend(apiserver_of_a_real_node(dir));
    }
    if options.has_nodes() {
        // Else a new Node is tainted not-ready until a node-lifecycle-controller says otherwise, and we run none.
        flags.push("--disable-admission-plugins=TaintNodesByCondition".to_owned());
    }
    if options.authentication.is_some() {
        flags.push(format!("--authentication-config={}", dir.authentication().display()));
    }
    flags.extend(options.extra_apiserver_args.iter().cloned());
    flags
}

/// Reached by pods at the Service's address, and reaching the kubelet for logs and exec.
fn apiserver_of_a_real_node(dir: &RunDir) -> [String; 5] {
    [
        "--bind-address=0.0.0.0".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-client-certificate={}", dir.kubelet_client_certificate().display()),
        format!("--kubelet-client-key={}", dir.kubelet_client_key().display()),
    ]
}

fn controller_manager(dir: &RunDir, options: &Options) -> Vec<String> {
    let workloads = if options.has_nodes() { WORKLOAD_CONTROLLERS } else { &[] };
    let controllers = [CONTROLLERS, workloads].concat().join(",");
    let mut flags = client_of_the_apiserver(dir, Component::ControllerManager);
    flags.extend([
        format!("--service-account-private-key-file={}", dir.service_account_key().display()),
        format!("--root-ca-file={}", dir.authority().display()),
        "--use-service-account-credentials=true".to_owned(),
        format!("--controllers={controllers}"),
    ]);
    flags
}

fn kwok(dir: &RunDir) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", dir.component_kubeconfig(Component::Kwok).display()),
        format!("--config={}", dir.kwok_stages().display()),
        "--manage-all-nodes=true".to_owned(),
        "--cidr=10.77.0.0/16".to_owned(),
    ]
}

fn client_of_the_apiserver(dir: &RunDir, component: Component) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", dir.component_kubeconfig(component).display()),
        "--leader-elect=false".to_owned(),
        "--authentication-skip-lookup=true".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}

fn local(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}
