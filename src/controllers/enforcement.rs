//! Keeps watch over the admission policies: missing, unbound, weakened or not biting, nothing is issued; ending goes on.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, time::Instant};

use super::feed::Outlet;
use crate::{
    cluster::policies::{Probe, Shipped},
    domain::{call::Failure, observed::Enforcement},
    runtime::metrics::Metrics,
};

/// How often the probes run although nothing seems to have changed.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How often after something was wrong.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// How often the operator looks at its own rights.
const IDENTITY_EVERY: Duration = Duration::from_secs(300);
/// A policy bites on every API server at most so long after it bites on one: they read their policies anew every second.
const SETTLE: Duration = Duration::from_secs(2);

/// Watches and probes for ever.
pub struct Guard {
    pub client: Client,
    pub probe: Probe,
    pub shipped: Shipped,
    pub outlet: Outlet,
    pub metrics: Arc<Metrics>,
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
            let (mut identity, mut audiences) = (None, false);
            loop {
                let found = self.look(&policies, &bindings, &mut identity, &mut audiences).await;
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
            self.outlet.index.api_audiences_are(self.probe.api_audiences().await?);
            *audiences = true;
        }
        self.probe.bites().await
    }

    async fn say(&self, found: Enforcement) {
        let before = self.outlet.index.enforcement();
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

/// A copy of every object of a kind, and the watch that keeps it.
fn mirror<K>(client: &Client, changed: &Arc<Notify>) -> (reflector::Store<K>, impl Future<Output = ()>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::all(client.clone()), watcher::Config::default()).default_backoff();
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
