//! What the chart renders: the same objects as kustomize, each value its own change, all of it taken by the API server.

use anyhow::{Context, ensure};
use leasehold_harness::assets;

use super::{
    CHART, helm,
    objects::{changes, missing_or_different, read, without_helm},
    template,
};
use crate::support::{Lab, run};

/// Nothing but what config/default has.
pub const PLAIN: &str = "{policy: {preset: none}, admission: {stamping: Disabled}, uninstall: {drain: false}}";

/// The pod of `helm test`, and what it may.
const TEST: [&str; 4] = [
    "ClusterRole /leasehold-test",
    "ClusterRoleBinding /leasehold-test",
    "Pod leasehold-system/leasehold-test",
    "ServiceAccount leasehold-system/leasehold-test",
];

#[test]
fn the_chart_is_without_a_word_of_lint() {
    run(async {
        let lab = Lab::shared().await?;
        helm(&lab.plane, &["lint", "--strict", CHART], None).await.map(drop)
    });
}

#[test]
fn the_readme_is_what_the_values_say() {
    run(async {
        let program = assets::go_tool(assets::HELM_DOCS).await?;
        let mut command = tokio::process::Command::new(program);
        command.args([
            "--dry-run",
            "--log-level",
            "warning",
            "--sort-values-order",
            "file",
            "--chart-search-root",
            CHART,
        ]);
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let there = std::fs::read_to_string(format!("{CHART}/README.md"))?;
        ensure!(
            String::from_utf8(output.stdout)?.trim_end() == there.trim_end(),
            "charts/leasehold/README.md is not what values.yaml says: run `make generate` and commit the result"
        );
        // A comment with ` --` in it is read as another one's.
        let bare: Vec<&str> = there.lines().filter(|line| line.starts_with("| ") && line.ends_with("|  |")).collect();
        ensure!(bare.is_empty(), "values without a word: {bare:?}");
        Ok(())
    });
}

/// One text, two ways to install it: whoever reads config/ knows what the chart does.
#[test]
fn it_renders_what_kustomize_renders() {
    run(async {
        let lab = Lab::shared().await?;
        let stamping = "{policy: {preset: none}, admission: {stamping: Enabled}, uninstall: {drain: false}}";
        for (values, install) in [(PLAIN, "default"), (stamping, "overlays/stamping")] {
            let mut kustomized = read(&lab.kubectl(&["kustomize", &lab.config(install)], None).await?)?;
            // Helm makes it, by --create-namespace.
            kustomized.remove("Namespace /leasehold-system").context("the install has no leasehold-system")?;
            let mut rendered = without_helm(template(&lab.plane, values, &[]).await?);
            rendered.retain(|key, _| !TEST.contains(&key.as_str()));
            ensure!(kustomized.len() > 50, "{install} has only {} objects", kustomized.len());
            let (less, more) =
                (missing_or_different(&kustomized, &rendered), missing_or_different(&rendered, &kustomized));
            ensure!(less.is_empty() && more.is_empty(), "{install}: not in the chart {less:?}, only there {more:?}");
        }
        // What is not part of the install: guardrails, and what watches it.
        let monitored = "observability: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}";
        for (values, parts, count) in [
            ("policy: {preset: strict}", "strict", 2),
            (monitored, "prometheus", 2),
            ("{}", "drain", 8),
            ("{}", "drain/finish", 1),
        ] {
            let mut kustomized = read(&lab.kubectl(&["kustomize", &lab.config(parts)], None).await?)?;
            let mut rendered = without_helm(template(&lab.plane, values, &[]).await?);
            rendered.retain(|key, _| kustomized.contains_key(key));
            ensure!(kustomized.len() == count && rendered.len() == count, "{parts}: {:?}", rendered.keys());
            for object in kustomized.values_mut().chain(rendered.values_mut()) {
                object["metadata"].as_object_mut().map(|metadata| metadata.remove("labels"));
                // As a hook it has one try, for as long as Helm waits.
                for limit in ["backoffLimit", "activeDeadlineSeconds"] {
                    object.get_mut("spec").and_then(|s| s.as_object_mut()).map(|spec| spec.remove(limit));
                }
                for time in ["--timeout=5m", "--timeout=240s"] {
                    *object = serde_json::from_str(&object.to_string().replace(time, "--timeout=T"))?;
                }
            }
            ensure!(kustomized == rendered, "{parts} is another one in the chart");
        }
        Ok(())
    });
}

/// Values over the plain ones, and what they change: `+` new, `-` gone, `~` different.
pub const TOGGLES: &[(&str, &[&str])] = &[
    ("policy: {preset: baseline}", &["+CredentialLeasePolicy /baseline"]),
    (
        "policy: {preset: strict}",
        &[
            "+CredentialLeasePolicy /baseline",
            "+CredentialLeasePolicy /strict",
            "~Deployment leasehold-system/leasehold",
        ],
    ),
    ("policy: {preset: none, require: true}", &["~Deployment leasehold-system/leasehold"]),
    (
        "admission: {stamping: Enabled}",
        &[
            "+MutatingAdmissionPolicy /leasehold-stamp-decider",
            "+MutatingAdmissionPolicy /leasehold-stamp-requester",
            "+MutatingAdmissionPolicyBinding /leasehold-stamp-decider",
            "+MutatingAdmissionPolicyBinding /leasehold-stamp-requester",
        ],
    ),
    // Without a cluster to ask, or one that does not serve it, nothing.
    ("admission: {stamping: Auto}", &[]),
    (
        "grantable: [{namespace: payments, roles: [deploy], clusterRoles: [view]}]",
        &[
            "+Role payments/leasehold-bind",
            "+RoleBinding payments/leasehold-bind",
            "+RoleBinding payments/leasehold-granter",
        ],
    ),
    (
        "personas: {platform: [{kind: Group, name: platform}], auditors: [{kind: User, name: ada}]}",
        &["+ClusterRoleBinding /leasehold-auditor", "+ClusterRoleBinding /leasehold-platform"],
    ),
    (
        "personas: {namespaces: [{namespace: payments, authors: [{kind: Group, name: leads}], requesters: [{kind: ServiceAccount, name: ci, namespace: payments}], approvers: [{kind: Group, name: oncall}], auditors: [{kind: User, name: ada}]}]}",
        &[
            "+RoleBinding payments/leasehold-approver",
            "+RoleBinding payments/leasehold-auditor",
            "+RoleBinding payments/leasehold-author",
            "+RoleBinding payments/leasehold-requester",
        ],
    ),
    ("delivery: {secretNamespaces: [payments]}", &["+RoleBinding payments/leasehold-delivery"]),
    ("delivery: {serverURL: 'https://api.example.com'}", &["~Deployment leasehold-system/leasehold"]),
    (
        "systems: {secretNames: [ci]}",
        &["+Role leasehold-system/leasehold-systems", "+RoleBinding leasehold-system/leasehold-systems"],
    ),
    ("restartConsumers: [payments]", &["+RoleBinding payments/leasehold-restarter"]),
    ("leases: {retention: 1h}", &["~Deployment leasehold-system/leasehold"]),
    ("leases: {labels: {team: platform}}", &["~Namespace /leasehold-leases"]),
    ("replicas: 3", &["~Deployment leasehold-system/leasehold"]),
    (
        "image: {repository: registry.example.com/leasehold, tag: x, pullSecrets: [pull], pullPolicy: Always}",
        &["~Deployment leasehold-system/leasehold", "~Pod leasehold-system/leasehold-test"],
    ),
    (
        "pod: {nodeSelector: {a: b}, tolerations: [{operator: Exists}]}",
        &["~Deployment leasehold-system/leasehold", "~Pod leasehold-system/leasehold-test"],
    ),
    (
        "pod: {priorityClassName: system-cluster-critical, labels: {a: b}, annotations: {c: d}, extraArgs: [--end-width=32], resources: {limits: {memory: 1Gi}}}",
        &["~Deployment leasehold-system/leasehold"],
    ),
    ("networkPolicy: false", &["-NetworkPolicy leasehold-system/leasehold"]),
    ("observability: {log: debug}", &["~Deployment leasehold-system/leasehold"]),
    (
        "uninstall: {drain: true}",
        &[
            "+ClusterRole /leasehold-drain",
            "+ClusterRoleBinding /leasehold-drain",
            "+Job leasehold-system/leasehold-drain",
            "+Job leasehold-system/leasehold-drain-finish",
            "+Role leasehold-leases/leasehold-drain",
            "+Role leasehold-system/leasehold-drain",
            "+RoleBinding leasehold-leases/leasehold-drain",
            "+RoleBinding leasehold-system/leasehold-drain",
            "+ServiceAccount leasehold-system/leasehold-drain",
        ],
    ),
    (
        "crds: {install: false}",
        &[
            "-CustomResourceDefinition /connectedsystems.leasehold.dev",
            "-CustomResourceDefinition /credentialleasedecisions.leasehold.dev",
            "-CustomResourceDefinition /credentialleasepolicies.leasehold.dev",
            "-CustomResourceDefinition /credentialleases.leasehold.dev",
            "-CustomResourceDefinition /serviceaccountlifecycles.leasehold.dev",
        ],
    ),
    (
        "crds: {keep: false}",
        &[
            "~CustomResourceDefinition /connectedsystems.leasehold.dev",
            "~CustomResourceDefinition /credentialleasedecisions.leasehold.dev",
            "~CustomResourceDefinition /credentialleasepolicies.leasehold.dev",
            "~CustomResourceDefinition /credentialleases.leasehold.dev",
            "~CustomResourceDefinition /serviceaccountlifecycles.leasehold.dev",
        ],
    ),
];

#[test]
fn each_value_changes_what_it_says_and_nothing_else_and_the_api_server_takes_it() {
    run(async {
        let lab = Lab::shared().await?;
        let plain = template(&lab.plane, PLAIN, &[]).await?;
        let namespace = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}}"#;
        lab.kubectl(&["apply", "-f", "-"], Some(namespace)).await?;
        let mut taken = plain.clone();
        for (values, expected) in TOGGLES {
            let file = tempfile::NamedTempFile::new()?;
            std::fs::write(file.path(), values)?;
            let path = file.path().to_str().context("a path that is no text")?;
            let rendered = template(&lab.plane, PLAIN, &["--values", path]).await?;
            ensure!(changes(&plain, &rendered) == *expected, "{values} changes {:?}", changes(&plain, &rendered));
            for (key, object) in rendered {
                // Not served here: see `watched`.
                let foreign = object["apiVersion"] == "monitoring.coreos.com/v1";
                if plain.get(&key) != Some(&object) && !foreign {
                    taken.insert(format!("{key}, {values}"), object);
                }
            }
        }
        let all: Vec<String> = taken.values().map(ToString::to_string).collect();
        // A pod is only taken where its account is.
        let account = ["serviceaccount", "leasehold-test", "--namespace", "leasehold-system"];
        lab.kubectl(&[&["create"], &account[..]].concat(), None).await?;
        // A dry run goes all the way through validation and admission, those of Pod Security too.
        let args = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let said = lab.plane.kubectl(lab.plane.admin_kubeconfig(), &args, Some(&all.join("\n---\n"))).await?;
        lab.kubectl(&[&["delete"], &account[..]].concat(), None).await?;
        // The shared install was applied by the client: kubectl would move its notes, which a dry run cannot.
        let warnings = said.stderr.lines().filter(|line| !line.contains("last-applied-configuration")).count();
        ensure!(said.status.success() && warnings == 0, "{}", said.stderr);
        ensure!(said.stdout.lines().count() == all.len(), "{} of {}", said.stdout.lines().count(), all.len());
        Ok(())
    });
}

/// A namespace may be called what YAML takes for a number, or for nothing.
#[test]
fn every_name_stays_a_name() {
    run(async {
        let lab = Lab::shared().await?;
        for name in ["007", "1e3", "null", "true"] {
            let values = format!(
                "{{grantable: [{{namespace: '{name}', roles: ['1']}}], delivery: {{secretNamespaces: ['{name}']}}, restartConsumers: ['{name}'], \
                 systems: {{secretNames: ['1']}}, personas: {{namespaces: [{{namespace: '{name}', requesters: [{{kind: ServiceAccount, name: '1', namespace: '{name}'}}]}}]}}}}"
            );
            let rendered = template(&lab.plane, &values, &[]).await?;
            for object in
                ["Role {}/leasehold-bind", "RoleBinding {}/leasehold-bind", "RoleBinding {}/leasehold-granter"]
                    .into_iter()
                    .chain(["RoleBinding {}/leasehold-delivery", "RoleBinding {}/leasehold-restarter"])
            {
                let key = object.replace("{}", name);
                ensure!(rendered.contains_key(&key), "{key} is not in {:?}", rendered.keys());
            }
            let asks = &rendered[&format!("RoleBinding {name}/leasehold-requester")];
            ensure!(asks["subjects"][0]["namespace"] == *name && asks["subjects"][0]["name"] == "1", "{asks}");
        }
        Ok(())
    });
}

/// By what the cluster says it serves, not by its version.
#[test]
fn stamping_is_chosen_by_what_the_cluster_serves() {
    run(async {
        let lab = Lab::shared().await?;
        let served = ["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"];
        let kinds = |objects: &super::objects::Objects| {
            objects.keys().filter(|key| key.starts_with("MutatingAdmissionPolicy")).count()
        };
        for (stamping, flags, count) in
            [("Auto", &[][..], 0), ("Auto", &served[..], 4), ("Disabled", &served[..], 0), ("Enabled", &[][..], 4)]
        {
            let values = format!("{{admission: {{stamping: {stamping}}}}}");
            let found = kinds(&template(&lab.plane, &values, flags).await?);
            ensure!(found == count, "{stamping} {flags:?}: {found}");
        }
        Ok(())
    });
}
