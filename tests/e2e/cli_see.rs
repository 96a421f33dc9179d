//! The plugin, as people use it to look, decide and end: the executable itself, on a real control plane.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use leasehold::api::{
    ServiceAccountLifecycle,
    reasons::{EndReason, Phase},
};
use leasehold_harness::{Options, User};
use serde_json::json;

use crate::support::{Lab, Tenant, run};

/// What the plugin printed, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Its standard output, if it ended with this code.
    fn with(&self, code: i32) -> Result<&str> {
        ensure!(self.code == code, "exit code {}, not {code}: {}{}", self.code, self.out, self.err);
        Ok(&self.out)
    }
}

/// Runs the plugin as whoever a kubeconfig is for; nobody sits at a terminal.
async fn lease(kubeconfig: &Path, args: &[&str]) -> Result<Said> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lease"));
    command.env("KUBECONFIG", kubeconfig).args(args).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// Gives a user rights in a tenant's namespace: to read what is Leasehold's, to decide, and these verbs on lifecycles.
async fn give(tenant: &Tenant<'_>, user: &User, verbs: &[&str]) -> Result<()> {
    let (namespace, name) = (&tenant.namespace, format!("see-{}", user.name));
    let rules = json!([
        {"apiGroups": ["leasehold.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["leasehold.dev"], "resources": ["credentialleasedecisions"], "verbs": ["create"]},
        {"apiGroups": ["leasehold.dev"], "resources": ["serviceaccountlifecycles"], "verbs": verbs},
    ]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": rules});
    tenant.lab.kubectl(&["apply", "-f", "-"], Some(&role.to_string())).await?;
    let args = ["create", "rolebinding", &name, "-n", namespace, "--role", &name, "--user", &user.name];
    tenant.lab.kubectl(&args, None).await.map(drop)
}

/// Somebody who may approve and revoke.
async fn approver(tenant: &Tenant<'_>) -> Result<User> {
    let user = tenant.lab.plane.user(&format!("{}-lead", tenant.namespace), &["leads"])?;
    give(tenant, &user, &["approve", "revoke"]).await?;
    Ok(user)
}

#[test]
fn a_lease_is_listed_shown_and_verified_against_its_audit_stream() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, admin) = (lab.tenant("see").await?, lab.plane.admin_kubeconfig());
        let namespace = tenant.namespace.as_str();
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("one", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease("denied", "nightly", |spec| spec["ttl"] = json!("2h")).await?;
        tenant.lease_in("one", Phase::Active).await?;
        tenant.lease_in("denied", Phase::Denied).await?;

        let list = lease(admin, &["list", "-n", namespace]).await?;
        let list = list.with(0)?;
        ensure!(list.contains("Active") && list.contains("in 9m") && !list.contains("denied"), "{list}");
        let all = lease(admin, &["list", "-A", "--ended", "--reaching", namespace, "-o", "csv"]).await?;
        ensure!(all.with(0)?.contains(&format!("{namespace},one,nightly,{}", tenant.requester.name)), "{all:?}");
        let json = lease(admin, &["list", "-n", namespace, "--lifecycle", "nightly", "-o", "json"]).await?;
        let json: serde_json::Value = serde_json::from_str(json.with(0)?)?;
        ensure!(json["items"][0]["kind"] == "CredentialLease", "{json}");

        let show = lease(admin, &["show", "one", "-n", namespace]).await?;
        for part in ["Issued by", "get,list on configmaps of core", "Account", "Expires"] {
            ensure!(show.with(0)?.contains(part), "{part} is not in {}", show.out);
        }
        for name in ["one", "denied"] {
            let verified = lease(admin, &["show", name, "-n", namespace, "--verify"]).await?;
            ensure!(verified.with(0)?.contains("history: records 1 to"), "{verified:?}");
        }

        let (whole, cut) = (lab.plane.dir().join("see-stream"), lab.plane.dir().join("see-stream-cut"));
        let uid = tenant.leases().get("one").await?.metadata.uid.context("no uid")?;
        let said = lab.said()?;
        std::fs::write(&whole, &said)?;
        let first =
            said.lines().position(|l| l.contains(&uid) && l.contains("\"seq\":1,")).context("no first record")?;
        let rest: Vec<&str> = said.lines().enumerate().filter(|(n, _)| *n != first).map(|(_, l)| l).collect();
        std::fs::write(&cut, rest.join("\n"))?;
        let args = |file: &Path| {
            ["show", "one", "-n", namespace, "--stream"]
                .map(str::to_owned)
                .into_iter()
                .chain([file.display().to_string()])
                .collect::<Vec<_>>()
        };
        let stream = |file| async move {
            let args = args(file);
            lease(admin, &args.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        stream(&whole).await?.with(0)?;
        let gap = stream(&cut).await?;
        ensure!(gap.with(1)?.contains("missing from the stream"), "{gap:?}");
        let missing = lease(admin, &["show", "nothing", "-n", namespace]).await?;
        ensure!(missing.code == 1 && missing.err.contains("there is no lease nothing"), "{missing:?}");
        Ok(())
    });
}

#[test]
fn people_find_look_at_and_decide_what_waits_for_them() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("decide").await?;
        let (namespace, lead) = (tenant.namespace.as_str(), approver(&tenant).await?);
        give(&tenant, &tenant.requester, &["lease"]).await?;
        let ask = |spec: &mut serde_json::Value| spec["terms"]["approval"] = json!({"type": "Required", "count": 1});
        tenant.lifecycle("careful", ask).await?;
        for name in ["yes", "no"] {
            tenant.lease(name, "careful", |spec| spec["reason"] = json!("a \u{1b}[2J trick")).await?;
            tenant.lease_in(name, Phase::AwaitingApproval).await?;
        }
        let mine = ["list", "-n", namespace, "--for-me", "-o", "name"];
        let waiting = lease(&lead.kubeconfig, &mine).await?;
        ensure!(waiting.with(0)?.lines().count() == 2, "{waiting:?}");
        let own = lease(&tenant.requester.kubeconfig, &mine).await?;
        ensure!(own.with(0)?.is_empty(), "nobody decides about his own: {own:?}");

        let unasked = lease(&lead.kubeconfig, &["approve", "yes", "-n", namespace, "--reason", "ok"]).await?;
        ensure!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
        let unreasoned = lease(&lead.kubeconfig, &["approve", "yes", "-n", namespace, "--yes"]).await?;
        ensure!(unreasoned.code == 2 && unreasoned.err.contains("--reason"), "{unreasoned:?}");
        let yes = ["approve", "yes", "-n", namespace, "--yes", "--reason", "ok"];
        let own = lease(&tenant.requester.kubeconfig, &yes).await?;
        ensure!(own.code == 120 && own.err.contains("your own request"), "{own:?}");
        let approved = lease(&lead.kubeconfig, &yes).await?;
        ensure!(approved.with(0)?.contains("get,list on configmaps of core"), "{approved:?}");
        ensure!(
            approved.out.contains("a \\u{1b}[2J trick"),
            "the reason's escape sequence is spelled out: {approved:?}"
        );
        tenant.lease_in("yes", Phase::Active).await?;

        let args = ["deny", "no", "-n", namespace, "--reason", "not now", "--yes", "-o", "name"];
        let denied = lease(&lead.kubeconfig, &args).await?;
        let decision = denied.with(0)?.trim();
        ensure!(decision.starts_with("credentialleasedecision.leasehold.dev/no-"), "only the name: {denied:?}");
        ensure!(denied.err.contains("get,list on configmaps of core"), "the request is shown beside it: {denied:?}");
        let args = [
            "get",
            decision,
            "-n",
            namespace,
            "--show-managed-fields",
            "-o",
            "jsonpath={.metadata.managedFields[*].manager}",
        ];
        let managers = lab.kubectl(&args, None).await?;
        ensure!(managers == "kubectl-lease", "{managers}");
        tenant.lease_in("no", Phase::Denied).await?;
        let late = lease(&lead.kubeconfig, &["approve", "no", "-n", namespace, "--yes", "--reason", "ok"]).await?;
        ensure!(late.code == 1 && late.err.contains("Denied already"), "{late:?}");

        tenant.lease("longer", "careful", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("longer", Phase::AwaitingApproval).await?;
        let args = ["approve", "longer", "-n", namespace, "--yes", "--reason", "ok", "--max-ttl", "5m"];
        let longer = lease(&lead.kubeconfig, &args).await?;
        ensure!(
            longer.with(0)?.contains("! the ttl was 30s and is 10m"),
            "what changed since the last approval: {longer:?}"
        );
        let active = tenant.lease_in("longer", Phase::Active).await?;
        let shown = lease(&lead.kubeconfig, &["show", "longer", "-n", namespace]).await?;
        ensure!(shown.with(0)?.contains("for at most 5m"), "{shown:?} of {:?}", active.status);
        lease(&lead.kubeconfig, &["show", "longer", "-n", namespace, "--verify"]).await?.with(0)?;
        Ok(())
    });
}

#[test]
fn revoking_many_goes_on_after_a_failure_and_says_so() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("revoke").await?;
        let (namespace, lead) = (tenant.namespace.as_str(), approver(&tenant).await?);
        give(&tenant, &tenant.requester, &["lease"]).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        for name in ["one", "two", "three"] {
            tenant.lease(name, "nightly", |spec| spec["ttl"] = json!("10m")).await?;
            tenant.lease_in(name, Phase::Active).await?;
        }
        let args = ["revoke", "one", "nothing", "-n", namespace, "--reason", "leaked", "--yes"];
        let some = lease(&tenant.requester.kubeconfig, &args).await?;
        ensure!(some.code == 1 && some.out.contains(&format!("revoked   {namespace}/one")), "{some:?}");
        ensure!(some.out.contains("nothing: there is no lease nothing"), "{some:?}");
        let one = tenant.lease_in("one", Phase::Revoked).await?;
        let reason = one.status.and_then(|s| s.end_reason);
        ensure!(reason == Some(EndReason::DecisionRevoked), "{reason:?}");

        let args = ["revoke", "--reaching", namespace, "-n", namespace, "--reason", "leaked"];
        let unasked = lease(&lead.kubeconfig, &args).await?;
        ensure!(unasked.code == 2, "{unasked:?}");
        let many = lease(&lead.kubeconfig, &[&args[..], &["--yes", "-o", "json"]].concat()).await?;
        let made: serde_json::Value = serde_json::from_str(many.with(0)?)?;
        ensure!(made["items"].as_array().is_some_and(|items| items.len() == 2), "{many:?}");
        ensure!(made["items"][0]["kind"] == "CredentialLeaseDecision", "{many:?}");
        ensure!(many.err.matches("revoked   ").count() == 2, "{many:?}");
        for name in ["two", "three"] {
            tenant.lease_in(name, Phase::Revoked).await?;
        }
        let stranger = lab.plane.user(&format!("{namespace}-stranger"), &[])?;
        give(&tenant, &stranger, &["approve"]).await?;
        tenant.lease("four", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("four", Phase::Active).await?;
        let args = ["revoke", "-n", namespace, "--lifecycle", "nightly", "--reason", "x", "--yes"];
        let refused = lease(&stranger.kubeconfig, &args).await?;
        ensure!(refused.code == 120 && refused.out.contains("you may not revoke leases of 'nightly'"), "{refused:?}");
        let none =
            lease(&lead.kubeconfig, &["revoke", "-n", namespace, "--requester", "nobody", "--reason", "x", "--yes"])
                .await?;
        ensure!(none.with(0)?.is_empty() && none.err.contains("nothing to revoke"), "{none:?}");
        Ok(())
    });
}

#[test]
fn a_stop_ends_what_it_matches_and_can_be_taken_back() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, admin) = (lab.tenant("stop").await?, lab.plane.admin_kubeconfig());
        let namespace = tenant.namespace.as_str();
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant.lease("one", "nightly", |spec| spec["ttl"] = json!("10m")).await?;
        tenant.lease_in("one", Phase::Active).await?;
        let (labels, name) = (format!("kubernetes.io/metadata.name={namespace}"), format!("stop-{namespace}"));
        let args = ["stop", "--reaching", &labels, "--name", &name, "--reason", "a leak"];
        let unasked = lease(admin, &args).await?;
        ensure!(unasked.code == 2 && !unasked.err.contains("live lease"), "nothing is read for nobody: {unasked:?}");
        let stop = lease(admin, &[&args[..], &["--yes", "-o", "name"]].concat()).await?;
        ensure!(stop.with(0)?.trim() == format!("credentialleasepolicy.leasehold.dev/{name}"), "{stop:?}");
        ensure!(stop.err.contains(&format!("kubectl lease resume {name}")), "{stop:?}");
        let (told, counted) = (stop.err.find("stopped by policy"), stop.err.find("1 live lease will end"));
        ensure!(told.is_some() && told < counted, "it is stopped before anything is counted: {stop:?}");
        let ended = tenant.lease_in("one", Phase::Revoked).await?;
        let reason = ended.status.and_then(|s| s.end_reason);
        ensure!(reason == Some(EndReason::PolicyStopped), "{reason:?}");
        let stops = lease(admin, &["resume"]).await?;
        ensure!(stops.with(0)?.contains(&name) && stops.out.contains("a leak"), "{stops:?}");
        let check = lease(admin, &["check", "nightly", "-n", namespace, "--grant", "read"]).await?;
        ensure!(check.with(120)?.contains(&format!("policy {name} stops")), "{check:?}");
        lease(admin, &["resume", &name]).await?.with(0)?;
        let again = lease(admin, &["resume", &name]).await?;
        ensure!(again.code == 1 && again.err.contains("there is no policy"), "{again:?}");
        let policy = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy", "metadata": {"name": format!("git-{namespace}")},
            "spec": {"match": {"grantNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}});
        lab.kubectl(&["apply", "-f", "-"], Some(&policy.to_string())).await?;
        let kept = lease(admin, &["resume", &format!("git-{namespace}")]).await?;
        ensure!(kept.code == 1 && kept.err.contains("was not made by kubectl lease stop"), "{kept:?}");
        lab.kubectl(&["delete", "credentialleasepolicy", &format!("git-{namespace}")], None).await?;
        Ok(())
    });
}

#[test]
fn a_check_says_what_would_happen_and_makes_nothing() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("check").await?;
        let (namespace, requester) = (tenant.namespace.as_str(), tenant.requester.kubeconfig.as_path());
        give(&tenant, &tenant.requester, &["lease"]).await?;
        tenant.lifecycle("nightly", |_| {}).await?;
        tenant
            .lifecycle("careful", |spec| spec["terms"]["approval"] = json!({"count": 2, "contact": "#board"}))
            .await?;
        for name in ["nightly", "careful"] {
            tenant.lifecycle_says(name, "Leasable", leasehold::api::ConditionStatus::True, "Leasable").await?;
        }
        let check = |args: &[&str]| {
            let args: Vec<String> = ["check", "-n", namespace].iter().chain(args).map(|a| (*a).to_owned()).collect();
            async move { lease(requester, &args.iter().map(String::as_str).collect::<Vec<_>>()).await }
        };
        let granted = check(&["nightly", "--grant", "read", "--ttl", "10m"]).await?;
        ensure!(granted.with(0)?.contains("It would be granted."), "{granted:?}");
        ensure!(granted.out.contains("the API server would take the lease"), "{granted:?}");
        let waits = check(&["careful", "--grant", "read"]).await?;
        ensure!(
            waits.with(0)?.contains("2 people with the verb approve on careful, not you (ask #board)"),
            "{waits:?}"
        );
        let refused = check(&["nightly", "--grant", "reed", "--ttl", "2h", "--audience", "https://x"]).await?;
        for part in
            ["has no grant reed", "longer than the lifecycle's 1h", "audience https://x", "It would be refused."]
        {
            ensure!(refused.with(120)?.contains(part), "{part} is not in {}", refused.out);
        }
        let nothing = check(&["nothing", "--grant", "read"]).await?;
        ensure!(nothing.with(120)?.contains("there is no ServiceAccountLifecycle nothing"), "{nothing:?}");
        let stranger = approver(&tenant).await?;
        let stranger =
            lease(&stranger.kubeconfig, &["check", "nightly", "-n", namespace, "--grant", "read", "-o", "json"])
                .await?;
        let found: serde_json::Value = serde_json::from_str(stranger.with(120)?)?;
        ensure!(found["outcome"] == "Refused" && found.to_string().contains("may not lease nightly"), "{found}");
        let left = tenant.leases().list(&kube::api::ListParams::default()).await?;
        ensure!(left.items.is_empty(), "{:?}", left.items);
        Ok(())
    });
}

#[test]
fn an_account_becomes_a_lifecycle_that_the_api_server_takes() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, admin) = (lab.tenant("import").await?, lab.plane.admin_kubeconfig());
        let namespace = tenant.namespace.as_str();
        let account = format!("--serviceaccount={namespace}:robot");
        lab.kubectl(&["create", "serviceaccount", "robot", "-n", namespace], None).await?;
        lab.kubectl(&["create", "rolebinding", "robot-reads", "-n", namespace, "--role=reader", &account], None)
            .await?;
        lab.kubectl(
            &["create", "clusterrolebinding", &format!("{namespace}-robot"), "--clusterrole=view", &account],
            None,
        )
        .await?;
        let import = lease(admin, &["import", "robot", "-n", namespace, "--lifecycle-name", "robot-leases"]).await?;
        let text = import.with(0)?;
        ensure!(text.contains("NOT TAKEN OVER: ClusterRoleBinding") && text.contains("FILL IN"), "{text}");
        lab.kubectl(&["apply", "--dry-run=server", "-f", "-"], Some(text)).await?;
        let left = tenant.lifecycles().list(&kube::api::ListParams::default()).await?;
        ensure!(left.items.is_empty(), "import made something: {:?}", left.items);
        let _: ServiceAccountLifecycle = serde_saphyr::from_str(text)?;
        lab.kubectl(&["delete", "clusterrolebinding", &format!("{namespace}-robot")], None).await?;
        Ok(())
    });
}

#[test]
fn a_fresh_install_is_healthy_a_missing_binding_is_found_and_a_forged_status_is_not_agreed_to() {
    run(async {
        let lab = Lab::installed(Options { kwok_nodes: 1, ..Options::default() }).await?;
        let admin = lab.plane.admin_kubeconfig();
        let args =
            ["wait", "--for=condition=Available", "--timeout=90s", "-n", "leasehold-system", "deployment/leasehold"];
        lab.kubectl(&args, None).await?;
        let healthy = lease(admin, &["doctor"]).await?;
        ensure!(healthy.with(0)?.lines().all(|line| line.starts_with("OK")), "{}", healthy.out);
        versions(&lab).await?;

        forged(&lab).await?;

        lab.kubectl(&["delete", "validatingadmissionpolicybinding", "leasehold-status"], None).await?;
        let sick = lease(admin, &["doctor"]).await?;
        let line = sick.with(1)?.lines().find(|line| line.starts_with("FAIL")).context("nothing fails")?;
        ensure!(line.contains("leasehold-status has no binding") && line.contains("kubectl apply -k"), "{line}");
        let stranger = lab.plane.user("stranger", &[])?;
        let skipped = lease(&stranger.kubeconfig, &["doctor", "-o", "json"]).await?;
        ensure!(skipped.with(0)?.contains("not looked at: you may not read it"), "{skipped:?}");
        lab.stop().await
    });
}

/// Whoever may see the operator is told its version too; whoever may not is told why it is missing.
async fn versions(lab: &Lab) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let both = lease(lab.plane.admin_kubeconfig(), &["version", "-o", "json"]).await?;
    let both: serde_json::Value = serde_json::from_str(both.with(0)?)?;
    ensure!(both["clientVersion"]["version"] == own, "{both}");
    ensure!(both["operatorVersion"] == json!({"version": own, "image": format!("leasehold:{own}")}), "{both}");
    let newcomer = lab.plane.user("newcomer", &[])?;
    let one = lease(&newcomer.kubeconfig, &["version"]).await?;
    ensure!(one.with(0)?.lines().count() == 1 && one.err.contains("you may not read it"), "{one:?}");
    let quiet = lease(&newcomer.kubeconfig, &["version", "--client"]).await?;
    ensure!(quiet.with(0)? == one.out && quiet.err.is_empty(), "{quiet:?}");
    Ok(())
}

/// Nobody agrees to a status whose digest is not that of what it shows.
async fn forged(lab: &Lab) -> Result<()> {
    let tenant = lab.tenant("forged").await?;
    let (namespace, lead) = (tenant.namespace.as_str(), approver(&tenant).await?);
    tenant.lifecycle("careful", |spec| spec["terms"]["approval"] = json!({"count": 1})).await?;
    tenant.lease("one", "careful", |_| {}).await?;
    let mut request = json!({
        "requester": {"username": tenant.requester.name, "groups": ["ci"]}, "lifecycle": {"name": "careful", "uid": "1"},
        "grants": [], "ttl": "30s", "delivery": {"type": "TokenRequest"},
    });
    let resolved: leasehold::api::status::ResolvedRequest = serde_json::from_value(request.clone())?;
    let digest = leasehold::cli::view::proof::digest(&resolved)?;
    let write = |request: serde_json::Value| {
        let (leases, digest) = (tenant.leases(), digest.clone());
        async move {
            let mut object = serde_json::to_value(leases.get("one").await?)?;
            object["status"] = json!({"phase": "AwaitingApproval", "request": request, "requestDigest": digest});
            let path = format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/credentialleases/one/status");
            let operator = "--as=system:serviceaccount:leasehold-system:leasehold";
            lab.kubectl(&["replace", "--raw", &path, operator, "-f", "-"], Some(&object.to_string())).await
        }
    };
    let approve = ["approve", "one", "-n", namespace, "--yes", "--reason", "ok"];
    request["ttl"] = json!("8h");
    write(request.clone()).await?;
    let refused = lease(&lead.kubeconfig, &approve).await?;
    ensure!(refused.code == 1 && refused.err.contains("status.requestDigest is"), "{refused:?}");
    let verified = lease(&lead.kubeconfig, &["show", "one", "-n", namespace, "--verify"]).await?;
    ensure!(verified.with(1)?.contains("DIFFERS"), "{verified:?}");
    request["ttl"] = json!("30s");
    write(request.clone()).await?;
    lease(&lead.kubeconfig, &approve).await?.with(0)?;
    let decisions = lab.kubectl(&["get", "credentialleasedecisions", "-n", namespace, "-o", "name"], None).await?;
    ensure!(decisions.lines().count() == 1, "only the second one was made: {decisions}");
    let args = ["get", "credentialleasedecisions", "-n", namespace, "-o", "jsonpath={.items[0].spec.requestDigest}"];
    ensure!(lab.kubectl(&args, None).await? == digest, "the decision names what was shown");
    Ok(())
}
