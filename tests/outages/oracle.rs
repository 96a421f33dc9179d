//! What must be true after any outage: read off the API server, its audit log and the tokens; never asked of the operator.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use leasehold::{
    api::{
        CredentialLease, Time,
        condition::{self, ConditionStatus},
        reasons::{Happening, Phase},
        status::CredentialLeaseStatus,
    },
    domain::digest,
};
use leasehold_harness::{Look, Record, eventually_seeing};

use crate::{
    holder::{Holder, seconds},
    scene::Scene,
};

/// I1: an API server remembers a token for 10 s, its watch may lag 2 s, the end itself may take one more.
pub const OUTLIVES_SECONDS: f64 = 13.0;
/// The operator's name in the audit log.
pub const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

/// What there is.
#[derive(Debug, Default)]
pub struct World {
    pub leases: Vec<CredentialLease>,
    /// What is labelled with the UID of a lease.
    pub made: BTreeMap<String, Vec<String>>,
}

impl World {
    /// How many leases were ever issued.
    pub fn issued(&self) -> usize {
        self.leases.iter().filter(|lease| status(lease).issue_time.is_some()).count()
    }

    /// How many leases have ended.
    pub fn ended(&self) -> usize {
        self.leases.iter().filter(|lease| status(lease).end_time.is_some()).count()
    }

    /// What has not come to rest, and what is left of what has.
    fn restless(&self) -> Vec<String> {
        let moving = self.leases.iter().filter(|lease| !is_over(lease));
        let moving = moving.map(|lease| format!("{} is {:?}", lease.name_any(), status(lease).phase));
        moving.chain(self.made.values().flatten().map(|name| format!("left: {name}"))).collect()
    }
}

pub fn status(lease: &CredentialLease) -> CredentialLeaseStatus {
    lease.status.clone().unwrap_or_default()
}

/// A time as a status has it.
pub fn moment(time: Time) -> Timestamp {
    Timestamp::from_millisecond(time.as_millis()).unwrap_or_default()
}

/// Final, and proven dead if there ever was a credential.
pub fn is_over(lease: &CredentialLease) -> bool {
    let status = status(lease);
    let proven = match condition::find(&status.conditions, "Revoked") {
        Some(revoked) => revoked.status == ConditionStatus::True,
        None => status.credential.is_none() && status.issue_time.is_none(),
    };
    status.phase.is_some_and(Phase::is_final) && proven
}

pub async fn look(client: &Client) -> Result<World> {
    let leases: Api<CredentialLease> = Api::all(client.clone());
    let leases = leases.list(&ListParams::default()).await?.items;
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let label = ListParams::default().labels("leasehold.dev/lease-uid");
    macro_rules! list {
        ($($kind:ty),+) => { $(
            for object in Api::<$kind>::all(client.clone()).list_metadata(&label).await?.items {
                let uid = object.labels().get("leasehold.dev/lease-uid").cloned().unwrap_or_default();
                let place = format!("{} {}/{}", stringify!($kind), object.namespace().unwrap_or_default(), object.name_any());
                made.entry(uid).or_default().push(place);
            }
        )+ };
    }
    list!(ServiceAccount, Job, Role, RoleBinding, Secret);
    Ok(World { leases, made })
}

/// Waits until every lease is over and nothing is left that was made for one.
pub async fn at_rest(client: &Client, patience: Duration) -> Result<World> {
    eventually_seeing("every lease to be over and nothing to be left", patience, || async {
        let world = look(client).await?;
        let restless = world.restless();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let some = || format!("{} are not: {}", restless.len(), restless[..restless.len().min(5)].join("; "));
        Ok::<_, anyhow::Error>(if restless.is_empty() { Look::Done(world) } else { Look::NotYet(some()) })
    })
    .await
}

/// Each lease tells one story, whatever happened meanwhile.
pub fn stories(scene: &mut Scene, world: &World) {
    for lease in &world.leases {
        let (name, status) = (lease.name_any(), status(lease));
        let Some(history) = &status.history else {
            scene.broken(format!("{name} has no history"));
            continue;
        };
        scene.must(digest::verify(history), || format!("the history of {name} does not verify"));
        let issued = history.records.iter().filter(|record| record.event == Happening::Issued).count();
        scene.must(issued <= 1, || format!("{name} was issued {issued} times: {:?}", history.records));
        if let (Some(end), Some(due)) = (status.end_time, status.expiration_time) {
            scene.must(end <= due, || format!("{name} ended at {end:?}, after its deadline {due:?}"));
        }
    }
}

/// I3: one account for a lease, ever.
pub fn accounts(scene: &mut Scene, audit: &[Record]) -> usize {
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for record in audit {
        let account = record.user == OPERATOR && record.resource == "serviceaccounts" && record.subresource.is_empty();
        if account && record.verb == "create" && record.namespace == "leasehold-leases" && record.code == 201 {
            *made.entry(&record.name).or_default() += 1;
        }
    }
    for (name, n) in made.iter().filter(|(_, n)| **n > 1) {
        scene.broken(format!("account {name} was created {n} times"));
    }
    made.len()
}

/// I1, and promise 2: when tokens were last known, in seconds after their lease's end or after the control plane was back, whichever
/// came later; and never after it was said that they are dead.
pub fn tokens(scene: &mut Scene, world: &World, holders: &[Holder], back: &[(Timestamp, Timestamp)]) -> f64 {
    let mut worst = 0_f64;
    for holder in holders {
        let Some(lease) = world.leases.iter().find(|lease| lease.uid().as_deref() == Some(&holder.uid)) else {
            continue;
        };
        let status = status(lease);
        let Some(end) = status.end_time.map(moment) else { continue };
        let due =
            back.iter().filter(|(from, to)| *from <= end && end <= *to).map(|(_, to)| *to).fold(end, Timestamp::max);
        if let Some(last) = holder.known_after(end) {
            let after = seconds(due, last);
            worst = worst.max(after);
            scene.must(after <= OUTLIVES_SECONDS, || {
                format!("the token of {} was known {after:.1} s after its end", holder.lease)
            });
        }
        let proven = status.credential.and_then(|credential| credential.verified_time).map(moment);
        if let Some(late) = proven.and_then(|at| holder.known_after(at)) {
            scene.broken(format!("the token of {} was known at {late}, after its death was proven", holder.lease));
        }
    }
    worst
}

/// The operator has not panicked, and has not ended by itself.
pub fn sound(scene: &mut Scene, operator: &crate::operator::Kept) -> Result<()> {
    unpanicked(scene, operator)?;
    let exits = operator.exits();
    scene.must(exits.is_empty(), || format!("the operator ended by itself: {exits:?}"));
    Ok(())
}

/// The operator has not panicked.
pub fn unpanicked(scene: &mut Scene, operator: &crate::operator::Kept) -> Result<()> {
    let log = operator.log()?;
    for line in log.lines().filter(|line| line.contains("panicked") || line.contains("this is a bug")) {
        scene.broken(format!("the operator says: {line}"));
    }
    Ok(())
}
