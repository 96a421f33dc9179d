//! Whoever holds a token and tries it all the time, whatever happens to the control plane.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::ConfigMap};
use kube::{Api, Client, api::PostParams};
use leasehold::api::CredentialLease;
use leasehold_harness::eventually;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::home::Home;

/// How often a token is tried.
const PACE: Duration = Duration::from_millis(300);
/// How long a holder waits for an answer.
const CALL: Duration = Duration::from_secs(3);

/// One answer, and when it was asked for. Code 0: there was none.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub asked: Timestamp,
    pub code: u16,
}

/// What a holder asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// What the lease grants.
    TheLedger,
    /// Who it is: an API server answers that without its store.
    WhoItIs,
}

/// A holder at work. It stops when this is dropped.
pub struct Holder {
    pub lease: String,
    pub uid: String,
    answers: Arc<Mutex<Vec<Answer>>>,
    task: JoinHandle<()>,
}

impl Holder {
    /// Somebody who holds the token of this lease and tries it through this client.
    pub fn new(home: &Home, lease: &CredentialLease, client: Client) -> Self {
        Self::asking(Asks::TheLedger, home, lease, client)
    }

    /// Somebody who asks for this.
    pub fn asking(what: Asks, home: &Home, lease: &CredentialLease, client: Client) -> Self {
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let (seen, namespace) = (answers.clone(), home.namespace.clone());
        let task = tokio::spawn(async move {
            loop {
                let asked = Timestamp::now();
                let code = match timeout(CALL, ask(what, &client, &namespace)).await {
                    Ok(Ok(())) => 200,
                    Ok(Err(kube::Error::Api(status))) => status.code,
                    Ok(Err(_)) | Err(_) => 0,
                };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(Answer { asked, code });
                sleep(PACE).await;
            }
        });
        let (lease, uid) =
            (lease.metadata.name.clone().unwrap_or_default(), lease.metadata.uid.clone().unwrap_or_default());
        Self { lease, uid, answers, task }
    }

    fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When it was last let in after this moment: asked for, and answered 200 or, to somebody who is known, 403.
    pub fn known_after(&self, from: Timestamp) -> Option<Timestamp> {
        let known = |answer: &&Answer| answer.asked > from && matches!(answer.code, 200 | 403);
        self.answers().iter().rev().find(known).map(|answer| answer.asked)
    }

    /// When it first got this answer after this moment.
    pub fn first(&self, code: u16, from: Timestamp) -> Option<Timestamp> {
        self.answers().iter().find(|answer| answer.asked >= from && answer.code == code).map(|answer| answer.asked)
    }

    /// Waits until a question asked from now on gets this answer.
    pub async fn until(&self, code: u16, patience: Duration) -> Result<Timestamp> {
        let from = Timestamp::now();
        let what = format!("the holder of {} to get {code}", self.lease);
        eventually(&what, patience, || async { Ok::<_, anyhow::Error>(self.first(code, from)) }).await
    }
}

async fn ask(what: Asks, client: &Client, namespace: &str) -> kube::Result<()> {
    match what {
        Asks::TheLedger => Api::<ConfigMap>::namespaced(client.clone(), namespace).get("ledger").await.map(drop),
        Asks::WhoItIs => {
            let api: Api<SelfSubjectReview> = Api::all(client.clone());
            api.create(&PostParams::default(), &SelfSubjectReview::default()).await.map(drop)
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Seconds from one moment to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
