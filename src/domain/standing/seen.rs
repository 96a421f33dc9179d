//! What is known about one standing credential, the calls that can be made for it, and their answers.

use super::consumer::{Consumer, Marks};
use crate::{
    api::{
        ConditionStatus, CredentialLease, Duration, Time, condition,
        reasons::{ConditionType, LifecycleReason, Phase},
        standing::{StandingLease, StandingSecret, StandingStatus},
        status::CredentialLeaseStatus,
        workflow::Standing,
    },
    domain::{call::Failure, digest, observed::ObjectId},
};

/// Where a lease is, as far as its successor needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not issued yet.
    Waiting,
    /// Issued, with this account, until then.
    Active { account: ObjectId, issued: Time, expires: Time },
    /// Ended, or ending.
    Ended,
}

/// A lease of the standing credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    pub name: String,
    pub uid: String,
    pub state: State,
    /// Whether something of it may still be good: an account, or a place that is held for one.
    pub live: bool,
    /// What it asks for.
    pub grants: Vec<String>,
    pub ttl: Option<Duration>,
    /// Where the holder works: the namespace that is granted into, if it is one; else the lease's.
    pub works_in: String,
    /// What it says about itself.
    pub message: String,
}

impl LeaseFacts {
    /// What its successor needs to know of a lease. `live`: something of it may still be good.
    #[must_use]
    pub fn of(lease: &CredentialLease, live: bool) -> Self {
        let metadata = &lease.metadata;
        let status = lease.status.clone().unwrap_or_default();
        let account = status.credential.as_ref().and_then(|c| c.service_account.as_ref());
        let over = status.end_time.is_some() || metadata.deletion_timestamp.is_some();
        let state = match (status.phase, account, status.issue_time, status.expiration_time) {
            _ if over => State::Ended,
            (Some(Phase::Active), Some(account), Some(issued), Some(expires)) => State::Active {
                account: ObjectId {
                    namespace: account.namespace.clone(),
                    name: account.name.clone(),
                    uid: account.uid.clone(),
                },
                issued,
                expires,
            },
            _ => State::Waiting,
        };
        let mut places: Vec<&String> =
            status.request.iter().flat_map(|request| &request.grants).map(|grant| &grant.namespace).collect();
        places.dedup();
        let home = metadata.namespace.clone().unwrap_or_default();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            live,
            grants: lease.spec.grants.clone(),
            ttl: lease.spec.ttl,
            works_in: if let [one] = places.as_slice() { (*one).clone() } else { home },
            message: told(&status, &state),
            state,
        }
    }
}

/// What a lease says about itself, in a sentence.
fn told(status: &CredentialLeaseStatus, state: &State) -> String {
    let message = |kind: ConditionType| condition::find(&status.conditions, kind.as_str()).map(|c| c.message.clone());
    let refused = |kind: &ConditionType| {
        condition::find(&status.conditions, kind.as_str()).is_some_and(|c| c.status == ConditionStatus::False)
    };
    let why = [ConditionType::Allowed, ConditionType::Approved, ConditionType::Issued].into_iter().find(refused);
    match (state, status.end_reason) {
        (State::Ended, Some(reason)) => match why.and_then(message) {
            Some(said) => format!("{reason}: {said}"),
            None => reason.to_string(),
        },
        (State::Ended, None) => "it was deleted".into(),
        _ => why.and_then(message).or_else(|| message(ConditionType::Active)).unwrap_or_default(),
    }
}

/// The Secret, looked at without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSeen {
    Absent,
    /// It is this credential's; `lease`: whose token is in it.
    Ours {
        uid: String,
        lease: Option<String>,
    },
    /// It is this credential's, and somebody else has changed it.
    Touched {
        uid: String,
    },
    /// It is somebody else's.
    Stranger,
}

/// What the process remembers; nothing depends on it being there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// When the Secret was last seen to be as it should be.
    pub secret_seen: Option<Time>,
    /// The lease that was created last, and when that was answered: a watch may not have shown it yet.
    pub created: Option<(String, Time)>,
}

/// What this visit has learned; the next one starts without it.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Leases that were looked up, or created: by name; `None`: there is none.
    pub leases: Vec<(String, Option<LeaseFacts>)>,
    pub secret: Option<SecretSeen>,
    /// What was written into the Secret.
    pub delivered: Option<StandingSecret>,
    /// Who mounts the Secret; `None` inside: the namespace does not let Leasehold look.
    pub consumers: Option<Option<Vec<Consumer>>>,
    /// The Secret that is no longer wanted is gone.
    pub secret_deleted: bool,
    pub failed: Vec<(Call, Failure)>,
}

/// All that is known about one standing credential.
#[derive(Clone, Debug)]
pub struct Seen {
    pub lifecycle_uid: String,
    pub name: String,
    /// As the lifecycle declares it; `None`: it no longer does.
    pub entry: Option<Standing>,
    /// Why nothing is leased now, if so.
    pub not_leasable: Option<String>,
    pub status: Option<StandingStatus>,
    pub leases: Vec<LeaseFacts>,
    pub memory: Memory,
    pub learned: Learned,
}

/// One call, or one write of the lifecycle's status.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Create the lease of this name as the lifecycle declares it, or find the one that an earlier self created.
    CreateLease { name: String },
    /// Look a lease up.
    ReadLease { name: String },
    /// Look at the Secret without reading it.
    LookAtSecret { name: String },
    /// Mint a token for the lease and write it into the Secret.
    Deliver { secret: String, lease: Box<LeaseFacts> },
    /// Delete the Secret, this very one.
    DeleteSecret { name: String, uid: String },
    /// Find the workloads that mount the Secret.
    ListConsumers { secret: String },
    /// Restart one, by what is written of it.
    Restart { consumer: Box<Consumer>, marks: Marks },
    /// Write what is to be remembered; `None`: the credential is gone.
    Write(Option<Box<StandingStatus>>),
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Lease(Option<LeaseFacts>),
    Secret(SecretSeen),
    Delivered(StandingSecret),
    Consumers(Option<Vec<Consumer>>),
    Done,
    Failed(Failure),
}

/// What follows from what is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Do(Call),
    /// Nothing until then, or until something changes. `failed`: also after a pause, that grows.
    Rest {
        at: Option<Time>,
        failed: bool,
    },
}

/// A sentence for the lifecycle's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub reason: LifecycleReason,
    pub message: String,
}

/// The name of the lease with this number: the same after any crash, and another one for every lifecycle that ever had the name.
#[must_use]
pub fn lease_name(lifecycle_uid: &str, name: &str, sequence: i64) -> String {
    let digest = digest::sha256(&format!("{lifecycle_uid}/{name}/{sequence}"));
    let hex: String = digest.chars().rev().take(10).collect();
    format!("standing-{name}-{hex}")
}

impl Seen {
    /// A lease that the status names, if it is known where it is: `Some(None)`: there is none.
    #[must_use]
    pub fn lease(&self, named: &StandingLease) -> Option<Option<&LeaseFacts>> {
        let is =
            |facts: &&LeaseFacts| facts.name == named.name && named.uid.as_ref().is_none_or(|uid| *uid == facts.uid);
        let watched = self.leases.iter().filter(is).max_by_key(|facts| facts.state != State::Ended);
        let looked = || {
            let (_, found) = self.learned.leases.iter().rev().find(|(name, _)| *name == named.name)?;
            Some(found.as_ref().filter(|facts| is(facts)))
        };
        watched.map(Some).or_else(looked)
    }

    /// The current lease, as long as it is good.
    #[must_use]
    pub fn held(&self) -> Option<&LeaseFacts> {
        let current = self.status.as_ref()?.current.as_ref()?;
        self.lease(current).flatten().filter(|facts| matches!(facts.state, State::Active { .. }))
    }

    /// Whether the call failed in this visit.
    #[must_use]
    pub fn failure_of(&self, call: &Call) -> Option<&Failure> {
        self.learned.failed.iter().find(|(failed, _)| failed == call).map(|(_, failure)| failure)
    }

    /// Leases that are neither held nor to follow, and of which something may still be good.
    #[must_use]
    pub fn left_behind(&self) -> usize {
        let named =
            |facts: &LeaseFacts| self.status.as_ref().is_some_and(|status| status.names(&facts.name, &facts.uid));
        self.leases.iter().filter(|facts| facts.live && !named(facts)).count()
    }
}
