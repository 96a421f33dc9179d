//! A lease as it is kept in memory: the object without what nobody needs, compressed. Ten thousand of them are a matter of megabytes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::CredentialLease;

/// A lease at rest.
#[derive(Clone, Debug)]
pub struct Packed(Box<[u8]>);

impl Packed {
    /// Packs a lease; of its metadata only what identifies it is kept.
    #[must_use]
    pub fn of(lease: &CredentialLease) -> Self {
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
        // Every one of our types has a JSON form; an empty pack unpacks to nothing, which is treated as unreadable.
        let json = serde_json::to_vec(&slim).unwrap_or_default();
        Self(lz4_flex::block::compress_prepend_size(&json).into_boxed_slice())
    }

    /// The lease again.
    #[must_use]
    pub fn unpack(&self) -> Option<CredentialLease> {
        serde_json::from_slice(&lz4_flex::block::decompress_size_prepended(&self.0).ok()?).ok()
    }
}
