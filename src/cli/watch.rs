//! Waiting for a lease: what it waits for, told as it changes, and how that went.

use std::time::Duration;

use futures::StreamExt;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    connect::Cluster,
    exit::Failure,
    interrupt::{Interrupts, Kind},
    progress::Progress,
    standing::{Standing, is_unattended, standing},
    view::lease,
};
use crate::api::CredentialLease;

/// How often a lease is read where it may not be watched.
const PACE: Duration = Duration::from_secs(1);
/// How long nothing can be seen of a lease before waiting for it is given up.
const BLIND: Duration = Duration::from_secs(30);

/// How long the operator may leave a request unattended before waiting for it is given up: it is down or may issue nothing, and
/// no time of the caller's will mend that. Longer than an operator takes to be started anew.
const UNATTENDED: Duration = Duration::from_secs(60);

/// What is known of a lease.
#[derive(Debug)]
pub enum Seen {
    /// As it is now.
    Lease(Box<CredentialLease>),
    /// It is not there any more.
    Gone,
    /// It cannot be seen, and why. It may be seen again.
    Blind(Failure),
}

/// Tells every change of one lease, until it is dropped. Changes that come while nobody looks are not lost.
pub struct Follower {
    changes: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Follows this lease, not another one of its name: by a watch, or where the caller may not watch by reading it again and again.
    #[must_use]
    pub fn of(cluster: &Cluster, of: &CredentialLease) -> Self {
        let api: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), lease::namespace(of));
        let (name, uid) = (lease::name(of).to_owned(), of.metadata.uid.clone());
        let (sender, changes) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let seen = |found: Option<CredentialLease>| match found {
                Some(lease) if lease.metadata.uid == uid => Seen::Lease(Box::new(lease)),
                _ => Seen::Gone,
            };
            let mut watch = watcher::watch_object(api.clone(), &name).default_backoff().boxed();
            while let Some(change) = watch.next().await {
                let seen = match change {
                    Ok(found) => seen(found),
                    Err(error) if is_forbidden(&error) => break,
                    Err(error) => Seen::Blind(unseen(error)),
                };
                if sender.send(seen).await.is_err() {
                    return;
                }
            }
            let mut pace = tokio::time::interval(PACE);
            loop {
                pace.tick().await;
                let seen = match api.get_opt(&name).await {
                    Ok(found) => seen(found),
                    Err(error) => Seen::Blind(error.into()),
                };
                if sender.send(seen).await.is_err() {
                    return;
                }
            }
        });
        Self { changes, task }
    }

    /// The next change.
    pub async fn next(&mut self) -> Seen {
        let stopped = || Seen::Blind(Failure::Other("the lease is not followed any more".into()));
        self.changes.recv().await.unwrap_or_else(stopped)
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

fn unseen(error: watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        other => Failure::Unreachable(format!("the lease cannot be watched: {other}")),
    }
}

/// How waiting ended.
#[derive(Debug)]
pub enum Outcome {
    Active(Box<CredentialLease>),
    /// The lease will never be active.
    Over(Failure),
    /// The time was up; what it last waited for.
    TimedOut(String),
    /// The operator does not get to it; what it last waited for.
    Unattended(String),
    /// Whoever runs this does not want to wait any more.
    Interrupted(Kind),
    /// Nothing can be seen of the lease.
    Blind(Failure),
}

/// Waits until a lease is active, and tells on standard error what it waits for.
pub async fn until_active(
    cluster: &Cluster,
    of: &CredentialLease,
    patience: Duration,
    interrupts: &mut Interrupts,
    mut progress: Progress,
) -> Outcome {
    let mut follower = Follower::of(cluster, of);
    let begun = Instant::now();
    let (mut blind, mut waits) = (None::<Instant>, "waiting for the operator".to_owned());
    let mut unattended = Some(begun);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let seen = tokio::select! {
            kind = interrupts.next() => return Outcome::Interrupted(kind),
            () = tokio::time::sleep_until(begun + patience) => return Outcome::TimedOut(waits),
            _ = tick.tick() => {
                progress.beat();
                if blind.is_none() && unattended.is_some_and(|since| since.elapsed() >= UNATTENDED) {
                    return Outcome::Unattended(waits);
                }
                continue;
            }
            seen = follower.next() => seen,
        };
        match seen {
            Seen::Lease(lease) => {
                blind = None;
                unattended = if is_unattended(&lease) { unattended.or_else(|| Some(Instant::now())) } else { None };
                match standing(&lease) {
                    Standing::Active => return Outcome::Active(lease),
                    Standing::Over(failure) => return Outcome::Over(failure),
                    Standing::Waits(what) => {
                        progress.say(&what);
                        waits = what;
                    }
                }
            }
            Seen::Gone => return Outcome::Over(Failure::Ended(format!("lease {} was deleted", lease::title(of)))),
            Seen::Blind(failure) => {
                if blind.get_or_insert_with(Instant::now).elapsed() >= BLIND {
                    return Outcome::Blind(failure);
                }
                progress.say(&format!("cannot see the lease now: {failure}"));
            }
        }
    }
}
