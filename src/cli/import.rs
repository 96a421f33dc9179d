//! `import`: a lifecycle from what a ServiceAccount holds today. Writes nothing to the cluster.

use std::collections::BTreeMap;

use clap::Args;
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, api::ListParams};

use super::{
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch, output,
};
use crate::{api::status::PolicyRule, domain::rbac};

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
        match role(&cluster, &held).await {
            Ok(read) => drop(rules.insert(held, read)),
            Err(failure) => output::tell(&format!("note: {} {} cannot be read: {failure}", held.kind, held.role)),
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

async fn role(cluster: &Cluster, held: &Held) -> Result<Vec<PolicyRule>, Failure> {
    let client = cluster.client.clone();
    Ok(if held.kind == "Role" {
        rbac::rules(Api::<Role>::namespaced(client, &held.namespace).get(&held.role).await?.rules.as_ref())
    } else {
        rbac::rules(Api::<ClusterRole>::all(client).get(&held.role).await?.rules.as_ref())
    })
}
