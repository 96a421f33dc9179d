//! Is it ours? The one place where an object that is there already is told from a stranger's.

use k8s_openapi::{
    api::rbac::v1::{RoleBinding, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    api::names::{self, LeaseUid},
    domain::observed::{Child, ObjectId},
};

/// The lease that an object's label says it was made for.
#[must_use]
pub fn lease_of(metadata: &ObjectMeta) -> Option<LeaseUid> {
    LeaseUid::parse(metadata.labels.as_ref()?.get(names::LABEL_LEASE_UID)?)
}

/// Whether an object carries the label of this lease.
#[must_use]
pub fn is_of(metadata: &ObjectMeta, lease: &LeaseUid) -> bool {
    lease_of(metadata).as_ref() == Some(lease)
}

/// Whether a RoleBinding says what ours would say: whoever may write RoleBindings in a namespace can put our label on one.
#[must_use]
pub fn same_binding(found: &RoleBinding, ours: &RoleBinding) -> bool {
    found.role_ref == ours.role_ref && found.subjects == ours.subjects
}

/// Whether a RoleBinding is for the account of this lease and for nobody else: policy lets nobody but the operator make one.
#[must_use]
pub fn is_for(found: &RoleBinding, lease: &LeaseUid) -> bool {
    let subjects = found.subjects.as_deref().unwrap_or_default();
    let account = |s: &Subject| {
        s.kind == "ServiceAccount"
            && s.namespace.as_deref() == Some(names::ISSUING_NAMESPACE)
            && names::account_deadline(&s.name, lease).is_some()
    };
    !subjects.is_empty() && subjects.iter().all(account)
}

/// An object's identity.
#[must_use]
pub fn identity(metadata: &ObjectMeta) -> Option<ObjectId> {
    Some(ObjectId { namespace: metadata.namespace.clone()?, name: metadata.name.clone()?, uid: metadata.uid.clone()? })
}

/// Which object of a lease this is, if kind, namespace, name and label agree; else it is nobody's business.
#[must_use]
pub fn child_of(kind: Kind, metadata: &ObjectMeta) -> Option<(LeaseUid, Child)> {
    let lease = lease_of(metadata)?;
    let name = metadata.name.as_deref()?;
    let issuing = metadata.namespace.as_deref() == Some(names::ISSUING_NAMESPACE);
    let child = match kind {
        Kind::Account if issuing && names::account_deadline(name, &lease).is_some() => Child::Account,
        Kind::Job if issuing && name == names::issuing(&lease) => Child::Job,
        Kind::Role if issuing && name == names::issuing(&lease) => Child::MintRole,
        Kind::Binding if issuing && name == names::issuing(&lease) => Child::MintBinding,
        Kind::Ledger if issuing && name == names::issuing(&lease) => Child::Ledger,
        Kind::Binding if !issuing => {
            let grant = name.strip_prefix(&names::binding(&lease, ""))?;
            Child::Binding(grant.to_owned())
        }
        _ => return None,
    };
    Some((lease, child))
}

/// The kinds of object that are watched for leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Account,
    Job,
    Role,
    Binding,
    Ledger,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(namespace: &str, name: &str, uid: &str) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            labels: Some([(names::LABEL_LEASE_UID.to_owned(), uid.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_objects_whose_name_and_label_agree_are_a_leases() {
        const UID: &str = "5f2c8a8e-0000-4000-8000-000000000000";
        const HEX: &str = "5f2c8a8e000040008000000000000000";
        let table = [
            (Kind::Account, "leasehold-leases", format!("a.b.{HEX}.17"), Some(Child::Account)),
            (Kind::Account, "elsewhere", format!("a.b.{HEX}.17"), None),
            (Kind::Account, "leasehold-leases", "default".into(), None),
            (Kind::Job, "leasehold-leases", format!("lease-{HEX}"), Some(Child::Job)),
            (Kind::Role, "leasehold-leases", "leasehold".into(), None),
            (Kind::Binding, "leasehold-leases", format!("lease-{HEX}"), Some(Child::MintBinding)),
            (Kind::Binding, "payments", format!("leasehold-{HEX}-deploy"), Some(Child::Binding("deploy".into()))),
            (Kind::Binding, "payments", "admins".into(), None),
            (Kind::Role, "leasehold-leases", format!("lease-{HEX}"), Some(Child::MintRole)),
            (Kind::Ledger, "leasehold-leases", format!("lease-{HEX}"), Some(Child::Ledger)),
            (Kind::Job, "leasehold-leases", "another".into(), None),
            (Kind::Ledger, "leasehold-leases", "another".into(), None),
            (Kind::Binding, "leasehold-leases", "another".into(), None),
            (Kind::Binding, "leasehold-leases", format!("leasehold-{HEX}-deploy"), None),
            (Kind::Job, "elsewhere", format!("lease-{HEX}"), None),
            (Kind::Binding, "elsewhere", format!("lease-{HEX}"), None),
            (Kind::Role, "elsewhere", format!("lease-{HEX}"), None),
            (Kind::Ledger, "elsewhere", format!("lease-{HEX}"), None),
        ];
        for (kind, namespace, name, expected) in table {
            let found = child_of(kind, &metadata(namespace, &name, UID)).map(|(_, child)| child);
            assert_eq!(found, expected, "{kind:?} {namespace}/{name}");
        }
        assert_eq!(child_of(Kind::Job, &metadata("leasehold-leases", &format!("lease-{HEX}"), "x")), None);
    }

    #[test]
    fn a_binding_is_a_leases_only_with_its_label_and_for_its_account_alone() {
        const UID: &str = "5f2c8a8e-0000-4000-8000-000000000000";
        let lease = LeaseUid::parse(UID).unwrap();
        let account = |name: &str, namespace: &str, kind: &str| Subject {
            kind: kind.into(),
            name: name.into(),
            namespace: Some(namespace.into()),
            ..Subject::default()
        };
        let own = account(&names::account("a", "b", &lease, 17), names::ISSUING_NAMESPACE, "ServiceAccount");
        let binding = |subjects: &[&Subject]| RoleBinding {
            subjects: Some(subjects.iter().map(|s| (*s).clone()).collect()),
            ..RoleBinding::default()
        };
        let others = [
            account(&own.name, "elsewhere", "ServiceAccount"),
            account(&own.name, names::ISSUING_NAMESPACE, "User"),
            account("default", names::ISSUING_NAMESPACE, "ServiceAccount"),
        ];
        assert!(is_for(&binding(&[&own]), &lease));
        assert!(!is_for(&binding(&[]), &lease) && !is_for(&RoleBinding::default(), &lease));
        for other in &others {
            assert!(!is_for(&binding(&[other]), &lease) && !is_for(&binding(&[&own, other]), &lease), "{other:?}");
            assert!(!same_binding(&binding(&[other]), &binding(&[&own])), "{other:?}");
        }
        let mut role = binding(&[&own]);
        role.role_ref.name = "admin".into();
        assert!(same_binding(&binding(&[&own]), &binding(&[&own])) && !same_binding(&role, &binding(&[&own])));
        assert!(is_of(&metadata("n", "n", UID), &lease));
        assert!(!is_of(&metadata("n", "n", "6f2c8a8e-0000-4000-8000-000000000000"), &lease));
        assert!(!is_of(&ObjectMeta::default(), &lease));
    }

    #[test]
    fn an_identity_is_whole_or_none() {
        let mut whole = metadata("n", "o", "x");
        assert_eq!(identity(&whole), None, "without a UID it may be another one");
        whole.uid = Some("u".into());
        let id = ObjectId { namespace: "n".into(), name: "o".into(), uid: "u".into() };
        assert_eq!(identity(&whole), Some(id));
    }
}
