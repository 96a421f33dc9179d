//! Whatever ends a lease, its holder is refused at once, does not authenticate seconds later, and the record has the proof.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{BoxFuture, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{Api, api::DeleteParams};
use leasehold::api::{
    CredentialLease, ServiceAccountLifecycle, names,
    reasons::{EndReason, Evidence, Happening, Phase},
    status::CredentialStatus,
};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{AT_ONCE_MILLIS, Holder, Lab, OUTLIVES_MILLIS, Tenant, run, trail};

/// Lets a lease end; the moment from which its holder's time counts.
type Act = for<'a> fn(&'a Tenant<'a>, &'a CredentialLease) -> BoxFuture<'a, Result<Timestamp>>;

/// One cause of an end.
struct Cause {
    label: &'static str,
    delivery: &'static str,
    reasons: &'static [EndReason],
    act: Act,
    /// Milliseconds in which the 403 has to come.
    forbidden: i64,
    /// Whether the lease is still there to tell of its end.
    tells: bool,
}

impl Cause {
    const fn new(label: &'static str, delivery: &'static str, reasons: &'static [EndReason], act: Act) -> Self {
        Self { label, delivery, reasons, act, forbidden: AT_ONCE_MILLIS, tells: true }
    }
}

async fn ends_a_lease(lab: &Lab, cause: Cause, issued: &Barrier) -> Result<()> {
    let tenant = lab.tenant(&format!("end-{}", cause.label)).await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    tenant
        .lease("run", "nightly", |spec| {
            spec["delivery"] = json!({"type": cause.delivery});
            spec["ttl"] = json!("10m");
        })
        .await?;
    let lease = tenant.lease_in("run", Phase::Active).await?;
    let uid = lease.metadata.uid.clone().context("no uid")?;
    let mut holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
    ensure!(holder.reads().await? == 200, "the token may not do what its grant says");
    issued.wait().await;

    let exact = cause.forbidden <= AT_ONCE_MILLIS;
    holder.pace = Duration::from_millis(if exact { 10 } else { 200 });
    let zero = (cause.act)(&tenant, &lease).await?;
    let patience = Duration::from_secs(100);
    let (_, at) = holder.until(&[401, 403], holder.pace, patience).await?;
    if cause.label == "namespace" {
        let gone = format!("namespace/{}", tenant.namespace);
        lab.kubectl(&["wait", "--for=delete", &gone, "--timeout=60s"], None).await?;
    }
    let forbidden = at.as_millisecond() - zero.as_millisecond();
    // 401 comes first where the API server's memory of the token runs out in just that moment: refused is refused.
    ensure!(
        forbidden <= cause.forbidden,
        "403 came after {forbidden} ms, allowed are {}; load of the machine: {}",
        cause.forbidden,
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
    );
    let (_, at) = holder.until(&[401], Duration::from_millis(100), patience).await?;
    let unauthorized = at.as_millisecond() - zero.as_millisecond();
    ensure!(
        unauthorized <= cause.forbidden.max(AT_ONCE_MILLIS) - AT_ONCE_MILLIS + OUTLIVES_MILLIS,
        "401 came after {unauthorized} ms"
    );
    println!("{}: 403 after {forbidden} ms, 401 after {unauthorized} ms", cause.label);

    let evidence =
        if cause.delivery == "Secret" { Evidence::TokenReviewRefused } else { Evidence::AccountGoneAndWaited };
    if let ([reason], true) = (cause.reasons, cause.tells) {
        tenant.lease_ended("run", *reason, evidence).await?;
    }
    told(lab, &uid, cause.reasons, evidence).await?;
    lab.nothing_left_of(&uid).await
}

/// The audit stream tells the end and the proof, whether the lease is still there or not.
pub async fn told(lab: &Lab, uid: &str, reasons: &[EndReason], evidence: Evidence) -> Result<()> {
    let lines = eventually_seeing("the proof in the audit stream", Duration::from_secs(60), || async {
        let lines = trail::trail(&lab.said()?, uid);
        let proven = lines.iter().any(|line| line.record.event == Happening::Revoked);
        Ok::<_, anyhow::Error>(if proven { Look::Done(lines) } else { Look::NotYet(format!("{lines:?}")) })
    })
    .await?;
    let ended = trail::detail(&lines, Happening::Ended)?;
    ensure!(reasons.iter().any(|reason| ended.starts_with(&format!("{reason}: "))), "ended by {ended}");
    let verified = trail::detail(&lines, Happening::Revoked)?;
    ensure!(verified == evidence.as_str(), "proven by {verified}");
    Ok(())
}

fn credential(lease: &CredentialLease) -> Result<&CredentialStatus> {
    lease.status.as_ref().and_then(|s| s.credential.as_ref()).context("no credential")
}

async fn delete<K>(api: Api<K>, name: &str) -> Result<Timestamp>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await.with_context(|| format!("delete {name}"))?;
    Ok(Timestamp::now())
}

async fn change(tenant: &Tenant<'_>, spec: Value) -> Result<Timestamp> {
    tenant.change_lifecycle("nightly", json!({"spec": spec})).await?;
    Ok(Timestamp::now())
}

const LEASE_DELETED: Act = |tenant, _| {
    Box::pin(async {
        tenant.delete_lease("run").await?;
        Ok(Timestamp::now())
    })
};
const STOPPED: Act = |tenant, _| Box::pin(change(tenant, json!({"stopPolicy": "HoldAndRevoke"})));
const LIFECYCLE_DELETED: Act = |tenant, _| {
    let api: Api<ServiceAccountLifecycle> = Api::namespaced(tenant.author.client.clone(), &tenant.namespace);
    Box::pin(delete(api, "nightly"))
};
/// The time counts from the expirationTime that is set.
const LIFECYCLE_EXPIRED: Act = |tenant, _| {
    Box::pin(async {
        let at = Timestamp::from_second(Timestamp::now().as_second() + 3)?;
        change(tenant, json!({"expirationTime": at.to_string()})).await?;
        Ok(at)
    })
};
const NAMESPACE_DELETED: Act =
    |tenant, _| Box::pin(delete(Api::<Namespace>::all(tenant.admin.clone()), &tenant.namespace));
const WIDENED: Act = |tenant, _| {
    Box::pin(async {
        tenant.widen_role().await?;
        Ok(Timestamp::now())
    })
};
const WITHDRAWN: Act = |tenant, _| Box::pin(change(tenant, json!({"grants": []})));
const ACCOUNT_DELETED: Act = |tenant, lease| {
    Box::pin(async move {
        let account = credential(lease)?.service_account.as_ref().context("no account")?;
        let api: Api<ServiceAccount> = Api::namespaced(tenant.admin.clone(), names::ISSUING_NAMESPACE);
        delete(api, &account.name).await
    })
};
const BINDING_DELETED: Act = |tenant, lease| {
    Box::pin(async move {
        let binding = lease.status.as_ref().and_then(|s| s.bindings.first()).context("no binding")?;
        delete(Api::<RoleBinding>::namespaced(tenant.admin.clone(), &binding.namespace), &binding.name).await
    })
};
const SECRET_DELETED: Act = |tenant, lease| {
    Box::pin(async move {
        let secret = credential(lease)?.secret.as_ref().context("no Secret")?;
        delete(Api::<Secret>::namespaced(tenant.admin.clone(), &tenant.namespace), &secret.name).await
    })
};

fn causes() -> Vec<Cause> {
    use EndReason as R;
    let gone = |cause: Cause| Cause { tells: false, ..cause };
    vec![
        // A delivered Secret cannot be watched without the right to read Secrets: it is looked at once a minute.
        Cause { forbidden: 75_000, ..Cause::new("secret", "Secret", &[R::SecretChanged], SECRET_DELETED) },
        gone(Cause::new("lease", "Secret", &[R::LeaseDeleted], LEASE_DELETED)),
        gone(Cause::new("lease-minted", "TokenRequest", &[R::LeaseDeleted], LEASE_DELETED)),
        Cause::new("stop", "Secret", &[R::LifecycleStopped], STOPPED),
        Cause::new("stop-minted", "TokenRequest", &[R::LifecycleStopped], STOPPED),
        Cause::new("lifecycle", "Secret", &[R::LifecycleDeleted], LIFECYCLE_DELETED),
        Cause::new("expiry", "TokenRequest", &[R::LifecycleExpired], LIFECYCLE_EXPIRED),
        Cause::new("widened", "Secret", &[R::RoleWidened], WIDENED),
        Cause::new("withdrawn", "TokenRequest", &[R::GrantWithdrawn], WITHDRAWN),
        Cause::new("account", "Secret", &[R::AccountDeleted], ACCOUNT_DELETED),
        Cause::new("account-minted", "TokenRequest", &[R::AccountDeleted], ACCOUNT_DELETED),
        Cause::new("binding", "Secret", &[R::BindingDeleted], BINDING_DELETED),
        // Which of its objects a namespace loses first is the cluster's business.
        gone(Cause::new(
            "namespace",
            "Secret",
            &[R::LeaseDeleted, R::LifecycleDeleted, R::BindingDeleted],
            NAMESPACE_DELETED,
        )),
    ]
}

#[test]
fn whatever_ends_a_lease_its_holder_is_refused_at_once_and_the_record_has_the_proof() {
    run(async {
        let lab = Lab::shared().await?;
        let causes = causes();
        let issued = &Barrier::new(causes.len());
        let each = causes.into_iter().map(|cause| async move {
            let label = cause.label;
            ends_a_lease(lab, cause, issued).await.context(label)
        });
        try_join_all(each).await.map(drop)
    });
}
