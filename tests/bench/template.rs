//! What Leasehold writes for a lease, with blanks: taken from a lease that it issued, so that the yardsticks write bodies and
//! statuses of the same content and size.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use leasehold::api::names::{self, LeaseUid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The name of every lifecycle of the bench.
pub const LIFECYCLE: &str = "bench";
/// The role that is granted, a ClusterRole: one UID wherever it is bound.
pub const ROLE: &str = "bench-reader";
/// The grant of it.
pub const GRANT: &str = "read";

/// Bodies with blanks, and the UID of the lifecycle in each namespace.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Templates {
    pub lifecycles: BTreeMap<String, String>,
    /// Where the API server is, as delivered kubeconfigs have it.
    pub server: String,
    pub ca_pem: String,
    pub bodies: BTreeMap<String, String>,
}

/// One lease's own names, to fill the blanks with.
#[derive(Debug, Clone)]
pub struct Own {
    pub namespace: String,
    pub name: String,
    pub uid: LeaseUid,
    pub lifecycle: String,
    /// Unix seconds.
    pub deadline: i64,
    pub job: String,
    pub account: String,
    pub binding: String,
    pub mint_role: String,
    pub mint_binding: String,
    pub secret: String,
}

impl Own {
    /// A lease of which nothing was made.
    pub fn new(namespace: &str, name: &str, uid: &LeaseUid, deadline: i64, templates: &Templates) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: *uid,
            lifecycle: templates.lifecycles.get(namespace).cloned().unwrap_or_default(),
            deadline,
            job: String::new(),
            account: String::new(),
            binding: String::new(),
            mint_role: String::new(),
            mint_binding: String::new(),
            secret: String::new(),
        }
    }

    pub fn account_name(&self) -> String {
        names::account(&self.namespace, LIFECYCLE, &self.uid, self.deadline)
    }

    fn blanks(&self) -> [(&'static str, String); 12] {
        [
            ("@uid@", self.uid.to_string()),
            ("@hex@", self.uid.hex()),
            ("@job@", self.job.clone()),
            ("@account@", self.account.clone()),
            ("@binding@", self.binding.clone()),
            ("@mint@", self.mint_binding.clone()),
            ("@secret@", self.secret.clone()),
            ("@lifecycle@", self.lifecycle.clone()),
            ("@expires@", expires(self.deadline)),
            ("@deadline@", self.deadline.to_string()),
            ("@namespace@", self.namespace.clone()),
            ("@name@", self.name.clone()),
        ]
    }
}

fn expires(deadline: i64) -> String {
    leasehold::api::Time::from_millis(deadline * 1000).to_string()
}

impl Templates {
    /// Keeps a body, with the blanks where this lease's own names were. What only the API server writes is left out.
    pub fn keep(&mut self, key: &str, mut body: Value, own: &Own) {
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| {
                matches!(name.as_str(), "name" | "namespace" | "labels" | "annotations" | "ownerReferences")
            });
            // A status has a `metadata` nowhere; an object has its own.
            if let Some(object) = body.as_object_mut() {
                object.remove("status");
            }
        }
        let mut text = body.to_string();
        for (blank, value) in own.blanks() {
            if !value.is_empty() {
                text = text.replace(&value, blank);
            }
        }
        self.bodies.insert(key.to_owned(), text);
    }

    /// A body for this lease.
    pub fn fill(&self, key: &str, own: &Own) -> Result<Value> {
        let mut text = self.bodies.get(key).with_context(|| format!("no template {key}"))?.clone();
        for (blank, value) in own.blanks() {
            text = text.replace(blank, &value);
        }
        serde_json::from_str(&text).with_context(|| format!("the template {key} filled"))
    }

    /// The Secret that delivers this token.
    pub fn secret(&self, own: &Own, token: &str) -> Result<Value> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut body = self.fill("secret", own)?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lease",
            "clusters": [{"name": "cluster", "cluster": {"server": self.server, "certificate-authority-data": STANDARD.encode(&self.ca_pem)}}],
            "users": [{"name": "lease", "user": {"token": token}}],
            "contexts": [{"name": "lease", "context": {"cluster": "cluster", "user": "lease", "namespace": own.namespace}}],
        });
        body["data"] = json!({
            "token": STANDARD.encode(token), "ca.crt": STANDARD.encode(&self.ca_pem),
            "namespace": STANDARD.encode(&own.namespace), "kubeconfig": STANDARD.encode(kubeconfig.to_string()),
            "expirationTime": STANDARD.encode(expires(own.deadline)),
        });
        Ok(body)
    }
}
