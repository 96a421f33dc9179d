//! OpenBao itself, under the policy and the role that the shipped file tells to make. Vault's API for these calls is the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::{Api, api::PostParams};
use leasehold::api::{ConnectedSystem, reasons::Phase};
use leasehold_harness::{Look, OpenBao, eventually_seeing};
use serde_json::json;

use super::stage::{self, Stage, TOKEN, issued, requested};
use crate::support::{Holder, Lab, run};

/// The shipped system, led to an OpenBao of ours.
async fn stage(lab: &Lab, file: &str, bao: &OpenBao) -> Result<Stage> {
    let mut stage = Stage::of(lab, file, bao.url(), &[]).await?;
    let vault = stage.system.spec.vault.as_mut().context("a system of type Vault")?;
    vault.ca_bundle = Some(bao.ca_pem().to_owned());
    if let Some(auth) = &mut vault.auth.kubernetes {
        // The one thing in which the two files differ besides the url.
        auth.audience = OpenBao::AUDIENCE.to_owned();
    }
    Ok(stage)
}

#[test]
fn a_token_is_there_while_its_lease_lives_and_no_end_touches_another_lease() {
    run(async {
        let lab = Lab::shared().await?;
        let mut bao = OpenBao::start(&lab.plane).await?;
        for file in ["openbao.yaml", "vault.yaml"] {
            let stage = stage(lab, file, &bao).await?;
            let mut next = (issued(), requested());
            next.0.lease.uid = "7d5f0f1e-0000-4f0f-8f0a-0b6cfc1e4f3c".to_owned();
            next.1.lease.uid = next.0.lease.uid.clone();
            for facts in [&issued(), &issued(), &next.0] {
                stage.done("write-lease", facts).await?;
            }
            let of = |uid: &str| format!("leases/payments/payments-deployer/{uid}");
            let (first, second) = (of(&requested().lease.uid), of(&next.1.lease.uid));
            let held = bao.secret(&first).await?.context("it was written")?;
            ensure!(held["token"] == TOKEN && held["lease"] == "payments/rollout-2-3", "not what was issued");
            for _ in 0..2 {
                stage.done("delete-lease", &requested()).await?;
                ensure!(bao.secret(&first).await?.is_none());
                ensure!(bao.secret(&second).await?.is_some(), "the other lease's is left alone");
            }
            stage.done("write-current", &issued()).await?;
            ensure!(bao.secret("current/payments/payments-deployer").await?.is_some());
            stage.done("delete-current", &requested()).await?;
            stage.done("delete-lease", &next.1).await?;
            ensure!(bao.list("leases").await?.is_empty() && bao.list("current").await?.is_empty());
        }
        let stage = stage(lab, "openbao.yaml", &bao).await?;
        bao.process().pause()?;
        ensure!(stage::is_again(&stage.call("write-lease", &issued()).await?), "one that hangs is no success");
        bao.process().resume()
    });
}

#[test]
fn a_path_that_the_policy_does_not_name_is_refused() {
    run(async {
        let lab = Lab::shared().await?;
        let bao = OpenBao::start(&lab.plane).await?;
        let mut stage = stage(lab, "openbao.yaml", &bao).await?;
        let write = stage.system.spec.operations.iter_mut().find(|operation| operation.name == "write-lease");
        write.context("it is shipped")?.path = "'elsewhere/' + urlquery(lease.uid)".to_owned();
        ensure!(stage::is_refused(&stage.call("write-lease", &issued()).await?));
        ensure!(bao.list("elsewhere").await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_leased_token_is_in_openbao_for_as_long_as_it_is_good_for_something() {
    run(async {
        let lab = Lab::shared().await?;
        let bao = OpenBao::start(&lab.plane).await?;
        let mut system = stage(lab, "openbao.yaml", &bao).await?.system;
        system.metadata = kube::core::ObjectMeta { name: Some("openbao-for-leases".to_owned()), ..Default::default() };
        Api::<ConnectedSystem>::all(lab.plane.admin()).create(&PostParams::default(), &system).await?;

        let tenant = lab.tenant("vault").await?;
        let step = json!({"name": "write-token", "at": "Issue", "system": "openbao-for-leases", "operation": "write-lease", "undo": "delete-lease"});
        tenant.lifecycle("reads", |spec| spec["workflow"] = json!([step])).await?;
        let lease = tenant.lease("run", "reads", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
        tenant.lease_in("run", Phase::Active).await?;
        let path = format!("leases/{}/reads/{}", tenant.namespace, lease.metadata.uid.context("a UID")?);
        let held = bao.secret(&path).await?.context("it is there when the lease is active")?;
        let holder = Holder::new(&tenant, held["token"].as_str().context("a token")?)?;
        ensure!(holder.reads().await? == 200, "what is there is good");

        tenant.delete_lease("run").await?;
        eventually_seeing("the secret to be gone", Duration::from_secs(60), async || {
            let left = bao.secret(&path).await?.is_some();
            Ok::<_, anyhow::Error>(if left { Look::NotYet("it is there".to_owned()) } else { Look::Done(()) })
        })
        .await?;
        // Authority goes first, so nothing good is ever missing from OpenBao while it could still be used.
        ensure!(holder.reads().await? != 200, "it is still good");
        ensure!(!lab.said()?.contains(held["token"].as_str().context("a token")?), "the operator has said the token");
        Ok(())
    });
}
