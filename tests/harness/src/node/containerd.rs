//! What containerd and its network plugins are told.

use std::path::Path;

use serde_json::json;

use super::Parts;

/// Below `/run`, which is ours alone.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Addresses of pods.
const PODS: &str = "10.88.0.0/24";

/// Where the kubelet finds it.
pub(super) fn endpoint() -> String {
    format!("unix://{SOCKET}")
}

pub(super) fn config(dir: &Path, parts: &Parts, sandbox_image: &str) -> String {
    let (dir, runc, plugins) = (dir.display(), parts.runc.display(), parts.plugins.display());
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd/state"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# Nobody here may lower a score, and no profile is loaded.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{dir}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#
    )
}

/// Pods on a bridge. Nothing leads out of it but to the machine itself, which is where the API server is.
pub(super) fn network(dir: &Path) -> String {
    let bridge = json!({
        "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": dir.join("cni-addresses"),
            "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}).to_string()
}
