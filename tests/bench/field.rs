//! The field: a control plane with Leasehold installed as shipped, namespaces that have opted in, one who asks, and the observer.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use leasehold::{api::names::ISSUING_NAMESPACE, cluster::exchange::Ask};
use leasehold_harness::Options;
use serde_json::{Value, json};

use crate::{
    eyes::Eyes,
    replay::{Live, Replay},
    sizes::Sizes,
    support::{Lab, Operator},
    template::{GRANT, LIFECYCLE, ROLE, Templates},
    wire::{Wire, core, jobs, leases, rbac, text},
};

/// How long anything may take that is to come true.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How many leases a second can be planted wherever this runs, as long as nothing better is known.
const SLOWLY: f64 = 15.0;
/// Who asks for every lease of the bench.
const REQUESTER: &str = "bench-ci";

pub struct Field {
    pub lab: Lab,
    pub sizes: Sizes,
    pub eyes: Eyes,
    /// Anything may be done.
    pub admin: Wire,
    /// Asks for leases, and ends what it asked for.
    pub requester: Wire,
    pub namespaces: Vec<String>,
    pub templates: Templates,
    pub templates_file: PathBuf,
    /// The operator's own.
    pub kubeconfig: PathBuf,
    /// How many leases a second were planted the last time.
    pub planting: Mutex<f64>,
    labels: AtomicUsize,
    names: AtomicUsize,
}

/// A lease as the one who asked for it knows it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Field {
    /// A field of its own, with bodies taken from leases that Leasehold issued on it.
    pub async fn prepare(sizes: &Sizes) -> Result<Arc<Self>> {
        let lab = Lab::installed(Options::default()).await?;
        let admin = Wire::new(lab.plane.admin());
        let requester = lab.plane.user(REQUESTER, &[])?;
        let kubeconfig = Operator::kubeconfig(&lab.plane, "operator").await?;
        let eyes = Eyes::open(&lab.plane)?;
        let mut field = Self {
            templates_file: lab.plane.dir().join("templates.json"),
            sizes: sizes.clone(),
            requester: Wire::new(requester.client),
            namespaces: (0..sizes.namespaces).map(|n| format!("bench-{n:04}")).collect(),
            templates: Templates::default(),
            planting: Mutex::new(SLOWLY),
            labels: AtomicUsize::default(),
            names: AtomicUsize::default(),
            lab,
            eyes,
            admin,
            kubeconfig,
        };
        field.everywhere().await?;
        let made: Vec<(String, String)> = stream::iter(field.namespaces.iter().chain([&"bench-model".to_owned()]))
            .map(|namespace| field.opt_in(namespace))
            .buffer_unordered(8)
            .try_collect()
            .await?;
        field.templates.lifecycles = made.into_iter().collect();
        field.templates.server = field.lab.plane.url().to_owned();
        field.templates.ca_pem = field.lab.plane.ca_pem().to_owned();
        field.model().await.context("take what Leasehold writes for a lease")?;
        std::fs::write(&field.templates_file, serde_json::to_vec(&field.templates)?)?;
        Ok(Arc::new(field))
    }

    async fn everywhere(&self) -> Result<()> {
        let cluster = |resource: &str| format!("/apis/rbac.authorization.k8s.io/v1/{resource}");
        let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        let reads = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
        let binds = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": [ROLE]}]);
        self.admin.create(&cluster("clusterroles"), &role(ROLE, reads)).await?;
        self.admin.create(&cluster("clusterroles"), &role("bench-bind", binds)).await?;
        let body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": REQUESTER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "leasehold-requester"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": REQUESTER}]});
        self.admin.create(&cluster("clusterrolebindings"), &body).await.map(drop)
    }

    /// A namespace whose owner lets Leasehold bind and deliver there, with a lifecycle; its name and the lifecycle's UID.
    async fn opt_in(&self, namespace: &str) -> Result<(String, String)> {
        let admin = &self.admin;
        admin
            .create(
                "/api/v1/namespaces",
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            )
            .await?;
        let ledger =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ledger"}, "data": {"balance": "7"}});
        admin.create(&core(namespace, "configmaps"), &ledger).await?;
        for (name, role) in [
            ("leasehold-granter", "leasehold-granter"),
            ("leasehold-bind", "bench-bind"),
            ("leasehold-delivery", "leasehold-delivery"),
        ] {
            let body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": "leasehold", "namespace": "leasehold-system"}]});
            admin.create(&rbac(namespace, "rolebindings"), &body).await?;
        }
        let lifecycle = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": {"name": LIFECYCLE},
            "spec": {"owner": {"team": "bench", "contact": "bench@example.com"}, "purpose": "Is measured", "class": "Pipeline",
                "grants": [{"name": GRANT, "roleRef": {"kind": "ClusterRole", "name": ROLE}}],
                "terms": {"ttl": {"max": "8h"}, "delivery": ["TokenRequest", "Secret"], "approval": {"type": "NotRequired"}}}});
        let path = format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/serviceaccountlifecycles");
        let (uid, _) = admin.create(&path, &lifecycle).await?;
        Ok((namespace.to_owned(), uid))
    }

    pub fn next_label(&self, kind: &str) -> String {
        format!("{}-{}", kind.to_lowercase(), self.labels.fetch_add(1, Ordering::Relaxed))
    }

    /// A lease as it is asked for.
    pub fn lease(&self, namespace: &str, delivery: &str, ttl: &str) -> Value {
        let name = format!("lease-{:06}", self.names.fetch_add(1, Ordering::Relaxed));
        json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"name": name, "namespace": namespace},
            "spec": {"lifecycleRef": {"name": LIFECYCLE}, "grants": [GRANT], "ttl": ttl, "reason": "is measured",
                "delivery": {"type": delivery}, "requestedBy": {"username": REQUESTER}}})
    }

    /// Asks for it.
    pub async fn ask(&self, lease: &Value) -> Result<Asked> {
        let namespace = text(&lease["metadata"]["namespace"]);
        let (uid, _) = self.requester.create(&leases(&namespace), lease).await?;
        Ok(Asked { namespace, name: text(&lease["metadata"]["name"]), uid })
    }

    /// Asks for a lease with a delivered token in the nth namespace.
    pub async fn ask_in(&self, n: usize) -> Result<Asked> {
        let namespace = &self.namespaces[n % self.namespaces.len()];
        self.ask(&self.lease(namespace, "Secret", "1h")).await
    }

    /// Asks for one more of those that queue, all in the last namespace.
    pub async fn ask_crowded(&self) -> Result<Asked> {
        self.ask_in(self.namespaces.len() - 1).await
    }

    /// Its requester wants it to end now.
    pub async fn revoke(&self, lease: &Asked) -> Result<()> {
        let body = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeaseDecision", "metadata": {"name": lease.name},
            "spec": {"leaseRef": {"name": lease.name, "uid": lease.uid}, "lifecycleRef": {"name": LIFECYCLE}, "requester": REQUESTER,
                "decision": "Revoked", "reason": "is measured", "decidedBy": {"username": REQUESTER}}});
        let path = format!("/apis/leasehold.dev/v1alpha1/namespaces/{}/credentialleasedecisions", lease.namespace);
        self.requester.create(&path, &body).await.map(drop)
    }

    /// One who plants leases as the operator would have issued them.
    async fn planter(&self) -> Result<Replay> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let wire = Wire::new(Client::try_from(config)?);
        Ok(Replay { wire, templates: Arc::new(self.templates.clone()) })
    }

    /// Plants leases with these deadlines (unix seconds), spread over the namespaces, many at once.
    pub async fn plant(&self, deadlines: &[i64]) -> Result<Vec<Live>> {
        let planter = self.planter().await?;
        let begun = Instant::now();
        let planted: Vec<Live> = stream::iter(deadlines.iter().enumerate())
            .map(|(n, deadline)| {
                let namespace = &self.namespaces[n % self.namespaces.len()];
                let lease = self.lease(namespace, "TokenRequest", "8h");
                let planter = &planter;
                async move { planter.plant(&self.requester, &lease, *deadline).await }
            })
            .buffered(24)
            .try_collect()
            .await?;
        #[allow(clippy::cast_precision_loss)]
        let rate = planted.len() as f64 / begun.elapsed().as_secs_f64();
        *self.planting.lock().unwrap_or_else(PoisonError::into_inner) = rate;
        Ok(planted)
    }

    /// How many seconds it takes to plant so many, as the last time went, and half as long again.
    pub fn planting_takes(&self, count: usize) -> i64 {
        let rate = *self.planting.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let seconds = (count as f64 / rate * 1.5).ceil() as i64;
        seconds
    }

    /// Takes away every lease and what was made for it. Nobody acts meanwhile.
    pub async fn clear(&self) -> Result<()> {
        let ours = "labelSelector=leasehold.dev%2Flease-uid";
        let of_namespace = |namespace: &String| {
            vec![
                format!("{}?{ours}", rbac(namespace, "rolebindings")),
                leases(namespace),
                format!("/apis/leasehold.dev/v1alpha1/namespaces/{namespace}/credentialleasedecisions"),
                format!("{}?{ours}", core(namespace, "secrets")),
            ]
        };
        let mut paths: Vec<String> = self.namespaces.iter().flat_map(of_namespace).collect();
        paths.extend(of_namespace(&"bench-model".to_owned()));
        paths.extend([
            format!("{}?{ours}&propagationPolicy=Background", jobs(ISSUING_NAMESPACE)),
            format!("{}?{ours}", core(ISSUING_NAMESPACE, "serviceaccounts")),
            format!("{}?{ours}", rbac(ISSUING_NAMESPACE, "rolebindings")),
            format!("{}?{ours}", rbac(ISSUING_NAMESPACE, "roles")),
        ]);
        stream::iter(paths)
            .map(|path| async move {
                self.admin.send(Ask::new(Method::DELETE, path.clone())).await.with_context(|| path)
            })
            .buffer_unordered(4)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.eyes.forget();
        Ok(())
    }
}
