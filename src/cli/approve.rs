//! `approve` and `deny`: one person's word about one request, bound to exactly what was shown.

use std::collections::BTreeMap;

use clap::Args;
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    ask::Answers,
    connect::{Cluster, Global, connect},
    decide::{self, Approval, Word},
    exit::Failure,
    fetch,
    output::{self, Format, Style},
    reference::LeaseName,
    view::{
        changes, lease, proof,
        request::{self, Beside},
    },
};
use crate::{
    api::{
        CredentialLease, CredentialLeaseDecision, Duration,
        decision::DecisionType,
        lifecycle::Independence,
        status::{PolicyRule, ResolvedGrant, ResolvedRequest},
    },
    domain::rbac,
};

/// Flags of `approve`.
#[derive(Args, Clone, Debug)]
pub struct Approve {
    /// The lease.
    pub lease: LeaseName,
    /// The lease may live so long at most, like 5m.
    #[arg(long, value_name = "DURATION")]
    pub max_ttl: Option<Duration>,
    /// Equal requests of the same requester are approved with this for so long, like 2h, if the terms allow it.
    #[arg(long, value_name = "DURATION")]
    pub repeat_for: Option<Duration>,
    /// Say openly that you could act as the requester; counts only where the terms have independence Recorded.
    #[arg(long)]
    pub recorded: bool,
    #[command(flatten)]
    pub answers: Answers,
}

/// Flags of `deny`.
#[derive(Args, Clone, Debug)]
pub struct Deny {
    /// The lease.
    pub lease: LeaseName,
    #[command(flatten)]
    pub answers: Answers,
}

/// Shows a request, and agrees to exactly what was shown.
///
/// # Errors
/// If there is nothing to agree to, its digest is not that of what was shown, nobody can be asked, or the API server refuses.
pub async fn approve(global: &Global, flags: &Approve) -> Result<u8, Failure> {
    flags.answers.can_decide()?;
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await?;
    let shown = to_decide(&lease)?;
    let caller = cluster.whoami().await?;
    let rules = show(global, flags.answers.output, &cluster, &lease, shown, &caller.username).await?;
    all_shown(shown, &rules)?;
    let stated = lease.status.as_ref().and_then(|s| s.request_digest.as_deref());
    let digest = proof::agreed_digest(shown, stated).map_err(Failure::Other)?;
    if caller.username == lease.spec.requested_by.username {
        return Err(Failure::Refused("this is your own request: somebody else has to approve it".into()));
    }
    if !flags.answers.confirm("Approve?")? {
        return Err(Failure::Other("nothing was approved".into()));
    }
    let reason = flags.answers.reason()?;
    let approval = Approval {
        digest,
        max_ttl: flags.max_ttl,
        repeat_for: flags.repeat_for,
        independence: flags.recorded.then_some(Independence::Recorded),
    };
    let decision = decide::decision(&lease, Word::Approved(approval), &reason, &caller);
    done("approved", &lease, &decide::send(&cluster, &decision).await?, flags.answers.output)
}

/// Denies a request.
///
/// # Errors
/// If there is nothing to deny, or the API server refuses.
pub async fn deny(global: &Global, flags: &Deny) -> Result<u8, Failure> {
    flags.answers.can_decide()?;
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await?;
    if lease::is_over(&lease) && !lease::is_unanswered(&lease) {
        return Err(Failure::Other(format!("{} is {} already", lease::title(&lease), lease::phase(&lease))));
    }
    let caller = cluster.whoami().await?;
    if let Some(shown) = lease::request(&lease) {
        show(global, flags.answers.output, &cluster, &lease, shown, &caller.username).await?;
    }
    if !flags.answers.confirm("Deny?")? {
        return Err(Failure::Other("nothing was denied".into()));
    }
    let reason = flags.answers.reason()?;
    let decision = decide::decision(&lease, Word::Denied, &reason, &caller);
    done("denied", &lease, &decide::send(&cluster, &decision).await?, flags.answers.output)
}

/// Says what was decided, or writes the decision.
fn done(
    word: &str,
    lease: &CredentialLease,
    decision: &CredentialLeaseDecision,
    format: Option<Format>,
) -> Result<u8, Failure> {
    let by = &decision.spec.decided_by.username;
    let text = match format {
        Some(format) => output::object(format, decision)?,
        None => format!("{word} {} as {by} (decision {})\n", lease::title(lease), decision.name_any()),
    };
    output::emit(&text).map(|()| 0)
}

/// Shows a request, beside the decision if that is to be written; the rules that had to be read for it, because a status
/// cannot hold them.
async fn show(
    global: &Global,
    format: Option<Format>,
    cluster: &Cluster,
    lease: &CredentialLease,
    shown: &ResolvedRequest,
    caller: &str,
) -> Result<BTreeMap<String, Vec<PolicyRule>>, Failure> {
    let beside =
        Beside { rules: unrecorded(cluster, shown).await, before: before(cluster, lease, shown, caller).await };
    let facts = request::facts(lease, shown, &beside, fetch::now());
    match format {
        Some(_) => output::tell(facts.render(Style::stderr(global.no_color)).trim_end()),
        None => output::emit(&facts.render(Style::stdout(global.no_color)))?,
    }
    Ok(beside.rules)
}

/// Nobody agrees to rules that he was not shown.
fn all_shown(shown: &ResolvedRequest, read: &BTreeMap<String, Vec<PolicyRule>>) -> Result<(), Failure> {
    let unseen =
        |g: &&ResolvedGrant| g.rules.is_empty() && g.rules_digest != rbac::digest(&[]) && !read.contains_key(&g.name);
    match shown.grants.iter().find(unseen) {
        None => Ok(()),
        Some(grant) => Err(Failure::Refused(format!(
            "the rules of grant {} are too many for the lease's status, and you cannot read {} {} as it was then: ask for the right to get it, or let somebody else approve",
            grant.name,
            grant.role_ref.kind.as_str(),
            grant.role_ref.name
        ))),
    }
}

/// The request that can be agreed to.
fn to_decide(lease: &CredentialLease) -> Result<&ResolvedRequest, Failure> {
    let title = lease::title(lease);
    if lease::is_over(lease) && !lease::is_unanswered(lease) {
        return Err(Failure::Other(format!("{title} is {} already: there is nothing to approve", lease::phase(lease))));
    }
    let request = lease::request(lease).ok_or_else(|| {
        Failure::Other(format!(
            "{title} is not resolved yet: see kubectl lease show {}, and try again",
            lease::name(lease)
        ))
    })?;
    let (spec, resolved) = (&lease.spec, &request.requester);
    if spec.requested_by.username != resolved.username || spec.lifecycle_ref.name != request.lifecycle.name {
        return Err(Failure::Other(format!(
            "{title} was asked for by {} of {}, but its status speaks of {} and {}: approve nothing, and tell the platform team",
            spec.requested_by.username, spec.lifecycle_ref.name, resolved.username, request.lifecycle.name
        )));
    }
    Ok(request)
}

/// The rules that are too long for a status, where they can be read and are those of the digest.
async fn unrecorded(cluster: &Cluster, request: &ResolvedRequest) -> BTreeMap<String, Vec<PolicyRule>> {
    let mut out = BTreeMap::new();
    for grant in request.grants.iter().filter(|g| g.rules.is_empty()) {
        let read = fetch::role(cluster, grant.role_ref.kind, &grant.namespace, &grant.role_ref.name).await;
        // Not readable or changed since: the view says that the rules are not known, and how to read them.
        if let Some(rules) = read.ok().flatten().filter(|rules| rbac::digest(rules) == grant.rules_digest) {
            out.insert(grant.name.clone(), rules);
        }
    }
    out
}

/// The last request of this requester and lifecycle that somebody agreed to, the caller's own before others', and what differs.
async fn before(
    cluster: &Cluster,
    lease: &CredentialLease,
    shown: &ResolvedRequest,
    caller: &str,
) -> Option<(String, Vec<String>)> {
    let api: Api<CredentialLeaseDecision> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let fields = format!("spec.lifecycleRef.name={},spec.decision=Approved", lease.spec.lifecycle_ref.name);
    let decisions = match fetch::all(&api, &ListParams::default().fields(&fields)).await {
        Ok(decisions) => decisions,
        Err(_) => {
            output::tell("note: earlier decisions cannot be read, so what changed since the last one is not shown");
            return None;
        }
    };
    let earlier = earlier(&decisions, lease, caller)?;
    let leases: Api<CredentialLease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let old = leases.get_opt(&earlier.spec.lease_ref.name).await.ok().flatten()?;
    let same = old.metadata.uid.as_deref() == Some(&earlier.spec.lease_ref.uid);
    // Compared only with what was really agreed to: a status that was edited since has another digest.
    let agreed = |request: &&ResolvedRequest| proof::digest(request).ok() == earlier.spec.request_digest;
    let old_request = lease::request(&old).filter(|_| same).filter(agreed)?;
    let title = format!("{}, approved by {}", lease::title(&old), earlier.spec.decided_by.username);
    Some((title, changes::between(old_request, shown)))
}

/// The latest approval of another lease of the same requester: the caller's own, else anybody's.
fn earlier<'a>(
    decisions: &'a [CredentialLeaseDecision],
    lease: &CredentialLease,
    caller: &str,
) -> Option<&'a CredentialLeaseDecision> {
    let requester = &lease.spec.requested_by.username;
    decisions
        .iter()
        .filter(|d| d.spec.decision == DecisionType::Approved && d.spec.requester == *requester)
        .filter(|d| d.spec.lifecycle_ref == lease.spec.lifecycle_ref)
        .filter(|d| Some(&d.spec.lease_ref.uid) != lease.metadata.uid.as_ref())
        .max_by_key(|d| (d.spec.decided_by.username == caller, d.metadata.creation_timestamp.clone().map(|t| t.0)))
}

#[cfg(test)]
mod tests {
    use super::{super::view::lease::tests::waiting, *};
    use crate::api::lease::Identity;

    #[test]
    fn a_status_that_speaks_of_somebody_else_is_not_agreed_to() {
        assert!(to_decide(&waiting(|_| {})).is_ok());
        let other = waiting(|lease| lease["status"]["request"]["requester"]["username"] = "eve".into());
        assert!(to_decide(&other).unwrap_err().to_string().contains("approve nothing"));
        let over = waiting(|lease| lease["status"]["phase"] = "Denied".into());
        assert!(to_decide(&over).unwrap_err().to_string().contains("is Denied already"));
        let fresh = waiting(|lease| lease["status"] = serde_json::json!({}));
        assert!(to_decide(&fresh).unwrap_err().to_string().contains("not resolved yet"));
    }

    #[test]
    fn the_request_is_compared_to_the_callers_own_last_approval_first() {
        let lease = waiting(|_| {});
        let approved = |lease: &str, by: &str, second: i64, change: &dyn Fn(&mut CredentialLeaseDecision)| {
            let by = Identity { username: by.into(), ..Identity::default() };
            let mut decision = decide::decision(&waiting(|_| {}), Word::Approved(Approval::default()), "ok", &by);
            decision.spec.lease_ref = crate::api::decision::LeaseRef { name: lease.into(), uid: lease.into() };
            let at = jiff::Timestamp::from_second(second).unwrap();
            decision.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
            change(&mut decision);
            decision
        };
        let mut all = vec![
            approved("own", "alice", 1, &|d| d.spec.lease_ref.uid = waiting(|_| {}).metadata.uid.unwrap()),
            approved("eves", "alice", 9, &|d| d.spec.requester = "eve".into()),
        ];
        assert!(earlier(&all, &lease, "alice").is_none(), "neither this lease's own nor another requester's");
        all.extend([
            approved("first", "alice", 2, &|_| {}),
            approved("second", "alice", 3, &|_| {}),
            approved("bobs", "bob", 8, &|_| {}),
        ]);
        let name = |caller: &str| earlier(&all, &lease, caller).unwrap().spec.lease_ref.name.clone();
        assert_eq!(name("alice"), "second");
        assert_eq!(name("carol"), "bobs");
    }
}
