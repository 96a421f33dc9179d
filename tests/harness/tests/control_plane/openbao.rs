//! OpenBao lets in the operator's account with a token for its audience, for what the shipped policy says, and nobody else.

use anyhow::{Context, Result};
use leasehold_harness::{ControlPlane, OpenBao};
use serde_json::{Value, json};

use crate::support::shared;

/// An account with the operator's name and namespace, and one beside it.
const ACCOUNTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: leasehold-system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: leasehold, namespace: leasehold-system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: leasehold-system}}
";

/// What OpenBao gives for a token of `account` for `audience`; an error if it refuses.
async fn login(bao: &OpenBao, plane: &ControlPlane, account: &str, audience: &str) -> Result<String> {
    let audience = format!("--audience={audience}");
    let args = ["create", "token", account, "-n", "leasehold-system", &audience];
    let token = plane.kubectl(plane.admin_kubeconfig(), &args, None).await?.ok()?;
    let role = format!("role={}", OpenBao::ROLE);
    let jwt = format!("jwt={}", token.trim());
    let answer = bao.bao_as("", &["write", "-format=json", "auth/kubernetes/login", &role, &jwt], None).await?.ok()?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer.pointer("/auth/client_token").and_then(Value::as_str).context("a token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn openbao_lets_the_operator_write_and_delete_and_never_read() -> Result<()> {
    let plane = shared().await;
    plane.kubectl(plane.admin_kubeconfig(), &["apply", "-f", "-"], Some(ACCOUNTS)).await?.ok()?;
    let bao = OpenBao::start(plane).await?;

    assert!(login(&bao, plane, "other", OpenBao::AUDIENCE).await.is_err());
    assert!(login(&bao, plane, "leasehold", "https://kubernetes.default.svc").await.is_err());
    let operator = login(&bao, plane, "leasehold", OpenBao::AUDIENCE).await?;

    let may = async |args: &[&str]| anyhow::Ok(bao.bao_as(&operator, args, None).await?.status.success());
    let path = "leasehold/data/leases/payments/x";
    assert_eq!(bao.secret("leases/payments/x").await?, None);
    assert!(may(&["kv", "put", "-mount=leasehold", "leases/payments/x", "a=b"]).await?);
    assert_eq!(bao.secret("leases/payments/x").await?, Some(json!({"a": "b"})));
    assert_eq!(bao.list("leases/payments").await?, ["x"]);
    assert!(!may(&["read", path]).await?);
    assert!(!may(&["list", "leasehold/metadata/leases/payments"]).await?);
    assert!(!may(&["kv", "put", "-mount=leasehold", "elsewhere/x", "a=b"]).await?);
    assert!(may(&["delete", "leasehold/metadata/leases/payments/x"]).await?);
    assert_eq!(bao.secret("leases/payments/x").await?, None);
    assert!(bao.list("leases").await?.is_empty());
    Ok(())
}
