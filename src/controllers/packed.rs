//! A lease as it is kept in memory: the object without what nobody needs and what all have in common, compressed. Ten thousand of
//! them are a matter of megabytes.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{api::CredentialLease, domain::observed::ObjectId};

/// A lease as leases are: what others have in common with it is not kept with each of them. It is read and written like them, so
/// that the order of the fields is the same. Without it they would only be larger.
static MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lease: serde_json::Result<CredentialLease> = serde_json::from_str(include_str!("packed.json"));
    lease.map(|lease| json(&lease)).unwrap_or_default()
});

/// What is kept of a lease; of its metadata, what identifies it. Every one of our types has a JSON form; nothing unpacks to
/// nothing, which is treated as unreadable.
fn json(lease: &CredentialLease) -> Vec<u8> {
    let metadata = &lease.metadata;
    let kept = ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp.clone(),
        deletion_timestamp: metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let slim = CredentialLease { metadata: kept, spec: lease.spec.clone(), status: lease.status.clone() };
    serde_json::to_vec(&slim).unwrap_or_default()
}

/// A lease at rest.
#[derive(Clone, Debug)]
pub struct Packed(Box<[u8]>);

impl Packed {
    /// Packs a lease.
    #[must_use]
    pub fn of(lease: &CredentialLease) -> Self {
        let packed = lz4_flex::block::compress_prepend_size_with_dict(&json(lease), &MODEL);
        // A copy of the right length: what was compressed into has room for the worst case.
        Self(packed.as_slice().into())
    }

    /// The lease again.
    #[must_use]
    pub fn unpack(&self) -> Option<CredentialLease> {
        serde_json::from_slice(&lz4_flex::block::decompress_size_prepended_with_dict(&self.0, &MODEL).ok()?).ok()
    }
}

/// The identity of an object at rest: one string instead of three. No part of it can hold a slash.
#[derive(Clone, Debug)]
pub struct PackedId(Box<str>);

impl PackedId {
    /// Packs an identity.
    #[must_use]
    pub fn of(id: &ObjectId) -> Self {
        Self(format!("{}/{}/{}", id.namespace, id.name, id.uid).into())
    }

    /// The object's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The object's UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The identity again.
    #[must_use]
    pub fn unpack(&self) -> ObjectId {
        let mut parts = self.0.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        ObjectId { namespace: part(), name: part(), uid: part() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> CredentialLease {
        serde_json::from_str(include_str!("packed.json")).unwrap()
    }

    #[test]
    fn a_lease_is_the_same_after_it_was_packed_whatever_it_has_in_common_with_others() {
        let (mut new, mut wordy) = (model(), model());
        new.status = None;
        wordy.spec.reason = "é\u{1F511}".repeat(400);
        for lease in [model(), new, wordy] {
            let again = Packed::of(&lease).unpack().unwrap();
            assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(lease).unwrap());
        }
    }

    #[test]
    fn what_leases_have_in_common_is_read_and_costs_nothing() {
        assert!(Packed::of(&model()).0.len() < 100, "{} bytes", Packed::of(&model()).0.len());
    }

    #[test]
    fn an_identity_is_the_same_after_it_was_packed() {
        let id = ObjectId { namespace: "payments".into(), name: "system:deployer".into(), uid: "u".into() };
        let packed = PackedId::of(&id);
        assert_eq!((packed.namespace(), packed.uid(), packed.unpack()), ("payments", "u", id.clone()));
    }
}
