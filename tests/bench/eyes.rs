//! The observer: what a cluster's administrator and the holders of tokens see, and when. It asks nobody who is measured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use http::{Request, header};
use k8s_openapi::api::{core::v1::Secret, rbac::v1::RoleBinding};
use kube::{
    Api, Client, ResourceExt,
    client::Body,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    names,
    reasons::Phase,
};
use leasehold_harness::ControlPlane;
use tokio::sync::Notify;

use crate::wire::nobody;

/// What was seen of one lease.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub phase: Option<Phase>,
    pub active: Option<Instant>,
    /// The status says that it has ended.
    pub ended: Option<Instant>,
    /// Revoked=True.
    pub proven: Option<Instant>,
    pub token: Option<String>,
    pub delivered: Option<Instant>,
    pub bound: Option<Instant>,
    pub unbound: Option<Instant>,
}

#[derive(Default)]
struct Entry {
    seen: Mutex<Seen>,
    changed: Notify,
}

/// Watches everything, all the time.
#[derive(Clone)]
pub struct Eyes {
    entries: Arc<Mutex<HashMap<String, Arc<Entry>>>>,
    /// Knows the API server and is nobody.
    verifier: Client,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Eyes {
    pub fn open(plane: &ControlPlane) -> Result<Self> {
        let eyes = Self { entries: Arc::default(), verifier: Client::try_from(nobody(plane)?)? };
        let ours = || watcher::Config::default().labels(names::LABEL_LEASE_UID);
        let admin = plane.admin();

        let me = eyes.clone();
        let leases = watcher(Api::<CredentialLease>::all(admin.clone()), watcher::Config::default());
        tokio::spawn(leases.default_backoff().for_each(move |event| {
            if let Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) = event {
                me.lease(&lease);
            }
            std::future::ready(())
        }));
        let me = eyes.clone();
        let secrets = watcher(Api::<Secret>::all(admin.clone()), ours());
        tokio::spawn(secrets.default_backoff().for_each(move |event| {
            if let Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret)) = event {
                me.secret(&secret);
            }
            std::future::ready(())
        }));
        let me = eyes.clone();
        let bindings = watcher(Api::<PartialObjectMeta<RoleBinding>>::all(admin), ours());
        tokio::spawn(bindings.default_backoff().for_each(move |event| {
            match event {
                Ok(watcher::Event::Apply(b) | watcher::Event::InitApply(b)) => me.binding(&b, true),
                Ok(watcher::Event::Delete(b)) => me.binding(&b, false),
                _ => {}
            }
            std::future::ready(())
        }));
        Ok(eyes)
    }

    fn entry(&self, uid: &str) -> Arc<Entry> {
        lock(&self.entries).entry(uid.to_owned()).or_default().clone()
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Seen)) {
        let entry = self.entry(uid);
        change(&mut lock(&entry.seen));
        entry.changed.notify_waiters();
    }

    fn lease(&self, lease: &CredentialLease) {
        let now = Instant::now();
        let (Some(uid), Some(status)) = (lease.uid(), lease.status.as_ref()) else { return };
        self.change(&uid, |seen| {
            seen.phase = status.phase;
            if status.phase == Some(Phase::Active) {
                seen.active.get_or_insert(now);
            }
            if status.end_time.is_some() {
                seen.ended.get_or_insert(now);
            }
            if condition::find(&status.conditions, "Revoked").is_some_and(|c| c.status == ConditionStatus::True) {
                seen.proven.get_or_insert(now);
            }
        });
    }

    fn secret(&self, secret: &Secret) {
        let now = Instant::now();
        let Some(uid) = secret.labels().get(names::LABEL_LEASE_UID) else { return };
        let Some(token) = secret.data.as_ref().and_then(|data| data.get("token")) else { return };
        let token = String::from_utf8_lossy(&token.0).into_owned();
        self.change(uid, |seen| {
            seen.token = Some(token);
            seen.delivered.get_or_insert(now);
        });
    }

    fn binding(&self, binding: &PartialObjectMeta<RoleBinding>, there: bool) {
        let now = Instant::now();
        let labels = binding.labels();
        let (Some(uid), true) = (labels.get(names::LABEL_LEASE_UID), labels.contains_key(names::LABEL_GRANT)) else {
            return;
        };
        self.change(uid, |seen| {
            let moment = if there { &mut seen.bound } else { &mut seen.unbound };
            moment.get_or_insert(now);
        });
    }

    /// What was seen of this lease so far.
    pub fn seen(&self, uid: &str) -> Seen {
        lock(&self.entry(uid).seen).clone()
    }

    /// Forgets everything: what comes is a new measurement.
    pub fn forget(&self) {
        lock(&self.entries).clear();
    }

    /// Waits until something has been seen of this lease.
    pub async fn until<T>(
        &self,
        uid: &str,
        patience: Duration,
        what: &str,
        is: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T> {
        let entry = self.entry(uid);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut changed = std::pin::pin!(entry.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = is(&lock(&entry.seen)) {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                bail!("lease {uid} was not {what} within {patience:?}: {:?}", lock(&entry.seen).phase);
            }
        }
    }

    /// What the API server answers somebody with this token who reads the ledger there.
    pub async fn reads(&self, token: &str, namespace: &str) -> Result<u16> {
        let request = Request::get(format!("/api/v1/namespaces/{namespace}/configmaps/ledger"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())?;
        let answer = self.verifier.send(request).await.context("the verifier gets no answer")?;
        Ok(answer.status().as_u16())
    }

    /// Reads every few milliseconds until the answer is one of these; when it was.
    pub async fn until_answered(
        &self,
        token: &str,
        namespace: &str,
        codes: &[u16],
        pace: Duration,
        patience: Duration,
    ) -> Result<(u16, Instant)> {
        let begun = Instant::now();
        loop {
            let code = self.reads(token, namespace).await?;
            if codes.contains(&code) {
                return Ok((code, Instant::now()));
            }
            if begun.elapsed() > patience {
                bail!("a token is still answered {code}, and not one of {codes:?}, after {patience:?}");
            }
            tokio::time::sleep(pace).await;
        }
    }
}
