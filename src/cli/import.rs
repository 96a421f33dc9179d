//! `import`: a lifecycle from what a ServiceAccount holds today. Writes nothing to the cluster.

use std::collections::BTreeMap;

use clap::Args;
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{Api, api::ListParams};

use super::{
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch, output,
};
use crate::api::status::PolicyRule;

pub mod manifest;

use manifest::{Found, Held};

/// Flags of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// The ServiceAccount.
    pub serviceaccount: String,
    /// The lifecycle's name; default: the account's.
    #[arg(long, value_name = "NAME")]
    pub lifecycle_name: Option<String>,
}

/// Prints the manifest of a lifecycle.
///
/// # Errors
/// If the account is not there, or its bindings cannot be read.
pub async fn run(global: &Global, flags: &Import) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let found = read(&cluster, &flags.serviceaccount).await?;
    let mut rules: BTreeMap<Held, Vec<PolicyRule>> = BTreeMap::new();
    for held in manifest::held(&found) {
        let note = |why: &str| output::tell(&format!("note: {} {} {why}", held.kind.as_str(), held.role));
        match fetch::role(&cluster, held.kind, &held.namespace, &held.role).await {
            Ok(Some(read)) => drop(rules.insert(held, read)),
            Ok(None) => note("does not exist"),
            Err(error) => note(&format!("cannot be read: {}", Failure::from(error))),
        }
    }
    output::emit(&manifest::manifest(&found, flags.lifecycle_name.as_deref(), |held| rules.get(held).cloned()))?;
    Ok(0)
}

async fn read(cluster: &Cluster, name: &str) -> Result<Found, Failure> {
    let accounts: Api<ServiceAccount> = fetch::scope(cluster, false);
    let account = accounts.get_opt(name).await?.ok_or_else(|| {
        Failure::Other(format!(
            "there is no ServiceAccount {name} in namespace {}: name its namespace with -n",
            cluster.namespace
        ))
    })?;
    let everything = ListParams::default();
    let (bindings, own_only) = match fetch::all::<RoleBinding>(&fetch::scope(cluster, true), &everything).await {
        Ok(bindings) => (bindings, false),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            (fetch::all::<RoleBinding>(&fetch::scope(cluster, false), &everything).await?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let cluster_wide: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let cluster_wide = match fetch::all(&cluster_wide, &everything).await {
        Ok(bindings) => Some(bindings),
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Found { account, bindings, cluster: cluster_wide, own_only })
}
