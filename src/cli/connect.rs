//! From the flags that every command has to a connection.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::exit::Failure;
use crate::api::lease::Identity;

/// The field manager of whatever the plugin writes: it is not the operator's.
const MANAGER: &str = "kubectl-lease";

/// How long the first question may take, which every command that asks for something begins with.
const DEADLINE: Duration = Duration::from_secs(30);

/// How the plugin creates an object that stays.
#[must_use]
pub fn creating() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}

/// What every command takes, as kubectl does.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Namespace; default: that of the context, or of the pod.
    #[arg(short, long, global = true, value_name = "NAMESPACE", help_heading = "Connection")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// The kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub kubeconfig: Option<PathBuf>,
    /// Whom to impersonate, where you have the right to: a user, or system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", global = true, value_name = "USERNAME", help_heading = "Connection")]
    pub impersonate: Option<String>,
    /// A group to impersonate with --as; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Connection")]
    pub impersonate_groups: Vec<String>,
    /// No colour, also on a terminal (as does $NO_COLOR).
    #[arg(long, global = true, help_heading = "Output")]
    pub no_color: bool,
}

/// A connected cluster.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// How it was reached: server, CA and credentials, for kubeconfigs that are made from it.
    pub config: Config,
    /// The namespace that commands work in.
    pub namespace: String,
}

/// Connects as kubectl would.
///
/// # Errors
/// [`Failure::Usage`] if the kubeconfig or the context is not there.
pub async fn connect(global: &Global) -> Result<Cluster, Failure> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let wrong = |e: kube::config::KubeconfigError| Failure::Usage(format!("the kubeconfig cannot be used: {e}"));
    let mut config = if let Some(path) = &global.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?
    } else if global.context.is_some() {
        Config::from_kubeconfig(&options).await.map_err(wrong)?
    } else {
        let nowhere = |e: kube::config::InferConfigError| {
            Failure::Usage(format!("no cluster is known: set KUBECONFIG or name one with --kubeconfig ({e})"))
        };
        Config::infer().await.map_err(nowhere)?
    };
    impersonate(&mut config, global)?;
    // Whoever waits for a command wants to know soon that nobody answers.
    config.connect_timeout = Some(Duration::from_secs(10));
    let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config.clone()).map_err(Failure::from)?;
    Ok(Cluster { client, config, namespace })
}

/// As kubectl does: the flags take the place of whom the kubeconfig impersonates, and the API server asks whether the caller may.
fn impersonate(config: &mut Config, global: &Global) -> Result<(), Failure> {
    let Some(user) = &global.impersonate else {
        let alone = !global.impersonate_groups.is_empty();
        return if alone { Err(Failure::Usage("--as-group needs --as".into())) } else { Ok(()) };
    };
    let to = &mut config.auth_info;
    to.impersonate = Some(user.clone());
    to.impersonate_groups = Some(global.impersonate_groups.clone());
    (to.impersonate_uid, to.impersonate_user_extra) = (None, None);
    Ok(())
}

impl Cluster {
    /// Who the caller is to the API server, as `requestedBy` and `decidedBy` have to say it: without groups of the system.
    ///
    /// # Errors
    /// If the API server does not say.
    pub async fn whoami(&self) -> Result<Identity, Failure> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let (params, question) = (PostParams::default(), SelfSubjectReview::default());
        let silent = |_| Failure::Unreachable("the API server does not answer: try again later".into());
        let answer = tokio::time::timeout(DEADLINE, api.create(&params, &question)).await;
        let review = answer.map_err(silent)??;
        let user = review.status.and_then(|s| s.user_info).unwrap_or_default();
        let extra = |key: &str| user.extra.as_ref().and_then(|e| e.get(key)).and_then(|v| v.first()).cloned();
        Ok(Identity {
            username: user.username.clone().unwrap_or_default(),
            uid: user.uid.clone().filter(|uid| !uid.is_empty()),
            groups: user.groups.clone().unwrap_or_default().into_iter().filter(|g| !g.starts_with("system:")).collect(),
            pod_name: extra("authentication.kubernetes.io/pod-name"),
            credential_id: extra("authentication.kubernetes.io/credential-id"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_the_place_of_whom_the_kubeconfig_impersonates() {
        let kubeconfig = || {
            let mut config = Config::new("https://api.example.com:6443/".parse().unwrap());
            config.auth_info.impersonate = Some("a".into());
            config.auth_info.impersonate_uid = Some("7".into());
            config.auth_info.impersonate_groups = Some(vec!["g".into()]);
            config
        };
        let mut config = kubeconfig();
        impersonate(&mut config, &Global::default()).unwrap();
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("a"));
        let global = Global { impersonate: Some("b".into()), ..Global::default() };
        impersonate(&mut config, &global).unwrap();
        let to = &config.auth_info;
        assert_eq!((to.impersonate.as_deref(), to.impersonate_uid.as_deref()), (Some("b"), None));
        assert_eq!(to.impersonate_groups.as_deref(), Some(&[][..]), "nobody keeps the groups of somebody else");
        let global = Global { impersonate_groups: vec!["g".into()], ..Global::default() };
        assert!(matches!(impersonate(&mut kubeconfig(), &global), Err(Failure::Usage(_))));
    }
}
