//! What the kubelet is told.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{ADDRESS, containerd};

/// A KubeletConfiguration, as JSON. Fields: <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.
pub(super) fn config(dir: &Path, client_authority: &Path, cgroup: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": client_authority}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{cgroup}"),
        "clusterDNS": ["10.0.0.10"], "clusterDomain": "cluster.local", "resolvConf": "",
        "containerRuntimeEndpoint": containerd::endpoint(),
        "podLogsDir": dir.join("pods"),
        // Mounted Secrets are looked at once a second, not once a minute.
        "syncFrequency": "1s",
        // The machine belongs to others: what it has too little or too much of is not ours to judge.
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi", "nodefs.inodesFree": "1"},
        "imageGCHighThresholdPercent": 100, "failSwapOn": false, "failCgroupV1": false,
        "oomScoreAdj": 0, "maxOpenFiles": 20000, "makeIPTablesUtilChains": false,
    });
    Ok(serde_json::to_string_pretty(&config)?)
}
