//! What a cluster gives to every service account: which bindings do, and which of them are nothing to report.

use k8s_openapi::api::rbac::v1::Subject;

use crate::api::names;

/// What every cluster gives to everybody (bootstrap policy): nothing to report.
const USUAL: &[&str] =
    &["system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"];

/// Whether every cluster gives this role to everybody.
#[must_use]
pub fn is_usual(role: &str) -> bool {
    USUAL.contains(&role)
}

/// Whether a binding is for every service account.
#[must_use]
pub fn reaches_every_account(subjects: Option<&[Subject]>) -> bool {
    let issuing = format!("system:serviceaccounts:{}", names::ISSUING_NAMESPACE);
    subjects.unwrap_or_default().iter().any(|s| {
        s.kind == "Group"
            && (s.name == "system:authenticated" || s.name == "system:serviceaccounts" || s.name == issuing)
    })
}
