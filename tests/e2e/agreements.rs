//! Attempts on agreements and guardrails that once worked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use leasehold::api::{CredentialLease, CredentialLeaseDecision, condition::ConditionStatus, reasons::Phase};
use leasehold_harness::Options;
use serde_json::{Value, json};

use crate::support::{Holder, Lab, OUTLIVES_MILLIS, Person, Tenant, condition_of, run};

async fn asking(label: &str, approval: Value) -> Result<Tenant<'static>> {
    let tenant = Lab::shared().await?.tenant(label).await?;
    tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = approval).await?;
    Ok(tenant)
}

fn phase(lease: &CredentialLease) -> Option<Phase> {
    lease.status.as_ref().and_then(|s| s.phase)
}

async fn flood(
    person: &Person,
    lease: &CredentialLease,
    decision: &str,
    count: usize,
    change: impl Fn(&mut Value, usize),
) -> Result<()> {
    for n in 0..count {
        person.tries(lease, decision, |spec| change(spec, n)).await??;
    }
    Ok(())
}

/// An API server that fails every write of this kind in the tenant's namespace, until [`mend`].
async fn broken(
    tenant: &Tenant<'_>,
    group: &str,
    version: &str,
    resource: &str,
    operation: &str,
    selector: Value,
) -> Result<()> {
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": tenant.namespace},
        "webhooks": [{
            "name": "broken.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Fail",
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.namespace}}, "objectSelector": selector,
            "rules": [{"apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": [operation]}]}]});
    tenant.lab.kubectl(&["apply", "-f", "-"], Some(&hook.to_string())).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(())
}

async fn no_status_writes(tenant: &Tenant<'_>) -> Result<()> {
    broken(tenant, "leasehold.dev", "v1alpha1", "credentialleases/status", "UPDATE", json!({})).await
}

async fn mend(tenant: &Tenant<'_>) -> Result<()> {
    tenant.lab.kubectl(&["delete", "validatingwebhookconfiguration", &tenant.namespace], None).await?;
    Ok(())
}

async fn made(tenant: &Tenant<'_>, lease: &CredentialLease) -> Result<Vec<String>> {
    tenant.lab.made_for(lease.metadata.uid.as_deref().context("no uid")?).await
}

async fn account_of(tenant: &Tenant<'_>, lease: &CredentialLease) -> Result<Option<String>> {
    let all = made(tenant, lease).await?;
    Ok(all.iter().find_map(|n| n.strip_prefix("serviceaccount/")).map(str::to_owned))
}

async fn wait_made(tenant: &Tenant<'_>, lease: &CredentialLease, kind: &str, count: usize) -> Result<()> {
    for _ in 0..100 {
        let all = made(tenant, lease).await?;
        if all.iter().filter(|n| n.starts_with(kind)).count() >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("never made: {kind}")
}

#[test]
fn who_asked_cannot_drown_out_who_revokes() {
    run(async {
        let tenant = asking("drown", json!({"type": "NotRequired"})).await?;
        let (alice, requester) = (Person::approver(&tenant, "alice").await?, Person::requester(&tenant).await?);
        tenant.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        flood(&requester, &lease, "Revoked", 64, |spec, _| spec["lifecycleRef"]["name"] = json!("nothing")).await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        alice.decides(&lease, "Revoked").await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let lease = tenant.leases().get("run").await?;
        ensure!(
            phase(&lease) != Some(Phase::Active),
            "8 s after alice revoked it, it is Active: {:?}",
            lease.status.map(|s| s.decisions)
        );
        Ok(())
    });
}

#[test]
fn a_colleague_cannot_drown_out_who_approves() {
    run(async {
        let tenant = asking("drown-approval", json!({"type": "Required"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let other = tenant.another_requester("mallory").await?;
        let args = [
            "create",
            "rolebinding",
            "mallory",
            "-n",
            &tenant.namespace,
            "--clusterrole=leasehold-requester",
            "--user",
            &other.requester.name,
        ];
        tenant.lab.kubectl(&args, None).await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let lease = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        let api: Api<CredentialLeaseDecision> = Api::namespaced(other.requester.client.clone(), &tenant.namespace);
        for _ in 0..64 {
            let mut junk = alice.word(&lease, "Revoked", |_| {})?;
            junk["spec"]["requester"] = json!(other.requester.name);
            junk["spec"]["decidedBy"] = json!({"username": other.requester.name});
            api.create(&PostParams::default(), &serde_json::from_value(junk)?).await?;
        }
        alice.decides(&lease, "Approved").await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let lease = tenant.leases().get("run").await?;
        ensure!(phase(&lease) == Some(Phase::Active), "8 s after alice approved it is {:?}", phase(&lease));
        Ok(())
    });
}

#[test]
fn many_standing_approvals_of_a_pipeline_do_not_hide_the_next() {
    run(async {
        let tenant = asking("many", json!({"type": "Required", "maxRepeat": "1h"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("first", "deployer", |_| {}).await?;
        let first = tenant.lease_in("first", Phase::AwaitingApproval).await?;
        // As 64 earlier, different requests of the day would have left behind.
        flood(&alice, &first, "Approved", 64, |spec, n| {
            spec["repeatFor"] = json!("30m");
            spec["leaseRef"]["uid"] = json!(format!("5f2c8a8e-0000-4000-8000-{n:012}"));
            spec["requestDigest"] = json!(format!("sha256:{n:064}"));
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        alice.decides(&first, "Approved").await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let lease = tenant.leases().get("first").await?;
        ensure!(phase(&lease) == Some(Phase::Active), "approved, and yet {:?}", phase(&lease));
        Ok(())
    });
}

#[test]
fn what_one_denied_is_not_had_by_asking_again() {
    run(async {
        let tenant = asking("again", json!({"type": "Required", "maxRepeat": "1h", "count": 2})).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        let eve = Person::approver(&tenant, "eve").await?;
        tenant.lease("first", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("first", Phase::AwaitingApproval).await?;
        alice.tries(&waiting, "Approved", |spec| spec["repeatFor"] = json!("30m")).await??;
        eve.decides(&waiting, "Denied").await?;
        bob.tries(&waiting, "Approved", |spec| spec["repeatFor"] = json!("30m")).await??;
        tenant.lease_in("first", Phase::Denied).await?;
        tenant.lease("second", "deployer", |_| {}).await?;
        let second = tenant
            .lease_is("second", "decided", |l| {
                matches!(phase(l), Some(Phase::Active | Phase::AwaitingApproval | Phase::Denied))
            })
            .await?;
        ensure!(phase(&second) != Some(Phase::Active), "eve denied it, and asked again it is issued with nobody asked");
        Ok(())
    });
}

#[test]
fn an_emergency_that_ends_before_its_answer_is_due_still_owes_it() {
    run(async {
        let tenant = asking("short", json!({"type": "Retrospective", "timeout": "25s"})).await?;
        let (requester, alice) = (Person::requester(&tenant).await?, Person::approver(&tenant, "alice").await?);
        tenant.lease("run", "deployer", |_| {}).await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        requester.decides(&lease, "Revoked").await?;
        let over = tenant.lease_in("run", Phase::Revoked).await?;
        ensure!(condition_of(&over, "Approved")?.reason == "Retrospective", "{:?}", condition_of(&over, "Approved")?);
        // Whoever asked cannot answer for himself by ending it: from the time on at which the answer was due, it holds.
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::False, "Held").await?;
        alice.decides(&over, "Approved").await?;
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::True, "Leasable").await?;
        Ok(())
    });
}

#[test]
fn an_approval_taken_back_before_the_status_was_written_leaves_no_credential() {
    run(async {
        let tenant = asking("back", json!({"type": "Required"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        no_status_writes(&tenant).await?;
        let decision = alice.decides(&waiting, "Approved").await?;
        wait_made(&tenant, &waiting, "rolebinding", 2).await?;
        let account = account_of(&tenant, &waiting).await?.context("no account")?;
        let holder = Holder::new(&tenant, &tenant.mint(&account).await?)?;
        ensure!(holder.reads().await? == 200);
        let api: Api<CredentialLeaseDecision> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        api.delete(&decision.metadata.name.context("no name")?, &DeleteParams::default()).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        mend(&tenant).await?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let lease = tenant.leases().get("run").await?;
        let (code, left) = (holder.reads().await?, made(&tenant, &lease).await?);
        ensure!(
            code != 200,
            "phase {:?}, no approval is left, and the token still answers {code}: {left:?}",
            phase(&lease)
        );
        Ok(())
    });
}

#[test]
fn what_is_bound_is_what_the_status_says_although_the_grant_changed_while_issuing() {
    run(async {
        let tenant = asking("swap", json!({"type": "NotRequired"})).await?;
        more_roles(&tenant).await?;
        tenant
            .change_lifecycle(
                "deployer",
                json!({"spec": {"grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "writer"}}]}}),
            )
            .await?;
        no_status_writes(&tenant).await?;
        let lease = tenant.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        wait_made(&tenant, &lease, "rolebinding", 2).await?;
        // The author takes the strong role out.
        tenant
            .change_lifecycle(
                "deployer",
                json!({"spec": {"grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "reader"}}]}}),
            )
            .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        mend(&tenant).await?;
        let lease = tenant
            .lease_is("run", "settled", |l| phase(l) == Some(Phase::Active) || phase(l).is_some_and(Phase::is_final))
            .await?;
        if phase(&lease) != Some(Phase::Active) {
            return Ok(());
        }
        let status = lease.status.as_ref().context("no status")?;
        let says = &status.request.as_ref().context("no request")?.grants[0].role_ref.name;
        let uid = lease.metadata.uid.as_deref().context("no uid")?;
        let label = format!("leasehold.dev/lease-uid={uid}");
        let bound = tenant
            .lab
            .kubectl(
                &[
                    "get",
                    "rolebindings",
                    "-n",
                    &tenant.namespace,
                    "-l",
                    &label,
                    "-o",
                    "jsonpath={.items[*].roleRef.name}",
                ],
                None,
            )
            .await?;
        ensure!(bound.trim() == says, "the status says {says}, and bound is {bound}");
        Ok(())
    });
}

/// Role `writer`, which the operator may bind and the author may grant.
async fn more_roles(tenant: &Tenant<'_>) -> Result<()> {
    let ns = &tenant.namespace;
    let items = [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "writer", "namespace": ns},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "update", "delete"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "bind-more", "namespace": ns},
            "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["writer", "big"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "bind-more", "namespace": ns},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bind-more"},
            "subjects": [{"kind": "ServiceAccount", "name": "leasehold", "namespace": "leasehold-system"},
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": tenant.author.name}]}),
    ];
    let text = items.map(|i| i.to_string()).join("\n---\n");
    tenant.lab.kubectl(&["apply", "-f", "-"], Some(&text)).await?;
    Ok(())
}

#[test]
fn people_who_agree_to_a_weak_role_do_not_give_the_strong_one_of_before() {
    run(async {
        let tenant = asking("swap-agreed", json!({"type": "Required"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        more_roles(&tenant).await?;
        tenant
            .change_lifecycle(
                "deployer",
                json!({"spec": {"grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "writer"}}]}}),
            )
            .await?;
        tenant.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        no_status_writes(&tenant).await?;
        alice.decides(&waiting, "Approved").await?;
        wait_made(&tenant, &waiting, "rolebinding", 2).await?;
        tenant
            .change_lifecycle(
                "deployer",
                json!({"spec": {"grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "reader"}}]}}),
            )
            .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        mend(&tenant).await?;
        let asked = tenant
            .lease_is("run", "asked again", |l| {
                phase(l).is_some_and(Phase::is_final)
                    || l.status.as_ref().and_then(|s| s.request_digest.as_ref())
                        != waiting.status.as_ref().and_then(|s| s.request_digest.as_ref())
            })
            .await?;
        if phase(&asked).is_some_and(Phase::is_final) {
            println!("it was taken back: {:?}", asked.status.and_then(|s| s.end_reason));
            return Ok(());
        }
        println!("while {:?}: {:?}", phase(&asked), made(&tenant, &asked).await?);
        alice.decides(&asked, "Approved").await?;
        let lease = tenant
            .lease_is("run", "settled", |l| phase(l) == Some(Phase::Active) || phase(l).is_some_and(Phase::is_final))
            .await?;
        let label = format!("leasehold.dev/lease-uid={}", lease.metadata.uid.as_deref().context("no uid")?);
        let bound = tenant
            .lab
            .kubectl(
                &[
                    "get",
                    "rolebindings",
                    "-n",
                    &tenant.namespace,
                    "-l",
                    &label,
                    "-o",
                    "jsonpath={.items[*].roleRef.name}",
                ],
                None,
            )
            .await?;
        ensure!(
            !(phase(&lease) == Some(Phase::Active) && bound.trim() == "writer"),
            "alice agreed to reader, and {bound} is bound"
        );
        Ok(())
    });
}

/// Whether a lease is in this phase even after its lifecycle has changed and was thought about again.
async fn still(tenant: &Tenant<'_>, name: &str, wanted: Phase) -> Result<()> {
    tenant.change_lifecycle("deployer", json!({"spec": {"purpose": "another word for it"}})).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lease = tenant.leases().get(name).await?;
    let seen = phase(&lease);
    ensure!(seen == Some(wanted), "{seen:?}: {}", condition_of(&lease, "Allowed")?.message);
    Ok(())
}

#[test]
fn a_scheduled_lease_is_not_refused_because_places_are_taken_before_its_time() {
    run(async {
        let tenant = Lab::shared().await?.tenant("night").await?;
        tenant.lifecycle("deployer", |spec| spec["terms"]["maxActive"] = json!(1)).await?;
        let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 600)?;
        tenant.lease("night", "deployer", |spec| spec["notBefore"] = json!(at.to_string())).await?;
        tenant.lease_in("night", Phase::Scheduled).await?;
        tenant.lease("day", "deployer", |_| {}).await?;
        tenant.lease_in("day", Phase::Active).await?;
        still(&tenant, "night", Phase::Scheduled).await
    });
}

#[test]
fn a_waiting_lease_is_not_refused_because_places_are_taken_before_its_time() {
    run(async {
        let tenant = Lab::shared().await?.tenant("wait-quota").await?;
        tenant
            .lifecycle("deployer", |spec| {
                spec["terms"]["maxActive"] = json!(1);
                spec["terms"]["approval"] = json!({"type": "Required", "timeout": "1h"});
            })
            .await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("one", "deployer", |_| {}).await?;
        tenant.lease("two", "deployer", |_| {}).await?;
        let one = tenant.lease_in("one", Phase::AwaitingApproval).await?;
        tenant.lease_in("two", Phase::AwaitingApproval).await?;
        alice.decides(&one, "Approved").await?;
        tenant.lease_in("one", Phase::Active).await?;
        still(&tenant, "two", Phase::AwaitingApproval).await
    });
}

#[test]
fn many_policies_do_not_keep_a_status_from_being_written() {
    run(async {
        let tenant = Lab::shared().await?.tenant("policies").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        for n in 0..66 {
            tenant.policy(&format!("p{n}"), json!({"terms": {"ttl": {"max": "1h"}}})).await?;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let lease = tenant.lease("run", "deployer", |_| {}).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let lease = tenant.leases().get(lease.metadata.name.as_deref().context("no name")?).await?;
        let left = made(&tenant, &lease).await?;
        let mut answer = None;
        if let Some(account) = account_of(&tenant, &lease).await?
            && let Ok(token) = tenant.mint(&account).await
        {
            answer = Some(Holder::new(&tenant, &token)?.reads().await?);
        }
        for n in 0..66 {
            tenant.policies().delete(&format!("{}-p{n}", tenant.namespace), &DeleteParams::default()).await?;
        }
        ensure!(
            phase(&lease) == Some(Phase::Active),
            "phase {:?}, its token answers {answer:?}; made: {left:?}",
            phase(&lease)
        );
        Ok(())
    });
}

#[test]
fn more_approvals_than_a_status_holds_do_not_keep_it_from_being_written() {
    run(async {
        let tenant = asking("crowd", json!({"type": "Required"})).await?;
        let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 25)?;
        tenant.lease("run", "deployer", |spec| spec["notBefore"] = json!(at.to_string())).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        for n in 0..34 {
            Person::approver(&tenant, &format!("p{n}")).await?.decides(&waiting, "Approved").await?;
        }
        let left = at.as_second() - jiff::Timestamp::now().as_second();
        tokio::time::sleep(Duration::from_secs(u64::try_from(left.max(0))? + 8)).await;
        let lease = tenant.leases().get("run").await?;
        ensure!(phase(&lease) == Some(Phase::Active), "{:?}; made: {:?}", phase(&lease), made(&tenant, &lease).await?);
        Ok(())
    });
}

#[test]
fn a_binding_of_a_grant_that_moved_while_the_operator_was_dead_is_not_left() {
    run(async {
        let lab: &'static Lab = Box::leak(Box::new(Lab::start(Options::default(), &[]).await?));
        let (home, a, b) = (lab.tenant("home").await?, lab.tenant("a").await?, lab.tenant("b").await?);
        for target in [&a, &b] {
            let bind = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "foreign-author", "namespace": target.namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": home.author.name}]});
            lab.kubectl(&["apply", "-f", "-"], Some(&bind.to_string())).await?;
            target.policy("open", json!({"grants": {"crossNamespace": {"type": "Allow"}}})).await?;
        }
        home.lifecycle("deployer", |spec| spec["grants"][0]["namespace"] = json!(a.namespace)).await?;
        home.lifecycle_says("deployer", "PoliciesSatisfied", leasehold::api::ConditionStatus::True, "Satisfied")
            .await?;
        no_status_writes(&home).await?;
        let lease = home.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        wait_made(&home, &lease, "rolebinding", 2).await?;
        lab.take_operator()?.kill()?;
        home.change_lifecycle("deployer", json!({"spec": {"grants": [{"name": "read", "namespace": b.namespace, "roleRef": {"kind": "Role", "name": "reader"}}]}})).await?;
        mend(&home).await?;
        lab.start_operator("second", &[]).await?;
        let lease = home
            .lease_is("run", "settled", |l| phase(l) == Some(Phase::Active) || phase(l).is_some_and(Phase::is_final))
            .await?;
        let uid = lease.metadata.uid.clone().context("no uid")?;
        println!("settled as {:?}: {:?}", phase(&lease), lease.status.as_ref().map(|s| &s.bindings));
        let label = format!("leasehold.dev/lease-uid={uid}");
        let bound = lab
            .kubectl(
                &[
                    "get",
                    "rolebindings",
                    "-A",
                    "-l",
                    &label,
                    "-o",
                    "jsonpath={range .items[*]}{.metadata.namespace}{' '}{end}",
                ],
                None,
            )
            .await?;
        println!("bound in: {bound}");
        home.delete_lease("run").await?;
        let gone = lab.nothing_left_of(&uid).await;
        ensure!(gone.is_ok() && !bound.contains(&a.namespace), "bound in {bound} while active; left behind: {gone:?}");
        drop(lab.take_operator()?);
        Ok(())
    });
}

#[test]
fn fifty_that_are_agreed_to_at_once_take_five_places() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("fifty").await?;
        tenant
            .lifecycle("deployer", |spec| {
                spec["terms"]["approval"] = json!({"type": "Required", "timeout": "1h"});
                spec["terms"]["maxActive"] = json!(5);
            })
            .await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let mut waiting = vec![];
        for n in 0..50 {
            tenant.lease(&format!("run-{n}"), "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        }
        for n in 0..50 {
            waiting.push(tenant.lease_in(&format!("run-{n}"), Phase::AwaitingApproval).await?);
        }
        let agree = async {
            futures::future::try_join_all(waiting.iter().map(|lease| alice.decides(lease, "Approved"))).await.map(drop)
        };
        let kill = async {
            for n in 0..3u64 {
                tokio::time::sleep(Duration::from_millis(250 + 130 * n)).await;
                lab.take_operator()?.kill()?;
                lab.start_operator(&format!("next-{n}"), &[]).await?;
            }
            Ok(())
        };
        tokio::try_join!(agree, kill)?;
        for n in 0..50 {
            tenant
                .lease_is(&format!("run-{n}"), "decided", |l| matches!(phase(l), Some(Phase::Active | Phase::Denied)))
                .await?;
        }
        let all = tenant.leases().list(&Default::default()).await?.items;
        let active = all.iter().filter(|l| phase(l) == Some(Phase::Active)).count();
        let mut accounts = 0;
        for lease in &all {
            accounts += made(&tenant, lease).await?.iter().filter(|n| n.starts_with("serviceaccount/")).count();
        }
        println!("fifty: {active} active, {accounts} accounts");
        ensure!(active == 5 && accounts == 5, "{active} active, {accounts} accounts");
        lab.stop().await
    });
}

#[test]
fn killed_between_agreement_and_issue_the_deadline_is_the_same_and_the_account_one() {
    run(async {
        use rand::RngExt;
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("killed").await?;
        tenant
            .lifecycle("deployer", |spec| {
                spec["terms"]["approval"] = json!({"type": "Required", "timeout": "1h", "count": 2})
            })
            .await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        let mut waiting = vec![];
        for n in 0..30 {
            tenant.lease(&format!("run-{n}"), "deployer", |spec| spec["ttl"] = json!("20m")).await?;
        }
        for n in 0..30 {
            waiting.push(tenant.lease_in(&format!("run-{n}"), Phase::AwaitingApproval).await?);
        }
        let agree = async {
            let mut last = vec![];
            for (n, lease) in waiting.iter().enumerate() {
                let first = alice
                    .tries(lease, "Approved", |spec| {
                        if n % 3 == 0 {
                            spec["maxTTL"] = json!("10m")
                        }
                    })
                    .await??;
                tokio::time::sleep(Duration::from_millis(200)).await;
                last.push(if n % 5 == 4 { first } else { bob.decides(lease, "Approved").await? });
            }
            anyhow::Ok(last)
        };
        let kill = async {
            for n in 0..8 {
                let life = rand::rng().random_range(100..900);
                tokio::time::sleep(Duration::from_millis(life)).await;
                lab.take_operator()?.kill()?;
                lab.start_operator(&format!("next-{n}"), &[]).await?;
            }
            anyhow::Ok(())
        };
        let (last, ()) = tokio::try_join!(agree, kill)?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        for (n, decision) in last.iter().enumerate() {
            let lease = tenant.leases().get(&format!("run-{n}")).await?;
            let accounts = made(&tenant, &lease).await?.iter().filter(|m| m.starts_with("serviceaccount/")).count();
            if n % 5 == 4 {
                ensure!(
                    accounts == 0 && phase(&lease) == Some(Phase::AwaitingApproval),
                    "run-{n}: {:?}, {accounts}",
                    phase(&lease)
                );
                continue;
            }
            let created =
                decision.metadata.creation_timestamp.as_ref().map(leasehold::api::Time::from).context("no time")?;
            let ttl = if n % 3 == 0 { "10m" } else { "20m" };
            let expires = lease.status.as_ref().and_then(|s| s.expiration_time);
            ensure!(
                accounts == 1 && phase(&lease) == Some(Phase::Active) && expires == Some(created.plus(ttl.parse()?)),
                "run-{n}: {:?}, {accounts} accounts, {expires:?} and not {created:?} + {ttl}",
                phase(&lease)
            );
        }
        lab.stop().await
    });
}

#[test]
fn a_stop_ends_what_is_being_issued_although_no_status_can_be_written() {
    run(async {
        let tenant = asking("stop-issuing", json!({"type": "NotRequired"})).await?;
        no_status_writes(&tenant).await?;
        let lease = tenant.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        wait_made(&tenant, &lease, "rolebinding", 2).await?;
        let account = account_of(&tenant, &lease).await?.context("no account")?;
        let holder = Holder::new(&tenant, &tenant.mint(&account).await?)?;
        ensure!(holder.reads().await? == 200);
        tenant.policy("stop", json!({"stopPolicy": "HoldAndRevoke"})).await?;
        let zero = jiff::Timestamp::now();
        let fate = holder.fate(zero, Duration::from_secs(40)).await?;
        println!("stopped while issuing: {fate:?}");
        let left = made(&tenant, &lease).await?;
        mend(&tenant).await?;
        ensure!(fate.unauthorized <= OUTLIVES_MILLIS && left.is_empty(), "{fate:?}, left {left:?}");
        tenant.lease_is("run", "over", |l| phase(l).is_some_and(Phase::is_final)).await?;
        let lease = tenant.leases().get("run").await?;
        println!(
            "told as {:?} {:?}: {:?}",
            phase(&lease),
            lease.status.as_ref().and_then(|s| s.end_reason),
            condition_of(&lease, "Allowed")?.message
        );
        Ok(())
    });
}

#[test]
fn a_role_of_many_rules_that_is_widened_after_the_agreement_is_asked_about_again() {
    run(async {
        let tenant = asking("big", json!({"type": "Required", "count": 2})).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        more_roles(&tenant).await?;
        let rules = |n: usize| {
            (0..n)
                .map(|i| json!({"apiGroups": [format!("g{i}.example.com")], "resources": ["things"], "verbs": ["get"]}))
                .collect::<Vec<_>>()
        };
        let role = |n: usize| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "big", "namespace": tenant.namespace}, "rules": rules(n)}).to_string()
        };
        tenant.lab.kubectl(&["apply", "-f", "-"], Some(&role(40))).await?;
        tenant
            .change_lifecycle(
                "deployer",
                json!({"spec": {"grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "big"}}]}}),
            )
            .await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        tenant.lab.kubectl(&["apply", "-f", "-"], Some(&role(41))).await?;
        bob.decides(&waiting, "Approved").await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let lease = tenant.leases().get("run").await?;
        ensure!(phase(&lease) == Some(Phase::AwaitingApproval), "{:?}", phase(&lease));
        ensure!(made(&tenant, &lease).await?.is_empty());
        for person in [&alice, &bob] {
            person.decides(&lease, "Approved").await?;
        }
        tenant.lease_in("run", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn what_was_revoked_is_not_had_by_asking_again() {
    run(async {
        let tenant = asking("incident", json!({"type": "Required", "maxRepeat": "1h"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("first", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let waiting = tenant.lease_in("first", Phase::AwaitingApproval).await?;
        alice.tries(&waiting, "Approved", |spec| spec["repeatFor"] = json!("1h")).await??;
        let lease = tenant.lease_in("first", Phase::Active).await?;
        alice.decides(&lease, "Revoked").await?;
        tenant.lease_is("first", "over", |l| phase(l).is_some_and(Phase::is_final)).await?;
        tenant.lease("second", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let second = tenant
            .lease_is("second", "decided", |l| {
                matches!(phase(l), Some(Phase::Active | Phase::AwaitingApproval | Phase::Denied))
            })
            .await?;
        ensure!(
            phase(&second) != Some(Phase::Active),
            "who approved it has revoked it, and asked again it is issued with nobody asked"
        );
        Ok(())
    });
}
