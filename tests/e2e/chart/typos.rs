//! What is misspelt, of the wrong kind or impossible is refused with a word that says where.

use anyhow::{Context, Result, ensure};

use super::{CHART, NAMESPACE};
use crate::support::{Lab, run};

/// Values, and what Helm must say of them.
const REFUSED: &[(&str, &[&str])] = &[
    ("replica: 3", &["'replica' not allowed"]),
    ("replicas: two", &["/replicas", "want integer"]),
    ("policy: {prset: strict}", &["/policy", "'prset' not allowed"]),
    ("policy: {preset: loose}", &["/policy/preset", "'baseline', 'strict', 'none'"]),
    ("admission: {stamping: auto}", &["/admission/stamping", "'Auto', 'Enabled', 'Disabled'"]),
    ("grantable: [{namespace: payments}]", &["/grantable/0", "'roles'"]),
    ("grantable: [{namespace: payments, role: [deploy]}]", &["/grantable/0", "'role' not allowed"]),
    ("grantable: [{namespace: payments, roles: ['*']}]", &["/grantable/0/roles/0"]),
    ("grantable: [{namespace: payments, roles: []}]", &["/grantable/0"]),
    ("grantable: [{namespace: Payments, roles: [deploy]}]", &["/grantable/0/namespace"]),
    (
        "grantable: [{namespace: payments, roles: [a]}, {namespace: payments, roles: [b]}]",
        &["grantable names namespace payments twice"],
    ),
    ("grantable: [{namespace: kube-system, roles: [deploy]}]", &["grantable", "kube-system", "nothing is leased"]),
    ("restartConsumers: [leasehold-leases]", &["restartConsumers", "nothing is leased"]),
    ("delivery: {secretNamespaces: [kube-system]}", &["delivery.secretNamespaces", "nothing is leased"]),
    ("delivery: {secretNamespace: [payments]}", &["'secretNamespace' not allowed"]),
    ("delivery: {serverURL: 'http://example.com'}", &["/delivery/serverURL"]),
    ("personas: {platform: [{kind: group, name: sre}]}", &["/personas/platform/0/kind", "'Group'"]),
    ("personas: {platform: [{kind: ServiceAccount, name: sre}]}", &["ServiceAccount sre needs its namespace"]),
    ("personas: {namespaces: [{namespace: payments, author: []}]}", &["'author' not allowed"]),
    ("systems: {secretNames: ['*']}", &["/systems/secretNames/0"]),
    ("leases: {retention: 7d}", &["/leases/retention", "'7d'"]),
    ("leases: {retention: 100000h}", &["/leases/retention"]),
    ("image: {digest: latest}", &["/image/digest"]),
    ("image: {pullpolicy: Always}", &["'pullpolicy' not allowed"]),
    ("pod: {resources: {request: {}}}", &["'request' not allowed"]),
    ("pod: {extraArgs: ['--end-widht=3']}", &["/pod/extraArgs/0"]),
    ("pod: {extraArgs: ['--retention=1h']}", &["/pod/extraArgs/0"]),
    ("pod: {extraArgs: ['--leader-election=false']}", &["all of them would lead"]),
    ("observability: {prometheusRule: {enabled: true, runbooks: 'https://example.com/a: b'}}", &["/runbooks"]),
    ("personas: {platform: [{kind: User, name: ci, namespace: payments}]}", &["User ci has a namespace"]),
    ("observability: {serviceMonitor: true}", &["/observability/serviceMonitor", "want object"]),
    ("crds: {keep: 'yes'}", &["/crds/keep", "want boolean"]),
    ("uninstall: {timeoutSeconds: 4m}", &["/uninstall/timeoutSeconds"]),
    ("uninstall: {timeoutSeconds: 30}", &["/uninstall/timeoutSeconds"]),
    ("networkPolicy: {enabled: true}", &["/networkPolicy", "want boolean"]),
];

#[test]
fn what_is_misspelt_is_refused_with_where_it_is() {
    run(async {
        let lab = Lab::shared().await?;
        for (values, words) in REFUSED {
            let args = ["template", "leasehold", CHART, "--namespace", NAMESPACE, "--values", "-"];
            let output = lab.plane.helm(lab.plane.admin_kubeconfig(), &args, Some(values)).await?;
            ensure!(!output.status.success(), "{values} is taken");
            for word in *words {
                ensure!(output.stderr.contains(word), "{values}: not a word of {word}: {}", output.stderr);
            }
        }
        Ok(())
    });
}

#[test]
fn every_value_is_in_the_schema_and_every_word_of_the_schema_in_the_values() {
    run(async {
        let read = |name: &str| std::fs::read_to_string(format!("{CHART}/{name}")).with_context(|| name.to_owned());
        let schema: serde_json::Value = serde_json::from_str(&read("values.schema.json")?)?;
        let values: serde_json::Value = serde_saphyr::from_str(&read("values.yaml")?)?;
        closed("", &schema, &values)
    });
}

/// Every object with named values allows no others, and has a default for each.
fn closed(path: &str, schema: &serde_json::Value, values: &serde_json::Value) -> Result<()> {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    ensure!(schema["additionalProperties"] == false, "{path} takes any name");
    let there = values.as_object().with_context(|| format!("{path} has no default"))?;
    for (name, schema) in properties.iter().filter(|(name, _)| *name != "global") {
        // What a quantity is called is Kubernetes' affair.
        if path == "/pod/resources" {
            continue;
        }
        let value = there.get(name).with_context(|| format!("{path}/{name} has no default in values.yaml"))?;
        closed(&format!("{path}/{name}"), schema, value)?;
    }
    Ok(())
}

#[test]
fn another_namespace_is_refused_with_the_command_to_write() {
    run(async {
        let lab = Lab::shared().await?;
        let args = ["template", "leasehold", CHART, "--namespace", "security"];
        let output = lab.plane.helm(lab.plane.admin_kubeconfig(), &args, None).await?;
        ensure!(!output.status.success(), "it installs into another namespace than the policies name");
        ensure!(output.stderr.contains("--namespace leasehold-system --create-namespace"), "{}", output.stderr);
        Ok(())
    });
}
