//! A control plane that takes the tokens of three CI systems, and the shipped lifecycle that their pipelines lease.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::api::ListParams;
use leasehold::api::{CredentialLease, reasons::Phase};
use leasehold_harness::{Options, eventually};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::{Mutex, OnceCell},
};

use super::issuer::{Issuer, REQUEST_TOKEN};
use crate::{
    cli_ask::plugin::Shell,
    support::{Lab, Person, Tenant},
};

/// Where the samples are.
pub const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples/pipelines");
/// The namespace of the samples.
const NAMESPACE: &str = "payments";
/// Whom tokens of the samples are for.
pub const AUDIENCE: &str = "kubernetes.example.com";
/// The issuers that the sample names, and what they are called at ours.
const ISSUERS: [(&str, &str); 3] = [
    ("https://token.actions.githubusercontent.com", "github"),
    ("https://gitlab.com", "gitlab"),
    ("https://jenkins.example.com/oidc", "jenkins"),
];

/// What tests of pipelines share.
pub struct Ground {
    pub issuer: Issuer,
    lab: Lab,
}

/// Held by each test that runs a pipeline: they find their request by who asks, and all of them are the same pipeline.
pub static ALONE: Mutex<()> = Mutex::const_new(());

static GROUND: OnceCell<Ground> = OnceCell::const_new();

impl Ground {
    /// The one that tests share.
    pub async fn shared() -> Result<&'static Self> {
        GROUND.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        let issuer = Issuer::start().await?;
        let authentication = Some(trusting(&issuer)?);
        let lab = Lab::start(Options { authentication, ..Options::default() }, &[]).await?;
        for sample in ["10-target-namespace.yaml", "pipelines/release.yaml"] {
            lab.kubectl(&["apply", "-f", &lab.config(&format!("samples/{sample}"))], None).await?;
        }
        let image = ["create", "deployment", "payments", "-n", NAMESPACE, "--image=registry.example.com/payments:0"];
        lab.kubectl(&image, None).await?;
        let rename = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/name", "value": NAMESPACE}]);
        let patch = ["patch", "deployment", "payments", "-n", NAMESPACE, "--type=json", "-p", &rename.to_string()];
        lab.kubectl(&patch, None).await?;
        Ok(Self { issuer, lab })
    }

    /// The namespace of the samples, for helpers that want one.
    pub fn tenant(&self) -> Result<Tenant<'_>> {
        let user = |name: &str| self.lab.plane.user(name, &[]);
        let (requester, author) = (user("nobody")?, user("author")?);
        let namespace = NAMESPACE.to_owned();
        Ok(Tenant { lab: &self.lab, namespace, admin: self.lab.plane.admin(), requester, author })
    }

    /// The shell of somebody who may agree to releases.
    pub async fn lead(&self, name: &str) -> Result<Shell> {
        let tenant = self.tenant()?;
        Shell::with(&tenant, &Person::approver(&tenant, name).await?.user.kubeconfig)
    }

    /// A runner: a shell in whose environment is what the CI system and its settings put there, and that has no credential.
    pub fn runner(&self) -> Result<Runner> {
        let tenant = self.tenant()?;
        let shell = Shell::with(&tenant, &PathBuf::from("/nowhere"))?;
        std::fs::write(shell.file("issuer.crt"), &self.issuer.authority)?;
        let home = shell.file("").to_string_lossy().into_owned();
        let environment = [
            ("KUBE_SERVER", self.lab.plane.url().to_owned()),
            ("KUBE_CA", STANDARD.encode(self.lab.plane.ca_pem())),
            ("CURL_CA_BUNDLE", format!("{home}/issuer.crt")),
            ("RUNNER_TEMP", home.clone()),
            ("WORKSPACE_TMP", format!("{home}/workspace@tmp")),
            ("TMPDIR", home),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Runner { shell, environment })
    }

    /// What GitHub puts into the environment of a job that may ask for its token; tokens live for these seconds.
    pub fn github(&self, claims: &Value, seconds: i64) -> [(String, String); 4] {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        [
            set("ACTIONS_ID_TOKEN_REQUEST_URL", &self.issuer.request_url("github", claims, seconds)),
            set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN),
            set("GITHUB_REPOSITORY", "acme/payments"),
            set("GITHUB_SHA", "4f2a1c9"),
        ]
    }

    /// The lease of this user that waits for an approval.
    pub async fn waiting(&self, username: &str) -> Result<CredentialLease> {
        let api = self.tenant()?.leases();
        eventually(&format!("a lease of {username} to wait"), Duration::from_secs(30), || async {
            let waits = |l: &CredentialLease| {
                let phase = l.status.as_ref().and_then(|s| s.phase);
                phase == Some(Phase::AwaitingApproval) && l.spec.requested_by.username == username
            };
            Ok::<_, anyhow::Error>(api.list(&ListParams::default()).await?.into_iter().find(waits))
        })
        .await
    }

    /// The image that is deployed.
    pub async fn deployed(&self) -> Result<String> {
        let path = "jsonpath={.spec.template.spec.containers[0].image}";
        self.lab.kubectl(&["get", "deployment", "payments", "-n", NAMESPACE, "-o", path], None).await
    }
}

/// Where a job runs.
pub struct Runner {
    pub shell: Shell,
    environment: BTreeMap<String, String>,
}

impl Runner {
    /// One variable more.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// What a job would run with `sh -e`; its own process group is not asked for, as on runners.
    pub fn command(&self, script: &str) -> Command {
        let mut command = self.shell.command("sh");
        command.args(["-ec", script]).env_remove("KUBECONFIG").envs(&self.environment);
        command
    }

    /// The same, started.
    pub fn start(&self, script: &str) -> Result<Child> {
        Ok(self.command(script).spawn()?)
    }

    /// A kubeconfig that takes its token from a file, and the plugin with these arguments under it.
    pub fn with_token(&mut self, token: &str, script: &str) -> Result<Command> {
        std::fs::write(self.shell.file("token"), token)?;
        let cluster = json!({"server": self.environment["KUBE_SERVER"], "certificate-authority-data": self.environment["KUBE_CA"]});
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "ci",
            "contexts": [{"name": "ci", "context": {"cluster": "ci", "user": "ci", "namespace": NAMESPACE}}],
            "clusters": [{"name": "ci", "cluster": cluster}],
            "users": [{"name": "ci", "user": {"tokenFile": self.shell.file("token")}}],
        });
        std::fs::write(self.shell.file("kubeconfig"), kubeconfig.to_string())?;
        let mut command = self.command(script);
        command.env("KUBECONFIG", self.shell.file("kubeconfig"));
        Ok(command)
    }
}

/// The shipped authentication configuration, its issuers replaced by ours.
fn trusting(issuer: &Issuer) -> Result<String> {
    let text = std::fs::read_to_string(format!("{SAMPLES}/authentication.yaml"))?;
    let mut configuration: Value = serde_saphyr::from_str(&text)?;
    let jwt = configuration["jwt"].as_array_mut().context("no issuers")?;
    ensure!(jwt.len() == ISSUERS.len(), "issuers that are not tested: {jwt:?}");
    for (entry, (vendor, realm)) in jwt.iter_mut().zip(ISSUERS) {
        ensure!(entry["issuer"]["url"] == vendor, "{entry}");
        entry["issuer"]["url"] = json!(issuer.url(realm));
        entry["issuer"]["certificateAuthority"] = json!(issuer.authority);
    }
    Ok(configuration.to_string())
}

/// Claims of a job of ours on GitHub, as GitHub writes them.
pub fn github_claims() -> Value {
    json!({
        "sub": "repo:acme@123456/payments@456789:environment:production", "aud": AUDIENCE,
        "repository": "acme/payments", "repository_id": "456789", "repository_owner": "acme", "repository_owner_id": "123456",
        "environment": "production", "ref": "refs/heads/main", "ref_type": "branch", "event_name": "push",
        "run_id": "1001", "run_number": "12", "run_attempt": "1", "runner_environment": "github-hosted", "actor": "octo",
    })
}

/// The user that these claims become.
pub const GITHUB_USER: &str = "github:repo:acme@123456/payments@456789:environment:production";
