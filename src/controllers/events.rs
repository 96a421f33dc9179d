//! Kubernetes Events for people: they mirror what a status says, and are not the record.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    api::{
        condition::bound,
        reasons::Happening,
        status::{CredentialLeaseStatus, Record},
    },
    domain::observed::LeaseSeen,
};

/// Events that may wait to be written. Beyond that they are dropped: nothing depends on them, and they must cost no lease anything.
const QUEUE: usize = 1024;

/// How long one event may take: the next ones wait behind it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an event gives way: what holders wait for is mostly done by then, of a burst as well, and nobody reads sooner.
const GIVES_WAY: Duration = Duration::from_secs(1);

/// Tells people.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Told>);

/// What is to be told of which lease, and from when on.
struct Told {
    event: Event,
    lease: ObjectReference,
    due: Instant,
}

impl Events {
    /// Writes through `client`, one at a time, on a task that ends when every clone is dropped. Nobody waits for it: what was told
    /// in the last second before a stop is not written.
    #[must_use]
    pub fn through(client: Client) -> Self {
        let (sender, mut queue) = mpsc::channel::<Told>(QUEUE);
        let recorder = Recorder::new(client, Reporter { controller: "leasehold.dev/leasehold".into(), instance: None });
        tokio::spawn(async move {
            while let Some(Told { event, lease, due }) = queue.recv().await {
                sleep_until(due).await;
                match timeout(PATIENCE, recorder.publish(&event, &lease)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an event could not be written"),
                    Err(_) => tracing::debug!("an event was not written in time"),
                }
            }
        });
        Self(sender)
    }

    /// Tells the records that a new status has and the old one did not.
    pub fn tell(&self, lease: &LeaseSeen, status: &CredentialLeaseStatus) {
        let last = |s: &CredentialLeaseStatus| s.history.as_ref().and_then(|h| h.records.last()).map_or(0, |r| r.seq);
        let known = last(&lease.status);
        let due = Instant::now() + GIVES_WAY;
        for record in
            status.history.iter().flat_map(|h| &h.records).filter(|r| r.seq > known && r.event != Happening::Requested)
        {
            let lease = ObjectReference {
                api_version: Some("leasehold.dev/v1alpha1".into()),
                kind: Some("CredentialLease".into()),
                namespace: Some(lease.namespace.clone()),
                name: Some(lease.name.clone()),
                uid: Some(lease.uid.to_string()),
                ..ObjectReference::default()
            };
            // A full queue: dropped, as said above.
            _ = self.0.try_send(Told { event: event(record), lease, due });
        }
    }
}

fn event(record: &Record) -> Event {
    let mut note = record.detail.clone();
    bound(&mut note, 1000);
    let warns =
        matches!(record.event, Happening::Denied | Happening::Failed | Happening::RoleWidened | Happening::Swept);
    Event {
        type_: if warns { EventType::Warning } else { EventType::Normal },
        reason: record.event.as_str().into(),
        note: Some(note),
        action: record.event.as_str().into(),
        secondary: None,
    }
}
