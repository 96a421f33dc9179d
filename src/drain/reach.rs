//! What draining asks of the API server.

use std::time::Duration;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};

use super::{
    Error, POLICY,
    left::{Account, Found},
    signs::Glance,
};
use crate::{
    api::{CredentialLease, CredentialLeasePolicy, names},
    cli::stop::policy::{Scope, policy},
    cluster::{client, fence, lead::Lead, read::Readable},
    runtime::{clock::Clock, metrics::Metrics},
};

/// Objects read at once.
const PAGE: u32 = 500;
/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Why, as an annotation of the policy.
const REASON: &str = "leasehold drain: every lease ends before Leasehold is removed";

/// How it came that everything is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was not, and is now.
    Made,
    /// It was already.
    There,
    /// There is no kind to stop with, and with that nothing to stop.
    Needless,
}

/// The way to the API server.
pub(super) struct Reach(Client);

impl Reach {
    pub(super) async fn connect() -> Result<Self, client::Error> {
        let clock = Clock::system();
        Ok(Self(client::connect(&clock, &Metrics::new(), &Lead::always(clock.clone())).await?.client))
    }

    /// Stops everything.
    pub(super) async fn stop(&self) -> Result<Stop, Error> {
        let api: Api<CredentialLeasePolicy> = Api::all(self.0.clone());
        let what = "everything cannot be stopped";
        let wanted = policy(POLICY, &Scope::Everything, false, Some(REASON));
        let created = within(api.create(&PostParams::default(), &wanted)).await;
        match created {
            Ok(_) => return Ok(Stop::Made),
            // Without its kind there is no lease either.
            Err(error) if is(&error, 404) => return Ok(Stop::Needless),
            Err(error) if is(&error, 409) => {}
            Err(error) => return Err(failed(what, error)),
        }
        let mut there = within(api.get(POLICY)).await.map_err(|e| failed(what, e))?;
        if there.spec == wanted.spec {
            return Ok(Stop::There);
        }
        there.spec = wanted.spec;
        within(api.replace(POLICY, &PostParams::default(), &there)).await.map_err(|e| failed(what, e))?;
        Ok(Stop::Made)
    }

    /// Takes the stop away.
    pub(super) async fn resume(&self) -> Result<(), Error> {
        let api: Api<CredentialLeasePolicy> = Api::all(self.0.clone());
        let deleted = within(api.delete(POLICY, &DeleteParams::default())).await.map(drop);
        gone_is_well(deleted).map_err(|e| failed("the stop cannot be taken away", e))
    }

    /// What is left of leases.
    pub(super) async fn found(&self) -> Result<Found, Error> {
        let leases: Api<Readable<CredentialLease>> = Api::all(self.0.clone());
        let accounts: Api<ServiceAccount> = Api::namespaced(self.0.clone(), names::ISSUING_NAMESPACE);
        let bindings: Api<RoleBinding> = Api::all(self.0.clone());
        let ours = ListParams::default().labels(names::LABEL_LEASE_UID);
        let mut found = Found::default();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = match within(leases.list(&params)).await {
                Ok(page) => page,
                // Its kind is not there (any more).
                Err(error) if is(&error, 404) => break,
                Err(error) => return Err(failed("leases cannot be listed", error)),
            };
            for lease in page.items {
                let metadata = lease.metadata;
                match lease.object {
                    Ok(lease) => found.leases.push(lease),
                    Err(_) => found
                        .unreadable
                        .push((metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default())),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        let there = within(accounts.list_metadata(&ours)).await;
        let there = there.map_err(|e| failed("accounts of leases cannot be listed", e))?;
        found.accounts = there.items.into_iter().map(|object| object.metadata).collect();
        let bound = within(bindings.list(&ours)).await;
        let bound = bound.map_err(|e| failed("RoleBindings of leases cannot be listed", e))?;
        found.bindings = bound.items.into_iter().filter(is_of_a_lease).map(|object| object.metadata).collect();
        Ok(found)
    }

    /// What tells whether an operator runs.
    pub(super) async fn glance(&self) -> Result<Glance, Error> {
        let leases: Api<Lease> = Api::namespaced(self.0.clone(), names::OPERATOR_NAMESPACE);
        let lease = within(leases.get_opt(names::LEADER_LEASE)).await;
        let lease = lease.map_err(|e| failed("the Lease of the operator's election cannot be read", e))?;
        let held = lease.and_then(|lease| {
            let version = lease.resource_version().unwrap_or_default();
            let holder = lease.spec?.holder_identity.filter(|holder| !holder.is_empty())?;
            Some((holder, version))
        });
        let policies: Api<CredentialLeasePolicy> = Api::all(self.0.clone());
        let policy = within(policies.get_opt(POLICY)).await.map_err(|e| failed("the stop cannot be read", e))?;
        let observed = |policy: &CredentialLeasePolicy| policy.status.as_ref().and_then(|s| s.observed_generation);
        let taken_in =
            policy.is_some_and(|policy| observed(&policy).is_some_and(|g| Some(g) == policy.metadata.generation));
        Ok(Glance { lease: held, taken_in })
    }

    /// Deletes this account, and no other of its name.
    pub(super) async fn delete_account(&self, account: &Account) -> Result<(), Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.0.clone(), names::ISSUING_NAMESPACE);
        let preconditions = Preconditions { uid: Some(account.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = within(api.delete(&account.name, &params)).await.map(drop);
        let deleted = deleted.or_else(|error| if is(&error, 409) { Ok(()) } else { Err(error) });
        gone_is_well(deleted).map_err(|e| failed("an account of a lease cannot be deleted", e))
    }

    /// Deletes the issuing namespace.
    pub(super) async fn delete_namespace(&self) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.0.clone());
        let deleted = within(api.delete(names::ISSUING_NAMESPACE, &DeleteParams::default())).await.map(drop);
        // 409: it is being deleted already.
        let deleted = deleted.or_else(|error| if is(&error, 409) { Ok(()) } else { Err(error) });
        gone_is_well(deleted).map_err(|e| failed("namespace leasehold-leases cannot be deleted", e))
    }

    /// Whether the issuing namespace is there.
    pub(super) async fn namespace_is_there(&self) -> Result<bool, Error> {
        let api: Api<Namespace> = Api::all(self.0.clone());
        let there = within(api.get_metadata_opt(names::ISSUING_NAMESPACE)).await;
        Ok(there.map_err(|e| failed("namespace leasehold-leases cannot be read", e))?.is_some())
    }
}

/// Whoever may write RoleBindings can give one our label; only the operator can make one for the account of a lease, or in the
/// issuing namespace.
fn is_of_a_lease(binding: &RoleBinding) -> bool {
    let issuing = binding.metadata.namespace.as_deref() == Some(names::ISSUING_NAMESPACE);
    fence::lease_of(&binding.metadata).is_some_and(|lease| issuing || fence::is_for(binding, &lease))
}

/// The answer, if it comes in time.
async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let late = |_| Err(kube::Error::Service(format!("no answer within {} s", DEADLINE.as_secs()).into()));
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(late)
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn gone_is_well(answer: Result<(), kube::Error>) -> Result<(), kube::Error> {
    answer.or_else(|error| if is(&error, 404) { Ok(()) } else { Err(error) })
}

fn failed(what: &'static str, source: kube::Error) -> Error {
    Error::Api { what, source: Box::new(source) }
}
