//! What OpenBao is told: its configuration file, and the same commands that `config/systems/openbao.yaml` tells an
//! administrator to run.

use std::path::Path;

use anyhow::{Context, Result};

use super::OpenBao;
use crate::plane::ControlPlane;

pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const CONFIGURATION: &str = "openbao.hcl";

/// The shipped policy, so that a test fails when it does not suffice.
const POLICY: &str = include_str!("../../../../config/systems/vault-policy.hcl");

/// Whom OpenBao asks the API server as whether a token is good: it may review tokens, and nothing else.
const REVIEWER: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: openbao}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: openbao, namespace: openbao}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: openbao-reviews-tokens}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: openbao, namespace: openbao}]
"#;

/// Everything in memory: what a test leaves is gone with the process.
pub(super) fn configuration(directory: &Path, port: u16, cluster_port: u16) -> String {
    let file = |name: &str| directory.join(name).display().to_string();
    format!(
        r#"storage "inmem" {{}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_cert_file   = "{}"
  tls_key_file    = "{}"
}}
api_addr     = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
log_level    = "warn"
"#,
        file(CERTIFICATE),
        file(KEY),
    )
}

/// The engine, the policy, the auth method and the role.
pub(super) async fn set_up(bao: &OpenBao, plane: &ControlPlane) -> Result<()> {
    let reviewer = reviewer_token(plane).await?;
    let mount = format!("-path={}", OpenBao::MOUNT);
    let authority = format!("kubernetes_ca_cert={}", plane.ca_pem());
    let commands: [(&[&str], Option<&str>); 6] = [
        (&["secrets", "enable", &mount, "-version=2", "kv"], None),
        // One version: a token that was replaced is not kept.
        (&["write", &format!("{}/config", OpenBao::MOUNT), "max_versions=1"], None),
        (&["policy", "write", "leasehold", "-"], Some(POLICY)),
        (&["auth", "enable", "kubernetes"], None),
        (
            &[
                "write",
                "auth/kubernetes/config",
                &format!("kubernetes_host={}", plane.url()),
                &authority,
                &format!("token_reviewer_jwt={reviewer}"),
            ],
            None,
        ),
        (
            &[
                "write",
                &format!("auth/kubernetes/role/{}", OpenBao::ROLE),
                "bound_service_account_names=leasehold",
                "bound_service_account_namespaces=leasehold-system",
                &format!("audience={}", OpenBao::AUDIENCE),
                "token_policies=leasehold",
                "token_no_default_policy=true",
                "token_ttl=15m",
            ],
            None,
        ),
    ];
    for (args, stdin) in commands {
        // Named by its first words: later ones may be a token.
        let name = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        bao.bao(args, stdin)
            .await
            .and_then(super::Output::ok)
            .with_context(|| format!("set up OpenBao: bao {name}"))?;
    }
    Ok(())
}

async fn reviewer_token(plane: &ControlPlane) -> Result<String> {
    let admin = plane.admin_kubeconfig();
    plane.kubectl(admin, &["apply", "-f", "-"], Some(REVIEWER)).await?.ok()?;
    let args = ["create", "token", "openbao", "-n", "openbao", "--duration=12h"];
    Ok(plane.kubectl(admin, &args, None).await?.ok()?.trim().to_owned())
}
