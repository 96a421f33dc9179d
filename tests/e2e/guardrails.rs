//! The platform's guardrails: what they forbid is refused before anybody leases, and what they stop ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use leasehold::api::{
    CredentialLease,
    condition::{self, ConditionStatus},
    reasons::{EndReason, Evidence, Phase},
};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Lab, Person, Tenant, condition_of, run};

async fn refused(tenant: &Tenant<'_>, name: &str, lifecycle: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    tenant.lease(name, lifecycle, change).await?;
    let lease = tenant.lease_in(name, Phase::Denied).await?;
    Ok(condition_of(&lease, "Allowed")?.message.clone())
}

#[test]
fn a_policy_narrows_the_terms_and_the_lifecycle_says_so() {
    run(async {
        let tenant = Lab::shared().await?.tenant("narrow").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        tenant.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        let terms = json!({"ttl": {"max": "10m"}, "maxActive": 1, "delivery": ["TokenRequest"],
            "validations": [{"expression": "lease.reason != 'just so'", "message": "say why"}]});
        let name = tenant.policy("p", json!({"terms": terms})).await?;
        let said = eventually_seeing("the lifecycle to tell its policy", Duration::from_secs(20), || async {
            let status = tenant.lifecycles().get("deployer").await?.status.unwrap_or_default();
            let message = condition::find(&status.conditions, "PoliciesSatisfied").map(|c| c.message.clone());
            let message = message.unwrap_or_default();
            Ok::<_, anyhow::Error>(if message.contains(&name) { Look::Done(message) } else { Look::NotYet(message) })
        })
        .await?;
        ensure!(said.contains("ttl at most 10m"), "{said}");
        let message = refused(&tenant, "long", "deployer", |spec| {
            spec["ttl"] = json!("11m");
            spec["delivery"] = json!({"type": "Secret"});
            spec["reason"] = json!("just so");
        })
        .await?;
        for part in [
            format!("a ttl of 11m is longer than the 10m of policy {name}: ask for at most 10m"),
            format!("the lifecycle and policy {name} do not allow delivery Secret: choose from TokenRequest"),
            "say why".to_owned(),
        ] {
            ensure!(message.contains(&part), "{part} is not in {message}");
        }
        tenant.lease("first", "deployer", |_| {}).await?;
        let lease = tenant.lease_in("first", Phase::Active).await?;
        ensure!(lease.status.is_some_and(|s| s.policies == [name.clone()]));
        let message = refused(&tenant, "second", "deployer", |_| {}).await?;
        ensure!(message.contains(&format!("maxActive of policy {name}")), "{message}");
        // The policy tells what it guards.
        eventually_seeing("the policy's status", Duration::from_secs(20), || async {
            let status = tenant.policies().get(&name).await?.status.unwrap_or_default();
            let done = status.lifecycles == Some(1)
                && condition::find(&status.conditions, "Ready").is_some_and(|c| c.status == ConditionStatus::True);
            Ok::<_, anyhow::Error>(if done { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
        })
        .await
    });
}

#[test]
fn what_a_policy_forbids_is_said_before_anybody_leases_and_ends_what_is_live_if_it_says_so() {
    run(async {
        let tenant = Lab::shared().await?.tenant("forbid").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        tenant.lease("reported", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("reported", Phase::Active).await?;
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
        let name = tenant.policy("p", json!({"grants": {"forbidRules": rules}})).await?;
        let lifecycle =
            tenant.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::False, "Violated").await?;
        let said = condition::find(&lifecycle.status.context("no status")?.conditions, "PoliciesSatisfied")
            .map(|c| c.message.clone());
        let expected =
            format!("policy {name} forbids what Role reader of grant read allows (list on configmaps of core)");
        ensure!(said.as_deref().is_some_and(|m| m.contains(&expected)), "{said:?}");
        let message = refused(&tenant, "new", "deployer", |_| {}).await?;
        ensure!(message.contains(&expected), "{message}");
        let reported =
            |l: &CredentialLease| condition_of(l, "PolicyViolated").is_ok_and(|c| c.message.contains(&expected));
        let lease = tenant.lease_is("reported", "reported", reported).await?;
        ensure!(lease.status.and_then(|s| s.phase) == Some(Phase::Active));
        let patch = Patch::Merge(json!({"spec": {"onViolation": "Revoke"}}));
        tenant.policies().patch(&name, &PatchParams::default(), &patch).await?;
        tenant.lease_ended("reported", EndReason::PolicyViolated, Evidence::AccountGoneAndWaited).await?;
        Ok(())
    });
}

#[test]
fn a_stop_is_one_more_policy_and_its_deletion_resumes() {
    run(async {
        let tenant = Lab::shared().await?.tenant("stop").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        tenant.lease("live", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("live", Phase::Active).await?;
        let hold = tenant.policy("hold", json!({"stopPolicy": "Hold"})).await?;
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::False, "PolicyStopped").await?;
        let message = refused(&tenant, "held", "deployer", |_| {}).await?;
        ensure!(message.contains(&format!("policy {hold} stops this lifecycle")), "{message}");
        tenant.lease_in("live", Phase::Active).await?;
        tenant.policy("stop", json!({"stopPolicy": "HoldAndRevoke"})).await?;
        tenant.lease_ended("live", EndReason::PolicyStopped, Evidence::AccountGoneAndWaited).await?;
        for name in ["hold", "stop"] {
            tenant.policies().delete(&format!("{}-{name}", tenant.namespace), &DeleteParams::default()).await?;
        }
        tenant.lifecycle_says("deployer", "Leasable", ConditionStatus::True, "Leasable").await?;
        tenant.lease("resumed", "deployer", |_| {}).await?;
        tenant.lease_in("resumed", Phase::Active).await?;
        Ok(())
    });
}

#[test]
fn a_stricter_approval_of_the_platform_binds_a_lifecycle_that_asks_nobody() {
    run(async {
        let tenant = Lab::shared().await?.tenant("stricter").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        tenant.policy("p", json!({"terms": {"approval": {"count": 1}}})).await?;
        tenant.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        let alice = Person::approver(&tenant, "alice").await?;
        let waiting = eventually_seeing("the policy to bind", Duration::from_secs(20), || async {
            let name = format!("run-{}", jiff::Timestamp::now().as_millisecond());
            tenant.lease(&name, "deployer", |_| {}).await?;
            let decided = |l: &CredentialLease| {
                matches!(l.status.as_ref().and_then(|s| s.phase), Some(Phase::AwaitingApproval | Phase::Active))
            };
            let lease = tenant.lease_is(&name, "decided", decided).await?;
            let waits = lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::AwaitingApproval);
            Ok::<_, anyhow::Error>(if waits { Look::Done(lease) } else { Look::NotYet("issued at once".into()) })
        })
        .await?;
        alice.decides(&waiting, "Approved").await?;
        tenant.lease_in(&waiting.metadata.name.clone().context("no name")?, Phase::Active).await?;
        Ok(())
    });
}

/// Two namespaces of one team: the lifecycle in one, what it grants in the other.
async fn two(lab: &'static Lab, label: &str) -> Result<(Tenant<'static>, Tenant<'static>)> {
    let (home, target) = (lab.tenant(&format!("{label}-home")).await?, lab.tenant(&format!("{label}-target")).await?);
    // Whoever writes the lifecycle must hold `bind` where it grants.
    let bind = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "foreign-author", "namespace": target.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": home.author.name}]});
    lab.kubectl(&["apply", "-f", "-"], Some(&bind.to_string())).await?;
    Ok((home, target))
}

#[test]
fn a_grant_into_another_namespace_needs_the_platforms_consent() {
    run(async {
        let lab = Lab::shared().await?;
        let (home, target) = two(lab, "cross").await?;
        let into = target.namespace.clone();
        home.lifecycle("deployer", |spec| spec["grants"][0]["namespace"] = json!(into)).await?;
        let message = refused(&home, "early", "deployer", |_| {}).await?;
        ensure!(
            message.contains(&format!(
                "grant read is for another namespace, {into}, and no CredentialLeasePolicy opens it"
            )),
            "{message}"
        );
        home.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::False, "Violated").await?;
        target
            .policy("open", json!({"grants": {"crossNamespace": {"type": "SameLabel", "label": "example.com/team"}}}))
            .await?;
        for namespace in [&home.namespace, &into] {
            lab.kubectl(&["label", "namespace", namespace, "example.com/team=payments"], None).await?;
        }
        home.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        home.lifecycle_says("deployer", "GrantsAllowed", ConditionStatus::True, "Allowed").await?;
        home.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = home.lease_in("run", Phase::Active).await?;
        let status = lease.status.as_ref().context("no status")?;
        ensure!(
            status.bindings.iter().all(|b| b.namespace == into) && status.bindings.len() == 1,
            "{:?}",
            status.bindings
        );
        ensure!(status.request.as_ref().is_some_and(|r| r.grants[0].namespace == into));
        // The token works there, and not at home.
        let token = home.token(&lease).await?;
        let (there, here) =
            (crate::support::Holder::new(&target, &token)?, crate::support::Holder::new(&home, &token)?);
        there.until(&[200], Duration::from_millis(50), Duration::from_secs(5)).await?;
        ensure!(here.reads().await? == 403);
        // Consent is taken back: that is reported, and nothing new is issued; a deleted lease leaves nothing anywhere.
        lab.kubectl(&["label", "namespace", &into, "example.com/team-"], None).await?;
        let reported = |l: &CredentialLease| {
            condition_of(l, "PolicyViolated").is_ok_and(|c| c.message.contains("same value of label"))
        };
        home.lease_is("run", "reported", reported).await?;
        home.delete_lease("run").await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await?;
        let (code, _) = there.until(&[401, 403], Duration::from_millis(50), Duration::from_secs(20)).await?;
        ensure!(code == 401 || code == 403);
        Ok(())
    });
}

#[test]
fn an_operator_that_died_after_a_foreign_binding_leaves_none() {
    run(async {
        let lab: &'static Lab = Box::leak(Box::new(Lab::start(Options::default(), &[]).await?));
        let (home, target) = two(lab, "orphan").await?;
        let into = target.namespace.clone();
        home.lifecycle("deployer", |spec| spec["grants"][0]["namespace"] = json!(into)).await?;
        target.policy("open", json!({"grants": {"crossNamespace": {"type": "Allow"}}})).await?;
        home.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        home.lease("run", "deployer", |spec| spec["ttl"] = json!("10m")).await?;
        let lease = home.lease_in("run", Phase::Active).await?;
        lab.take_operator()?.kill()?;
        home.delete_lease("run").await?;
        lab.start_operator("second", &[]).await?;
        lab.nothing_left_of(lease.metadata.uid.as_deref().context("no uid")?).await?;
        drop(lab.take_operator()?);
        Ok(())
    });
}

#[test]
fn an_operator_that_requires_policies_refuses_what_none_guards() {
    run(async {
        let lab = Lab::start(Options::default(), &["--require-policy"]).await?;
        let tenant = lab.tenant("require").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        tenant.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::False, "NoPolicy").await?;
        let message = refused(&tenant, "early", "deployer", |_| {}).await?;
        ensure!(message.contains("no CredentialLeasePolicy guards this lifecycle"), "{message}");
        tenant.policy("p", json!({"terms": {"ttl": {"max": "1h"}}})).await?;
        tenant.lifecycle_says("deployer", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        tenant.lease("run", "deployer", |_| {}).await?;
        tenant.lease_in("run", Phase::Active).await?;
        lab.stop().await
    });
}

#[test]
fn the_shipped_baseline_refuses_what_it_says_and_lets_the_rest_pass() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        lab.kubectl(&["apply", "-k", &lab.config("baseline")], None).await?;
        let tenant = lab.tenant("baseline").await?;
        let admin = |role: &str| {
            let role = role.to_owned();
            move |spec: &mut Value| spec["grants"][0]["roleRef"] = json!({"kind": "Role", "name": role})
        };
        let roles = [
            (
                "reads-secrets",
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["one"]}]),
            ),
            ("everything", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
            ("mints", json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}])),
            (
                "escalates",
                json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]),
            ),
            ("impersonates", json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}])),
            ("execs", json!([{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}])),
            (
                "lawful",
                json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}, {"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["*"]}]),
            ),
        ];
        for (name, rules) in &roles {
            let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": tenant.namespace}, "rules": rules});
            lab.kubectl(&["apply", "-f", "-"], Some(&role.to_string())).await?;
            let bind = [
                "create",
                "role",
                &format!("bind-{name}"),
                "-n",
                &tenant.namespace,
                "--verb=bind",
                "--resource=roles",
                "--resource-name",
                name,
            ];
            lab.kubectl(&bind, None).await?;
            let give = [
                "create",
                "rolebinding",
                &format!("bind-{name}"),
                "-n",
                &tenant.namespace,
                &format!("--role=bind-{name}"),
                "--serviceaccount=leasehold-system:leasehold",
                "--user",
                &tenant.author.name,
            ];
            lab.kubectl(&give, None).await?;
            tenant.lifecycle(name, admin(name)).await?;
        }
        for name in ["reads-secrets", "everything", "mints", "escalates", "impersonates"] {
            tenant.lifecycle_says(name, "PoliciesSatisfied", ConditionStatus::False, "Violated").await?;
            let message = refused(&tenant, name, name, |_| {}).await?;
            ensure!(message.contains("policy baseline forbids"), "{name}: {message}");
        }
        let message = refused(&tenant, "execs", "execs", |_| {}).await?;
        ensure!(message.contains("approval"), "{message}");
        tenant.change_lifecycle("execs", json!({"spec": {"terms": {"approval": {"type": "Required"}}}})).await?;
        tenant.lease("execs-agreed", "execs", |_| {}).await?;
        let lease = tenant.lease_in("execs-agreed", Phase::AwaitingApproval).await?;
        let outlives = lease.status.and_then(|s| s.request).map(|r| r.grants[0].outlives.clone()).unwrap_or_default();
        ensure!(outlives.iter().any(|o| o.as_str() == "Exec"), "{outlives:?}");
        tenant.lifecycle_says("lawful", "PoliciesSatisfied", ConditionStatus::True, "Satisfied").await?;
        tenant.lease("lawful", "lawful", |_| {}).await?;
        tenant.lease_in("lawful", Phase::Active).await?;
        strict(&lab, &tenant).await?;
        lab.stop().await
    });
}

/// Over the baseline: what asked nobody waits for somebody, and what could outlive the lease for two.
async fn strict(lab: &Lab, tenant: &Tenant<'_>) -> Result<()> {
    lab.kubectl(&["apply", "-k", &lab.config("strict")], None).await?;
    let args = ["wait", "credentialleasepolicy", "strict", "--for=condition=Ready", "--timeout=30s"];
    lab.kubectl(&args, None).await?;
    tenant.lifecycle("reads", |spec| spec["terms"]["ttl"]["max"] = json!("2h")).await?;
    tenant.lease("asks", "reads", |_| {}).await?;
    tenant.lease_in("asks", Phase::AwaitingApproval).await?;
    let message = refused(tenant, "long", "reads", |spec| spec["ttl"] = json!("61m")).await?;
    ensure!(message.contains("strict"), "{message}");
    let message = refused(tenant, "at-rest", "reads", |spec| spec["delivery"] = json!({"type": "Secret"})).await?;
    ensure!(message.contains("strict"), "{message}");
    let message = refused(tenant, "one-is-not-enough", "execs", |_| {}).await?;
    ensure!(message.contains("two people have to agree"), "{message}");
    tenant.change_lifecycle("execs", json!({"spec": {"terms": {"approval": {"count": 2}}}})).await?;
    tenant.lease("two", "execs", |_| {}).await?;
    tenant.lease_in("two", Phase::AwaitingApproval).await.map(drop)
}

#[test]
fn a_policy_that_cannot_be_used_says_so_and_nothing_it_guards_is_issued() {
    run(async {
        let tenant = Lab::shared().await?.tenant("broken").await?;
        tenant.lifecycle("deployer", |_| {}).await?;
        let validations = json!([{"expression": "lease.ttll < duration('1h')", "message": "short ones only"}]);
        let name = tenant.policy("p", json!({"terms": {"validations": validations}})).await?;
        eventually_seeing("the policy to say what is wrong", Duration::from_secs(20), || async {
            let status = tenant.policies().get(&name).await?.status.unwrap_or_default();
            let says = condition::find(&status.conditions, "Ready")
                .is_some_and(|c| c.reason == "ValidationInvalid" && c.message.contains("lease.ttll"));
            Ok::<_, anyhow::Error>(if says { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
        })
        .await?;
        let message = refused(&tenant, "run", "deployer", |_| {}).await?;
        ensure!(message.contains("cannot be evaluated"), "{message}");
        Ok(())
    });
}
