//! A cluster with Leasehold installed, no operator running, and everybody who might attack it, each with a credential of their own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use kube::Client;
use leasehold_harness::Options;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    independence::{Place, RIGHTS, bob},
    shapes::*,
    systems::SHARED,
    table::Plan,
};
use crate::support::{Lab, Operator};

/// Whose credential a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The operator's ServiceAccount, on this ground cluster-admin: what still refuses it is policy alone.
    Operator,
    /// The same by a token that is bound to a pod, as the operator has it in a cluster.
    InPod,
    /// `system:masters`: RBAC refuses it nothing.
    Admin,
    /// Whoever owns much of the tenant's namespace but may neither lease nor bind Role `reader`.
    Tenant,
    /// May write lifecycles and bind Role `reader`.
    Author,
    /// May lease every lifecycle; groups `dev` and `ops`.
    Dev,
    /// A ServiceAccount of the tenant, by a token bound to a pod; may lease lifecycle `nightly`. The live lease is its own.
    Ci,
    /// Holds ClusterRole edit in the whole cluster.
    Editor,
    /// The account of the live lease. What it may do besides its grant comes from `system:serviceaccounts`.
    Leased,
    /// A certificate with the group of the issuing namespace.
    Infiltrator,
    /// May approve and revoke leases of lifecycle `nightly`, and nothing else; groups `leads` and `duty`.
    Boss,
    /// May revoke them, not approve.
    Guard,
    /// Holds ClusterRole leasehold-platform in the whole cluster, and may read Secret [`super::systems::SHARED`] of the operator's
    /// namespace.
    Platform,
    /// Who drains, with every right: what still refuses it is policy alone.
    Drain,
    /// May approve them, and holds one right more: the one of this number in [`super::independence::RIGHTS`].
    Bob(usize),
}

/// The cluster and what stands on it.
pub struct Ground {
    pub lab: Lab,
    pub namespace: String,
    /// A namespace with a Role `reader` that nobody of here may bind.
    pub vault: String,
    /// One where [`Who::Author`] and [`Who::Tenant`] may.
    pub annex: String,
    /// The account of a lease that lives: its requester is [`Who::Ci`], its audiences the API server's and [`STS`].
    pub account: String,
    /// The UID in its name.
    pub uid: String,
    /// The account of a lease whose deadline has passed and that nobody took down.
    pub ended: String,
    /// The UIDs of two pods of the operator's namespace: the one that [`Who::InPod`] is bound to, `own`, and `other`.
    pub pods: [String; 2],
    /// The UID of ConfigMap kube-root-ca.crt of the tenant: an owner that stays.
    pub root_ca: String,
    /// The Job that owns the live account.
    pub backstop: String,
    pub backstop_uid: String,
    /// [`Who::Ci`], as the API server knows it: username, uid, extra.
    pub ci: Value,
    clients: BTreeMap<Who, Client>,
}

/// An audience of the live lease beside the API server's.
pub const STS: &str = "https://sts.example.com";
/// The API server's own audience.
pub const API: &str = "https://kubernetes.default.svc";
/// What the tenant's own Secret holds, as it would be read.
pub const TOP_SECRET: &str = "dG9wLXNlY3JldA==";

impl Ground {
    pub async fn lay() -> Result<Self> {
        let lab = Lab::installed(Options::default()).await?;
        let (namespace, author) = {
            let tenant = lab.tenant("bank").await?;
            (tenant.namespace.clone(), tenant.author.client.clone())
        };
        let (vault, annex) = (lab.tenant("vault").await?.namespace, lab.tenant("annex").await?.namespace);
        let plane = &lab.plane;
        let by_name = |name: &str, groups: &[&str]| plane.user(name, groups).map(|user| user.client);
        let operator =
            plane.token_client(lab.kubectl(&["create", "token", "leasehold", "-n", SYSTEM], None).await?.trim())?;
        lab.kubectl(&["apply", "-f", &lab.config("drain/rbac.yaml")], None).await?;
        let drain = ["create", "token", "leasehold-drain", "-n", SYSTEM];
        let drain = plane.token_client(lab.kubectl(&drain, None).await?.trim())?;
        let mut clients = BTreeMap::from([
            (Who::Drain, drain),
            (Who::Operator, operator),
            (Who::Admin, plane.admin()),
            (Who::Tenant, by_name("tenant", &[])?),
            (Who::Author, author),
            (Who::Dev, by_name("dev", &["dev", "ops"])?),
            (Who::Editor, by_name("editor", &[])?),
            (Who::Infiltrator, by_name("infiltrator", &["system:serviceaccounts:leasehold-leases"])?),
            (Who::Boss, by_name("boss", &["leads", "duty"])?),
            (Who::Guard, by_name("guard", &[])?),
            (Who::Platform, by_name("platform", &[])?),
        ]);
        for number in 0..RIGHTS.len() {
            clients.insert(Who::Bob(number), by_name(&bob(number), &[])?);
        }
        let (uid, ended_uid) = (fresh_uid(), fresh_uid());
        let now = jiff::Timestamp::now().as_second();
        let account = format!("{namespace}.nightly.{uid}.{}", now + 3600);
        let ended = format!("{namespace}.nightly.{ended_uid}.{}", now - 5);
        let mut ground = Self {
            lab,
            namespace,
            vault,
            annex,
            account,
            uid,
            ended,
            pods: Default::default(),
            root_ca: String::new(),
            backstop: fresh("lease"),
            backstop_uid: String::new(),
            ci: Value::Null,
            clients,
        };
        ground.people().await?;
        ground.deciders().await?;
        ground.things().await?;
        ground.leases(&ended_uid).await?;
        Ok(ground)
    }

    /// Who may what.
    async fn people(&mut self) -> Result<()> {
        let namespace = self.namespace.clone();
        let all = ["create", "get", "list", "update", "patch", "delete"];
        let much = json!([
            {"apiGroups": ["leasehold.dev"], "verbs": all,
                "resources": ["credentialleases", "credentialleases/status", "serviceaccountlifecycles", "serviceaccountlifecycles/status",
                    "credentialleasedecisions"]},
            {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": all},
            {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": all},
            {"apiGroups": [RBAC], "resources": ["rolebindings"], "verbs": all},
            {"apiGroups": [RBAC], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["deploy"]},
        ]);
        let asks = json!([
            {"apiGroups": ["leasehold.dev"], "resources": ["serviceaccountlifecycles"], "verbs": ["lease"], "resourceNames": ["nightly"]},
            {"apiGroups": ["leasehold.dev"], "resources": ["credentialleases"], "verbs": all},
            {"apiGroups": ["leasehold.dev"], "resources": ["credentialleasedecisions"], "verbs": ["create"]},
        ]);
        let every_account = group("system:serviceaccounts");
        let roles = [
            role("tenant", much),
            role("nightly", asks),
            role("deploy", json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}])),
            role("bind-reader", json!([rule(RBAC, "roles", "bind", &["reader"])])),
        ];
        for role in roles {
            self.does(Who::Admin, Call::post(rbac(&namespace, "roles"), role)).await?;
        }
        let bindings = [
            binding("tenant", ("Role", "tenant"), json!([user("tenant"), every_account])),
            binding("nightly", ("Role", "nightly"), json!([user("dev"), user("infiltrator"), every_account])),
            binding("everybody-binds", ("Role", "bind-reader"), json!([every_account])),
            binding("dev", ("Role", "requester"), json!([user("dev")])),
        ];
        for binding in bindings {
            self.does(Who::Admin, Call::post(rbac(&namespace, "rolebindings"), binding)).await?;
        }
        let reads = role("platform", json!([rule("", "secrets", "get", &[SHARED])]));
        self.does(Who::Admin, Call::post(rbac(SYSTEM, "roles"), reads)).await?;
        let bound = binding("platform", ("Role", "platform"), json!([user("platform")]));
        self.does(Who::Admin, Call::post(rbac(SYSTEM, "rolebindings"), bound)).await?;
        let operator = json!([account("leasehold", SYSTEM)]);
        for (name, role, subjects) in [
            ("excess", "cluster-admin", operator),
            ("editor", "edit", json!([user("editor")])),
            ("platform", "leasehold-platform", json!([user("platform")])),
        ] {
            let binding = cluster_binding(name, role, subjects);
            self.does(Who::Admin, Call::post(cluster_rbac("clusterrolebindings"), binding)).await?;
        }
        self.does(Who::Admin, Call::post(core(&namespace, "serviceaccounts"), json!({"metadata": {"name": "ci"}})))
            .await?;
        self.ci_by_pod().await?;
        self.operator_by_pod().await
    }

    /// Who may decide about leases of lifecycle `nightly`.
    async fn deciders(&self) -> Result<()> {
        let namespace = &self.namespace;
        let word =
            json!({"apiGroups": ["leasehold.dev"], "resources": ["credentialleasedecisions"], "verbs": ["create"]});
        let may = |verb| rule("leasehold.dev", "serviceaccountlifecycles", verb, &["nightly"]);
        let of = |name: &str, subjects: Value| binding(name, ("Role", name), subjects);
        let mut approvers = vec![user("infiltrator"), group("system:serviceaccounts"), user("boss")];
        approvers.extend((0..RIGHTS.len()).map(|number| user(&bob(number))));
        let mut roles = vec![
            (namespace, role("approver", json!([word, may("approve")])), of("approver", json!(approvers))),
            (
                namespace,
                role("revoker", json!([word, may("revoke")])),
                of("revoker", json!([user("boss"), user("guard")])),
            ),
            (
                &self.annex,
                role("binds", json!([rule(RBAC, "roles", "bind", &["reader"])])),
                of("binds", json!([user(&format!("{namespace}-author")), user("tenant")])),
            ),
        ];
        let mut cluster_roles = vec![];
        for (number, right) in RIGHTS.iter().enumerate() {
            let (name, rules) = (bob(number), json!([right.rule()]));
            let subjects = json!([user(&name)]);
            match right.place {
                Place::Here => roles.push((namespace, role(&name, rules), of(&name, subjects))),
                Place::Elsewhere => roles.push((&self.vault, role(&name, rules), of(&name, subjects))),
                Place::Cluster => {
                    let mut role = role(&name, rules);
                    role["kind"] = json!("ClusterRole");
                    cluster_roles.push((role, cluster_binding(&name, &name, subjects)));
                }
            }
        }
        for (namespace, role, binding) in roles {
            self.does(Who::Admin, Call::post(rbac(namespace, "roles"), role)).await?;
            self.does(Who::Admin, Call::post(rbac(namespace, "rolebindings"), binding)).await?;
        }
        for (role, binding) in cluster_roles {
            self.does(Who::Admin, Call::post(cluster_rbac("clusterroles"), role)).await?;
            self.does(Who::Admin, Call::post(cluster_rbac("clusterrolebindings"), binding)).await?;
        }
        Ok(())
    }

    /// A token of a pod's, as a pipeline has it.
    async fn ci_by_pod(&mut self) -> Result<()> {
        let namespace = self.namespace.clone();
        let pod = self.does(Who::Admin, Call::post(core(&namespace, "pods"), pod("pipeline", "ci"))).await?;
        let ask = bound(token_request(7200, &[]), "pipeline", pod["metadata"]["uid"].as_str().context("no uid")?);
        let ci = self.token(Who::Admin, &namespace, "ci", ask).await?;
        self.clients.insert(Who::Ci, self.lab.plane.token_client(&ci)?);
        let who = Call::post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}),
        );
        self.ci = self.does(Who::Ci, who).await?["status"]["userInfo"].clone();
        Ok(())
    }

    /// The operator as a pod has it.
    async fn operator_by_pod(&mut self) -> Result<()> {
        for (name, at) in [("own", 0), ("other", 1)] {
            let pod = self.does(Who::Admin, Call::post(core(SYSTEM, "pods"), pod(name, "leasehold"))).await?;
            self.pods[at] = pod["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        }
        let ask = bound(token_request(7200, &[]), "own", &self.pods[0]);
        let token = self.token(Who::Admin, SYSTEM, "leasehold", ask).await?;
        self.clients.insert(Who::InPod, self.lab.plane.token_client(&token)?);
        Ok(())
    }

    /// What there is to attack in the tenant's namespace.
    async fn things(&mut self) -> Result<()> {
        let namespace = self.namespace.clone();
        let root_ca = self.does(Who::Admin, Call::get(core(&namespace, "configmaps/kube-root-ca.crt"))).await?;
        self.root_ca = root_ca["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        let secret = json!({"metadata": {"name": "foreign"}, "type": "Opaque", "data": {"k": TOP_SECRET}});
        let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/x"]}, "type": "Opaque", "data": {"k": TOP_SECRET}});
        for secret in [secret, held] {
            self.does(Who::Admin, Call::post(core(&namespace, "secrets"), secret)).await?;
        }
        for (kind, name) in [("deployments", "web"), ("statefulsets", "db"), ("daemonsets", "agent")] {
            self.does(Who::Admin, Call::post(apps(&namespace, kind), workload(name, kind))).await?;
        }
        let grants = json!([grant("read", "Role", "reader")]);
        for name in ["nightly", "other"] {
            self.does(Who::Author, Call::post(lifecycles(&namespace), lifecycle(name, grants.clone()))).await?;
        }
        Ok(())
    }

    /// Two leases as the operator issues them, one of them past its end.
    async fn leases(&mut self, ended_uid: &str) -> Result<()> {
        let backstop = self.does(Who::Operator, Call::post(jobs(ISSUING), job(&self.backstop, json!(0)))).await?;
        self.backstop_uid = backstop["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        let ci = self.ci["username"].as_str().context("no username")?.to_owned();
        for (name, uid) in [(self.account.clone(), self.uid.clone()), (self.ended.clone(), ended_uid.to_owned())] {
            let audiences = [format!("{name}/{API}"), format!("{name}/{STS}")];
            let mint = mint_role(&uid, &[&name], &[&audiences[0], &audiences[1]]);
            let bound = binding(&format!("lease-{uid}"), ("Role", &format!("lease-{uid}")), json!([user(&ci)]));
            self.does(Who::Operator, Call::post(core(ISSUING, "serviceaccounts"), self.owned_account(&name))).await?;
            self.does(Who::Operator, Call::post(rbac(ISSUING, "roles"), mint)).await?;
            self.does(Who::Operator, Call::post(rbac(ISSUING, "rolebindings"), bound)).await?;
        }
        let granted = binding(&self.granted(), ("Role", "reader"), json!([account(&self.account, ISSUING)]));
        self.does(Who::Operator, Call::post(rbac(&self.namespace, "rolebindings"), granted)).await?;
        let token = self.token(Who::Operator, ISSUING, &self.account, token_request(3600, &[])).await?;
        self.clients.insert(Who::Leased, self.lab.plane.token_client(&token)?);
        Ok(())
    }

    /// The account of a lease, owned by the backstop.
    pub fn owned_account(&self, name: &str) -> Value {
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": self.backstop, "uid": self.backstop_uid});
        json!({"metadata": {"name": name, "ownerReferences": [owner]}})
    }

    /// The operator's RoleBinding for the live lease.
    pub fn granted(&self) -> String {
        format!("leasehold-{}-read", self.uid)
    }

    /// An owner that is there, under any name.
    pub fn owner(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": self.root_ca})
    }

    /// The username of the live lease's account.
    pub fn leased(&self) -> String {
        format!("system:serviceaccount:{ISSUING}:{}", self.account)
    }

    pub async fn token(&self, by: Who, namespace: &str, account: &str, ask: Value) -> Result<String> {
        let path = core(namespace, &format!("serviceaccounts/{account}/token"));
        let answer = self.does(by, Call::post(path, ask)).await?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
    }

    /// Sends something that must succeed.
    pub async fn does(&self, who: Who, call: Call) -> Result<Value> {
        let answer = call.send(&self.clients[&who]).await?;
        ensure!(answer.succeeded(), "{who:?} could not lay the ground by {call:?}: {}", answer.brief());
        Ok(answer.body)
    }

    /// Prepares and does what is planned: the answer to the act itself.
    pub async fn carry_out(&self, who: Who, plan: Plan) -> Result<Answer> {
        for (by, call) in plan.before {
            self.does(by, call).await?;
        }
        plan.act.send(&self.clients[&who]).await
    }

    /// Who [`Who::Operator`] is when it has only the shipped rights, on any plane.
    pub async fn shipped_operator(lab: &Lab, label: &str) -> Result<Client> {
        let path = Operator::kubeconfig(&lab.plane, label).await?;
        let config = kube::config::Kubeconfig::read_from(path)?;
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
        Ok(Client::try_from(config)?)
    }
}
