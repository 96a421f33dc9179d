//! Whoever must agree has agreed, to exactly what is issued, or nothing is issued.

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use leasehold::api::{
    CredentialLease, CredentialLeaseDecision, Time,
    condition::ConditionStatus,
    reasons::{EndReason, Evidence, Happening, Phase},
};
use leasehold_harness::Options;
use serde_json::{Value, json};

use crate::support::{Holder, Lab, OUTLIVES_MILLIS, Operator, Person, Tenant, condition_of, is_conform, run};

async fn asking(label: &str, approval: Value) -> Result<Tenant<'static>> {
    let tenant = Lab::shared().await?.tenant(label).await?;
    tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = approval).await?;
    Ok(tenant)
}

fn required() -> Value {
    json!({"type": "Required", "contact": "#leads"})
}

async fn nothing_made(tenant: &Tenant<'_>, lease: &CredentialLease) -> Result<()> {
    let made = tenant.lab.made_for(lease.metadata.uid.as_deref().context("no uid")?).await?;
    ensure!(made.is_empty(), "made for a lease that nobody agreed to: {made:?}");
    Ok(())
}

fn says(lease: &CredentialLease, text: &str) -> bool {
    condition_of(lease, "Approved").is_ok_and(|c| c.message.contains(text))
}

#[test]
fn a_lease_waits_for_somebody_to_agree_and_then_its_token_works() {
    run(async {
        let tenant = asking("agree", required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        is_conform(&waiting)?;
        nothing_made(&tenant, &waiting).await?;
        ensure!(says(&waiting, "one person who may approve (#leads)"), "{:?}", condition_of(&waiting, "Approved")?);
        let status = waiting.status.as_ref().context("no status")?;
        ensure!(status.expiration_time.is_none(), "nobody knows yet when it would end");
        ensure!(status.approvals.as_ref().is_some_and(|a| a.summary == "0 of 1"), "{:?}", status.approvals);

        let decision = alice.decides(&waiting, "Approved").await?;
        let lease = tenant.lease_in("run", Phase::Active).await?;
        is_conform(&lease)?;
        let status = lease.status.as_ref().context("no status")?;
        let created = decision.metadata.creation_timestamp.as_ref().map(Time::from).context("no time")?;
        ensure!(
            status.expiration_time == Some(created.plus("30s".parse()?)),
            "it runs from the decision: {:?}",
            status.expiration_time
        );
        ensure!(
            status.decisions.iter().any(|d| d.by == alice.user.name && Some(&d.uid) == decision.metadata.uid.as_ref())
        );
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        ensure!(holder.reads().await? == 200, "the token does not work");
        tenant.lease_ended("run", EndReason::Expired, Evidence::AccountGoneAndWaited).await?;
        Ok(())
    });
}

#[test]
fn nobody_else_makes_it_count() {
    run(async {
        let tenant = asking("refuse", required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let requester = Person::requester(&tenant).await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        // The requester, even with every right of an approver.
        let name = &tenant.requester.name;
        let bind = [
            "create",
            "rolebinding",
            "both",
            "-n",
            &tenant.namespace,
            "--clusterrole=leasehold-approver",
            "--user",
            name,
        ];
        tenant.lab.kubectl(&bind, None).await?;
        let own = requester.tries(&waiting, "Approved", |_| {}).await?;
        ensure!(matches!(&own, Err(kube::Error::Api(s)) if s.code == 403), "{own:?}");
        // A word about something else than what would be issued.
        let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        alice.tries(&waiting, "Approved", |spec| spec["requestDigest"] = json!(other)).await??;
        tenant
            .lease_is("run", "told that a word does not count", |l| says(l, "is not the lease's status.requestDigest"))
            .await?;
        // A word about a lifecycle on which alice may decide, for a lease of another.
        alice.tries(&waiting, "Approved", |spec| spec["lifecycleRef"]["name"] = json!("another")).await??;
        tenant.lease_is("run", "told that a word does not count", |l| says(l, "names another lifecycle")).await?;
        // A word about another lease is none about this one.
        let uid = "5f2c8a8e-0000-4000-8000-000000000000";
        alice.tries(&waiting, "Approved", |spec| spec["leaseRef"]["uid"] = json!(uid)).await??;
        let lease = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        nothing_made(&tenant, &lease).await?;
        // The requester takes it back.
        requester.decides(&lease, "Revoked").await?;
        let lease = tenant.lease_in("run", Phase::Revoked).await?;
        ensure!(lease.status.as_ref().and_then(|s| s.end_reason) == Some(EndReason::DecisionRevoked));
        nothing_made(&tenant, &lease).await
    });
}

#[test]
fn an_approver_who_lost_the_right_before_it_counted_has_no_word() {
    run(async {
        let tenant = asking("lost", json!({"type": "Required", "count": 2})).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        tenant.lease("run", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        let one =
            |l: &CredentialLease| l.status.as_ref().and_then(|s| s.approvals.as_ref()).is_some_and(|a| a.have == 1);
        tenant.lease_is("run", "agreed to by one", one).await?;
        tenant.lab.kubectl(&["delete", "rolebinding", "-n", &tenant.namespace, &alice.user.name], None).await?;
        bob.decides(&waiting, "Approved").await?;
        let lease = tenant.lease_is("run", "short of one", |l| says(l, "may not approve this lifecycle")).await?;
        ensure!(one(&lease), "bob's word counts: {:?}", lease.status);
        nothing_made(&tenant, &lease).await
    });
}

#[test]
fn two_words_in_the_same_moment_are_two_and_one_person_is_one() {
    run(async {
        let tenant = asking("two", json!({"type": "Required", "count": 2})).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        tenant.lease("once", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("once", Phase::AwaitingApproval).await?;
        tokio::try_join!(alice.decides(&waiting, "Approved"), alice.decides(&waiting, "Approved"))?;
        tenant
            .lease_is("once", "told that one person is one", |l| says(l, "the same person has decided before"))
            .await?;
        nothing_made(&tenant, &waiting).await?;

        tenant.lease("both", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("both", Phase::AwaitingApproval).await?;
        tokio::try_join!(alice.decides(&waiting, "Approved"), bob.decides(&waiting, "Approved"))?;
        let lease = tenant.lease_in("both", Phase::Active).await?;
        ensure!(lease.status.is_some_and(|s| s.decisions.len() == 2));
        Ok(())
    });
}

#[test]
fn approve_and_deny_at_once_end_in_a_denial() {
    run(async {
        let tenant = asking("clash", required()).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        for (n, denies_first) in [false, true].into_iter().enumerate() {
            let name = format!("run-{n}");
            tenant.lease(&name, "deployer", |_| {}).await?;
            let waiting = tenant.lease_in(&name, Phase::AwaitingApproval).await?;
            if denies_first {
                tokio::try_join!(bob.decides(&waiting, "Denied"), alice.decides(&waiting, "Approved"))?;
            } else {
                tokio::try_join!(alice.decides(&waiting, "Approved"), bob.decides(&waiting, "Denied"))?;
            }
            // Before or after it was issued: what was denied is not held.
            let over = |l: &CredentialLease| {
                let status = l.status.as_ref();
                status.and_then(|s| s.phase).is_some_and(Phase::is_final)
                    && matches!(
                        status.and_then(|s| s.end_reason),
                        Some(EndReason::DecisionDenied | EndReason::DecisionRevoked)
                    )
            };
            let lease = tenant.lease_is(&name, "denied", over).await?;
            nothing_made(&tenant, &lease).await?;
        }
        Ok(())
    });
}

#[test]
fn what_was_agreed_to_is_what_is_issued_or_it_is_asked_again() {
    run(async {
        let tenant = asking("stale", json!({"type": "Required", "count": 2})).await?;
        let (alice, bob) = (Person::approver(&tenant, "alice").await?, Person::approver(&tenant, "bob").await?);
        // The lifecycle changes after the first word.
        tenant.lease("lifecycle", "deployer", |spec| spec["ttl"] = Value::Null).await?;
        let waiting = tenant.lease_in("lifecycle", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        tenant.change_lifecycle("deployer", json!({"spec": {"terms": {"ttl": {"default": "10m"}}}})).await?;
        let asked_again = |l: &CredentialLease| {
            l.status.as_ref().and_then(|s| s.request_digest.as_ref())
                != waiting.status.as_ref().and_then(|s| s.request_digest.as_ref())
        };
        tenant.lease_is("lifecycle", "asked again", asked_again).await?;
        bob.decides(&waiting, "Approved").await?;
        let lease = tenant.lease_is("lifecycle", "told why", |l| says(l, "not counted")).await?;
        let void = lease.status.iter().filter_map(|s| s.history.as_ref()).flat_map(|h| &h.records);
        let void = void.filter(|r| r.event == Happening::ApprovalVoid).map(|r| r.detail.clone()).next_back();
        ensure!(void.as_deref() == Some("the ttl was 1h and is 10m"), "{void:?}");
        nothing_made(&tenant, &lease).await?;

        // The role changes after the first word.
        tenant.lease("role", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("role", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        tenant.widen_role().await?;
        bob.decides(&waiting, "Approved").await?;
        let widened = |l: &CredentialLease| {
            let records = l.status.iter().filter_map(|s| s.history.as_ref()).flat_map(|h| &h.records);
            records.into_iter().any(|r| r.event == Happening::ApprovalVoid && r.detail.contains("delete on configmaps"))
        };
        let lease = tenant.lease_is("role", "asked again", widened).await?;
        nothing_made(&tenant, &lease).await?;
        // To that, they agree.
        for person in [&alice, &bob] {
            person.decides(&lease, "Approved").await?;
        }
        tenant.lease_in("role", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn equal_requests_are_covered_for_a_while_and_other_ones_are_not() {
    run(async {
        let tenant = asking("repeat", json!({"type": "Required", "maxRepeat": "1h"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("first", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("first", Phase::AwaitingApproval).await?;
        let decision = alice.tries(&waiting, "Approved", |spec| spec["repeatFor"] = json!("30m")).await??;
        tenant.lease_in("first", Phase::Active).await?;
        tenant.lease("second", "deployer", |spec| spec["reason"] = json!("another run")).await?;
        let second = tenant.lease_in("second", Phase::Active).await?;
        let status = second.status.as_ref().context("no status")?;
        ensure!(status.decisions.first().and_then(|d| d.repeats.as_deref()) == Some("first"), "{:?}", status.decisions);
        tenant.lease("longer", "deployer", |spec| spec["ttl"] = json!("31s")).await?;
        tenant.lease_in("longer", Phase::AwaitingApproval).await?;
        let other = tenant.another_requester("other").await?;
        other.lease("others", "deployer", |_| {}).await?;
        tenant.lease_in("others", Phase::AwaitingApproval).await?;
        // Taken back: the next one is asked about.
        let api: Api<CredentialLeaseDecision> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        api.delete(&decision.metadata.name.context("no name")?, &DeleteParams::default()).await?;
        tenant.lease("third", "deployer", |_| {}).await?;
        tenant.lease_in("third", Phase::AwaitingApproval).await?;
        Ok(())
    });
}

#[test]
fn agreed_now_and_issued_at_its_time() {
    run(async {
        let tenant = asking("later", required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let at = Time::from_millis((jiff::Timestamp::now().as_second() + 8) * 1000);
        tenant.lease("night", "deployer", |spec| spec["notBefore"] = json!(at.to_string())).await?;
        let waiting = tenant.lease_in("night", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        let scheduled = tenant.lease_in("night", Phase::Scheduled).await?;
        is_conform(&scheduled)?;
        nothing_made(&tenant, &scheduled).await?;
        let lease = tenant.lease_in("night", Phase::Active).await?;
        let status = lease.status.as_ref().context("no status")?;
        ensure!(status.issue_time >= Some(at) && status.expiration_time == Some(at.plus("30s".parse()?)), "{status:?}");
        Ok(())
    });
}

#[test]
fn an_emergency_without_an_answer_is_revoked_and_holds_its_lifecycle() {
    run(async {
        let tenant = asking("emergency", json!({"type": "Retrospective", "timeout": "6s"})).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("answered", "deployer", |_| {}).await?;
        let lease = tenant.lease_in("answered", Phase::Active).await?;
        is_conform(&lease)?;
        ensure!(condition_of(&lease, "Approved")?.reason == "Retrospective");
        alice.decides(&lease, "Approved").await?;
        let agreed = |l: &CredentialLease| condition_of(l, "Approved").is_ok_and(|c| c.status == ConditionStatus::True);
        tenant.lease_is("answered", "agreed to", agreed).await?;

        tenant.lease("forgotten", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("forgotten", Phase::Active).await?;
        let status =
            tenant.lease_ended("forgotten", EndReason::ApprovalMissing, Evidence::AccountGoneAndWaited).await?;
        ensure!(status.end_time == status.approvals.and_then(|a| a.until), "{:?}", status.end_time);
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::False, "Held").await?;
        tenant.lease("next", "deployer", |_| {}).await?;
        let refused = tenant.lease_in("next", Phase::Denied).await?;
        ensure!(condition_of(&refused, "Allowed")?.message.contains("forgotten was issued without an answer in time"));
        let forgotten = tenant.leases().get("forgotten").await?;
        alice.decides(&forgotten, "Denied").await?;
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::True, "Leasable").await?;
        let answered = tenant.lease_is("answered", "still agreed to", agreed).await?;
        ensure!(answered.status.and_then(|s| s.end_reason) != Some(EndReason::ApprovalMissing));
        Ok(())
    });
}

#[test]
fn unanswered_in_time_is_denied_and_who_revokes_is_recorded() {
    run(async {
        let tenant = asking("silence", json!({"type": "Required", "timeout": "5s"})).await?;
        tenant.lease("silence", "deployer", |_| {}).await?;
        let lease = tenant.lease_in("silence", Phase::Denied).await?;
        is_conform(&lease)?;
        ensure!(lease.status.and_then(|s| s.end_reason) == Some(EndReason::ApprovalTimeout));

        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("leaked", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let waiting = tenant.lease_in("leaked", Phase::AwaitingApproval).await?;
        alice.decides(&waiting, "Approved").await?;
        let lease = tenant.lease_in("leaked", Phase::Active).await?;
        let holder = Holder::new(&tenant, &tenant.token(&lease).await?)?;
        ensure!(holder.reads().await? == 200);
        let zero = jiff::Timestamp::now();
        alice.decides(&lease, "Revoked").await?;
        let fate = holder.fate(zero, std::time::Duration::from_secs(30)).await?;
        let forbidden = fate.forbidden.unwrap_or(fate.unauthorized);
        println!("revoked by decision: refused after {forbidden} ms, 401 after {} ms", fate.unauthorized);
        ensure!(fate.unauthorized <= OUTLIVES_MILLIS, "401 after {} ms", fate.unauthorized);
        let status = tenant.lease_ended("leaked", EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
        let record = status.history.iter().flat_map(|h| &h.records).find(|r| r.event == Happening::Ended);
        ensure!(record.is_some_and(|r| r.actor == alice.user.name), "{record:?}");
        Ok(())
    });
}

#[test]
fn what_was_agreed_to_while_the_operator_was_dead_runs_from_the_agreement() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("dead").await?;
        tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        for name in ["late", "too-late"] {
            let ttl = if name == "late" { "10m" } else { "30s" };
            tenant.lease(name, "deployer", |spec| spec["ttl"] = json!(ttl)).await?;
        }
        let (late, too_late) = (
            tenant.lease_in("late", Phase::AwaitingApproval).await?,
            tenant.lease_in("too-late", Phase::AwaitingApproval).await?,
        );
        lab.take_operator()?.kill()?;
        let decision = alice.decides(&late, "Approved").await?;
        alice.decides(&too_late, "Approved").await?;
        tokio::time::sleep(std::time::Duration::from_secs(32)).await;
        let operator = Operator::start(&lab.plane, "second", &[]).await?;
        let lease = tenant.lease_in("late", Phase::Active).await?;
        let created = decision.metadata.creation_timestamp.as_ref().map(Time::from).context("no time")?;
        ensure!(
            lease.status.and_then(|s| s.expiration_time) == Some(created.plus("10m".parse()?)),
            "issued late is shorter"
        );
        let lease = tenant.lease_in("too-late", Phase::Expired).await?;
        nothing_made(&tenant, &lease).await?;
        drop(operator);
        lab.stop().await
    });
}

#[test]
fn a_decision_cannot_be_changed() {
    run(async {
        let tenant = asking("fixed", required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        let decision = alice.decides(&waiting, "Denied").await?;
        let api: Api<CredentialLeaseDecision> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        let patch = Patch::Merge(json!({"spec": {"reason": "another one"}}));
        let name = decision.metadata.name.context("no name")?;
        let answer = api.patch(&name, &PatchParams::default(), &patch).await;
        ensure!(
            matches!(&answer, Err(kube::Error::Api(s)) if s.code == 422 && s.message.contains("a decision is immutable")),
            "{answer:?}"
        );
        Ok(())
    });
}

#[test]
fn whatever_was_deleted_and_created_again_inherits_no_agreement() {
    run(async {
        let tenant = asking("again", required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        // A lease under the same name.
        tenant.lease("run", "deployer", |_| {}).await?;
        let first = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        tenant.delete_lease("run").await?;
        alice.decides(&first, "Approved").await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        let second = tenant.lease_in("run", Phase::AwaitingApproval).await?;
        ensure!(second.metadata.uid != first.metadata.uid);
        // A lifecycle under the same name.
        alice.decides(&second, "Approved").await?;
        tenant.lease_in("run", Phase::Active).await?;
        tenant.lease("other", "deployer", |_| {}).await?;
        let waiting = tenant.lease_in("other", Phase::AwaitingApproval).await?;
        tenant.lifecycles().delete("deployer", &DeleteParams::default()).await?;
        tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = required()).await?;
        alice.decides(&waiting, "Approved").await?;
        let over = |l: &CredentialLease| {
            let phase = l.status.as_ref().and_then(|s| s.phase);
            phase == Some(Phase::Denied) || says(l, "not counted")
        };
        let lease = tenant.lease_is("other", "refused, or asked again", over).await?;
        nothing_made(&tenant, &lease).await
    });
}

#[test]
fn a_word_that_is_there_before_the_lease_is_looked_at_counts_if_it_is_about_what_is_asked() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let tenant = lab.tenant("before").await?;
        tenant.lifecycle("deployer", |spec| spec["terms"]["approval"] = required()).await?;
        let alice = Person::approver(&tenant, "alice").await?;
        tenant.lease("first", "deployer", |_| {}).await?;
        let first = tenant.lease_in("first", Phase::AwaitingApproval).await?;
        lab.take_operator()?.kill()?;
        // Equal requests have the same digest; a longer one has another.
        let digest = first.status.and_then(|s| s.request_digest).context("no digest")?;
        for (name, ttl) in [("equal", "30s"), ("longer", "31s")] {
            let lease = tenant.lease(name, "deployer", |spec| spec["ttl"] = json!(ttl)).await?;
            alice.tries(&lease, "Approved", |spec| spec["requestDigest"] = json!(digest)).await??;
        }
        lab.start_operator("second", &[]).await?;
        tenant.lease_in("equal", Phase::Active).await?;
        let lease = tenant.lease_is("longer", "told that it does not count", |l| says(l, "not counted")).await?;
        nothing_made(&tenant, &lease).await?;
        lab.stop().await
    });
}

#[test]
fn of_fifty_that_are_agreed_to_at_once_exactly_as_many_are_issued_as_may_be() {
    run(async {
        let tenant = Lab::shared().await?.tenant("many").await?;
        tenant
            .lifecycle("deployer", |spec| {
                spec["terms"]["approval"] = required();
                spec["terms"]["maxActive"] = json!(5);
            })
            .await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let names: Vec<String> = (0..50).map(|n| format!("run-{n}")).collect();
        futures::future::try_join_all(
            names.iter().map(|name| tenant.lease(name, "deployer", |spec| spec["ttl"] = json!("10m"))),
        )
        .await?;
        let mut waiting = vec![];
        for name in &names {
            waiting.push(tenant.lease_in(name, Phase::AwaitingApproval).await?);
        }
        futures::future::try_join_all(waiting.iter().map(|lease| alice.decides(lease, "Approved"))).await?;
        let mut active = 0;
        for name in &names {
            let decided = |l: &CredentialLease| {
                matches!(l.status.as_ref().and_then(|s| s.phase), Some(Phase::Active | Phase::Denied))
            };
            let lease = tenant.lease_is(name, "decided", decided).await?;
            active += usize::from(lease.status.and_then(|s| s.phase) == Some(Phase::Active));
        }
        ensure!(active == 5, "{active} are active");
        Ok(())
    });
}
