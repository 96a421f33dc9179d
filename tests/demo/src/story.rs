//! The steps, in order. Each says what it sees, measures it, and fails the demo if it is not as told.

mod agreement;
mod stop;
mod systems;

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use kube::Api;
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
    cluster::{self, Cluster, Typed},
    expect,
    holder::{Fate, Holder},
    operator::{self, Operator},
    people::{People, Person},
    place::{self, Left},
    timeline::{Timeline, millis, seconds},
};

/// The namespace in which leases are given.
pub const NAMESPACE: &str = "payments-demo";
/// The platform team's emergency stop.
pub const STOP: &str = "stop-payments-demo";
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
         {NAMESPACE}, binds ClusterRoles leasehold-platform and view to one of its ServiceAccounts, and runs the operator on this machine with a token of its ServiceAccount. `make demo-down` takes {} away again.",
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
    people: People,
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
        let people = opt_in(&cluster, &mut timeline).await?;
        let leases = Api::namespaced(cluster.admin_client().await?, NAMESPACE);
        let story = Self { cluster, timeline, operator, people, leases };
        story.go_on().await
    }

    async fn go_on(mut self) -> Result<Self> {
        let rollout = self.asked_for_and_used().await?;
        self.delivered().await?;
        self.denied().await?;
        self.forged().await?;
        let fixer = self.somebody_agrees().await?;
        self.across_systems().await?;
        self.leaked().await?;
        self.time_is_up(rollout).await?;
        self.stopped(fixer).await?;
        let mut story = self.operator_dies().await?;
        story.one_waits().await?;
        Ok(story)
    }

    async fn asked_for_and_used(&mut self) -> Result<Watched> {
        self.timeline.step("The pipeline asks for 30 seconds: lease rollout; the token never rests anywhere");
        let active = self.active("rollout");
        let args = ["request", "deployer", "--name", "rollout", "--ttl", "30s", "--reason", "Roll out 2.3", "--wait"];
        let said = self.types(&self.people.pipeline, &args).await?;
        self.timeline.printed(&said.text, 4);
        let usable = active.await??;
        let lease = self.lease_in("rollout", Phase::Active).await?;
        self.timeline.fact(&format!(
            "usable {} after the API server took the request; a ServiceAccount of this lease alone:",
            seconds(usable)
        ));
        self.timeline.quote(&account(&lease)?);
        self.timeline.figure("from asking to a usable credential", seconds(usable));
        self.timeline.fact("the pipeline, and nobody else, mints a token for it, of at most 10 minutes:");
        let holder = self.minted(&self.people.pipeline, "rollout").await?;
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
        let active = self.active("report");
        let reason = "Write the monthly report";
        let args =
            ["request", "deployer", "--name", "report", "--ttl", "1h", "--reason", reason, "--delivery", "Secret"];
        let said = self.types(&self.people.pipeline, &args).await?;
        self.timeline.printed(&said.text, 4);
        let usable = active.await??;
        self.timeline.fact(&format!(
            "Secret lease-report was there {} after the API server took the request, with token, CA and kubeconfig",
            seconds(usable)
        ));
        let reads = self.secret_holder().await?.reads().await?;
        self.timeline.fact(&format!("with its token: read the ledger {reads}"));
        expect(reads == 200, || "the delivered token reads".into())
    }

    async fn denied(&mut self) -> Result<()> {
        self.timeline.step("Too much is asked for: nine hours, and a grant that the lifecycle has not");
        let mut args = vec!["request", "deployer", "--name", "greedy", "--grant", "read,admin", "--ttl", "9h"];
        args.extend(["--reason", "Just in case", "--wait"]);
        let said = self.types(&self.people.pipeline, &args).await?;
        self.timeline.printed(&said.text.replace("; ", ";\n  "), 6);
        self.timeline.fact(&format!(
            "exit code {}: a rule refused it; every reason at once, and nothing was made",
            said.code.unwrap_or_default()
        ));
        expect(said.code == Some(120), || format!("exit code 120, not {:?}", said.code))?;
        let lease = self.lease_in("greedy", Phase::Denied).await?;
        let allowed = self.says(&lease, "Allowed", ConditionStatus::False)?;
        expect(allowed.contains("9h") && allowed.contains("admin"), || "both reasons are named".into())
    }

    async fn forged(&mut self) -> Result<()> {
        self.timeline.step("The pipeline writes its request by hand, and says that it is somebody else");
        let lease = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"name": "forged", "namespace": NAMESPACE},
            "spec": {"lifecycleRef": {"name": "deployer"}, "grants": ["read"], "reason": "Roll out 2.3",
                "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": self.people.lead.name}}});
        let words = self.refused(&self.people.pipeline, "forged.yaml", &lease).await?;
        expect(words.contains("requestedBy.username"), || words.clone())
    }

    async fn leaked(&mut self) -> Result<()> {
        self.timeline.step("The token of lease report has leaked: it is revoked, 59 minutes before its end");
        let holder = self.secret_holder().await?;
        let account = account(&self.leases.get("report").await?)?;
        let zero = Timestamp::now();
        let fate = tokio::spawn(holder.fate(zero, PATIENCE));
        let args = ["revoke", "report", "--reason", "its token is in a public log", "--yes"];
        let said = self.types(&self.people.pipeline, &args).await?;
        self.timeline.printed(said.last_line(), 1);
        let fate = self.timeline.waiting("the thief keeps asking", fate).await??;
        self.tell_fate("a lease revoked early, from typing the command", "the command was typed", fate)?;
        let account = ["get", "serviceaccount", &account, "-n", "leasehold-leases", "--ignore-not-found", "-o", "name"];
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

    async fn operator_dies(self) -> Result<Self> {
        let Self { cluster, mut timeline, operator, people, leases } = self;
        timeline.step("The operator is killed while lease nightly lives: SIGKILL");
        let lease = leases.get("nightly").await?;
        let account = account(&lease)?;
        let story = Self { cluster, timeline, operator, people, leases };
        let nightly = story.watched("nightly", &lease, story.minted(&story.people.pipeline, "nightly").await?)?;
        let Self { cluster, mut timeline, operator, people, leases } = story;
        operator.kill()?;
        timeline.fact("nobody is left who would end the lease, but the cluster's own controllers: its backstop is a Job without pods");
        timeline.waiting("the lease runs to its end", until(nightly.end)).await;
        let args = ["create", "token", &account, "-n", "leasehold-leases", "--duration=10m"];
        let minted = cluster.kubectl(&people.pipeline.kubeconfig, &args, None).await?;
        expect(!minted.succeeded, || "no token is minted after the end".into())?;
        timeline.fact("after the end the pipeline tries to mint once more, by kubectl create token:");
        timeline.quote(minted.stderr.trim().rsplit("denied request: ").next().unwrap_or_default());
        let fate = timeline.waiting("the holder keeps asking, with the last token", nightly.fate).await??;
        timeline.fact(&format!("401 {} after the end, with no operator", millis(fate.unauthorized)));
        timeline.figure("the end of a lease, operator dead: 401", millis(fate.unauthorized));
        expect(fate.unauthorized <= 45_000, || format!("the backstop ends it within 45 s: {fate:?}"))?;

        timeline.step("The operator is started again, and finishes what it finds");
        let operator = timeline.waiting("it reads everything anew", Operator::start(&cluster)).await?;
        let mut story = Self { cluster, timeline, operator, people, leases };
        story.proven(nightly.name, "waiting for the proof: nothing is claimed before it").await?;
        Ok(story)
    }

    /// Says where to look, and lets everything run on.
    fn end(self, mut left: Left) -> Result<()> {
        let Self { cluster, timeline, operator, people, .. } = self;
        timeline.figures();
        let log = operator::log(&cluster);
        let (identity, address) = operator.release();
        left.operator = Some(identity);
        left.save(cluster.dir())?;
        println!("\n{}", timeline.bold("It is still running. Look around:"));
        println!("  D={}", cluster.dir().display());
        let kubectl = cluster.kubectl.parent().filter(|_| cluster::on_path("kubectl").is_none());
        let directories = [Some(cluster::plugin_directory()?), kubectl.map(Path::to_owned)];
        let path: Vec<String> = directories.iter().flatten().map(|dir| dir.display().to_string()).collect();
        println!(
            "  export PATH={}:$PATH      # kubectl lease{}",
            path.join(":"),
            kubectl.map_or("", |_| ", and a kubectl")
        );
        println!("  export KUBECONFIG=$D/payments-lead.kubeconfig      # who may approve, and lease fix-again waits:");
        println!("  kubectl lease list --waiting");
        println!("  kubectl lease show fix-again");
        println!("  kubectl lease approve fix-again{}", if cluster.plane.is_none() { " --recorded" } else { "" });
        println!("The same as somebody else:");
        for (person, does) in people.all() {
            println!("  export KUBECONFIG=$D/{:<28}# {does}", format!("{}.kubeconfig", person.label));
        }
        println!(
            "  export KUBECONFIG=$D/{:<28}# everything, but no approval: who could be anybody is nobody's second opinion",
            "admin.kubeconfig"
        );
        println!("And what there is to see:");
        println!("  kubectl lease list --ended; kubectl lease show rollout --verify");
        println!("  kubectl get credentialleases,serviceaccountlifecycles -n {NAMESPACE} -o wide");
        println!("  grep '\"target\":\"audit\"' {}      # the audit stream", log.display());
        println!("  http://{address}/metrics");
        println!("\nEnd it: make demo-down");
        if let Some(plane) = cluster.plane {
            plane.detach()?;
        }
        Ok(())
    }

    /// Somebody types a command of the plugin.
    async fn types(&self, who: &Person, args: &[&str]) -> Result<Typed> {
        let word = |word: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,#".contains(c);
            if word.chars().all(plain) { (*word).to_owned() } else { format!("'{word}'") }
        };
        let line: Vec<String> = args.iter().map(word).collect();
        self.timeline.typed(who.label, &format!("kubectl lease {}", line.join(" ")));
        self.cluster.lease(&who.kubeconfig, args).await
    }

    /// Somebody types a command of the plugin that must succeed, and sees what it prints.
    async fn does(&self, who: &Person, args: &[&str], lines: usize) -> Result<Typed> {
        let said = self.types(who, args).await?;
        self.timeline.printed(&said.text, lines);
        expect(said.code == Some(0), || format!("`kubectl lease {}` succeeds: {}", args.join(" "), said.text))?;
        Ok(said)
    }

    /// Somebody creates an object that the API server refuses; its words.
    async fn refused(&self, who: &Person, file: &str, object: &Value) -> Result<String> {
        self.timeline.typed(who.label, &format!("kubectl create -f {file}"));
        let said = self.cluster.kubectl(&who.kubeconfig, &["create", "-f", "-"], Some(&object.to_string())).await?;
        expect(!said.succeeded, || format!("{file} is refused: {}", said.stdout))?;
        let words = said.stderr.trim().rsplit("denied request: ").next().unwrap_or_default().to_owned();
        self.timeline.fact("refused by the API server itself:");
        self.timeline.quote(&words);
        Ok(words)
    }

    /// Measures, beside whoever asks, from the moment the API server has a lease until it is active.
    fn active(&self, name: &'static str) -> JoinHandle<Result<Duration>> {
        let leases = self.leases.clone();
        tokio::spawn(async move {
            let (begun, mut there) = (Instant::now(), None);
            while begun.elapsed() < PATIENCE {
                if let Some(lease) = leases.get_opt(name).await? {
                    let since = *there.get_or_insert_with(Instant::now);
                    if lease.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active) {
                        return Ok(since.elapsed());
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            bail!("not as told: lease {name} is not active after {PATIENCE:?}")
        })
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

    /// The requester mints a token of a lease.
    async fn minted(&self, who: &Person, name: &str) -> Result<Holder> {
        let said = self.types(who, &["token", name]).await?;
        expect(said.code == Some(0), || format!("{name} has a token: {}", said.text))?;
        let token = said.text.trim();
        // The token itself is not for a timeline.
        self.timeline.quote(&format!("{}… ({} characters)", token.get(..12).unwrap_or_default(), token.len()));
        Ok(Holder(self.cluster.by_token("holder", token).await?.1))
    }

    /// Somebody with the kubeconfig in the delivered Secret.
    async fn secret_holder(&self) -> Result<Holder> {
        let args =
            ["get", "secret", "lease-report", "-n", NAMESPACE, "-o", "go-template={{.data.kubeconfig | base64decode}}"];
        let text = self.cluster.kubectl(&self.people.pipeline.kubeconfig, &args, None).await?.ok()?;
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

/// A namespace, its consent, its lifecycles, and everybody who works in it.
async fn opt_in(cluster: &Cluster, timeline: &mut Timeline) -> Result<People> {
    timeline.step(&format!("Namespace {NAMESPACE} opts in, and its author writes two lifecycles"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.admin(&["apply", "-f", "-"], Some(&namespace.to_string())).await?;
    let people = People::gather(cluster).await?;
    let manifest = people.fill(include_str!("../manifests/namespace.yaml"));
    cluster.admin(&["apply", "-f", "-"], Some(&manifest)).await?;
    timeline.fact("its owner lets Leasehold bind two roles, reader and writer of ConfigMaps, and no other");
    let lifecycles = include_str!("../manifests/lifecycle.yaml").replace("INDEPENDENCE", people.independence(cluster));
    let applied = cluster.kubectl(&people.author.kubeconfig, &["apply", "-f", "-"], Some(&lifecycles)).await?;
    applied.ok().context("the author applies the lifecycles")?;
    timeline.fact(&format!(
        "{} writes deployer (role reader, at most 1h, nobody has to agree) and fixer (role writer, somebody else has to agree); a \
         lifecycle never grants what its author could not bind",
        people.author.label
    ));
    for lifecycle in ["deployer", "fixer"] {
        for condition in ["GrantsAllowed", "Leasable"] {
            let (condition, what) =
                (format!("--for=condition={condition}"), format!("serviceaccountlifecycle/{lifecycle}"));
            cluster.admin(&["wait", &what, "-n", NAMESPACE, &condition, "--timeout=30s"], None).await?;
        }
    }
    timeline.fact(&format!(
        "both are leasable: {} may ask for the first, {} for the second",
        people.pipeline.label, people.oncall.label
    ));
    Ok(people)
}

fn status(lease: &CredentialLease) -> Result<&CredentialLeaseStatus> {
    lease.status.as_ref().context("the lease has no status")
}

fn credential(lease: &CredentialLease) -> Result<&CredentialStatus> {
    status(lease)?.credential.as_ref().context("the lease has no credential")
}

fn account(lease: &CredentialLease) -> Result<String> {
    Ok(credential(lease)?.service_account.as_ref().context("no account")?.name.clone())
}

fn since(end: Time, at: Option<Time>) -> String {
    at.map_or_else(|| "?".into(), |at| millis(at.as_millis() - end.as_millis()))
}

async fn until(end: Time) {
    let left = end.as_millis() - Timestamp::now().as_millisecond() + 200;
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}
