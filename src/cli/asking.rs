//! What `request` and `run` share: the flags of a request, how it is created, and how it is waited for.

use std::time::Duration as Span;

use clap::Args;
use kube::Api;
use rand::RngExt;

use super::{
    ask,
    connect::{Cluster, creating},
    exit::Failure,
    fetch,
    interrupt::Interrupts,
    output::tell,
    progress::Progress,
    view::lease,
    wanted::Wanted,
    watch::{self, Outcome},
    withdraw::withdraw,
};
use crate::api::{
    CredentialLease, Duration,
    lease::{Delivery, Identity},
    lifecycle::Grant,
};

/// How long creating may take.
const DEADLINE: Span = Span::from_secs(30);
/// How many names are tried.
const NAMES: usize = 3;
/// Letters of made names, as Kubernetes makes them: without vowels, so that no word comes out.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What is asked for, and for how long it is waited for.
#[derive(Args, Clone, Debug)]
pub struct Asking {
    #[command(flatten)]
    pub wanted: Wanted,
    /// Why you need it.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Name of the lease. Default: the lifecycle's, with letters after it.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How long to wait until it is active. After that the request is withdrawn.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: Duration,
    /// Leave the lease to its time: do not withdraw or end it.
    #[arg(long)]
    pub keep: bool,
}

impl Asking {
    /// The grants: those that were named, or the only one that the lifecycle has.
    ///
    /// # Errors
    /// [`Failure::Refused`] if there is no such lifecycle, [`Failure::Usage`] if there is a choice to be made.
    pub async fn grants(&self, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        let Wanted { lifecycle: name, grants: named, .. } = &self.wanted;
        match fetch::lifecycle(cluster, name).await {
            Ok(Some(lifecycle)) => {
                let chosen = self.wanted.chosen(&lifecycle);
                if chosen.is_empty() { Err(choose(name, &lifecycle.spec.grants)) } else { Ok(chosen) }
            }
            Ok(None) => Err(Failure::Refused(format!(
                "there is no lifecycle {name} in namespace {}: see kubectl get serviceaccountlifecycles, and name its namespace with -n",
                cluster.namespace
            ))),
            // Whoever may lease need not be allowed to read.
            Err(Failure::Refused(_)) if named.is_empty() => Err(Failure::Usage(format!(
                "say with --grant what you need of lifecycle {name}: you may not read it, so nothing can be chosen for you"
            ))),
            Err(Failure::Refused(_)) => Ok(named.clone()),
            Err(failure) => Err(failure),
        }
    }

    /// The lease that is asked for.
    #[must_use]
    pub fn lease(
        &self,
        namespace: &str,
        grants: Vec<String>,
        reason: &str,
        delivery: Delivery,
        me: Identity,
    ) -> CredentialLease {
        let mut lease = self.wanted.lease(namespace, grants, reason, delivery, me);
        lease.metadata.name = Some(self.name.clone().unwrap_or_else(|| made_name(&self.wanted.lifecycle)));
        lease
    }
}

fn choose(name: &str, grants: &[Grant]) -> Failure {
    let grants: Vec<&str> = grants.iter().map(|grant| grant.name.as_str()).collect();
    if grants.is_empty() {
        return Failure::Refused(format!("lifecycle {name} grants nothing yet: ask its owner for a grant"));
    }
    Failure::Usage(format!("say with --grant what you need of lifecycle {name}: it has {}", grants.join(", ")))
}

/// The reason that was given, or that is given now.
///
/// # Errors
/// [`Failure::Usage`] if there is none and nobody can be asked.
pub fn reason(given: Option<&str>) -> Result<String, Failure> {
    ask::reason(given).map_err(|failure| match failure {
        Failure::Usage(_) => Failure::Usage(
            "a request needs a reason, which whoever approves or audits it reads: say --reason TEXT".into(),
        ),
        other => other,
    })
}

/// A name with five letters of chance. Made here and not by `generateName`: a request whose answer is lost can be found again.
fn made_name(lifecycle: &str) -> String {
    let mut rng = rand::rng();
    let letter = |_| LETTERS.get(rng.random_range(0..LETTERS.len())).map_or('x', |c| char::from(*c));
    let base: String = lifecycle.chars().take(57).collect();
    format!("{}-{}", base.trim_end_matches('-'), (0..5).map(letter).collect::<String>())
}

/// Creates a lease; `named` by the caller, or with a made name, which is made anew if somebody else's lease has it.
///
/// # Errors
/// What the API server says: [`Failure::Refused`] for a rule of the schema, of RBAC or of admission.
pub async fn create(cluster: &Cluster, mut lease: CredentialLease, named: bool) -> Result<CredentialLease, Failure> {
    let api: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), lease::namespace(&lease));
    for _ in 0..NAMES {
        let name = lease::name(&lease).to_owned();
        let answer = tokio::time::timeout(DEADLINE, api.create(&creating(), &lease))
            .await
            .map_err(|_| Failure::Unreachable("the API server does not answer: try again later".into()))?;
        match answer {
            Ok(created) => return Ok(created),
            Err(kube::Error::Api(status)) if status.code == 409 && named => {
                return Err(Failure::Refused(format!(
                    "there is a lease {name} already: choose another --name, or leave it out"
                )));
            }
            Err(kube::Error::Api(status)) if status.code == 409 => match api.get(&name).await {
                Ok(there) if is_ours(&there, &lease) => return Ok(there),
                _ => lease.metadata.name = Some(made_name(&lease.spec.lifecycle_ref.name)),
            },
            Err(error) => return Err(fetch::installed(error, "credentialleases")),
        }
    }
    Err(Failure::Other("no free name was found for the lease: choose one with --name".into()))
}

/// Whether a lease is the one that was just sent: then its answer was lost, and the call sent again. The cluster may have
/// stamped more about its requester onto it.
fn is_ours(there: &CredentialLease, sent: &CredentialLease) -> bool {
    let mut asked = sent.spec.clone();
    if asked.requested_by.username == there.spec.requested_by.username {
        asked.requested_by = there.spec.requested_by.clone();
    }
    there.spec == asked
}

/// How to wait.
pub struct Wait {
    pub patience: Span,
    /// Do not withdraw what does not come in time.
    pub keep: bool,
    pub progress: Progress,
}

/// What waiting came to.
pub enum Waited {
    Active(Box<CredentialLease>),
    /// A signal came; the exit code for it.
    Interrupted(u8),
}

/// Waits until a lease is active. If its time runs out or a signal comes, the request is withdrawn.
///
/// # Errors
/// If it will never be active, or is not in time.
pub async fn wait(
    cluster: &Cluster,
    of: &CredentialLease,
    interrupts: &mut Interrupts,
    wait: Wait,
) -> Result<Waited, Failure> {
    let title = lease::title(of);
    match watch::until_active(cluster, of, wait.patience, interrupts, wait.progress).await {
        Outcome::Active(active) => Ok(Waited::Active(active)),
        Outcome::Over(failure) => Err(failure),
        Outcome::Interrupted(kind) => {
            tell(&left(cluster, of, wait.keep, "the requester stopped waiting").await);
            Ok(Waited::Interrupted(kind.code()))
        }
        Outcome::TimedOut(waits) => {
            let left = left(cluster, of, wait.keep, "the requester waited long enough").await;
            Err(Failure::TimedOut(format!("lease {title} was not active in time ({waits}); {left}")))
        }
        Outcome::Unattended(waits) => {
            let left = left(cluster, of, wait.keep, "the operator did not look at it").await;
            Err(Failure::Unreachable(format!(
                "the operator does not get to lease {title} ({waits}); {left}; see kubectl lease doctor, and ask again"
            )))
        }
        Outcome::Blind(failure) => Err(Failure::Unreachable(format!(
            "{failure}; lease {title} may be active later: see kubectl lease show, or revoke it"
        ))),
    }
}

/// Withdraws a request, and says what is left of it.
async fn left(cluster: &Cluster, of: &CredentialLease, keep: bool, reason: &str) -> String {
    let title = lease::title(of);
    if keep {
        return format!("lease {title} goes on waiting");
    }
    match withdraw(cluster, of, reason).await {
        Ok(how) => format!("lease {title} was withdrawn: {}", how.told()),
        Err(failure) => format!("lease {title} could not be withdrawn and may still be issued: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_names_fit_whatever_the_lifecycle_is_called() {
        for lifecycle in ["nightly", &"a".repeat(63), &format!("{}-b", "a".repeat(56))] {
            let name = made_name(lifecycle);
            assert!(name.len() <= 63 && !name.contains("--"), "{name}");
            assert!(name.starts_with(&lifecycle[..5]));
        }
        assert_ne!(made_name("nightly"), made_name("nightly"));
    }

    #[test]
    fn a_lost_answer_is_found_again_by_what_was_asked() {
        let lease = |change: fn(&mut serde_json::Value)| super::super::view::lease::tests::waiting(change);
        let sent =
            lease(|l| l["spec"]["requestedBy"] = serde_json::json!({"username": "system:serviceaccount:payments:ci"}));
        assert!(is_ours(&lease(|_| {}), &sent), "the cluster has stamped its groups");
        assert!(!is_ours(&lease(|l| l["spec"]["reason"] = serde_json::json!("another")), &sent));
        assert!(!is_ours(&lease(|l| l["spec"]["requestedBy"]["username"] = serde_json::json!("x")), &sent));
    }

    #[test]
    fn a_choice_is_told_with_its_names() {
        let with = |names: &[&str]| {
            let grant = |name: &&str| serde_json::json!({"name": name, "roleRef": {"kind": "Role", "name": "r"}});
            let grants: Vec<Grant> = names.iter().map(|name| serde_json::from_value(grant(name)).unwrap()).collect();
            choose("nightly", &grants)
        };
        let failure = with(&["read", "write"]);
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().ends_with("it has read, write"), "{failure}");
        assert_eq!(with(&[]).code(), 120);
    }
}
