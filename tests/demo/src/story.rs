//! The story: what a platform team, a pipeline and an attacker see.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    holder::Holder,
    stage::{Actor, Stage},
    told::{chapter, note, step},
};

const NAMESPACE: &str = "payments";
const LEDGER: &str = "/api/v1/namespaces/payments/configmaps/ledger";
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells it.
pub async fn tell(stage: &mut Stage) -> Result<()> {
    let (owner, pipeline) = (stage.user("olga")?, stage.user("payments-ci")?);
    set_up(stage, &owner, &pipeline).await?;
    let nightly = ask_and_use(stage, &pipeline).await?;
    deliver(stage, &pipeline).await?;
    refuse(stage, &pipeline).await?;
    time_is_up(stage, "nightly-1", &nightly).await?;
    leaked(stage, &pipeline).await?;
    dead_operator(stage, &pipeline).await
}

async fn set_up(stage: &Stage, owner: &Actor, pipeline: &Actor) -> Result<()> {
    chapter("A platform team says what an identity may hold");
    let consent = async {
        stage.kubectl(&stage.admin(), &["apply", "-f", "-"], Some(&namespace(&owner.name, &pipeline.name))).await?;
        Ok(((), "its owner lets Leasehold bind one role, and lets the pipeline ask".into()))
    };
    step("namespace payments opts in", consent).await?;
    let lifecycle = async {
        stage.kubectl(owner, &["apply", "-f", "-"], Some(&lifecycle().to_string())).await?;
        let args =
            ["wait", "--for=condition=Leasable", "--timeout=30s", "-n", NAMESPACE, "serviceaccountlifecycle/nightly"];
        stage.kubectl(&stage.admin(), &args, None).await?;
        Ok(((), "ServiceAccountLifecycle nightly: reads ConfigMaps in payments, for at most 10 minutes".into()))
    };
    step(&format!("{} applies a lifecycle", owner.name), lifecycle).await
}

async fn ask_and_use(stage: &Stage, pipeline: &Actor) -> Result<Holder> {
    chapter("A pipeline asks, and gets no more than it asked for");
    step(&format!("{} asks for 30 seconds; the lease is active", pipeline.name), async {
        ask(stage, pipeline, "nightly-1", "TokenRequest").await?;
        Ok(((), String::new()))
    })
    .await?;
    let mint = async {
        let token = minted(stage, pipeline, "nightly-1").await?;
        Ok((
            Holder::of(&stage.kubeconfig, stage.context.clone(), &token).await?,
            "nothing is at rest: no Secret holds it".into(),
        ))
    };
    let holder = step("it mints a token for the lease's own account", mint).await?;
    let table = [
        ("what the grant says: read the ledger", "GET", LEDGER, 200),
        ("another verb: delete the ledger", "DELETE", LEDGER, 403),
        ("another namespace: read warehouse", "GET", "/api/v1/namespaces/warehouse/configmaps", 403),
        ("the cluster: list nodes", "GET", "/api/v1/nodes", 403),
    ];
    for (what, method, path, expected) in table {
        let try_it = async {
            let code = holder.asks(method, path).await?;
            ensure!(code == expected, "answered {code} instead of {expected}");
            Ok(((), String::new()))
        };
        step(&format!("{expected}  {what}"), try_it).await?;
    }
    Ok(holder)
}

async fn deliver(stage: &Stage, pipeline: &Actor) -> Result<()> {
    let delivered = async {
        ask(stage, pipeline, "delivered-1", "Secret").await?;
        let args = ["get", "secret", "lease-delivered-1", "-n", NAMESPACE, "-o", "jsonpath={.type} {.metadata.name}"];
        Ok(((), stage.kubectl(&stage.admin(), &args, None).await?))
    };
    step("or it asks for a Secret, where the namespace allows that", delivered).await
}

async fn refuse(stage: &Stage, pipeline: &Actor) -> Result<()> {
    chapter("What is refused");
    let denied = async {
        let mut lease = lease("greedy", &pipeline.name, "TokenRequest");
        lease["spec"]["ttl"] = json!("8h");
        lease["spec"]["grants"] = json!(["read", "admin"]);
        stage.kubectl(pipeline, &["create", "-f", "-"], Some(&lease.to_string())).await?;
        let args = [
            "wait",
            "--for=jsonpath={.status.phase}=Denied",
            "--timeout=30s",
            "-n",
            NAMESPACE,
            "credentiallease/greedy",
        ];
        stage.kubectl(&stage.admin(), &args, None).await?;
        let why = field(stage, "greedy", r#"{.status.conditions[?(@.type=="Allowed")].message}"#).await?;
        Ok(((), why.replace("; ", "\n")))
    };
    step("too long and too much: denied, with every reason at once", denied).await?;
    let forged = async {
        let (ok, _, said) = stage
            .try_kubectl(pipeline, &["create", "-f", "-"], Some(&lease("forged", "olga", "TokenRequest").to_string()))
            .await?;
        ensure!(!ok, "a request in somebody else's name passed");
        Ok(((), said.trim().rsplit("denied request: ").next().unwrap_or_default().to_owned()))
    };
    step("a request in somebody else's name: refused at admission", forged).await
}

async fn time_is_up(stage: &Stage, name: &str, holder: &Holder) -> Result<()> {
    chapter("Time is up");
    let end: jiff::Timestamp = field(stage, name, "{.status.expirationTime}").await?.parse()?;
    let forbidden = async {
        let at = holder.until(LEDGER, 403, PATIENCE).await?;
        Ok((at, format!("{} ms after the end", at.as_millisecond() - end.as_millisecond())))
    };
    step("403  the holder may do nothing more", forbidden).await?;
    let unauthorized = async {
        let at = holder.until(LEDGER, 401, PATIENCE).await?;
        let after = at.as_millisecond() - end.as_millisecond();
        Ok((
            at,
            format!(
                "{}.{:01} s after the end: API servers remember a token for up to 10 s",
                after / 1000,
                after % 1000 / 100
            ),
        ))
    };
    step("401  the token is nobody's any more", unauthorized).await?;
    proven(stage, name).await
}

async fn leaked(stage: &Stage, pipeline: &Actor) -> Result<()> {
    chapter("A credential leaks");
    let leak = async {
        ask(stage, pipeline, "leaked-1", "TokenRequest").await?;
        let token = minted(stage, pipeline, "leaked-1").await?;
        let holder = Holder::of(&stage.kubeconfig, stage.context.clone(), &token).await?;
        ensure!(holder.asks("GET", LEDGER).await? == 200, "the token does not work");
        Ok((holder, String::new()))
    };
    let thief = step("somebody else holds the token, and it works", leak).await?;
    let revoke = async {
        let asked = jiff::Timestamp::now();
        let delete = ["delete", "credentiallease", "leaked-1", "-n", NAMESPACE, "--wait=false"];
        let (at, deleted) = tokio::join!(thief.until(LEDGER, 403, PATIENCE), stage.kubectl(pipeline, &delete, None));
        deleted?;
        let after = at?.as_millisecond() - asked.as_millisecond();
        Ok(((), format!("{after} ms from typing `kubectl delete credentiallease leaked-1` to 403")))
    };
    step("the lease is deleted: revoked", revoke).await
}

async fn dead_operator(stage: &mut Stage, pipeline: &Actor) -> Result<()> {
    chapter("The operator dies");
    let last = async {
        ask(stage, pipeline, "last-1", "TokenRequest").await?;
        let token = minted(stage, pipeline, "last-1").await?;
        Ok((Holder::of(&stage.kubeconfig, stage.context.clone(), &token).await?, String::new()))
    };
    let holder = step("one more lease of 30 seconds", last).await?;
    let end: jiff::Timestamp = field(stage, "last-1", "{.status.expirationTime}").await?.parse()?;
    stage.kill_operator()?;
    note("kill -9 of the operator; nobody of ours is left to end the lease");
    let backstop = async {
        let at = holder.until(LEDGER, 401, PATIENCE).await?;
        let after = at.as_millisecond() - end.as_millisecond();
        Ok((
            (),
            format!(
                "{}.{:01} s after the end, by the cluster's own controllers: a Job without pods owned the account",
                after / 1000,
                after % 1000 / 100
            ),
        ))
    };
    step("401  all the same", backstop).await?;
    stage.start_operator().await?;
    proven(stage, "last-1").await
}

/// Waits for the proof and quotes it.
async fn proven(stage: &Stage, name: &str) -> Result<()> {
    let proof = async {
        let args =
            ["wait", "--for=condition=Revoked", "--timeout=60s", "-n", NAMESPACE, &format!("credentiallease/{name}")];
        stage.kubectl(&stage.admin(), &args, None).await?;
        let evidence = field(stage, name, "{.status.credential.evidence}").await?;
        let message = field(stage, name, r#"{.status.conditions[?(@.type=="Revoked")].message}"#).await?;
        Ok(((), format!("{evidence}: {message}")))
    };
    step("Revoked=True, with the proof in the status", proof).await
}

async fn ask(stage: &Stage, pipeline: &Actor, name: &str, delivery: &str) -> Result<()> {
    stage.kubectl(pipeline, &["create", "-f", "-"], Some(&lease(name, &pipeline.name, delivery).to_string())).await?;
    let args = ["wait", "--for=condition=Active", "--timeout=30s", "-n", NAMESPACE, &format!("credentiallease/{name}")];
    stage.kubectl(pipeline, &args, None).await.map(drop)
}

async fn minted(stage: &Stage, pipeline: &Actor, name: &str) -> Result<String> {
    let account = field(stage, name, "{.status.credential.serviceAccount.name}").await?;
    let args = ["create", "token", &account, "-n", "leasehold-leases", "--duration=600s"];
    Ok(stage.kubectl(pipeline, &args, None).await?.trim().to_owned())
}

async fn field(stage: &Stage, name: &str, path: &str) -> Result<String> {
    let args = ["get", "credentiallease", name, "-n", NAMESPACE, "-o", &format!("jsonpath={path}")];
    stage.kubectl(&stage.admin(), &args, None).await.with_context(|| format!("read {path} of {name}"))
}

fn lease(name: &str, requester: &str, delivery: &str) -> Value {
    json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "lifecycleRef": {"name": "nightly"}, "grants": ["read"], "ttl": "30s", "reason": "close the books",
            "delivery": {"type": delivery}, "requestedBy": {"username": requester},
        },
    })
}

fn lifecycle() -> Value {
    json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": "nightly", "namespace": NAMESPACE},
        "spec": {
            "owner": {"team": "payments", "contact": "payments-oncall@example.com"},
            "purpose": "Closes the books each night", "class": "Pipeline",
            "grants": [{"name": "read", "roleRef": {"kind": "Role", "name": "read-ledger"}}],
            "terms": {"ttl": {"max": "10m"}, "delivery": ["TokenRequest", "Secret"], "approval": {"type": "NotRequired"}},
        },
    })
}

fn namespace(owner: &str, pipeline: &str) -> String {
    let rbac = "rbac.authorization.k8s.io";
    let object = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}});
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            object.extend(rest);
        }
        object
    };
    let role = |name: &str, rules: Value| object("Role", name, json!({"rules": rules}));
    let bind = |name: &str, kind: &str, role: &str, subject: Value| {
        object(
            "RoleBinding",
            name,
            json!({"roleRef": {"apiGroup": rbac, "kind": kind, "name": role}, "subjects": [subject]}),
        )
    };
    let user = |name: &str| json!({"kind": "User", "apiGroup": rbac, "name": name});
    let operator = json!({"kind": "ServiceAccount", "name": "leasehold", "namespace": "leasehold-system"});
    let bind_rule =
        json!({"apiGroups": [rbac], "resources": ["roles"], "resourceNames": ["read-ledger"], "verbs": ["bind"]});
    let lifecycles = |verbs: &[&str]| json!({"apiGroups": ["leasehold.dev"], "resources": ["serviceaccountlifecycles"], "verbs": verbs});
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "warehouse"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ledger", "namespace": NAMESPACE}, "data": {"balance": "7"}}),
        role("read-ledger", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}])),
        role("leasehold-bind", json!([bind_rule])),
        bind("leasehold-granter", "ClusterRole", "leasehold-granter", operator.clone()),
        bind("leasehold-bind", "Role", "leasehold-bind", operator.clone()),
        bind("leasehold-delivery", "ClusterRole", "leasehold-delivery", operator),
        role("author", json!([lifecycles(&["get", "create", "patch"]), bind_rule])),
        bind("author", "Role", "author", user(owner)),
        role("requester", json!([lifecycles(&["lease"]), {"apiGroups": ["leasehold.dev"], "resources": ["credentialleases"], "verbs": ["create", "get", "list", "watch", "delete"]}])),
        bind("requester", "Role", "requester", user(pipeline)),
    ]
    .map(|object| object.to_string())
    .join("\n---\n")
}
