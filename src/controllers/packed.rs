//! A lease as it is kept in memory: the object without what nobody needs and what all have in common, compressed. Ten thousand of
//! them are a matter of megabytes.

use std::{borrow::Cow, cell::RefCell, sync::LazyLock};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;

use crate::{
    api::{
        CredentialLease, CredentialLeaseSpec,
        names::{self, LeaseUid},
        status::CredentialLeaseStatus,
        uid::Uid,
    },
    domain::observed::{Child, ObjectId},
};

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
    let (api_version, kind) = (CredentialLease::api_version(&()), CredentialLease::kind(&()));
    let slim = Slim { api_version, kind, metadata: kept, spec: &lease.spec, status: lease.status.as_ref() };
    serde_json::to_vec(&slim).unwrap_or_default()
}

/// A lease of which nothing is copied to be written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slim<'a> {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: ObjectMeta,
    spec: &'a CredentialLeaseSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a CredentialLeaseStatus>,
}

/// How far back DEFLATE looks, as a power of two: over the model and a lease.
const WINDOW: u8 = 13;

/// What packs, and what unpacks. Each needs room for itself, so they are kept.
struct Press {
    deflate: Compress,
    inflate: Decompress,
}

thread_local! {
    static PRESS: RefCell<Press> = RefCell::new(Press {
        deflate: Compress::new_with_window_bits(Compression::default(), false, WINDOW),
        // The usual window: of that alone a reset keeps the memory (flate2 1.1).
        inflate: Decompress::new(false),
    });
}

/// A lease at rest: DEFLATE with the model as its dictionary.
#[derive(Clone, Debug)]
pub struct Packed {
    text: Box<[u8]>,
    /// Bytes of the text as it was.
    length: u32,
}

impl Packed {
    /// Packs a lease.
    #[must_use]
    pub fn of(lease: &CredentialLease) -> Self {
        let json = json(lease);
        let text = PRESS.with_borrow_mut(|press| press.pack(&json)).unwrap_or_default();
        Self { text, length: u32::try_from(json.len()).unwrap_or_default() }
    }

    /// The lease again.
    #[must_use]
    pub fn unpack(&self) -> Option<CredentialLease> {
        let length = usize::try_from(self.length).ok()?;
        let json = PRESS.with_borrow_mut(|press| press.unpack(&self.text, length))?;
        serde_json::from_slice(&json).ok()
    }
}

impl Press {
    /// Nothing that is packed is ever larger than DEFLATE's own bound, so that `None` is not expected; it unpacks to nothing.
    fn pack(&mut self, json: &[u8]) -> Option<Box<[u8]>> {
        self.deflate.reset();
        self.deflate.set_dictionary(&MODEL).ok()?;
        let mut packed = Vec::with_capacity(json.len() + json.len() / 8 + 64);
        let status = self.deflate.compress_vec(json, &mut packed, FlushCompress::Finish).ok()?;
        // A copy of the right length.
        (status == Status::StreamEnd).then(|| packed.as_slice().into())
    }

    fn unpack(&mut self, packed: &[u8], length: usize) -> Option<Vec<u8>> {
        self.inflate.reset(false);
        self.inflate.set_dictionary(&MODEL).ok()?;
        // One byte more: the end of the stream has to be seen, too.
        let mut json = Vec::with_capacity(length + 1);
        let status = self.inflate.decompress_vec(packed, &mut json, FlushDecompress::Finish).ok()?;
        (status == Status::StreamEnd && json.len() == length).then_some(json)
    }
}

/// The identity of one of a lease's objects at rest: only what does not follow from which of its objects it is.
#[derive(Clone, Debug)]
pub enum PackedId {
    /// In the issuing namespace, and named after its lease.
    Issuing(Uid),
    /// In the issuing namespace, by another name: an account has its deadline in it.
    Named(Uid, Box<str>),
    /// Named after its lease and its grant, in this namespace.
    Granted(Uid, Box<str>),
    /// Anything else.
    Other(Box<ObjectId>),
}

impl PackedId {
    /// Packs an identity.
    #[must_use]
    pub fn of(lease: &LeaseUid, child: &Child, id: &ObjectId) -> Self {
        let Some(uid) = Uid::parse(&id.uid) else { return Self::Other(id.clone().into()) };
        let issuing = id.namespace == names::ISSUING_NAMESPACE;
        match child {
            Child::Binding(grant) if id.name == names::binding(lease, grant) => {
                Self::Granted(uid, id.namespace.as_str().into())
            }
            Child::Binding(_) => Self::Other(id.clone().into()),
            _ if issuing && id.name == names::issuing(lease) => Self::Issuing(uid),
            _ if issuing => Self::Named(uid, id.name.as_str().into()),
            _ => Self::Other(id.clone().into()),
        }
    }

    /// The object's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Issuing(_) | Self::Named(..) => names::ISSUING_NAMESPACE,
            Self::Granted(_, namespace) => namespace,
            Self::Other(id) => &id.namespace,
        }
    }

    /// Whether it is this UID's.
    #[must_use]
    pub fn has(&self, uid: &str) -> bool {
        match self.uid() {
            Some(known) => Uid::parse(uid) == Some(known),
            None => matches!(self, Self::Other(id) if id.uid == uid),
        }
    }

    /// Whether both are of the same object.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(one), Self::Other(two)) => one.uid == two.uid,
            (Self::Other(one), two) | (two, Self::Other(one)) => two.has(&one.uid),
            (one, two) => one.uid() == two.uid(),
        }
    }

    /// The identity again.
    #[must_use]
    pub fn unpack(&self, lease: &LeaseUid, child: &Child) -> ObjectId {
        let uid = self.uid().map(|uid| uid.to_string()).unwrap_or_default();
        let namespace = self.namespace().to_owned();
        let name = match (self, child) {
            (Self::Other(id), _) => return (**id).clone(),
            (Self::Named(_, name), _) => name.to_string(),
            (Self::Granted(..), Child::Binding(grant)) => names::binding(lease, grant),
            (Self::Issuing(_) | Self::Granted(..), _) => names::issuing(lease),
        };
        ObjectId { namespace, name, uid }
    }

    fn uid(&self) -> Option<Uid> {
        match self {
            Self::Issuing(uid) | Self::Named(uid, _) | Self::Granted(uid, _) => Some(*uid),
            Self::Other(_) => None,
        }
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
        let (mut new, mut wordy, mut odd) = (model(), model(), model());
        new.status = None;
        wordy.spec.reason = "é\u{1F511}".repeat(400);
        // Far more than the window, and nothing in it comes twice.
        let any = |n: u32| char::from_u32(n.wrapping_mul(2_654_435_761) % 0xd800).unwrap_or_default();
        odd.spec.reason = (1..100_000).map(any).collect();
        let spoilt = Packed { text: Box::new([7; 40]), length: 40 };
        for lease in [model(), new, wordy, odd] {
            assert!(spoilt.unpack().is_none(), "and what was read after it is none the worse");
            let again = Packed::of(&lease).unpack().unwrap();
            assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(lease).unwrap());
        }
    }

    #[test]
    fn what_leases_have_in_common_is_read_and_costs_nothing() {
        assert!(Packed::of(&model()).text.len() < 100, "{} bytes", Packed::of(&model()).text.len());
    }

    #[test]
    fn an_identity_is_the_same_after_it_was_packed() {
        const UID: &str = "0b7b1ab5-93c8-4a6e-8f0a-6c1b3f6f4d21";
        let lease = LeaseUid::parse("5f2c8a8e-3b1d-4c55-9a7e-0d6f1b2c3a49").unwrap();
        let issuing = names::ISSUING_NAMESPACE;
        let account = names::account("payments", "deployer", &lease, 17);
        let table = [
            (Child::Job, issuing, names::issuing(&lease), "Issuing"),
            (Child::MintBinding, issuing, names::issuing(&lease), "Issuing"),
            (Child::Account, issuing, account, "Named"),
            (Child::Binding("deploy".into()), "payments", names::binding(&lease, "deploy"), "Granted"),
            (Child::Binding("deploy".into()), "payments", "another".into(), "Other"),
            (Child::Job, "elsewhere", names::issuing(&lease), "Other"),
        ];
        for (child, namespace, name, packs_as) in table {
            for uid in [UID, "u", "0B7B1AB5-93C8-4A6E-8F0A-6C1B3F6F4D21", "0b7b1ab593c84a6e8f0a6c1b3f6f4d21"] {
                let id = ObjectId { namespace: namespace.into(), name: name.clone(), uid: uid.into() };
                let packed = PackedId::of(&lease, &child, &id);
                assert_eq!((packed.namespace(), packed.unpack(&lease, &child)), (namespace, id.clone()));
                assert!(packed.has(uid) && packed.same(&packed.clone()) && !packed.has("other"), "{packed:?}");
                let another = PackedId::of(&lease, &child, &ObjectId { uid: UID.replace('0', "1"), ..id });
                assert!(!packed.same(&another) && !another.same(&packed), "{packed:?}");
                let as_expected = format!("{packed:?}").starts_with(packs_as);
                assert!(as_expected || uid != UID, "{packed:?}");
            }
        }
    }
}
