//! What the expressions of an operation may know.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::{Duration, Time, lease::Identity, lifecycle::Owner},
    cluster::token::Token,
};

/// What the expressions of an operation may know. Texts and lists are within the bounds of the resources' schemas.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `params`: the step's `with`.
    pub params: BTreeMap<String, String>,
    /// `lease`.
    pub lease: LeaseFacts,
    /// `lifecycle`.
    pub lifecycle: LifecycleFacts,
    /// `requester`: username, uid, groups. What is absent is an empty text.
    pub requester: Identity,
    /// `credential`; `None` before anything is issued: then an expression that uses it fails.
    pub credential: Option<CredentialFacts>,
    /// `now`.
    pub now: Time,
}

/// `lease` in an expression.
#[derive(Clone, Debug)]
pub struct LeaseFacts {
    /// `lease.name`.
    pub name: String,
    /// `lease.namespace`.
    pub namespace: String,
    /// `lease.uid`.
    pub uid: String,
    /// `lease.reason`.
    pub reason: String,
    /// `lease.ticket`; absent is an empty text.
    pub ticket: Option<String>,
    /// `lease.grants`.
    pub grants: Vec<String>,
    /// `lease.ttl`, a duration.
    pub ttl: Duration,
    /// `lease.requestDigest`; empty before it is known.
    pub request_digest: String,
    /// `lease.endReason`; empty before the end.
    pub end_reason: String,
    /// `lease.endTime`, a text in RFC 3339; empty before the end.
    pub end_time: Option<Time>,
    /// `lease.evidence`: what proves that the credential is dead; empty before that.
    pub evidence: String,
    /// `lease.approvers`: user names of who agreed.
    pub approvers: Vec<String>,
}

/// `lifecycle` in an expression.
#[derive(Clone, Debug)]
pub struct LifecycleFacts {
    /// `lifecycle.name`.
    pub name: String,
    /// `lifecycle.namespace`.
    pub namespace: String,
    /// `lifecycle.class`.
    pub class: String,
    /// `lifecycle.owner`, with `team` and `contact`.
    pub owner: Owner,
    /// `lifecycle.purpose`.
    pub purpose: String,
}

/// `credential` in an expression.
#[derive(Clone, Debug)]
pub struct CredentialFacts {
    /// `credential.token`.
    pub token: TokenFact,
    /// `credential.serviceAccount`: the account's name, in `leasehold-leases`.
    pub service_account: String,
    /// `credential.expirationTime`: the lease's end, a text in RFC 3339.
    pub expiration_time: Option<Time>,
    /// `credential.server`: the API server's URL.
    pub server: String,
    /// `credential.ca`: the API server's CA certificates, PEM.
    pub ca: String,
}

/// The token, as far as whoever renders holds it.
#[derive(Clone)]
pub enum TokenFact {
    /// This process holds it.
    Held(Arc<Token>),
    /// For showing what would be sent: the text `***` stands for it.
    Masked,
    /// Nobody here holds it: an expression that uses it fails. So are undo operations rendered.
    Absent,
}

impl std::fmt::Debug for TokenFact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Held(_) => "Held",
            Self::Masked => "Masked",
            Self::Absent => "Absent",
        })
    }
}
