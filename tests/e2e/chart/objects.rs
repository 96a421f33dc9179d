//! Manifests as objects, to be compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Objects by `Kind namespace/name`; without a namespace `Kind /name`.
pub type Objects = BTreeMap<String, Value>;

/// Reads manifests: YAML, several documents.
pub fn read(text: &str) -> Result<Objects> {
    let mut objects = Objects::new();
    for document in text.split("\n---\n").map(|document| document.trim_start_matches("---\n")) {
        let object: Option<Value> = serde_saphyr::from_str(document).with_context(|| document.to_owned())?;
        let Some(object) = object else { continue };
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let key = format!("{} {}/{}", word("/kind"), word("/metadata/namespace"), word("/metadata/name"));
        ensure!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    Ok(objects)
}

/// What is in `one` and not, or not so, in `other`.
pub fn missing_or_different(one: &Objects, other: &Objects) -> Vec<String> {
    one.iter().filter(|(key, object)| other.get(*key) != Some(object)).map(|(key, _)| key.clone()).collect()
}

/// The values' names of what differs: only in `other` with `+`, only in `one` with `-`, changed with `~`.
pub fn changes(one: &Objects, other: &Objects) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    changes.extend(one.keys().filter(|key| !other.contains_key(*key)).map(|key| format!("-{key}")));
    changes.extend(other.iter().filter_map(|(key, object)| match one.get(key) {
        None => Some(format!("+{key}")),
        Some(before) if before != object => Some(format!("~{key}")),
        Some(_) => None,
    }));
    changes.sort();
    changes
}

/// Takes away what Helm adds to every object, and to custom resource definitions and guardrails that stay.
pub fn without_helm(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        for (kind, names) in [
            ("labels", &["app.kubernetes.io/managed-by", "helm.sh/chart"][..]),
            (
                "annotations",
                &[
                    "helm.sh/resource-policy",
                    "helm.sh/hook",
                    "helm.sh/hook-weight",
                    "helm.sh/hook-delete-policy",
                    "helm.sh/hook-output-log-policy",
                    "meta.helm.sh/release-name",
                    "meta.helm.sh/release-namespace",
                ],
            ),
        ] {
            let Some(map) = object.pointer_mut(&format!("/metadata/{kind}")).and_then(Value::as_object_mut) else {
                continue;
            };
            map.retain(|key, _| !names.contains(&key.as_str()));
            if map.is_empty() {
                object["metadata"].as_object_mut().map(|metadata| metadata.remove(kind));
            }
        }
    }
    objects
}
