//! Keeps watch over the admission policies: missing, unbound, weakened or not biting, nothing is issued; ending goes on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, time::Instant};

use super::feed::Outlet;
use crate::{
    api::Time,
    cluster::{policies::Shipped, probe::Probe, watches::Pauses},
    domain::{call::Failure, observed::Enforcement},
    runtime::{clock::Clock, metrics::Metrics},
};

/// How often the probes run although nothing seems to have changed.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How often after something was wrong.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// How often the operator looks at its own rights.
const IDENTITY_EVERY: Duration = Duration::from_secs(300);
/// A policy bites on every API server at most so long after it bites on one: they read their policies anew every second.
const SETTLE: Duration = Duration::from_secs(2);
/// The same in milliseconds.
const SETTLE_MILLIS: i64 = 2_000;

/// Watches and probes for ever.
pub struct Guard {
    pub client: Client,
    pub probe: Probe,
    pub shipped: Shipped,
    pub outlet: Outlet,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

impl Guard {
    /// Runs for ever.
    pub async fn run(self) {
        let changed = Arc::new(Notify::new());
        let (policies, watch_policies) = mirror::<ValidatingAdmissionPolicy>(&self.client, &changed);
        let (bindings, watch_bindings) = mirror::<ValidatingAdmissionPolicyBinding>(&self.client, &changed);
        let judge = async {
            // A store that has not been filled would look like policies that are missing.
            if policies.wait_until_ready().await.is_err() || bindings.wait_until_ready().await.is_err() {
                return;
            }
            let (mut identity, mut audiences, mut epoch) = (None, false, Epoch::default());
            loop {
                let found = self.look(&policies, &bindings, &mut identity, &mut audiences).await;
                let (there, bound) = (policies.state(), bindings.state());
                if let Some(since) = epoch.since(&self.shipped, &there, &bound, found == Enforcement::Enforced) {
                    let until = since.plus_millis(SETTLE_MILLIS);
                    self.outlet.index.unproven_until(Some(until));
                    self.outlast(until).await;
                }
                let wait = if found == Enforcement::Enforced { PROBE_EVERY } else { PROBE_AGAIN };
                self.say(found).await;
                tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        };
        tokio::join!(watch_policies, watch_bindings, judge);
    }

    async fn look(
        &self,
        policies: &reflector::Store<ValidatingAdmissionPolicy>,
        bindings: &reflector::Store<ValidatingAdmissionPolicyBinding>,
        identity: &mut Option<Instant>,
        audiences: &mut bool,
    ) -> Enforcement {
        // What live leases are judged by has to be known also while the policies are not in force.
        if !*audiences && let Ok(known) = self.probe.api_audiences().await {
            self.outlet.index.api_audiences_are(known);
            *audiences = true;
        }
        let own =
            |store: Vec<Arc<ValidatingAdmissionPolicy>>| store.into_iter().map(|p| (*p).clone()).collect::<Vec<_>>();
        let bound = |store: Vec<Arc<ValidatingAdmissionPolicyBinding>>| {
            store.into_iter().map(|b| (*b).clone()).collect::<Vec<_>>()
        };
        if let Some(problem) = self.shipped.compare(&own(policies.state()), &bound(bindings.state())) {
            return Enforcement::Missing(problem);
        }
        match self.ask(identity, audiences).await {
            Ok(None) => Enforcement::Enforced,
            Ok(Some(problem)) => Enforcement::Missing(problem),
            Err(failure) => Enforcement::Missing(format!(
                "the API server could not be asked whether the policies bite: {}",
                failure.message
            )),
        }
    }

    async fn ask(&self, identity: &mut Option<Instant>, audiences: &mut bool) -> Result<Option<String>, Failure> {
        if identity.is_none_or(|at| at.elapsed() >= IDENTITY_EVERY) {
            if let Some(problem) = self.probe.identity().await? {
                return Ok(Some(problem));
            }
            *identity = Some(Instant::now());
        }
        if !*audiences {
            return Ok(Some("the API server does not say for whom its tokens are; it is asked again".into()));
        }
        self.probe.bites().await
    }

    /// Waits until whatever is created is created after this time, also by clocks that count whole seconds: nobody is told
    /// that leases are issued and then refused.
    async fn outlast(&self, until: Time) {
        let left = until.plus_millis(1_000).since(self.clock.now());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
        // A clock that is far off must not keep everybody waiting.
        tokio::time::sleep(left.min(2 * SETTLE)).await;
    }

    async fn say(&self, found: Enforcement) {
        let before = self.outlet.index.admission();
        if found == Enforcement::Enforced && before != Enforcement::Enforced {
            tokio::time::sleep(SETTLE).await;
        }
        self.metrics.enforced(found == Enforcement::Enforced);
        if let Enforcement::Missing(why) = &found
            && before != found
        {
            tracing::error!(%why, "nothing is issued");
        } else if before != found {
            tracing::info!("the admission policies are in force");
        }
        self.outlet.pass(self.outlet.index.enforcement_is(found));
    }
}

/// Since when the policies are known to have been in force without a gap. What was created before that was not looked at by
/// them as far as anybody knows, unless it was already judged.
#[derive(Default)]
struct Epoch {
    /// UID and generation of each policy and binding, when they were last seen in force.
    seen: HashMap<String, (String, i64)>,
    enforced: bool,
}

impl Epoch {
    /// The beginning of a new epoch, if one has begun with this look: at the first one, after a gap, and where something was
    /// changed and changed back between two looks, which its generation tells.
    fn since(
        &mut self,
        shipped: &Shipped,
        policies: &[Arc<ValidatingAdmissionPolicy>],
        bindings: &[Arc<ValidatingAdmissionPolicyBinding>],
        enforced: bool,
    ) -> Option<Time> {
        if !enforced {
            self.enforced = false;
            return None;
        }
        let of = |kind: &str, metadata: &ObjectMeta| {
            let name = format!("{kind}/{}", metadata.name.clone().unwrap_or_default());
            (name, (metadata.uid.clone().unwrap_or_default(), metadata.generation.unwrap_or_default()))
        };
        let now: HashMap<String, (String, i64)> = policies
            .iter()
            .map(|p| of("policy", &p.metadata))
            .chain(bindings.iter().map(|b| of("binding", &b.metadata)))
            .filter(|(name, _)| name.split_once('/').is_some_and(|(_, name)| shipped.has(name)))
            .collect();
        let flickered = self.seen.iter().any(|(name, (uid, generation))| {
            now.get(name).is_none_or(|(new_uid, new)| new_uid != uid || new - generation > 1)
        });
        let begins = !self.enforced || flickered;
        (self.seen, self.enforced) = (now, true);
        let own = |p: &Arc<ValidatingAdmissionPolicy>| (**p).clone();
        let bound = |b: &Arc<ValidatingAdmissionPolicyBinding>| (**b).clone();
        begins
            .then(|| {
                let (policies, bindings): (Vec<_>, Vec<_>) =
                    (policies.iter().map(own).collect(), bindings.iter().map(bound).collect());
                shipped.last_change(&policies, &bindings)
            })
            .flatten()
            .map(|time| Time::from(&time))
    }
}

/// A copy of every object of a kind, and the watch that keeps it.
fn mirror<K>(client: &Client, changed: &Arc<Notify>) -> (reflector::Store<K>, impl Future<Output = ()>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::all(client.clone()), watcher::Config::default()).backoff(Pauses::new());
    let changed = changed.clone();
    let keep = async move {
        let mut stream = std::pin::pin!(reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::InitApply(_) | watcher::Event::Init) => {}
                Ok(_) => changed.notify_one(),
                Err(error) => tracing::warn!(%error, "the watch of the admission policies failed and is opened again"),
            }
        }
    };
    (reader, keep)
}
