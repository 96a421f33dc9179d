//! What is stored, edited past the API server: no schema, no policy and no right stands in between.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use leasehold_harness::Store;
use serde_json::{Value, json};

/// Changes a stored lease.
pub async fn edit_lease(store: &Store, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Result<()> {
    let key = STANDARD.encode(format!("/registry/leasehold.dev/credentialleases/{namespace}/{name}"));
    let found = store.ask("/v3/kv/range", &json!({"key": key})).await?;
    let value = found["kvs"][0]["value"].as_str().context("it is not stored there")?;
    // Custom resources are stored as JSON.
    let mut object: Value = serde_json::from_slice(&STANDARD.decode(value)?)?;
    edit(&mut object);
    let value = STANDARD.encode(serde_json::to_vec(&object)?);
    store.ask("/v3/kv/put", &json!({"key": key, "value": value})).await.map(drop)
}
