//! `stop` and `resume`: the emergency stop, a policy object of its own that no sync of manifests undoes.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
    core::ObjectMeta,
};

use super::{
    ask,
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch,
    output::{self, Style},
    view::{
        facts::Facts,
        lease::{self, Filter},
        text,
    },
};
use crate::api::{
    CredentialLease, CredentialLeasePolicy, CredentialLeasePolicySpec, Time,
    lifecycle::StopPolicy,
    names,
    policy::{PolicyMatch, Selector},
};

/// Label of the policies that `stop` makes, and `resume` may take away.
pub const LABEL_STOP: &str = "leasehold.dev/stop";
/// Annotation with why.
pub const ANNOTATION_REASON: &str = "leasehold.dev/reason";

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
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
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

/// Flags of `resume`.
#[derive(Args, Clone, Debug)]
pub struct Resume {
    /// The stop to take back; without one, those in force are listed.
    pub name: Option<String>,
    /// Take every stop back.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
}

/// What a stop is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Reaching(BTreeMap<String, String>),
    Lifecycles(BTreeMap<String, String>),
    Everything,
}

impl Scope {
    fn of(flags: &ScopeFlags) -> Self {
        match (&flags.reaching, &flags.lifecycles) {
            (Some(labels), _) => Self::Reaching(labels.clone()),
            (None, Some(labels)) => Self::Lifecycles(labels.clone()),
            (None, None) => Self::Everything,
        }
    }

    fn selector(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Reaching(labels) | Self::Lifecycles(labels) => Some(labels),
            Self::Everything => None,
        }
    }

    /// Whether a live lease is within it, given the namespaces whose labels match.
    #[must_use]
    pub fn covers(&self, lease: &CredentialLease, namespaces: &BTreeSet<String>) -> bool {
        match self {
            Self::Everything => true,
            Self::Lifecycles(_) => namespaces.contains(lease::namespace(lease)),
            Self::Reaching(_) => namespaces.iter().any(|namespace| lease::reaches(lease, namespace)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Reaching(labels) => format!("whatever is granted into namespaces with {}", pairs(labels)),
            Self::Lifecycles(labels) => format!("whatever is leased in namespaces with {}", pairs(labels)),
            Self::Everything => "everything".into(),
        }
    }
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Labels from `key=value,key=value`.
fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no label: write key=value"))?;
        if key.is_empty() {
            Err(format!("`{part}` has no key: write key=value"))
        } else {
            Ok((key.to_owned(), value.to_owned()))
        }
    };
    text.split(',').map(pair).collect()
}

/// The policy that stops.
#[must_use]
pub fn policy(name: &str, scope: &Scope, hold: bool, reason: Option<&str>) -> CredentialLeasePolicy {
    let selector = scope.selector().map(|labels| Selector { match_labels: labels.clone(), ..Selector::default() });
    let matched = match scope {
        Scope::Reaching(_) => Some(PolicyMatch { grant_namespaces: selector, ..PolicyMatch::default() }),
        Scope::Lifecycles(_) => Some(PolicyMatch { lifecycle_namespaces: selector, ..PolicyMatch::default() }),
        Scope::Everything => None,
    };
    CredentialLeasePolicy {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(LABEL_STOP.into(), "true".into())])),
            annotations: reason.map(|reason| BTreeMap::from([(ANNOTATION_REASON.into(), reason.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: CredentialLeasePolicySpec {
            r#match: matched,
            stop_policy: Some(if hold { StopPolicy::Hold } else { StopPolicy::HoldAndRevoke }),
            ..CredentialLeasePolicySpec::default()
        },
        status: None,
    }
}

/// `stop-<yyyymmdd>-<hhmm>` in UTC.
#[must_use]
pub fn default_name(now: Time) -> String {
    // `2026-11-24T12:34:…Z`, of which the digits up to the minute are taken.
    let text = now.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(12).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    format!("stop-{date}-{time}")
}

/// Stops.
///
/// # Errors
/// If nobody can be asked, or the API server refuses.
pub async fn stop(global: &Global, flags: &Stop) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let (scope, name) = (Scope::of(&flags.scope), flags.name.clone().unwrap_or_else(|| default_name(fetch::now())));
    output::tell(&format!(
        "stops {}: {}",
        scope.describe(),
        if flags.hold { "nothing more is issued" } else { "nothing more is issued, and what is leased ends" }
    ));
    match live(&cluster, &scope).await {
        Ok(live) if flags.hold => output::tell(&format!("{} live on", text::count(live, "lease"))),
        Ok(live) => output::tell(&format!("{} will end", text::count(live, "live lease"))),
        Err(failure) => output::tell(&format!("how many leases that is cannot be told: {failure}")),
    }
    if !ask::confirm("Stop?", flags.yes)? {
        return Err(Failure::Other("nothing was stopped".into()));
    }
    let api: Api<CredentialLeasePolicy> = Api::all(cluster.client.clone());
    let policy = policy(&name, &scope, flags.hold, flags.reason.as_deref());
    let created =
        api.create(&PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() }, &policy).await;
    created.map_err(|e| fetch::installed(e, "credentialleasepolicies"))?;
    output::emit(&format!("stopped by policy {name}; to take it back: kubectl lease resume {name}\n"))?;
    Ok(0)
}

/// How many live leases a stop is about.
async fn live(cluster: &Cluster, scope: &Scope) -> Result<usize, Failure> {
    let namespaces: BTreeSet<String> = match scope.selector() {
        None => BTreeSet::new(),
        Some(labels) => {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            let found = fetch::all(&api, &ListParams::default().labels(&pairs(labels))).await?;
            found.iter().map(ResourceExt::name_any).collect()
        }
    };
    let leases = fetch::leases(cluster, true, &Filter::default()).await?;
    Ok(leases.iter().filter(|lease| !lease::is_over(lease) && scope.covers(lease, &namespaces)).count())
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
    let mut failed = 0;
    for stop in &stops {
        let preconditions = Preconditions { uid: stop.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&stop.name_any(), &params).await.map_err(Failure::from) {
            Ok(_) => output::emit(&format!("resumed   {}\n", stop.name_any()))?,
            Err(failure) => {
                failed += 1;
                output::emit(&format!("failed    {}: {failure}\n", stop.name_any()))?;
            }
        }
    }
    if failed > 0 { Err(Failure::Other(format!("{failed} could not be taken back: see above"))) } else { Ok(0) }
}

/// Stops, one a line.
fn described(stops: &[CredentialLeasePolicy]) -> Facts {
    let mut facts = Facts::default();
    for stop in stops {
        let matched = stop.spec.r#match.clone().unwrap_or_default();
        let labels = |s: Option<Selector>| s.map(|s| pairs(&s.match_labels));
        let scope = match (labels(matched.grant_namespaces), labels(matched.lifecycle_namespaces)) {
            (Some(labels), _) => format!("reaching {labels}"),
            (None, Some(labels)) => format!("lifecycles {labels}"),
            (None, None) => "everything".into(),
        };
        let since = stop.creation_timestamp().map(|t| format!(", since {}", t.0)).unwrap_or_default();
        let reason = stop.annotations().get(ANNOTATION_REASON).map(|r| format!(": {r}")).unwrap_or_default();
        facts.say(&stop.name_any(), format!("{:?} of {scope}{since}{reason}", stop.spec.stop()));
    }
    facts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn a_stop_is_a_policy_that_says_what_and_why() {
        let scope = Scope::Reaching(labels("env=prod,tier=1").unwrap());
        let object = serde_json::to_value(policy("stop-1", &scope, false, Some("leak"))).unwrap();
        assert_eq!(
            object["metadata"],
            json!({"name": "stop-1", "labels": {LABEL_STOP: "true"}, "annotations": {ANNOTATION_REASON: "leak"}})
        );
        let matched = json!({"grantNamespaces": {"matchLabels": {"env": "prod", "tier": "1"}}});
        assert_eq!(object["spec"], json!({"match": matched, "stopPolicy": "HoldAndRevoke"}));
        let object = serde_json::to_value(policy("x", &Scope::Everything, true, None)).unwrap();
        assert_eq!(object["spec"], json!({"stopPolicy": "Hold"}));
        assert!(labels("env").is_err() && labels("=x").is_err() && labels("").is_err());
    }

    #[test]
    fn a_stop_is_named_for_the_minute_it_was_made_in() {
        assert_eq!(default_name("2026-11-24T12:34:56.789Z".parse().unwrap()), "stop-20261124-1234");
    }

    #[test]
    fn it_is_known_what_ends() {
        let (lease, set) =
            (waiting(|_| {}), |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>());
        let (reaching, lifecycles) = (Scope::Reaching(BTreeMap::new()), Scope::Lifecycles(BTreeMap::new()));
        assert!(reaching.covers(&lease, &set(&["payments-prod"])) && !reaching.covers(&lease, &set(&["payments"])));
        assert!(lifecycles.covers(&lease, &set(&["payments"])) && !lifecycles.covers(&lease, &set(&["payments-prod"])));
        assert!(Scope::Everything.covers(&lease, &set(&[])));
    }
}
