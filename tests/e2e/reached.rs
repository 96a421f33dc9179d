//! Connected systems: their status, by what a real operator may do and finds.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use leasehold::api::{ConditionStatus, ConnectedSystem, condition};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Lab, run};

/// A system on this machine, which answers every request with one status.
struct System {
    url: String,
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl System {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let system = Self { url, status: Arc::new(AtomicU16::new(200)), seen: Arc::default() };
        let (status, seen) = (system.status.clone(), system.seen.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (status, seen) = (status.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 16384];
                    let read = stream.read(&mut request).await.unwrap_or_default();
                    if read > 0 {
                        let text = String::from_utf8_lossy(&request[..read]).into_owned();
                        seen.lock().expect("no test panics while it holds this").push(text);
                        let answer =
                            format!("HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n", status.load(Ordering::SeqCst));
                        _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        Ok(system)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no test panics while it holds this").clone()
    }
}

/// What has been written into the cluster, as its administrator.
struct Written {
    api: Api<ConnectedSystem>,
    name: String,
}

impl Written {
    /// An HTTP system of this name with one operation, `ping`, which is its probe.
    async fn create(lab: &Lab, name: &str, url: &str, auth: Option<Value>) -> Result<Self> {
        let mut http = json!({"url": url});
        if let Some(auth) = auth {
            http["auth"] = auth;
        }
        let object = json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "ConnectedSystem", "metadata": {"name": name},
            "spec": {
                "type": "HTTP", "http": http, "namespaces": {"from": "All"}, "probe": {"operation": "ping"},
                "operations": [{"name": "ping", "access": "ReadOnly", "method": "GET", "path": "'/ping'"}],
            },
        });
        let api: Api<ConnectedSystem> = Api::all(lab.plane.admin());
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await.context("create a system")?;
        Ok(Self { api, name: name.to_owned() })
    }

    /// Waits until its Ready is so, of the newest generation; with which message, and whether it is Stalled.
    async fn says(&self, status: ConditionStatus, reason: &str) -> Result<(String, bool)> {
        let what = format!("system {} to say {status:?} {reason}", self.name);
        eventually_seeing(&what, Duration::from_secs(60), || async {
            let object = self.api.get(&self.name).await?;
            let seen = serde_json::to_string(&object.status)?;
            let conditions = object.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
            let ready = condition::find(&conditions, "Ready").filter(|ready| {
                ready.status == status
                    && ready.reason == reason
                    && ready.observed_generation == object.metadata.generation
            });
            let stalled = condition::find(&conditions, "Stalled").is_some();
            Ok::<_, anyhow::Error>(match ready {
                Some(ready) => Look::Done((ready.message.clone(), stalled)),
                None => Look::NotYet(seen),
            })
        })
        .await
    }

    async fn change(&self, patch: Value) -> Result<()> {
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn delete(self) -> Result<()> {
        self.api.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}

#[test]
fn a_system_is_ready_while_it_answers_its_probe() {
    run(async {
        let lab = Lab::shared().await?;
        let system = System::start().await?;
        system.status.store(503, Ordering::SeqCst);
        let written = Written::create(lab, "answers", &system.url, None).await?;
        let (message, stalled) = written.says(ConditionStatus::False, "Unreachable").await?;
        ensure!(message == "it is asked again: it answered 503" && !stalled, "{message} {stalled}");
        system.status.store(200, Ordering::SeqCst);
        written.says(ConditionStatus::True, "Reachable").await?;
        let seen = system.seen();
        ensure!(seen.iter().all(|request| request.starts_with("GET /ping HTTP/1.1\r\n")), "{seen:?}");
        written.delete().await
    });
}

#[test]
fn what_only_its_author_can_mend_is_stalled_until_it_is_mended() {
    run(async {
        let lab = Lab::shared().await?;
        let system = System::start().await?;
        let written = Written::create(lab, "mended", &system.url, None).await?;
        written.says(ConditionStatus::True, "Reachable").await?;
        let path = |path: &str| json!({"spec": {"operations": [{"name": "ping", "access": "ReadOnly", "method": "GET", "path": path}]}});
        written.change(path("'/ping/' + lease.name")).await?;
        let (message, stalled) = written.says(ConditionStatus::False, "ExpressionInvalid").await?;
        ensure!(message.starts_with("operation ping: path: ") && message.contains("urlquery(") && stalled, "{message}");
        written.change(json!({"spec": {"http": {"url": "https://169.254.169.254"}}})).await?;
        written.change(path("'/ping'")).await?;
        let (message, stalled) = written.says(ConditionStatus::False, "Forbidden").await?;
        ensure!(message.contains("never sends anything to") && stalled, "{message}");
        written.change(json!({"spec": {"http": {"url": system.url}}})).await?;
        let (_, stalled) = written.says(ConditionStatus::True, "Reachable").await?;
        ensure!(!stalled, "it is still stalled");
        written.delete().await
    });
}

#[test]
fn a_secret_is_read_once_its_owner_applies_what_the_status_says_and_no_other_right_is_needed() {
    run(async {
        let lab = Lab::shared().await?;
        let system = System::start().await?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ci-key", "namespace": "leasehold-system"},
            "stringData": {"key": "the-key-of-ci"}});
        lab.kubectl(&["apply", "-f", "-"], Some(&secret.to_string())).await?;
        let by_header =
            json!({"type": "Header", "header": {"name": "X-Key", "secretRef": {"name": "ci-key", "key": "key"}}});
        let written = Written::create(lab, "secret", &system.url, Some(by_header)).await?;
        let (message, _) = written.says(ConditionStatus::False, "SecretUnreadable").await?;
        ensure!(system.seen().is_empty(), "something was sent without a proof");
        let (_, manifest) = message.split_once("it takes\n").context(message.clone())?;
        lab.kubectl(&["apply", "-f", "-"], Some(manifest)).await?;
        written.says(ConditionStatus::True, "Reachable").await?;
        ensure!(system.seen()[0].contains("x-key: the-key-of-ci\r\n"), "{:?}", system.seen());
        // The operator counts a right to read Secrets as excess, but not this one.
        ensure!(
            lab.metrics().await?.contains("leasehold_policies_enforced 1"),
            "the operator found itself too powerful"
        );
        ensure!(!lab.said()?.contains("the-key-of-ci"), "the key is in the log");
        written.delete().await
    });
}

#[test]
fn the_operators_own_token_is_for_the_named_audience_and_never_for_the_api_server() {
    run(async {
        let lab = Lab::shared().await?;
        let system = System::start().await?;
        let by_token =
            |audience: &str| json!({"type": "ServiceAccountToken", "serviceAccountToken": {"audience": audience}});
        let written = Written::create(lab, "token", &system.url, Some(by_token("ci.example.com"))).await?;
        written.says(ConditionStatus::True, "Reachable").await?;
        let seen = system.seen().remove(0);
        let token = seen.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).context("no token")?;
        let claims = token.split('.').nth(1).context("no JWT")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        ensure!(claims["aud"] == json!(["ci.example.com"]), "{claims}");
        ensure!(claims["sub"] == "system:serviceaccount:leasehold-system:leasehold", "{claims}");
        let life = claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat);
        ensure!(life == Some(600), "{claims}");
        ensure!(!lab.said()?.contains(token), "the token is in the log");

        let sent = system.seen().len();
        let auth = by_token("https://kubernetes.default.svc");
        written.change(json!({"spec": {"http": {"auth": auth}}})).await?;
        let (message, stalled) = written.says(ConditionStatus::False, "Forbidden").await?;
        ensure!(message.contains("the API server's own") && stalled, "{message}");
        ensure!(system.seen().len() == sent, "something was sent");
        written.delete().await
    });
}
