//! `stop` and `resume`: the emergency stop, a policy object of its own that no sync of manifests undoes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};

use super::{
    ask,
    connect::{Cluster, Global, connect, creating},
    exit::Failure,
    fetch,
    output::{self, Format, Style},
    view::{facts::Facts, lease::Filter, text},
};
use crate::api::{CredentialLeasePolicy, Time};

pub mod policy;

use policy::{ANNOTATION_REASON, LABEL_STOP, Scope, default_name, labels, pairs, policy, was_live};

/// How long it may take to count what a stop is about.
const COUNTING: Duration = Duration::from_secs(5);

/// Flags of `stop`.
#[derive(Args, Clone, Debug)]
pub struct Stop {
    #[command(flatten)]
    pub scope: ScopeFlags,
    /// Only issue nothing more; what is leased lives on.
    #[arg(long)]
    pub hold: bool,
    /// Name of the policy; default: stop-<date>-<time>, in UTC.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Why: an annotation of the policy.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask, and count what it ends only afterwards.
    #[arg(short, long)]
    pub yes: bool,
    /// As name, json or yaml: the policy, instead of a sentence.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_objects())]
    pub output: Option<Format>,
}

/// What is stopped.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct ScopeFlags {
    /// Whatever is granted into namespaces with these labels: key=value[,key=value...].
    #[arg(long, value_name = "LABELS", value_parser = labels)]
    pub reaching: Option<BTreeMap<String, String>>,
    /// Whatever is leased from lifecycles of namespaces with these labels.
    #[arg(long, value_name = "LABELS", value_parser = labels)]
    pub lifecycles: Option<BTreeMap<String, String>>,
    /// Everything.
    #[arg(long)]
    pub everything: bool,
}

impl From<&ScopeFlags> for Scope {
    fn from(flags: &ScopeFlags) -> Self {
        match (&flags.reaching, &flags.lifecycles) {
            (Some(labels), _) => Self::Reaching(labels.clone()),
            (None, Some(labels)) => Self::Lifecycles(labels.clone()),
            (None, None) => Self::Everything,
        }
    }
}

/// Flags of `resume`.
#[derive(Args, Clone, Debug)]
pub struct Resume {
    /// The stop to take back; without one, those in force are listed.
    pub name: Option<String>,
    /// Take every stop back.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
}

/// Stops. Whoever has said yes is not kept waiting: what it is about is counted afterwards.
///
/// # Errors
/// If nobody can be asked, or the API server refuses.
pub async fn stop(global: &Global, flags: &Stop) -> Result<u8, Failure> {
    ask::can_confirm(flags.yes)?;
    let cluster = connect(global).await?;
    let (scope, name) = (Scope::from(&flags.scope), flags.name.clone().unwrap_or_else(|| default_name(fetch::now())));
    let what = if flags.hold { "nothing more is issued" } else { "nothing more is issued, and what is leased ends" };
    output::tell(&format!("stops {}: {what}", scope.describe()));
    if !flags.yes {
        output::tell(&counted(&cluster, &scope, flags.hold, None).await);
        if !ask::confirm("Stop?", flags.yes)? {
            return Err(Failure::Other("nothing was stopped".into()));
        }
    }
    let api: Api<CredentialLeasePolicy> = Api::all(cluster.client.clone());
    let policy = policy(&name, &scope, flags.hold, flags.reason.as_deref());
    let created = api.create(&creating(), &policy).await;
    let created = created.map_err(|e| fetch::installed(e, "credentialleasepolicies"))?;
    let told = format!("stopped by policy {name}; to take it back: kubectl lease resume {name}");
    match flags.output {
        None => output::emit(&(told + "\n"))?,
        Some(format) => {
            output::tell(&told);
            output::emit(&output::object(format, &created)?)?;
        }
    }
    if flags.yes {
        let since = created.creation_timestamp().as_ref().map(Time::from);
        output::tell(&counted(&cluster, &scope, flags.hold, since).await);
    }
    Ok(0)
}

/// How many leases a stop is about, as a sentence; one that has been in force `since` then may have ended some already.
async fn counted(cluster: &Cluster, scope: &Scope, hold: bool, since: Option<Time>) -> String {
    match tokio::time::timeout(COUNTING, count(cluster, scope, since)).await {
        Ok(Ok(live)) if hold => format!("{} live on; whatever waits is refused", text::count(live, "lease")),
        Ok(Ok(live)) => format!("{} will end; whatever waits is refused", text::count(live, "live lease")),
        Ok(Err(failure)) => format!("how many leases that is cannot be told: {failure}"),
        Err(_) => format!("how many leases that is could not be counted within {} s", COUNTING.as_secs()),
    }
}

async fn count(cluster: &Cluster, scope: &Scope, since: Option<Time>) -> Result<usize, Failure> {
    let namespaces: BTreeSet<String> = match scope.selector() {
        None => BTreeSet::new(),
        Some(labels) => {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            let found = fetch::all(&api, &ListParams::default().labels(&pairs(labels))).await?;
            found.iter().map(ResourceExt::name_any).collect()
        }
    };
    let leases = fetch::leases(cluster, true, &Filter::default()).await?;
    Ok(leases.iter().filter(|lease| was_live(lease, since) && scope.covers(lease, &namespaces)).count())
}

/// Takes stops back, or lists them.
///
/// # Errors
/// If it is no stop, or the API server refuses.
pub async fn resume(global: &Global, flags: &Resume) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let api: Api<CredentialLeasePolicy> = Api::all(cluster.client.clone());
    let stops = match &flags.name {
        None => fetch::all(&api, &ListParams::default().labels(&format!("{LABEL_STOP}=true")))
            .await
            .map_err(|e| fetch::installed(e, "credentialleasepolicies"))?,
        Some(name) => {
            let found =
                fetch::optional(api.get(name).await).map_err(|e| fetch::installed(e, "credentialleasepolicies"))?;
            let policy =
                found.ok_or_else(|| Failure::Other(format!("there is no policy {name}: see kubectl lease resume")))?;
            if policy.labels().get(LABEL_STOP).map(String::as_str) != Some("true") {
                return Err(Failure::Other(format!(
                    "policy {name} was not made by kubectl lease stop: change its stopPolicy where it is kept"
                )));
            }
            vec![policy]
        }
    };
    if stops.is_empty() {
        output::tell("nothing is stopped by kubectl lease stop");
    }
    if flags.name.is_none() && !flags.all {
        output::emit(&described(&stops).render(Style::stdout(global.no_color)))?;
        return Ok(0);
    }
    let mut failed = vec![];
    for stop in &stops {
        let preconditions = Preconditions { uid: stop.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&stop.name_any(), &params).await.map_err(Failure::from) {
            Ok(_) => output::emit(&format!("resumed   {}\n", stop.name_any()))?,
            Err(failure) => {
                output::emit(&format!("failed    {}: {failure}\n", stop.name_any()))?;
                failed.push(failure);
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::of_all(&failed, format!("{} could not be taken back: see above", failed.len())))
}

/// Stops, one a line.
fn described(stops: &[CredentialLeasePolicy]) -> Facts {
    let mut facts = Facts::default();
    for stop in stops {
        let scope = Scope::of(&stop.spec).describe();
        let since = stop.creation_timestamp().map(|t| format!(", since {}", t.0)).unwrap_or_default();
        let reason = stop.annotations().get(ANNOTATION_REASON).map(|r| format!(": {r}")).unwrap_or_default();
        facts.say(&stop.name_any(), format!("{:?}: {scope}{since}{reason}", stop.spec.stop()));
    }
    facts
}
