//! The steps, in order. Each says what it sees, measures it, and fails the demo if it is not as told.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use leasehold::api::{
    CredentialLease, Time,
    condition::{self, ConditionStatus},
    reasons::{Evidence, Phase},
    status::{CredentialLeaseStatus, CredentialStatus},
};
use leasehold_harness::{Look, eventually_seeing};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    cluster::{self, Cluster},
    expect,
    holder::{Fate, Holder},
    operator::{self, Operator},
    people::Person,
    place::{self, Left},
    timeline::{Timeline, millis, seconds},
};

/// The namespace in which leases are given.
pub const NAMESPACE: &str = "payments-demo";
/// How long a holder's token may go on after an end: an API server remembers an accepted one for 10 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tells the story; leaves everything running if it went as told.
pub async fn tell(context: Option<&str>, yes: bool) -> Result<()> {
    let dir = place::dir()?;
    if Left::load(&dir)?.is_some_and(|left| left.is_running(&dir)) {
        bail!(
            "a demo runs already. Look around in it:\n  export KUBECONFIG={}\nor end it: make demo-down",
            place::admin(&dir).display()
        );
    }
    let mut timeline = Timeline::start();
    println!("{}", timeline.bold("Leasehold: credentials for minutes, and the proof that they ended"));
    let mut left = Left { context: context.map(str::to_owned), ..Left::default() };
    let cluster = match context {
        None => embedded(&mut timeline, &dir).await?,
        Some(context) => borrowed(&mut timeline, context, yes, &dir, &mut left).await?,
    };
    let told = Story::begin(cluster, timeline).await;
    let story = told.with_context(|| kept(&dir))?;
    story.end(left)
}

fn kept(dir: &Path) -> String {
    format!("the demo stopped (logs: {}; clear away: make demo-down)", dir.display())
}

async fn embedded(timeline: &mut Timeline, dir: &Path) -> Result<Cluster> {
    timeline.step("A Kubernetes control plane starts: etcd, API server, controllers");
    let begun = Instant::now();
    let cluster = timeline.waiting("waiting for the control plane", Cluster::embedded(dir)).await?;
    timeline.fact(&format!("ready after {}; nothing of it leaves this machine", seconds(begun.elapsed())));
    timeline.step("Leasehold is installed: kubectl apply -k config/default");
    let begun = Instant::now();
    let said = cluster.admin(&["apply", "-k", &cluster::config("default")], None).await?;
    timeline.fact(&format!("{} objects in {}; {}", said.lines().count(), seconds(begun.elapsed()), WHAT_IS_INSTALLED));
    Ok(cluster)
}

const WHAT_IS_INSTALLED: &str = "resources, namespaces, admission policies, RBAC without any right to read Secrets";

/// A cluster of the reader's: nothing is done to it before that was said and agreed to.
async fn borrowed(timeline: &mut Timeline, context: &str, yes: bool, dir: &Path, left: &mut Left) -> Result<Cluster> {
    timeline.step(&format!("The cluster of context {context}"));
    let cluster = Cluster::of_context(context, dir).await?;
    let there = [
        "get",
        "deployment",
        "leasehold",
        "-n",
        "leasehold-system",
        "--ignore-not-found",
        "-o",
        "jsonpath={.status.readyReplicas}",
    ];
    let running = cluster.admin(&there, None).await?;
    ensure!(
        matches!(running.trim(), "" | "0"),
        "Leasehold runs in this cluster already, and the demo kills the operator: use another cluster"
    );
    let crd = ["get", "crd", "credentialleases.leasehold.dev", "--ignore-not-found", "-o", "name"];
    left.installed = cluster.admin(&crd, None).await?.trim().is_empty();
    timeline.fact(&format!(
        "The demo applies config/{{{}}} there (custom resources, two namespaces, cluster-wide admission policies, RBAC), makes namespace \
         {NAMESPACE}, and runs the operator on this machine with a token of its ServiceAccount. `make demo-down` takes {} away again.",
        cluster::PARTS.join(","),
        if left.installed { "all of it" } else { "the namespace" },
    ));
    agreed(yes).await?;
    left.save(dir)?;
    timeline.step("Leasehold is installed: kubectl apply -k, part by part");
    let begun = Instant::now();
    for part in cluster::PARTS {
        cluster.admin(&["apply", "-k", &cluster::config(part)], None).await?;
    }
    timeline.fact(&format!("took {}; {WHAT_IS_INSTALLED}", seconds(begun.elapsed())));
    Ok(cluster)
}

async fn agreed(yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    ensure!(std::io::stdin().is_terminal(), "nothing was done: say YES=1 to agree");
    print!("            Go on? [y/N] ");
    std::io::stdout().flush()?;
    let answer = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose()).await??;
    ensure!(matches!(answer.as_deref().map(str::trim), Some("y" | "Y" | "yes")), "nothing was done");
    Ok(())
}

struct Story {
    cluster: Cluster,
    timeline: Timeline,
    operator: Operator,
    pipeline: Person,
    /// Leases as the administrator sees them.
    leases: Api<CredentialLease>,
}

/// A lease whose end is being waited for.
struct Watched {
    name: &'static str,
    end: Time,
    fate: JoinHandle<Result<Fate>>,
}

impl Story {
    async fn begin(cluster: Cluster, mut timeline: Timeline) -> Result<Self> {
        timeline.step("The operator starts, as its own ServiceAccount");
        let begun = Instant::now();
        let starting = Operator::start(&cluster);
        let operator = timeline.waiting("it probes that its policies bite before it issues anything", starting).await?;
        timeline.fact(&format!(
            "would issue after {}: its policies are there, bound, unchanged, and bite",
            seconds(begun.elapsed())
        ));
        let pipeline = opt_in(&cluster, &mut timeline).await?;
        let leases = Api::namespaced(cluster.admin_client().await?, NAMESPACE);
        let story = Self { cluster, timeline, operator, pipeline, leases };
        story.go_on().await
    }

    async fn go_on(mut self) -> Result<Self> {
        let rollout = self.asked_for_and_used().await?;
        self.delivered().await?;
        self.denied().await?;
        self.forged().await?;
        self.leaked().await?;
        self.time_is_up(rollout).await?;
        let story = self.operator_dies().await?;
        Ok(story)
    }

    async fn asked_for_and_used(&mut self) -> Result<Watched> {
        self.timeline.step("The pipeline asks for 30 seconds: lease rollout, delivery TokenRequest");
        let took = self.lease("rollout", json!({"ttl": "30s"})).await?;
        let lease = self.lease_in("rollout", Phase::Active).await?;
        let usable = took.elapsed();
        let account = credential(&lease)?.service_account.as_ref().context("no account")?.name.clone();
        self.timeline.fact(&format!("Active {} after asking; a ServiceAccount of this lease alone:", seconds(usable)));
        self.timeline.quote(&account);
        self.timeline.figure("from asking to a usable credential", seconds(usable));
        let holder = self.minted(&account).await?;
        self.timeline
            .fact("the pipeline, and nobody else, mints a token for it: kubectl create token, at most 10 minutes long");
        let (reads, [verb, namespace, cluster]) = (holder.reads().await?, holder.oversteps().await?);
        self.timeline.fact(&format!(
            "with the token: read the ledger {reads}, delete it {verb}, read another namespace {namespace}, list nodes {cluster}"
        ));
        expect(reads == 200 && [verb, namespace, cluster] == [403; 3], || {
            "200 for the grant, 403 for the rest".into()
        })?;
        self.watched("rollout", &lease, holder)
    }

    async fn delivered(&mut self) -> Result<()> {
        self.timeline.step("A tool that can only read Secrets: lease report, for an hour, delivery Secret");
        let took = self.lease("report", json!({"ttl": "1h", "delivery": {"type": "Secret"}})).await?;
        self.lease_in("report", Phase::Active).await?;
        self.timeline.fact(&format!(
            "Secret lease-report was there {} after asking, with token, CA and kubeconfig",
            seconds(took.elapsed())
        ));
        let reads = self.secret_holder().await?.reads().await?;
        self.timeline.fact(&format!("with its token: read the ledger {reads}"));
        expect(reads == 200, || "the delivered token reads".into())
    }

    async fn denied(&mut self) -> Result<()> {
        self.timeline.step("Too much is asked for: nine hours, and a grant that the lifecycle has not");
        self.lease("greedy", json!({"ttl": "9h", "grants": ["read", "admin"]})).await?;
        let lease = self.lease_in("greedy", Phase::Denied).await?;
        let allowed = self.says(&lease, "Allowed", ConditionStatus::False)?;
        self.timeline.fact("Denied, with every reason at once, and nothing was made:");
        self.timeline.quote(&allowed.replace("; ", ";\n"));
        expect(allowed.contains("9h") && allowed.contains("admin"), || "both reasons are named".into())
    }

    async fn forged(&mut self) -> Result<()> {
        self.timeline.step("The pipeline says it is somebody else");
        let lease = self.object("forged", json!({"requestedBy": {"username": "payments-lead"}}))?;
        let api: Api<CredentialLease> = Api::namespaced(self.pipeline.client.clone(), NAMESPACE);
        match api.create(&PostParams::default(), &lease).await {
            Err(kube::Error::Api(refusal)) => {
                self.timeline.fact(&format!("refused by the API server itself, {}:", refusal.code));
                let sentence = refusal.message.rsplit("denied request: ").next().unwrap_or_default();
                self.timeline.quote(sentence);
                expect(refusal.code == 403 && sentence.contains("requestedBy.username"), || refusal.message.clone())
            }
            other => bail!("not as told: a forged requester was answered {other:?}"),
        }
    }

    async fn leaked(&mut self) -> Result<()> {
        self.timeline.step("The token of lease report has leaked: the lease is deleted, 59 minutes before its end");
        let holder = self.secret_holder().await?;
        let lease = self.leases.get("report").await?;
        let uid = credential(&lease)?.service_account.as_ref().context("no account")?.name.clone();
        let api: Api<CredentialLease> = Api::namespaced(self.pipeline.client.clone(), NAMESPACE);
        let zero = Timestamp::now();
        let fate = tokio::spawn(holder.fate(zero, PATIENCE));
        api.delete("report", &DeleteParams::default()).await?;
        let fate = self.timeline.waiting("the thief keeps asking", fate).await??;
        self.tell_fate("deleting a lease early", "the deletion was sent", fate)?;
        let account = ["get", "serviceaccount", &uid, "-n", "leasehold-leases", "--ignore-not-found", "-o", "name"];
        let secret = ["get", "secret", "lease-report", "-n", NAMESPACE, "--ignore-not-found", "-o", "name"];
        let remains = self.cluster.admin(&account, None).await? + &self.cluster.admin(&secret, None).await?;
        self.timeline.fact("account, RoleBinding and Secret are gone");
        expect(remains.trim().is_empty(), || format!("nothing is left, but there is {remains}"))
    }

    async fn time_is_up(&mut self, rollout: Watched) -> Result<()> {
        self.timeline.step("Time is up for lease rollout; its holder has kept asking every 10 ms");
        let fate = self.timeline.waiting("the holder keeps asking", rollout.fate).await??;
        if self.cluster.plane.is_some() {
            expect(fate.forbidden.is_some_and(|ms| (-1000..=1000).contains(&ms)), || {
                format!("403 at the end: {fate:?}")
            })?;
        }
        self.tell_fate("the end of a lease", "the end", fate)?;
        let lease = self.proven(rollout.name, "waiting for the proof: nothing is claimed before it").await?;
        let status = status(&lease)?;
        expect(status.phase == Some(Phase::Expired), || format!("phase Expired, not {:?}", status.phase))?;
        self.timeline
            .figure("the end of a lease: proof in its status", since(rollout.end, credential(&lease)?.verified_time));
        self.timeline.fact("its history, each record chained to the one before by its hash:");
        for record in status.history.iter().flat_map(|h| &h.records) {
            self.timeline.quote(&format!("{}  {:<9} {}", record.time, record.event.as_str(), record.detail));
        }
        Ok(())
    }

    async fn operator_dies(mut self) -> Result<Self> {
        self.timeline.step("The operator is killed while lease nightly lives: SIGKILL");
        self.lease("nightly", json!({"ttl": "30s"})).await?;
        let lease = self.lease_in("nightly", Phase::Active).await?;
        let account = credential(&lease)?.service_account.as_ref().context("no account")?.name.clone();
        let nightly = self.watched("nightly", &lease, self.minted(&account).await?)?;
        let Self { cluster, mut timeline, operator, pipeline, leases } = self;
        operator.kill()?;
        timeline.fact("nobody is left who would end the lease, but the cluster's own controllers: its backstop is a Job without pods");
        timeline.waiting("the lease runs to its end", until(nightly.end)).await;
        let args = ["create", "token", &account, "-n", "leasehold-leases", "--duration=10m"];
        let minted = cluster.kubectl(&pipeline.kubeconfig, &args, None).await?;
        expect(!minted.succeeded, || "no token is minted after the end".into())?;
        timeline.fact("after the end the pipeline tries to mint once more:");
        timeline.quote(minted.stderr.trim().rsplit("denied request: ").next().unwrap_or_default());
        let fate = timeline.waiting("the holder keeps asking, with the last token", nightly.fate).await??;
        timeline.fact(&format!("401 {} after the end, with no operator", millis(fate.unauthorized)));
        timeline.figure("the end of a lease, operator dead: 401", millis(fate.unauthorized));
        expect(fate.unauthorized <= 45_000, || format!("the backstop ends it within 45 s: {fate:?}"))?;

        timeline.step("The operator is started again, and finishes what it finds");
        let operator = timeline.waiting("it reads everything anew", Operator::start(&cluster)).await?;
        let mut story = Self { cluster, timeline, operator, pipeline, leases };
        story.proven(nightly.name, "waiting for the proof: nothing is claimed before it").await?;
        Ok(story)
    }

    /// Says where to look, and lets everything run on.
    fn end(self, mut left: Left) -> Result<()> {
        let Self { cluster, timeline, operator, .. } = self;
        timeline.figures();
        let log = operator::log(&cluster);
        let (identity, address) = operator.release();
        left.operator = Some(identity);
        left.save(cluster.dir())?;
        println!("\n{}", timeline.bold("It is still running. Look around:"));
        println!("  export KUBECONFIG={}", cluster.admin_kubeconfig().display());
        if let Some(directory) = cluster.kubectl.parent().filter(|_| cluster::on_path("kubectl").is_none()) {
            println!("  export PATH={}:$PATH      # a kubectl, since there is none on your PATH", directory.display());
        }
        println!("  kubectl get credentialleases -n {NAMESPACE} -o wide");
        println!("  kubectl get credentiallease rollout -n {NAMESPACE} -o yaml");
        println!("  kubectl describe serviceaccountlifecycle deployer -n {NAMESPACE}");
        println!("  grep '\"target\":\"audit\"' {}      # the audit stream", log.display());
        println!("  http://{address}/metrics");
        println!("\nEnd it: make demo-down");
        if let Some(plane) = cluster.plane {
            plane.detach()?;
        }
        Ok(())
    }

    /// A lease of grant `read`; `change` replaces fields of its spec.
    fn object(&self, name: &str, change: Value) -> Result<CredentialLease> {
        let mut spec = json!({
            "lifecycleRef": {"name": "deployer"}, "grants": ["read"], "reason": "Roll out 2.3", "delivery": {"type": "TokenRequest"},
            "requestedBy": {"username": self.pipeline.name, "groups": self.pipeline.groups},
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
        Ok(serde_json::from_value(object)?)
    }

    /// Asks for it, as the pipeline; when that was.
    async fn lease(&self, name: &str, change: Value) -> Result<Instant> {
        let lease = self.object(name, change)?;
        let api: Api<CredentialLease> = Api::namespaced(self.pipeline.client.clone(), NAMESPACE);
        let asked = Instant::now();
        api.create(&PostParams::default(), &lease).await.with_context(|| format!("create lease {name}"))?;
        Ok(asked)
    }

    /// Waits until a lease is in this phase.
    async fn lease_in(&self, name: &str, phase: Phase) -> Result<CredentialLease> {
        let begun = Instant::now();
        loop {
            let lease = self.leases.get(name).await?;
            let now = lease.status.as_ref().and_then(|s| s.phase);
            if now == Some(phase) {
                return Ok(lease);
            }
            let wrong = begun.elapsed() > PATIENCE || now.is_some_and(Phase::is_final);
            expect(!wrong, || format!("lease {name} becomes {phase}: {:?}", lease.status))?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it is proven that a lease's credential is dead, and tells what proves it.
    async fn proven(&mut self, name: &str, waiting: &str) -> Result<CredentialLease> {
        let what = format!("proof for lease {name}");
        let proof = eventually_seeing(&what, PATIENCE, || async {
            let lease = self.leases.get(name).await?;
            let revoked = lease.status.as_ref().and_then(|s| condition::find(&s.conditions, "Revoked"));
            let seen = format!("{revoked:?}");
            let holds = revoked.is_some_and(|c| c.status == ConditionStatus::True);
            Ok::<_, anyhow::Error>(if holds { Look::Done(lease) } else { Look::NotYet(seen) })
        });
        let lease = self.timeline.waiting(waiting, proof).await?;
        let credential = credential(&lease)?;
        let evidence: Evidence = credential.evidence.context("no evidence")?;
        let (status, verified) = (status(&lease)?, credential.verified_time);
        let end = status.end_time.context("no endTime")?;
        self.timeline.fact(&format!(
            "Revoked=True, reason {evidence}, {} after the end: {}",
            since(end, verified),
            evidence.meaning()
        ));
        Ok(lease)
    }

    /// The message of a condition that must have this status.
    fn says(&self, lease: &CredentialLease, kind: &str, status: ConditionStatus) -> Result<String> {
        let conditions = lease.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let condition = condition::find(conditions, kind).with_context(|| format!("no condition {kind}"))?;
        expect(condition.status == status, || format!("{kind}={status:?}: {condition:?}"))?;
        Ok(condition.message.clone())
    }

    /// The pipeline mints a token for a lease's account.
    async fn minted(&self, account: &str) -> Result<Holder> {
        let args = ["create", "token", account, "-n", "leasehold-leases", "--duration=10m"];
        let token = self.cluster.kubectl(&self.pipeline.kubeconfig, &args, None).await?.ok()?;
        Ok(Holder(self.cluster.by_token("holder", token.trim()).await?.1))
    }

    /// Somebody with the kubeconfig in the delivered Secret.
    async fn secret_holder(&self) -> Result<Holder> {
        let args =
            ["get", "secret", "lease-report", "-n", NAMESPACE, "-o", "go-template={{.data.kubeconfig | base64decode}}"];
        let text = self.cluster.kubectl(&self.pipeline.kubeconfig, &args, None).await?.ok()?;
        Ok(Holder(cluster::client(kube::config::Kubeconfig::from_yaml(&text)?).await?))
    }

    fn watched(&self, name: &'static str, lease: &CredentialLease, holder: Holder) -> Result<Watched> {
        let end = status(lease)?.expiration_time.context("no expirationTime")?;
        let zero = Timestamp::from_millisecond(end.as_millis())?;
        Ok(Watched { name, end, fate: tokio::spawn(holder.fate(zero, PATIENCE)) })
    }

    fn tell_fate(&mut self, what: &str, from: &str, fate: Fate) -> Result<()> {
        let forbidden = fate.forbidden.context("not as told: there was no 403 before the 401")?;
        self.timeline.fact(&format!(
            "403 {} after {from} (its rights are gone), 401 after {} (API servers remember an accepted token for 10 s)",
            millis(forbidden),
            millis(fate.unauthorized)
        ));
        self.timeline.figure(&format!("{what}: 403"), millis(forbidden));
        self.timeline.figure(&format!("{what}: 401"), millis(fate.unauthorized));
        expect(self.cluster.plane.is_none() || fate.unauthorized <= 12_000, || format!("401 within 12 s: {fate:?}"))
    }
}

/// A namespace, its consent, its author and its pipeline; the pipeline.
async fn opt_in(cluster: &Cluster, timeline: &mut Timeline) -> Result<Person> {
    timeline.step(&format!("Namespace {NAMESPACE} opts in, and its author writes a lifecycle"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.admin(&["apply", "-f", "-"], Some(&namespace.to_string())).await?;
    let author = Person::named(cluster, "payments-lead", &[]).await?;
    let pipeline = Person::named(cluster, "payments-ci", &["ci"]).await?;
    let manifest = include_str!("../manifests/namespace.yaml")
        .replace("[AUTHOR]", &format!("[{}]", author.subject))
        .replace("[PIPELINE]", &format!("[{}]", pipeline.subject));
    cluster.admin(&["apply", "-f", "-"], Some(&manifest)).await?;
    timeline.fact("its owner lets Leasehold bind one role, reader (get and list ConfigMaps), and no other");
    let lifecycle = include_str!("../manifests/lifecycle.yaml");
    let applied = cluster.kubectl(&author.kubeconfig, &["apply", "-f", "-"], Some(lifecycle)).await?;
    applied.ok().context("the author applies the lifecycle")?;
    timeline.fact(&format!(
        "{} writes lifecycle deployer: at most role reader, at most 1h; a lifecycle never grants what its author could not bind",
        author.name
    ));
    for condition in ["GrantsAllowed", "Leasable"] {
        let condition = format!("--for=condition={condition}");
        let args = ["wait", "serviceaccountlifecycle/deployer", "-n", NAMESPACE, &condition, "--timeout=30s"];
        cluster.admin(&args, None).await?;
    }
    timeline.fact(&format!("Leasable: {} may ask", pipeline.name));
    Ok(pipeline)
}

fn status(lease: &CredentialLease) -> Result<&CredentialLeaseStatus> {
    lease.status.as_ref().context("the lease has no status")
}

fn credential(lease: &CredentialLease) -> Result<&CredentialStatus> {
    status(lease)?.credential.as_ref().context("the lease has no credential")
}

fn since(end: Time, at: Option<Time>) -> String {
    at.map_or_else(|| "?".into(), |at| millis(at.as_millis() - end.as_millis()))
}

async fn until(end: Time) {
    let left = end.as_millis() - Timestamp::now().as_millisecond() + 200;
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}
