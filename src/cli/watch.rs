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
    mint,
    progress::Progress,
    view::{lease, text::safe},
};
use crate::api::{
    CredentialLease, condition,
    reasons::{EndReason, Phase},
};

/// How often a lease is read where it may not be watched.
const PACE: Duration = Duration::from_secs(1);
/// How long nothing can be seen of a lease before waiting for it is given up.
const BLIND: Duration = Duration::from_secs(30);

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

/// Where a lease stands for whoever waits until it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not there yet, and what it waits for.
    Waits(String),
    Active,
    /// It will never be active.
    Over(Failure),
}

/// Where this lease stands.
#[must_use]
pub fn standing(of: &CredentialLease) -> Standing {
    let phase = lease::phase(of);
    let say = |kind: &str| {
        let conditions = of.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        condition::find(conditions, kind).map(|c| safe(&c.message)).filter(|message| !message.is_empty())
    };
    let with =
        |what: &str, more: Option<String>| more.map_or_else(|| what.to_owned(), |more| format!("{what}: {more}"));
    match phase {
        Phase::Active => Standing::Active,
        Phase::Pending => Standing::Waits(with("waiting for the operator", say("Active"))),
        Phase::AwaitingApproval => {
            let approvals = of.status.as_ref().and_then(|s| s.approvals.as_ref());
            let count = approvals.map(|a| format!(", {} of {} so far", a.have, a.required)).unwrap_or_default();
            Standing::Waits(with(&format!("waiting for approval{count}"), say("Approved")))
        }
        Phase::Scheduled => {
            let at = of.spec.not_before.map(|at| at.to_string());
            Standing::Waits(
                at.map_or_else(|| "agreed, and scheduled".into(), |at| format!("agreed, and issued at {at}")),
            )
        }
        Phase::Issuing => Standing::Waits(with("being issued", say("Issued"))),
        Phase::Denied | Phase::Failed | Phase::Ending | Phase::Expired | Phase::Revoked => {
            let message = say("Stalled").or_else(|| say("Active"));
            Standing::Over(over(of, message))
        }
    }
}

/// Why a lease will never be active, by the exit code that tells it apart.
fn over(of: &CredentialLease, message: Option<String>) -> Failure {
    let title = lease::title(of);
    let tell =
        |what: &str| format!("lease {title} {what}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default());
    match of.status.as_ref().and_then(|s| s.end_reason) {
        Some(EndReason::Denied | EndReason::CreatedUnproven) => Failure::Refused(tell("was refused")),
        Some(EndReason::DecisionDenied) => Failure::Denied(tell("was denied")),
        Some(EndReason::DecisionRevoked) => Failure::Denied(tell("was revoked")),
        Some(EndReason::ApprovalTimeout | EndReason::ApprovalMissing) => {
            Failure::TimedOut(tell("was not approved in time"))
        }
        Some(_) if lease::phase(of) == Phase::Failed => Failure::Ended(tell("could not be issued")),
        Some(_) if message.is_some() => Failure::Ended(tell("has ended")),
        _ => mint::ended(of),
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
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let seen = tokio::select! {
            kind = interrupts.next() => return Outcome::Interrupted(kind),
            () = tokio::time::sleep_until(begun + patience) => return Outcome::TimedOut(waits),
            _ = tick.tick() => {
                progress.beat();
                continue;
            }
            seen = follower.next() => seen,
        };
        match seen {
            Seen::Lease(lease) => {
                blind = None;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::view::lease::tests::waiting, *};

    fn in_phase(phase: &str, change: impl FnOnce(&mut Value)) -> CredentialLease {
        waiting(|l| {
            l["status"]["phase"] = json!(phase);
            change(l);
        })
    }

    fn says(kind: &str, message: &str) -> Value {
        json!([{"type": kind, "status": "False", "lastTransitionTime": "2026-11-24T12:00:00Z", "reason": "Why", "message": message}])
    }

    #[test]
    fn whoever_waits_is_told_for_what() {
        let waits = |lease: &CredentialLease| match standing(lease) {
            Standing::Waits(what) => what,
            other => panic!("{other:?}"),
        };
        let asked = in_phase("AwaitingApproval", |l| {
            l["status"]["approvals"]["have"] = json!(1);
            l["status"]["conditions"] = says("Approved", "ask #pay-approvals");
        });
        assert_eq!(waits(&asked), "waiting for approval, 1 of 2 so far: ask #pay-approvals");
        let night = in_phase("Scheduled", |l| l["spec"]["notBefore"] = json!("2026-11-28T02:00:00Z"));
        assert_eq!(waits(&night), "agreed, and issued at 2026-11-28T02:00:00Z");
        assert_eq!(waits(&in_phase("Issuing", |_| {})), "being issued");
        assert_eq!(standing(&in_phase("Active", |_| {})), Standing::Active);
        let mut fresh = in_phase("Pending", |_| {});
        fresh.status = None;
        assert_eq!(waits(&fresh), "waiting for the operator", "nobody has looked at it yet");
    }

    #[test]
    fn each_way_of_not_getting_it_has_its_exit_code() {
        let table = [
            ("Denied", "Denied", 120),
            ("Denied", "CreatedUnproven", 120),
            ("Denied", "DecisionDenied", 121),
            ("Denied", "ApprovalTimeout", 124),
            ("Revoked", "DecisionRevoked", 121),
            ("Ending", "DecisionRevoked", 121),
            ("Revoked", "LifecycleStopped", 122),
            ("Expired", "Expired", 122),
            ("Failed", "MissingRight", 122),
        ];
        for (phase, reason, code) in table {
            let lease = in_phase(phase, |l| {
                l["status"]["endReason"] = json!(reason);
                l["status"]["conditions"] = says("Stalled", "ttl is above 1h");
            });
            let Standing::Over(failure) = standing(&lease) else { panic!("{phase} {reason}") };
            assert_eq!(failure.code(), code, "{phase} {reason}");
            assert!(failure.to_string().ends_with(": ttl is above 1h"), "{failure}");
        }
    }
}
