//! What a watch takes of an object: no more than is needed, and one that cannot be decoded stops no other.
//!
//! Who manages which field (`metadata.managedFields`) is half of an object's text or more. It is skipped where it stands, so that
//! no memory is ever asked for it.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The metadata that anybody here asks for.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..Self::default()
        }
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Metadata::deserialize(deserializer).map(ObjectMeta::from)
}

/// An object of which only the metadata is read.
#[derive(Debug)]
pub struct Sparse<K> {
    pub metadata: ObjectMeta,
    kind: PhantomData<K>,
}

impl<K> Clone for Sparse<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), kind: PhantomData }
    }
}

impl<'de, K> Deserialize<'de> for Sparse<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default, deserialize_with = "metadata")]
            metadata: ObjectMeta,
        }
        let object = Object::deserialize(deserializer)?;
        Ok(Self { metadata: object.metadata, kind: PhantomData })
    }
}

/// An object that was read, or why it cannot be. Its metadata is read in any case.
#[derive(Clone, Debug)]
pub struct Readable<K> {
    pub metadata: ObjectMeta,
    /// The object, with the same metadata; or what is wrong with it.
    pub object: Result<K, String>,
}

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Readable<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object {
            #[serde(default, deserialize_with = "metadata")]
            metadata: ObjectMeta,
            spec: Option<Value>,
            status: Option<Value>,
        }
        let object = Object::deserialize(deserializer)?;
        let metadata = object.metadata;
        let parts = [("spec", object.spec), ("status", object.status)];
        let mut whole: Map<String, Value> =
            parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))).collect();
        whole.insert("metadata".to_owned(), Value::Object(Map::new()));
        let object = K::deserialize(Value::Object(whole));
        let object = object.map_err(|error| error.to_string()).map(|mut object| {
            *object.meta_mut() = metadata.clone();
            object
        });
        Ok(Self { metadata, object })
    }
}

/// A RoleBinding: who is bound to what. API servers validate what is built in: none is stored that cannot be decoded.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    pub subjects: Option<Vec<Subject>>,
    #[serde(default)]
    pub role_ref: RoleRef,
}

/// All are watched as the kind that they are of.
macro_rules! resource {
    ($read:ty, as $kind:ty $(, for every $k:ident)?) => {
        impl$(<$k: Resource>)? Resource for $read {
            type DynamicType = <$kind as Resource>::DynamicType;
            type Scope = <$kind as Resource>::Scope;

            fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
                <$kind as Resource>::kind(kind)
            }

            fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
                <$kind as Resource>::group(kind)
            }

            fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
                <$kind as Resource>::version(kind)
            }

            fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
                <$kind as Resource>::plural(kind)
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(Sparse<K>, as K, for every K);
resource!(Readable<K>, as K, for every K);
resource!(Binding, as RoleBinding);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::json;

    use super::*;
    use crate::api::CredentialLease;

    /// As an API server tells of an object.
    fn told(spec: &Value) -> String {
        json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "status": {"phase": "Pending"}, "spec": spec,
            "metadata": {"namespace": "payments", "name": "nightly", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-11-28T18:35:41Z", "labels": {"a": "b"}, "annotations": {"c": "d"},
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {".": {}}}}]},
        })
        .to_string()
    }

    #[test]
    fn an_object_is_read_without_who_manages_its_fields() {
        let text = told(
            &json!({"lifecycleRef": {"name": "reader"}, "grants": ["read"], "delivery": {"type": "Secret"}, "reason": "why", "requestedBy": {"username": "u"}}),
        );
        let read: Readable<CredentialLease> = serde_json::from_str(&text).unwrap();
        let mut whole: CredentialLease = serde_json::from_str(&text).unwrap();
        whole.metadata.managed_fields = None;
        let lease = read.object.unwrap();
        assert_eq!(serde_json::to_value(&lease).unwrap(), serde_json::to_value(&whole).unwrap());
        assert_eq!(read.metadata, whole.metadata);
        let sparse: Sparse<Job> = serde_json::from_str(&text).unwrap();
        assert_eq!(sparse.metadata, whole.metadata);
    }

    #[test]
    fn one_that_cannot_be_decoded_still_says_which_it_is_and_what_is_wrong() {
        let read: Readable<CredentialLease> = serde_json::from_str(&told(&json!({"grants": 7}))).unwrap();
        assert_eq!(read.metadata.name.as_deref(), Some("nightly"));
        let error = read.object.unwrap_err();
        assert!(error.contains("integer `7`, expected a sequence"), "{error}");
    }

    #[test]
    fn of_a_binding_it_is_read_who_is_bound_to_what() {
        let told = json!({
            "metadata": {"name": "b", "managedFields": [{"manager": "kubectl"}]},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "everybody"}],
        });
        let read: Binding = serde_json::from_value(told.clone()).unwrap();
        let mut whole: RoleBinding = serde_json::from_value(told).unwrap();
        whole.metadata.managed_fields = None;
        assert_eq!((read.metadata, read.subjects, read.role_ref), (whole.metadata, whole.subjects, whole.role_ref));
        let none: Binding = serde_json::from_value(json!({"metadata": {"name": "b"}, "subjects": null})).unwrap();
        assert_eq!(none.subjects, None);
    }

    #[test]
    fn whatever_is_read_is_watched_as_what_it_is() {
        let group = |of: fn(&()) -> Cow<'_, str>| of(&()).into_owned();
        assert_eq!(group(Sparse::<RoleBinding>::plural), "rolebindings");
        assert_eq!(group(Binding::plural), "rolebindings");
        assert_eq!(group(Readable::<CredentialLease>::group), "leasehold.dev");
    }
}
