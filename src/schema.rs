//! The CustomResourceDefinitions as they are shipped: generated from [`crate::api`], tidied, as YAML.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::api::{
    ConnectedSystem, CredentialLease, CredentialLeaseDecision, CredentialLeasePolicy, ServiceAccountLifecycle,
};

/// The files of `crds/`: names and contents, with a kustomization that lists them.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = definitions()
        .into_iter()
        .filter_map(|crd| {
            let name = format!("{}.yaml", crd.pointer("/metadata/name")?.as_str()?);
            Some((name, format!("# Generated from src/api by `make generate`; do not edit.\n{}", yaml(&crd)?)))
        })
        .collect();
    let names: Vec<Value> = files.iter().map(|(name, _)| json!(name)).collect();
    let kustomization =
        json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names});
    files.push(("kustomization.yaml".into(), yaml(&kustomization).unwrap_or_default()));
    files
}

/// The definitions as values, as they are shipped.
#[must_use]
pub fn definitions() -> Vec<Value> {
    [
        ServiceAccountLifecycle::crd(),
        CredentialLease::crd(),
        CredentialLeaseDecision::crd(),
        CredentialLeasePolicy::crd(),
        ConnectedSystem::crd(),
    ]
    .into_iter()
    .filter_map(|crd| serde_json::to_value(crd).ok())
    .map(tidied)
    .collect()
}

fn yaml(value: &Value) -> Option<String> {
    let text = serde_saphyr::to_string(value).ok()?;
    Some(if text.ends_with('\n') { text } else { text + "\n" })
}

/// Takes out what schemars says and Kubernetes does not mean, and adds the labels.
fn tidied(mut crd: Value) -> Value {
    if let Some(metadata) = crd.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "labels".into(),
            json!({"app.kubernetes.io/name": "leasehold", "app.kubernetes.io/part-of": "leasehold"}),
        );
    }
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                tidy(schema);
            }
        }
    }
    crd
}

/// Absent has one spelling: every `Option` comes with `nullable` and optional enums with a value null, which the API server
/// would store on an immutable lease, or refuse with a message nobody understands.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("default").is_some_and(|d| !d.is_object() || d.get("type").is_none()) && map.contains_key("type")
            {
                map.remove("default");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
