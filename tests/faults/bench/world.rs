//! What there is, as the administrator sees it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, ResourceExt, api::ListParams};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::Phase,
    status::CredentialLeaseStatus,
    workflow::{StepState, StepTime},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::proxy::Proxy;

#[derive(Default)]
pub struct World {
    pub seen: Option<Instant>,
    pub leases: BTreeMap<String, CredentialLease>,
    /// What is labelled with the UID of a lease.
    pub made: BTreeMap<String, Vec<String>>,
    /// By the UID of a lease, every role that was ever bound for it.
    pub bound: BTreeMap<String, Vec<String>>,
}

/// Looks at everything twice a second, for as long as somebody wants to know.
pub async fn observe(client: kube::Client, world: watch::Sender<World>, proxy: Arc<Proxy>) {
    let mut bound = BTreeMap::new();
    while !world.is_closed() {
        // What cannot be read now is read the next time.
        if let Ok((mut seen, version)) = look(&client, &mut bound).await {
            proxy.note_version(version);
            seen.bound.clone_from(&bound);
            world.send_replace(seen);
        }
        sleep(Duration::from_millis(400)).await;
    }
}

async fn look(client: &kube::Client, bound: &mut BTreeMap<String, Vec<String>>) -> kube::Result<(World, String)> {
    let seen = Some(Instant::now());
    let leases: Api<CredentialLease> = Api::all(client.clone());
    let leases = leases.list(&ListParams::default()).await?;
    let version = leases.metadata.resource_version.clone().unwrap_or_default();
    let leases = leases.items.into_iter().filter_map(|l| Some((l.metadata.uid.clone()?, l))).collect();
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let label = ListParams::default().labels(LABEL);
    let uid_of = |labels: &BTreeMap<String, String>| labels.get(LABEL).cloned().unwrap_or_default();
    macro_rules! list {
        ($($kind:ty),+) => { $(
            for object in Api::<$kind>::all(client.clone()).list_metadata(&label).await?.items {
                let what = format!("{} {}/{}", stringify!($kind), object.namespace().unwrap_or_default(), object.name_any());
                made.entry(uid_of(object.labels())).or_default().push(what);
            }
        )+ };
    }
    list!(ServiceAccount, Job, Role, Secret, ConfigMap);
    for binding in Api::<RoleBinding>::all(client.clone()).list(&label).await?.items {
        let (uid, place) = (uid_of(binding.labels()), binding.namespace().unwrap_or_default());
        let role = format!("{place}/{}/{}", binding.role_ref.kind, binding.role_ref.name);
        let roles = bound.entry(uid.clone()).or_default();
        if !roles.contains(&role) {
            roles.push(role);
        }
        made.entry(uid).or_default().push(format!("RoleBinding {place}/{}", binding.name_any()));
    }
    Ok((World { seen, leases, made, bound: BTreeMap::new() }, version))
}

const LABEL: &str = "leasehold.dev/lease-uid";

pub fn phase(lease: &CredentialLease) -> Option<Phase> {
    lease.status.as_ref().and_then(|s| s.phase)
}

/// Whether it rests: its credential is proven dead, or there never was one; other systems are done with.
pub fn is_at_rest(lease: &CredentialLease) -> bool {
    let Some(status) = &lease.status else { return false };
    let revoked = condition::find(&status.conditions, "Revoked").is_none_or(|c| c.status == ConditionStatus::True)
        || status.credential.as_ref().is_none_or(|c| c.service_account.is_none());
    phase(lease).is_some_and(Phase::is_final) && revoked && is_told(status)
}

/// Whether every step of its workflow is over: what was done is undone, and whoever is to know of the end was told.
fn is_told(status: &CredentialLeaseStatus) -> bool {
    let steps = &status.steps;
    let over = steps.iter().all(|step| match step.at {
        StepTime::Issue => matches!(step.state, StepState::Undone | StepState::Failed),
        _ => step.state != StepState::Running,
    });
    let asked = status.request.as_ref().map(|r| &r.workflow);
    let tells = asked.is_some_and(|steps| steps.iter().any(|s| s.at == StepTime::Revoke));
    // Of a lease that never was issued nobody is told.
    over && (!tells || status.issue_time.is_none() || steps.iter().any(|s| s.at == StepTime::Revoke))
}
