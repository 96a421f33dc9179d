//! Writes the statuses of lifecycles. Two loops write parts of one: when the API server asks one of them to wait, both wait.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::held::{self, Held};
use crate::{
    api::{ServiceAccountLifecycle, lifecycle::ServiceAccountLifecycleStatus},
    cluster::{
        exchange::Exchange,
        status::{self, Target},
    },
    domain::call::{Class, Failure},
    runtime::clock::Clock,
};

/// Writes statuses. Clones share what the API server has asked for.
#[derive(Clone)]
pub struct Writer {
    exchange: Exchange,
    clock: Clock,
    /// UIDs of lifecycles whose status is not written for now.
    held: Arc<Mutex<Held<String>>>,
}

impl Writer {
    /// A writer that was asked for nothing yet.
    #[must_use]
    pub fn new(exchange: Exchange, clock: Clock) -> Self {
        Self { exchange, clock, held: Arc::default() }
    }

    /// Writes `status` on the version that `object` has; answers with the new resourceVersion.
    ///
    /// # Errors
    /// [`Class::Conflict`] if the object is another one by now, or gone; [`Class::Throttled`] without a call as long as the API
    /// server has asked anybody to wait who wrote this status.
    pub async fn put(
        &self,
        object: &ServiceAccountLifecycle,
        status: &ServiceAccountLifecycleStatus,
    ) -> Result<String, Failure> {
        let metadata = &object.metadata;
        let uid = metadata.uid.as_deref().unwrap_or_default();
        if let Some(left) = self.still_held(uid) {
            let message = "the API server has asked to wait before this status is written again";
            return Err(Failure { retry_after: Some(left), ..Failure::new(Class::Throttled, message) });
        }
        let target = Target {
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: metadata.name.as_deref().unwrap_or_default(),
            uid,
            resource_version: metadata.resource_version.as_deref().unwrap_or_default(),
            spec: Some(&object.spec),
        };
        let written = status::put::<ServiceAccountLifecycle, _, _>(&self.exchange, &target, status).await;
        if let Err(failure) = &written
            && let Some(until) = held::until(failure, self.clock.now())
        {
            self.held().hold(uid.to_owned(), until);
        }
        written
    }

    /// How long the status of this lifecycle is not to be written yet.
    fn still_held(&self, uid: &str) -> Option<Duration> {
        let (now, mut held) = (self.clock.now(), self.held());
        held.release(now);
        let left = held.until(&uid.to_owned())?.since(now);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
    }

    fn held(&self) -> MutexGuard<'_, Held<String>> {
        // A panic leaves nothing half done: whoever holds it only calls `Held`.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future,
        sync::atomic::{AtomicI64, AtomicUsize, Ordering},
        time::Instant,
    };

    use http::{Request, Response, header};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::{api::Time, runtime::clock::Source};

    /// A wall clock that is set by hand.
    #[derive(Clone, Default)]
    struct ByHand(Arc<AtomicI64>);

    impl Source for ByHand {
        fn wall(&self) -> Time {
            Time::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Instant {
            Instant::now()
        }
    }

    fn lifecycle(uid: &str) -> ServiceAccountLifecycle {
        let spec = json!({
            "owner": {"team": "t", "contact": "c"}, "purpose": "p", "class": "Pipeline",
            "terms": {"ttl": {"max": "1h"}, "maxActive": 2, "delivery": ["TokenRequest"], "approval": {"type": "NotRequired"}},
        });
        let mut object = ServiceAccountLifecycle::new("home", serde_json::from_value(spec).unwrap());
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    #[tokio::test]
    async fn whoever_else_writes_the_same_status_waits_too() {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = Response::builder().status(429).header(header::RETRY_AFTER, 60).body(Body::empty()).unwrap();
            future::ready(Ok::<_, Infallible>(answer))
        });
        let exchange = Exchange::new(kube::Client::new(service, "default"), Duration::from_secs(5));
        let (hand, status) = (ByHand::default(), ServiceAccountLifecycleStatus::default());
        let one = Writer::new(exchange, Clock::from_source(hand.clone()));
        let other = one.clone();
        let asked = |answer: Result<String, Failure>| answer.unwrap_err().retry_after.unwrap();
        assert_eq!(asked(one.put(&lifecycle("a"), &status).await), Duration::from_secs(60));
        hand.0.store(59_999, Ordering::Relaxed);
        assert_eq!(asked(other.put(&lifecycle("a"), &status).await), Duration::from_millis(1));
        assert_eq!(calls.load(Ordering::Relaxed), 1, "the other one did not wait");
        other.put(&lifecycle("b"), &status).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 2, "another lifecycle waited as well");
        hand.0.store(60_000, Ordering::Relaxed);
        other.put(&lifecycle("a"), &status).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 3, "it was not written when the pause was over");
    }
}
