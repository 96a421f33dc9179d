//! Paths of objects, and what the API server's answers about them mean.

use http::StatusCode;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::Resource;

use super::exchange::Reply;
use crate::domain::{
    call::{Answer, Failure},
    observed::Child,
};

/// The path of one object; of a cluster-scoped one if the namespace is empty.
#[must_use]
pub fn path<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> String {
    format!("{}/{}", collection::<K>(namespace), segment(name))
}

/// A name as one segment of a path, whatever it is made of: the name of a role is an author's, and almost any text.
fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::with_capacity(name.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The path of a collection.
#[must_use]
pub fn collection<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace).filter(|n| !n.is_empty()))
}

/// The path of an object of a lease, or of the collection it is created in.
#[must_use]
pub fn child_path(child: &Child, namespace: &str, name: Option<&str>) -> String {
    let collection = match child {
        Child::Job => collection::<Job>(namespace),
        Child::Account => collection::<ServiceAccount>(namespace),
        Child::Binding(_) | Child::MintBinding => collection::<RoleBinding>(namespace),
        Child::MintRole => collection::<Role>(namespace),
        Child::Secret => collection::<Secret>(namespace),
        Child::Ledger => collection::<ConfigMap>(namespace),
    };
    match name {
        Some(name) => format!("{collection}/{name}"),
        None => format!("{collection}?fieldManager={}", crate::api::names::MANAGER),
    }
}

/// What a refused deletion means: not found, or another object under the name, is what was wanted.
///
/// # Errors
/// Whatever else the API server said.
pub fn gone(reply: &Reply) -> Result<Answer, Failure> {
    let failure = reply.failure();
    let other_object = reply.code == StatusCode::CONFLICT && failure.message.contains("UID in precondition");
    if reply.code == StatusCode::NOT_FOUND || other_object { Ok(Answer::Done) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_segment() {
        let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles";
        assert_eq!(path::<Role>("ns", "system:reader.x"), format!("{roles}/system:reader.x"));
        assert_eq!(path::<Role>("ns", "?watch=true"), format!("{roles}/%3Fwatch%3Dtrue"));
        assert_eq!(path::<Role>("ns", "../ä b"), format!("{roles}/..%2F%C3%A4%20b"));
    }
}
