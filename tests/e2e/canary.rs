//! No token is ever said aloud: not in a log, a status, an event, a metric or a record, by nobody who answers for it (I7).
//!
//! Every token that is issued is collected as it appears; then all that was written anywhere is searched for any sixteen
//! characters of its signature, as they are and as base64 would hold them. A planted signature shows that the search finds.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::DeleteParams,
    runtime::{WatchStreamExt, watcher},
};
use leasehold::api::{CredentialLease, reasons::Phase};
use leasehold_harness::{Look, Options, eventually_seeing};
use serde_json::{Value, json};

use crate::support::{Lab, Operator, Tenant, run};

/// How many characters of a signature are enough to be found.
const WINDOW: usize = 16;
/// Fewer, and the search has shown nothing.
const FEWEST_MINTED: usize = 6;
const FEWEST_DELIVERED: usize = 5;
/// Looks like the signature of a token, and is planted where a leak would be.
const PLANTED: &str = "Qm9yaW5nLWNhbmFyeS1pbi1hLWNvYWwtbWluZS13aXRoLW5vLWdhcw7f3Kz9Xw_LeaseholdCanary";

/// What must be found nowhere: every window of the signatures, and of what base64 makes of them.
#[derive(Default)]
struct Needles(HashSet<[u8; WINDOW]>);

impl Needles {
    fn of<'a>(signatures: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for signature in signatures {
            all.add(signature.as_bytes());
            // Where base64 holds it, it begins at one of three places in a group of three.
            for skipped in 0..3 {
                let rest = &signature.as_bytes()[skipped..];
                all.add(BASE64_STANDARD.encode(&rest[..rest.len() / 3 * 3]).as_bytes());
            }
        }
        all
    }

    fn add(&mut self, text: &[u8]) {
        self.0.extend(text.windows(WINDOW).filter_map(|window| <[u8; WINDOW]>::try_from(window).ok()));
    }

    /// What surrounds the first find, without the find.
    fn find(&self, text: &str) -> Option<String> {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte);
        let bytes = text.as_bytes();
        let mut begin = 0;
        while begin < bytes.len() {
            let length = bytes[begin..].iter().take_while(|byte| is_token(byte)).count();
            let run = &bytes[begin..begin + length];
            let hit = run.windows(WINDOW).position(|w| <[u8; WINDOW]>::try_from(w).is_ok_and(|w| self.0.contains(&w)));
            if let Some(at) = hit {
                let before = &bytes[(begin + at).saturating_sub(120)..begin + at];
                return Some(String::from_utf8_lossy(before).into_owned());
            }
            begin += length + 1;
        }
        None
    }
}

/// The third part of a token.
fn signature(token: &str) -> Result<&str> {
    let signature = token.split('.').nth(2).context("this is no token")?;
    ensure!(signature.len() >= 64, "a signature of {} characters", signature.len());
    Ok(signature)
}

/// Tokens as they appear, by where they came from.
#[derive(Default)]
struct Collected {
    minted: BTreeSet<String>,
    delivered: BTreeSet<String>,
}

type Collection = Arc<Mutex<Collected>>;

fn locked(collection: &Collection) -> std::sync::MutexGuard<'_, Collected> {
    collection.lock().expect("no test panics while it holds this")
}

/// Watches Secrets from before the first lease on: none is delivered and gone unseen.
async fn watch_secrets(admin: Client, collection: Collection) {
    let config = watcher::Config::default().fields("type=leasehold.dev/credential");
    let secrets = watcher(Api::<Secret>::all(admin), config).default_backoff().applied_objects();
    let mut secrets = std::pin::pin!(secrets);
    while let Some(seen) = secrets.next().await {
        // An error ends nothing: the watch is opened again.
        let Ok(secret) = seen else { continue };
        let token = secret.data.and_then(|mut data| data.remove("token")).and_then(|t| String::from_utf8(t.0).ok());
        locked(&collection).delivered.extend(token);
    }
}

/// Mints twice for an active lease.
async fn mint(tenant: &Tenant<'_>, lease: &str, collection: &Collection) -> Result<()> {
    let lease: CredentialLease = tenant.lease_in(lease, Phase::Active).await?;
    let account = lease.status.and_then(|s| s.credential).and_then(|c| c.service_account).context("no account")?;
    for _ in 0..2 {
        let token = tenant.mint(&account.name).await?;
        locked(collection).minted.insert(token);
    }
    Ok(())
}

/// Where something was written, and what.
type Outputs = BTreeMap<String, String>;

/// All that can be read now, by anybody who may read everything but Secrets.
async fn outputs(lab: &Lab, operator: &Operator, moment: &str) -> Result<Outputs> {
    let mut all = Outputs::new();
    for path in ["metrics", "healthz", "readyz"] {
        all.insert(format!("/{path} {moment}"), operator.get(path).await?);
    }
    let kinds = "credentialleases,serviceaccountlifecycles,serviceaccounts,jobs,roles,rolebindings,configmaps,events,events.events.k8s.io,namespaces,leases.coordination.k8s.io";
    for kind in kinds.split(',') {
        let args = ["get", kind, "-A", "-o", "json", "--show-managed-fields"];
        all.insert(format!("{kind} {moment}"), lab.kubectl(&args, None).await?);
    }
    let mut report = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lease"));
    report.env("KUBECONFIG", lab.plane.admin_kubeconfig()).args(["report", "-A", "-o", "html"]);
    let report = report.output().await?;
    ensure!(report.status.success(), "{report:?}");
    all.insert(format!("report {moment}"), String::from_utf8(report.stdout)?);
    // A Secret may hold its token in its data, and nowhere else.
    let secrets = lab.kubectl(&["get", "secrets", "-A", "-o", "json", "--show-managed-fields"], None).await?;
    let mut secrets: Value = serde_json::from_str(&secrets)?;
    for secret in secrets["items"].as_array_mut().into_iter().flatten() {
        secret.as_object_mut().and_then(|secret| secret.remove("data"));
    }
    all.insert(format!("secrets without data {moment}"), secrets.to_string());
    Ok(all)
}

/// What the processes have written: the operators' logs with the audit stream, the control plane's logs and audit log.
async fn files(lab: &Lab) -> Result<Outputs> {
    lab.plane.audit().settled().await;
    let mut all = Outputs::new();
    for entry in std::fs::read_dir(lab.plane.dir().join("logs"))? {
        let path = entry?.path();
        all.insert(path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path)?).into_owned());
    }
    let audit = lab.plane.audit();
    all.insert(
        "the API server's audit log".into(),
        String::from_utf8_lossy(&std::fs::read(audit.path())?).into_owned(),
    );
    Ok(all)
}

fn found(needles: &Needles, outputs: &Outputs) -> Vec<String> {
    let each = outputs.iter().filter_map(|(place, text)| Some((place, needles.find(text)?)));
    each.map(|(place, before)| format!("{place}: …{before}[here]")).collect()
}

/// The operators' own tokens: they are nobody else's business either.
fn own_tokens(lab: &Lab) -> Result<Vec<String>> {
    let mut tokens = vec![];
    for label in ["operator-1", "operator-2"] {
        let path = lab.plane.dir().join("kubeconfigs").join(format!("token-{label}.kubeconfig"));
        let text = std::fs::read_to_string(path)?;
        let is_token = |part: &&str| part.starts_with("ey") && part.matches('.').count() == 2;
        let token = text.split(|c: char| c.is_whitespace() || c == '"').find(is_token);
        tokens.push(token.context("a kubeconfig without token")?.to_owned());
    }
    Ok(tokens)
}

#[test]
fn a_search_finds_any_part_of_a_signature_however_it_is_wrapped() {
    let needles = Needles::of([PLANTED]);
    let inner = &PLANTED[7..7 + WINDOW];
    assert!(needles.find(&format!("{{\"token\":\"{inner}\"}}")).is_some());
    for before in ["", "a", "ab", "users: [{token: "] {
        assert!(needles.find(&BASE64_STANDARD.encode(format!("{before}{PLANTED}"))).is_some(), "{before}");
    }
    assert!(needles.find(&PLANTED[7..7 + WINDOW - 1]).is_none());
    assert!(needles.find(&PLANTED.to_lowercase()).is_none());
}

#[test]
fn no_token_is_written_anywhere_but_into_its_secret() {
    run(async {
        let lab = Lab::installed(Options::default()).await?;
        let (tenant, closed) = (lab.tenant("canary").await?, lab.tenant("closed").await?);
        let collection = Collection::default();
        let watch = tokio::spawn(watch_secrets(lab.plane.admin(), collection.clone()));
        let trace = ["--log", "trace"];
        let operator = Operator::start(&lab.plane, "operator-1", &trace).await?;
        let secret = |spec: &mut Value| spec["delivery"] = json!({"type": "Secret"});
        let long = |spec: &mut Value| spec["ttl"] = json!("60s");
        for tenant in [&tenant, &closed] {
            tenant.lifecycle("nightly", |_| {}).await?;
        }

        // Ends by deadline, by deletion and by tampering; some over the restart.
        tenant.lease("minted", "nightly", |spec| spec["reason"] = json!(format!("planted {PLANTED}"))).await?;
        tenant.lease("minted-over", "nightly", long).await?;
        tenant.lease("minted-deleted", "nightly", long).await?;
        for name in ["delivered", "delivered-deleted", "delivered-tampered"] {
            tenant.lease(name, "nightly", secret).await?;
        }
        tenant
            .lease("delivered-over", "nightly", |spec| {
                long(spec);
                secret(spec);
            })
            .await?;
        // Failures: the name is taken; the right to deliver is missing.
        lab.kubectl(
            &["create", "secret", "generic", "lease-taken", "-n", &tenant.namespace, "--from-literal=a=b"],
            None,
        )
        .await?;
        tenant.lease("taken", "nightly", secret).await?;
        lab.kubectl(&["delete", "rolebinding", "leasehold-delivery", "-n", &closed.namespace], None).await?;
        closed.lease("undelivered", "nightly", secret).await?;

        for name in ["minted", "minted-over", "minted-deleted"] {
            mint(&tenant, name, &collection).await?;
        }
        for name in ["delivered", "delivered-deleted", "delivered-tampered", "delivered-over"] {
            tenant.lease_in(name, Phase::Active).await?;
        }
        tenant.lease_in("taken", Phase::Failed).await?;
        closed.lease_in("undelivered", Phase::Failed).await?;
        let mut written = outputs(&lab, &operator, "while leases are active").await?;

        tenant.delete_lease("minted-deleted").await?;
        tenant.delete_lease("delivered-deleted").await?;
        let secrets: Api<Secret> = Api::namespaced(tenant.admin.clone(), &tenant.namespace);
        secrets.delete("lease-delivered-tampered", &DeleteParams::default()).await?;
        tenant
            .lease_is("delivered-tampered", "ended", |l| l.status.as_ref().is_some_and(|s| s.end_time.is_some()))
            .await?;
        written.extend(outputs(&lab, &operator, "after the deletions").await?);

        operator.kill()?;
        let operator = Operator::start(&lab.plane, "operator-2", &trace).await?;
        tenant.lease("minted-after", "nightly", |_| {}).await?;
        tenant.lease("delivered-after", "nightly", secret).await?;
        mint(&tenant, "minted-after", &collection).await?;
        tenant.lease_in("delivered-after", Phase::Active).await?;
        written.extend(outputs(&lab, &operator, "after the restart").await?);
        eventually_seeing("every lease to be over", Duration::from_secs(120), || async {
            let leases = tenant.leases().list(&kube::api::ListParams::default()).await?;
            let over = |l: &&CredentialLease| l.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_final);
            let left = leases.items.iter().filter(|l| !over(l)).count();
            Ok::<_, anyhow::Error>(if left == 0 { Look::Done(()) } else { Look::NotYet(format!("{left} are not")) })
        })
        .await?;
        // Into the API server's audit log, which has no bodies but every query.
        let selector = format!("planted={}", &PLANTED[20..20 + 2 * WINDOW]);
        lab.kubectl(&["get", "configmaps", "-n", &tenant.namespace, "-l", &selector], None).await?;
        written.extend(outputs(&lab, &operator, "in the end").await?);
        operator.terminate().await?;
        written.extend(files(&lab).await?);
        watch.abort();

        let Collected { minted, delivered } = std::mem::take(&mut *locked(&collection));
        println!(
            "canary: {} minted, {} delivered, {} outputs of {} bytes",
            minted.len(),
            delivered.len(),
            written.len(),
            written.values().map(String::len).sum::<usize>()
        );
        ensure!(minted.len() >= FEWEST_MINTED && delivered.len() >= FEWEST_DELIVERED, "too few tokens were collected");
        ensure!(minted.is_disjoint(&delivered), "a delivered token was minted by its requester");

        let planted = found(&Needles::of([PLANTED]), &written);
        for place in ["operator-1", "audit log", "credentialleases while", "credentialleases in the end"] {
            ensure!(
                planted.iter().any(|hit| hit.contains(place)),
                "the planted one is not found in {place}: {planted:#?}"
            );
        }
        let says =
            |place: &str, word: &str| written.iter().any(|(name, text)| name.contains(place) && text.contains(word));
        ensure!(
            says("operator-1", "\"TRACE\"") && says("operator-2", "\"TRACE\""),
            "the operators have not logged at trace"
        );
        ensure!(says("events", "\"CredentialLease\""), "there is no event of a lease");
        ensure!(says("metrics", "leasehold_"), "there are no metrics");
        ensure!(says("secrets without data", "leasehold.dev/credential"), "no delivered Secret was looked at");
        let own = own_tokens(&lab)?;
        let tokens = minted.iter().chain(&delivered).chain(&own);
        let signatures = tokens.map(|token| signature(token)).collect::<Result<Vec<_>>>()?;
        let leaks = found(&Needles::of(signatures), &written);
        ensure!(leaks.is_empty(), "tokens are written in:\n{}", leaks.join("\n"));
        lab.stop().await
    });
}
