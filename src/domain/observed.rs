//! What is known about one lease: the only input of every decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    agreement,
    call::{Call, Failure},
    guards::{self, Effective, GrantSeen, Guard, Labels, PolicySeen, Scope},
    refusal::Refusal,
    steps::Works,
    task::TaskSeen,
    workflow::Systems,
};
use crate::api::{
    CredentialLeaseDecisionSpec, CredentialLeaseSpec, Duration, ServiceAccountLifecycleSpec, Time,
    lifecycle::{DeliveryType, RoleRef},
    names::{self, LeaseUid},
    reasons::EndReason,
    standing::StandingStatus,
    status::{CredentialLeaseStatus, PolicyRule},
};

/// One object that is made for a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Child {
    /// The Job without pods that owns the account and ends at the deadline.
    Job,
    /// The lease's own ServiceAccount. Its deletion kills every token.
    Account,
    /// The RoleBinding of one grant.
    Binding(String),
    /// The Role that allows minting for the account.
    MintRole,
    /// The RoleBinding that gives it to the requester, and to nobody else.
    MintBinding,
    /// The Secret with the token.
    Secret,
    /// The ConfigMap with what takes the steps of the workflow back. It outlives the account, and the lease itself if need be.
    Ledger,
}

impl Child {
    /// Whether it gives authority to somebody: such objects are deleted first.
    #[must_use]
    pub fn gives_authority(&self) -> bool {
        matches!(self, Self::Binding(_) | Self::MintBinding)
    }
}

/// An object, pinned by its UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// What is known about one object of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its creation may or may not have reached the server.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there and ours.
    Present(ObjectId),
    /// Its name is taken by an object that is not the lease's: never adopted, never deleted.
    Stranger,
}

/// Whether the lease's own object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Exists,
    /// It is, with a deletionTimestamp: somebody's finalizer holds it.
    Deleting,
    /// It was seen to be deleted, or confirmed to be gone.
    Gone,
    /// Only objects that were made for it are known.
    Unconfirmed,
    /// It is there and cannot be decoded: nothing is issued, and its account's own deadline ends it.
    Unreadable,
}

/// The lease.
#[derive(Clone, Debug)]
pub struct LeaseSeen {
    pub uid: LeaseUid,
    pub namespace: String,
    pub name: String,
    pub resource_version: String,
    pub generation: i64,
    /// The API server's time of creation: where every deadline starts from.
    pub created: Time,
    pub presence: Presence,
    /// Absent where only children are known or the object cannot be decoded.
    pub spec: Option<CredentialLeaseSpec>,
    pub status: CredentialLeaseStatus,
}

impl LeaseSeen {
    /// Whether it was neither issued nor ended, as far as its status tells.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.status.issue_time.is_none() && self.status.end_time.is_none()
    }

    /// Whether it is asked for and was not judged yet. One that was waits for people or its time.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_asked_for() && self.status.request.is_none()
    }

    /// Whether it has a Secret of its own for its token: that of a standing credential is its lifecycle's.
    #[must_use]
    pub fn delivers(&self) -> bool {
        self.spec.as_ref().is_some_and(|s| s.delivery.kind == DeliveryType::Secret && s.standing_ref.is_none())
    }
}

/// The lifecycle a lease refers to.
#[derive(Clone, Debug, PartialEq)]
pub enum LifecycleSeen {
    /// The watch has not delivered its first list.
    Unknown,
    /// The watch does not have it; `confirmed`: neither does the API server.
    Absent { confirmed: bool },
    /// It is there.
    Present(Box<LifecycleFacts>),
}

/// A lifecycle as far as leases need it.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleFacts {
    pub uid: String,
    pub deleting: bool,
    pub spec: ServiceAccountLifecycleSpec,
    /// Where its standing credentials are, as its status says.
    pub standing: Vec<StandingStatus>,
    /// Read from the API server in this visit, not from a watch that may lag.
    pub confirmed: bool,
}

/// A decision that names the lease, or that may cover it because it covers equal requests.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionSeen {
    pub uid: String,
    pub name: String,
    /// The API server's time of creation.
    pub created: Time,
    pub spec: CredentialLeaseDecisionSpec,
}

/// A lease that was issued before anybody agreed, and that nobody has answered for: from the end of the time for an answer on it
/// holds its lifecycle, whatever has become of the lease itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub lease: String,
    pub since: Time,
}

/// What the authorizer says about one who decided, when the decision is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeciderSeen {
    /// Whether he holds the verb `approve` on the lifecycle.
    pub may: bool,
    /// Whether he could act as the requester.
    pub acts_as_requester: bool,
}

/// A role with its rules as they were when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSeen {
    pub uid: String,
    pub rules: Vec<PolicyRule>,
}

/// Whether the admission policies that Leasehold rests on are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Not known yet.
    Unknown,
    /// All present, bound, unweakened, and biting.
    Enforced,
    /// Not in force; why, and what to do.
    Missing(String),
}

/// What may be known about a token without holding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// `JTI=…`, as the audit log names it.
    pub credential_id: Option<String>,
    /// Its expiry as the API server set it.
    pub expires: Time,
}

/// Whether an API server has been seen to accept the token: without that, its refusal proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Control {
    #[default]
    NotAsked,
    Accepted,
    Refused,
}

/// What the process knows of a lease beyond the API server; lost at a restart, and nothing depends on it being there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The token this process holds, in the executor's vault.
    pub token: Option<TokenFacts>,
    pub control: Control,
    /// TokenReview said no after the account was gone.
    pub refused: bool,
    /// The delivered Secret, before a status has it.
    pub secret: Option<Known>,
    /// A Secret of the lease was seen or made: a token was in it, also if no account and no status tells of one.
    pub delivered: bool,
    /// The Secret that the status names was deleted, and the status does not tell yet.
    pub secret_deleted: bool,
    /// When the Secret was last looked at.
    pub secret_seen: Option<Time>,
    /// A place in the quotas is held.
    pub reserved: bool,
    /// What was bound for this lease by this process: namespace and role, by grant.
    pub bound: BTreeMap<String, (String, RoleRef)>,
    /// The account that was seen or made: its death has to be proven even if no status tells of it.
    pub account: Option<ObjectId>,
    /// UIDs of objects that the API server itself said are gone.
    pub gone: BTreeSet<String>,
    /// UIDs of objects that it said are being deleted, or not marked as ours any more: lost, and there.
    pub dying: BTreeSet<String>,
    /// Issuing has failed for good.
    pub outcome: Option<Outcome>,
    /// What ended the lease, as it was seen first.
    pub end: Option<super::ending::End>,
    /// UID of what its completionRef names, as it was seen first.
    pub task: Option<String>,
    /// The digest of the workflow that its ledger was written for.
    pub ledger: Option<String>,
}

/// How issuing failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: EndReason,
    pub message: String,
}

/// What this visit has learned; the next one starts without it.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    pub access: Option<bool>,
    pub violations: Option<Vec<Refusal>>,
    pub full: Option<Refusal>,
    /// The roles as they were read after their bindings were in force.
    pub roles_after: BTreeMap<String, Option<RoleSeen>>,
    /// Grants whose roles were read, because a watch did not have them.
    pub roles_confirmed: BTreeSet<String>,
    /// Namespaces that a watch did not have, and neither did the API server.
    pub namespaces_absent: BTreeSet<String>,
    /// By UID of the decision: what the authorizer says about its decider.
    pub deciders: BTreeMap<String, DeciderSeen>,
    /// Calls that failed; none is repeated in the same visit, so that the next one is tried.
    pub failed: Vec<(Call, Failure)>,
}

/// How long things are kept and waited for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an ended lease stays, in milliseconds.
    pub retention_millis: i64,
    /// Whether a lifecycle that no policy guards is refused.
    pub require_policy: bool,
}

/// All that is known about one lease.
#[derive(Clone, Debug)]
pub struct Observed {
    pub lease: LeaseSeen,
    pub lifecycle: LifecycleSeen,
    /// The roles of the grants that were asked for, as the watches have them.
    pub roles: BTreeMap<String, RoleSeen>,
    pub enforcement: Enforcement,
    /// Whether every watch has delivered its first list: before that, nothing is concluded from what is missing.
    pub synced: bool,
    /// Whatever was created up to then was created while it is not known that the policies were in force. What an operator has
    /// judged since (its status tells) was looked at while they were.
    pub unproven_until: Option<Time>,
    /// Every CredentialLeasePolicy.
    pub policies: Arc<[Arc<PolicySeen>]>,
    /// Labels of the namespaces of the lifecycle and its grants.
    pub namespaces: BTreeMap<String, Labels>,
    pub decisions: Vec<DecisionSeen>,
    /// What holds the lifecycle, or will. Only for a lease that [is asked for](LeaseSeen::is_asked_for): it matters to no other.
    pub held_by: Option<Held>,
    /// The audiences a token has that asks for none.
    pub api_audiences: Vec<String>,
    /// How many live leases there are whose token is in a Secret.
    pub delivered: usize,
    /// Live leases of the same lifecycle, without this one: all, and those of the same requester. `None` for a lease that
    /// [is not new](LeaseSeen::is_new): the quotas are not asked for it again, and the place is taken where it is counted.
    pub live: Option<(usize, usize)>,
    pub children: BTreeMap<Child, Known>,
    /// Objects of the lease that have a name it would not give them today.
    pub strays: Vec<(Child, ObjectId)>,
    /// Objects with the label and the name of the lease's where it would have none today: before one is deleted it is looked
    /// at, since whoever may write RoleBindings in some namespace can have made it.
    pub claims: Vec<(Child, ObjectId)>,
    /// The connected systems that its workflow names.
    pub systems: Systems,
    /// Calls of its steps that this process has made.
    pub works: Works,
    /// What its completionRef names.
    pub task: TaskSeen,
    pub memory: Memory,
    pub learned: Learned,
    /// Whether the visit before this one ended in a pause after a failure, in whatever lane; a new process does not know.
    pub failed_before: bool,
    pub settings: Settings,
}

impl Observed {
    /// What is known about a child; one that nothing is known about is absent.
    #[must_use]
    pub fn child(&self, child: &Child) -> &Known {
        self.children.get(child).unwrap_or(&Known::Absent)
    }

    /// The child, if it is there and ours.
    #[must_use]
    pub fn present(&self, child: &Child) -> Option<&ObjectId> {
        match self.child(child) {
            Known::Present(id) => Some(id),
            _ => None,
        }
    }

    /// The lifecycle, if it is there.
    #[must_use]
    pub fn lifecycle(&self) -> Option<&LifecycleFacts> {
        match &self.lifecycle {
            LifecycleSeen::Present(facts) => Some(facts),
            _ => None,
        }
    }

    /// Whether the call failed in this visit.
    #[must_use]
    pub fn failure_of(&self, call: &Call) -> Option<&Failure> {
        self.learned.failed.iter().find(|(c, _)| c == call).map(|(_, failure)| failure)
    }

    /// The grants that are looked at: those that are held, once issued, else those that are asked for.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        let rules = |name: &str| self.roles.get(name).map(|role| role.rules.as_slice());
        let held = self.lease.status.request.as_ref().filter(|_| self.issued());
        let grants: Vec<GrantSeen> = match (held, self.lifecycle()) {
            (Some(request), _) => request
                .grants
                .iter()
                .map(|g| GrantSeen { name: &g.name, namespace: &g.namespace, role: &g.role_ref, rules: rules(&g.name) })
                .collect(),
            (None, Some(lifecycle)) => self
                .grants()
                .iter()
                .filter_map(|name| lifecycle.spec.grant(name))
                .map(|g| GrantSeen {
                    name: &g.name,
                    namespace: g.namespace.as_deref().unwrap_or(&self.lease.namespace),
                    role: &g.role_ref,
                    rules: rules(&g.name),
                })
                .collect(),
            (None, None) => vec![],
        };
        Scope { home: &self.lease.namespace, grants, namespaces: &self.namespaces }
    }

    /// Whether everything is known that the document of a request is made of: else what seems to have changed may only be
    /// unknown.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.synced && !self.api_audiences.is_empty()
    }

    /// Namespaces whose labels would say which policies guard the lease, and that are not known: nothing is judged by policies
    /// before they are.
    #[must_use]
    pub fn unknown_namespaces(&self) -> Vec<String> {
        let scope = self.scope();
        let mut all: Vec<&str> = scope.grants.iter().map(|g| g.namespace).chain([scope.home]).collect();
        all.sort_unstable();
        all.dedup();
        let unknown = |n: &&str| !self.namespaces.contains_key(*n) && !self.learned.namespaces_absent.contains(*n);
        all.into_iter().filter(unknown).map(str::to_owned).collect()
    }

    /// The policies that guard the lease.
    #[must_use]
    pub fn guards<'a>(&'a self, scope: &Scope<'a>) -> Vec<Guard<'a>> {
        guards::guarding(&self.policies, scope)
    }

    /// The terms in force, where there is a lifecycle.
    #[must_use]
    pub fn terms(&self) -> Option<Effective> {
        let scope = self.scope();
        self.lifecycle().map(|l| Effective::of(&l.spec.terms, &self.guards(&scope)))
    }

    /// The life that is asked for: what the lease says; else, once its account is there, what its deadline was set to, since a
    /// default may have changed after that; else the default in force.
    #[must_use]
    pub fn ttl_under(&self, terms: &Effective) -> Duration {
        let asked = self.lease.spec.as_ref().and_then(|s| s.ttl);
        asked.or_else(|| self.ttl_set()).unwrap_or(terms.ttl_default)
    }

    /// The life that is asked for, where anything tells.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        let asked = self.lease.spec.as_ref().and_then(|s| s.ttl);
        asked.or_else(|| self.ttl_set()).or_else(|| self.terms().map(|terms| terms.ttl_default))
    }

    /// Before when the lease does not run, whoever agrees.
    #[must_use]
    pub fn earliest_start(&self) -> Time {
        let asked = self.lease.spec.as_ref().and_then(|s| s.not_before);
        asked.map_or(self.lease.created, |at| at.max(self.lease.created))
    }

    fn ttl_set(&self) -> Option<Duration> {
        let agreed = self
            .lease
            .status
            .request
            .as_ref()
            .map(|r| r.ttl)
            .filter(|_| self.present(&Child::Account).is_some() || self.issued());
        let start = self.earliest_start();
        agreed.or_else(|| self.set_deadline().map(|at| Duration::from_secs((at.since(start) + 999).div_euclid(1000))))
    }

    /// When the lease ends; `None` while nobody has agreed to it: only from then on it runs.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.set_deadline().or_else(|| {
            let agreed = agreement::agreed(self)?;
            let ttl = self.ttl()?;
            Some(agreed.start.plus(agreed.max_ttl.map_or(ttl, |max| ttl.min(max))))
        })
    }

    /// The deadline as the account's name has it or, once issued, the status says, whichever is earlier: an API server may give
    /// a token less, and a late decision may shorten the lease.
    fn set_deadline(&self) -> Option<Time> {
        let from_account =
            self.present(&Child::Account).and_then(|id| names::account_deadline(&id.name, &self.lease.uid));
        let from_account = from_account.map(|seconds| Time::from_millis(seconds.saturating_mul(1000)));
        let issued = self.lease.status.expiration_time.filter(|_| self.issued());
        [from_account, issued].into_iter().flatten().min()
    }

    /// The namespace that a grant of this lease is bound in: where it was bound, or will be.
    #[must_use]
    pub fn namespace_of(&self, grant: &str) -> String {
        let status = &self.lease.status;
        let bound = status.bindings.iter().find(|b| b.grant == grant).map(|b| b.namespace.clone());
        let agreed = || {
            let request = status.request.as_ref().filter(|_| self.lifecycle().is_none())?;
            request.grants.iter().find(|g| g.name == grant).map(|g| g.namespace.clone())
        };
        let granted = || self.lifecycle().and_then(|l| l.spec.grant(grant)).and_then(|g| g.namespace.clone());
        bound.or_else(agreed).or_else(granted).unwrap_or_else(|| self.lease.namespace.clone())
    }

    /// Whether the credential was issued, as far as the status says.
    #[must_use]
    pub fn issued(&self) -> bool {
        self.lease.status.issue_time.is_some()
    }

    /// The role that a grant of this lease refers to.
    #[must_use]
    pub fn role_of(&self, grant: &str) -> Option<&RoleRef> {
        self.lifecycle().and_then(|l| l.spec.grant(grant)).map(|g| &g.role_ref)
    }

    /// The grants that were asked for.
    #[must_use]
    pub fn grants(&self) -> &[String] {
        self.lease.spec.as_ref().map_or(&[], |s| s.grants.as_slice())
    }

    /// The name of the Secret the token is delivered in, for delivery Secret.
    #[must_use]
    pub fn secret_name(&self) -> Option<String> {
        let delivery = &self.lease.spec.as_ref()?.delivery;
        (delivery.kind == DeliveryType::Secret).then(|| {
            delivery.secret.as_ref().map_or_else(|| names::default_secret(&self.lease.name), |s| s.name.clone())
        })
    }

    /// Whom the lease's tokens are for.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        match self.lease.spec.as_ref() {
            Some(spec) if !spec.audiences.is_empty() => spec.audiences.clone(),
            _ => self.api_audiences.clone(),
        }
    }

    /// Whether some verifier may accept the lease's tokens without asking the API server.
    #[must_use]
    pub fn verified_offline(&self) -> bool {
        self.lease.spec.as_ref().is_some_and(|s| s.audiences.iter().any(|a| !self.api_audiences.contains(a)))
    }
}

/// What is known about the delivered Secret, which is never watched: what a status or our own answer says, or nothing.
#[must_use]
pub fn secret_known(lease: &LeaseSeen, memory: &Memory, has_account: bool) -> Option<Known> {
    let recorded = lease.status.credential.as_ref().and_then(|c| c.secret.as_ref());
    if let Some(secret) = recorded {
        let id = ObjectId { namespace: lease.namespace.clone(), name: secret.name.clone(), uid: secret.uid.clone() };
        let gone = secret.deletion_time.is_some() || memory.secret_deleted;
        return Some(if gone { Known::Absent } else { Known::Present(id) });
    }
    if let Some(known) = &memory.secret {
        return Some(known.clone());
    }
    // An earlier process may have delivered and died before it could say so.
    (lease.delivers() && has_account).then_some(Known::Unknown)
}
